"""What may not fit says so before it tries: one sentence, exit code 2, and nothing left behind."""

import numpy as np
import pytest

from pofx.training import memory

LARGE = [
    ("vae", "--hidden", 10**30, "must be at most 2,147,483,647"),
    ("vae", "--latent", 2**62, "must be at most 2,147,483,647"),
    ("kde", "--points", 2**62, "must be at most 2,147,483,647"),
    ("gmm", "--components", 2**63, "must be at most 2,147,483,647"),
    ("vae", "--hidden", 2**31 - 1, "or less."),
    ("kde", "--points", 2**31 - 1, "or less."),
    ("realnvp", "--batch-size", 10**9, "or less"),
]


@pytest.mark.parametrize(("recipe", "flag", "value", "said"), LARGE)
def test_a_number_that_no_machine_holds_is_refused(recipe, flag, value, said, refused, tmp_path):
    refused(["train", recipe, "--out", tmp_path / "r", flag, value], flag, said)


WIDE = "\n".join(",".join(f"w{i % 40}-{j}" for j in range(300)) for i in range(60))
TEXT = "".join(chr(0x4E00 + i) for i in range(4000))


@pytest.mark.parametrize(
    ("name", "content", "recipe", "cure"),
    [
        ("wide.csv", WIDE, "vae", "leave out columns"),
        ("symbols.txt", TEXT, "vae", "--length"),
    ],
)
def test_data_that_are_too_wide_are_refused(
    name, content, recipe, cure, refused, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 400 << 20)
    (tmp_path / name).write_text(content, encoding="utf-8")
    arguments = ["train", recipe, "--data", tmp_path / name, "--out", tmp_path / "r"]
    refused([*arguments, "--batch-size", 1], "must fit in the 400.0 MB", cure)


def test_bits_that_are_too_many_are_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1 << 30)
    np.save(tmp_path / "bits.npy", np.eye(10, 5_000, dtype=np.uint8))
    arguments = ["train", "nade", "--data", tmp_path / "bits.npy", "--hidden", 500]
    refused([*arguments, "--out", tmp_path / "r"], "nade", "give --batch-size")
