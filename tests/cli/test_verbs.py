"""Every verb answers, and a mistake is one sentence with exit code 2."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from verb import code

from pofx.cli import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_page(verb, capsys):
    assert code(verb, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_data_says_what_it_sees_and_draws_a_sheet(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert code("data", "digits", "--sheet", sheet) == 0
    said = capsys.readouterr().out
    assert "1,797" in said
    assert Image.open(sheet).size[0] > 100


def test_from_training_to_pictures(tmp_path, capsys):
    run, grid = tmp_path / "run", tmp_path / "grid.png"
    small = ["--latent", 2, "--hidden", "8,8", "--channels", 4, "--batch-size", 16]
    assert (
        code("train", "vae", "--data", "digits", *small, "--steps", 3, "--out", run, "--quiet") == 0
    )
    assert code("resume", run, "--steps", 5, "--quiet") == 0
    assert code("sample", run, "-n", 9, "--seed", 1, "--out", grid) == 0
    assert Image.open(grid).text["recipe"] == "vae"
    for i, batch in enumerate((1, 4, 9)):
        assert code("sample", run, "-n", 9, "--batch", batch, "--out", tmp_path / f"{i}.npz") == 0
    first, *others = (np.load(tmp_path / f"{i}.npz")["x"] for i in range(3))
    assert all(np.array_equal(first, other) for other in others)
    assert code("runs", tmp_path) == 0
    assert "vae" in capsys.readouterr().out


MISTAKES = [
    (["trian"], "did you mean 'train'"),
    (["train", "vea"], "did you mean 'vae'"),
    (["train", "vae", "--lattent", "3"], "--latent"),
    (["train", "vae", "--data", "digit"], "digits"),
    (["train", "vae", "--latent", "0"], "at least 1"),
    (["train", "vae", "--latent", "many"], "many"),
    (["train", "vae", "--lr", "nan"], "number"),
    (["train", "vae", "--minutes", "-1"], "positive"),
    (["train", "vae", "--steps", "2", "--minutes", "1"], "exclude"),
    (["train", "vae", "--conditional", "--data", "two-moons"], "classes"),
    (["train", "vae", "--device", "gpu9"], "gpu9"),
    (["train", "vae", "--data", "nowhere.csv"], "nowhere.csv"),
    (["sample", "nowhere"], "nowhere"),
    (["evaluate", "nowhere"], "nowhere"),
    (["resume", "nowhere"], "nowhere"),
    (["show", "ddmp"], "ddpm"),
    (["cite", "ddmp"], "ddpm"),
    (["data", "no-such-thing"], "no-such-thing"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_is_one_sentence(arguments, named, capsys):
    assert code(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert named in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_give_way_unless_the_user_says_otherwise(given, expected):
    seen = "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    program = f"""if True:
        import atexit, os, sys
        atexit.register(lambda: {seen})
        from pofx.cli import main
        main(["--version"])"""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{expected} False", "before torch is loaded"
