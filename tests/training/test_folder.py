"""Run folders: which may be trained in, and how they are opened."""

from dataclasses import replace

import pytest
import torch

import pofx
from pofx.training.folder import Job, RunError, new_folder


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


@pytest.mark.parametrize(
    ("recipe", "arguments", "now"),
    [
        ("vae", {"latent": 2}, {"latent": 2, "kl_warmup": 0.25}),
        ("vae", {"kl_warmup": 1}, {"kl_warmup": 0.0005}),
        ("ladder-vae", {}, {"kl_warmup": 1.0}),
        ("beta-vae", {"rise": 500, "capacity": 3.0}, {"rise": 0.25, "capacity": 3.0}),
        ("rectified-flow", {"steps": 800}, {"steps": 800, "first_part": 0.2}),
        ("rectified-flow", {"first_steps": 500}, {"first_part": 0.25}),
        ("realnvp", {"layers": 3}, {"layers": 3}),
    ],
)
def test_steps_of_an_old_run_are_shares_of_the_budget_that_it_has_now(recipe, arguments, now):
    job = Job(recipe, arguments, {}, {}, {}, "", steps=2000, format=1)
    assert job.settings == now
    assert job.arguments == arguments, "run.json stays what it was"
    assert replace(job, format=2).settings == arguments
    one, many = (replace(job, steps=n).settings.get("rise") for n in (1000, 10_000))
    assert one is None or (one, many) == (0.5, 0.05)
