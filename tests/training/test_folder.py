"""Run folders: which may be trained in, and how they are opened."""

import pytest
import torch

import pofx
from pofx.training.folder import RunError, new_folder


def test_what_a_killed_run_left_before_its_first_file_is_no_run(tmp_path):
    for name in (".lock", ".run.json.68232df5.tmp"):
        (tmp_path / name).touch()
        assert new_folder(tmp_path, "vae", "digits") == tmp_path


@pytest.mark.parametrize("name", ["run.json", "notes.txt", ".run.json", "run.json.tmp"])
def test_what_somebody_else_put_there_is(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(RunError, match="choose another --out"):
        new_folder(tmp_path, "vae", "digits")


def test_a_run_that_is_opened_in_inference_mode_serves_outside_of_it():
    small = {"hidden": (8,), "steps": 2, "batch_size": 16}
    path = pofx.fit("deep-energy", "two-moons", out="run", quiet=True, **small).path
    run = pofx.load(path)
    with torch.inference_mode():
        first = run.sample(2, steps=2)
    assert torch.equal(run.sample(2, steps=2), first)
