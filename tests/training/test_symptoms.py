"""What an objective says while it trains: once a run, and only when it is so."""

import json

import pytest
import torch

import pofx
from pofx.batch import Batch
from pofx.objective import Symptom
from pofx.training.log import Log

SMALL = {
    "hidden": (64, 64), "channels": 0, "latent": 8, "batch_size": 64, "lr": 2e-3,
    "threads": 1, "sample_every": 10**9,
}  # fmt: skip


def warnings(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["warning"] for line in lines if "symptom" in line]


def test_a_symptom_is_said_once_in_a_run_however_often_it_is_resumed(tmp_path, capfd):
    path = tmp_path / "metrics.jsonl"
    with Log(path) as log:
        log.metrics(1, 0.1, {"loss": 1.0})
        log.symptom(1, Symptom("dead units", "3 of 4."))
        log.symptom(2, Symptom("dead units", "4 of 4."))
        log.symptom(2, Symptom("divergence", "the energy is 1e9."))
        position = log.position()
    with Log(path) as log:
        log.truncate(position)
        log.symptom(3, Symptom("dead units", "2 of 4."))
    assert warnings(tmp_path) == ["Dead units: 3 of 4.", "Divergence: the energy is 1e9."]
    said = capfd.readouterr().err
    assert said.count("Dead units") == said.count("Divergence") == 1


def test_what_is_forgotten_may_be_said_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Log(path, quiet=True) as log:
        log.metrics(1, 0.1, {"loss": 1.0})
        position = log.position()
        log.symptom(2, Symptom("divergence", "first."))
        log.truncate(position)
        log.symptom(2, Symptom("divergence", "second."))
    assert warnings(tmp_path) == ["Divergence: second."]


def test_a_process_that_does_not_write_says_nothing(capfd):
    with Log(None) as log:
        log.symptom(1, Symptom("divergence", "of another process."))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "collapses"),
    [
        ({"beta": 10.0, "kl_warmup": 0}, True),
        ({"beta": 10.0, "kl_warmup": 0, "free_bits": 0.2}, False),
        ({"kl_warmup": 0.1}, False),
    ],
    ids=["heavy", "heavy with free bits", "plain"],
)
def test_posterior_collapse_is_named_with_its_cures(arguments, collapses, tmp_path, capfd):
    pofx.fit("vae", "digits", out=tmp_path / "run", steps=1010, **SMALL, **arguments)
    said = capfd.readouterr().err
    found = warnings(tmp_path / "run")
    assert len(found) == said.count("Posterior collapse") == collapses
    if collapses:
        assert "KL warm-up" in said
        assert "free bits" in said


def test_a_code_that_is_not_in_use_yet_is_no_symptom():
    objective = pofx.catalogue.build("vae", pofx.DataSpec((2,)), kl_warmup=0.2).objective
    dead, alive = {"kl": 0.01, "active_units": 0.0}, {"kl": 0.02, "active_units": 1.0}
    seen = {}
    for steps, objective.progress in (
        (1, 0.01),
        (1000, 0.1),
        (1249, 1.0),
        (1250, 1.0),
        (9000, 0.9),
    ):
        objective.steps.fill_(steps)
        assert not list(objective.symptoms(alive))
        assert not list(objective.symptoms({"skipped": 1.0}))
        seen[steps] = [s.name for s in objective.symptoms(dead)]
    named = ["posterior collapse"]
    assert seen == {1: [], 1000: [], 1249: [], 1250: named, 9000: named}


@pytest.mark.parametrize("name", ["iwae", "vamp", "iaf-vae"])
def test_a_divergence_known_as_a_whole_is_judged_by_its_nats(name):
    objective = pofx.catalogue.build(name, pofx.DataSpec((2,))).objective
    objective.steps.fill_(5000)
    objective.progress = 0.5
    with torch.no_grad():
        _, metrics = objective.loss(Batch(objective.model.sample(20), progress=0.5))
    values = {k: float(v) for k, v in metrics.items()}
    assert not list(objective.symptoms({**values, "kl": 0.5}))
    assert [s.name for s in objective.symptoms({**values, "kl": -0.01})] == ["posterior collapse"]
