"""Resume: a run that was resumed holds what a run that never stopped does."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pofx.training import fit as fitting
from pofx.training.checkpoint import load_model
from pofx.training.fit import fit, resume

SMALL = {"latent": 2, "hidden": (8,), "batch_size": 16, "quiet": True, "save_every": 5}

MODEL = "model.safetensors"


def trained(out, **more):
    return fit("vae", "two-moons", out=out, steps=20, **SMALL, **more)


def recorded(folder, clock=("seconds", "examples_per_second")):
    """The metrics, but for the clock's."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_complete_run_that_is_resumed_stays_as_it_is(keep):
    folder = trained("whole", keep=keep)
    shutil.copytree(folder, "again")
    resume("again", quiet=True)
    assert recorded(Path("again"), clock=()) == recorded(folder, clock=())
    (weights, described), (same, said) = (load_model(Path(f, MODEL)) for f in (folder, "again"))
    assert described == said
    assert all(torch.equal(weights[k], same[k]) for k in weights)


def test_a_run_that_is_killed_and_resumed_records_what_one_that_never_stopped_does(monkeypatch):
    after = fitting._Progress.after

    def killed(self, step):
        after(self, step)
        if step.number == 12:
            raise RuntimeError

    monkeypatch.setattr(fitting, "_LOG_SECONDS", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(fitting._Progress, "after", killed)
        with pytest.raises(RuntimeError):
            trained("killed")
    resume("killed", quiet=True)
    whole = recorded(trained("whole"))
    assert [line["step"] for line in whole if "valid" in line] == [1, 5, 9, 13, 17, 20]
    assert recorded(Path("killed")) == whole
    weights, described = load_model(Path("whole", MODEL))
    same, said = load_model(Path("killed", MODEL))
    assert described == said
    assert all(torch.equal(weights[k], same[k]) for k in weights)
