"""What a run's model takes when it samples is listed, and a mistyped option finds its name."""

import inspect
import re

import pytest
from verb import code

from pofx.cli.model_options import described
from pofx.run import Run

SMALL = ["--limit", 60, "--batch-size", 8, "--steps", 2, "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    assert code("train", "edm", *SMALL, "--channels", "4,4", "--out", path) == 0
    return path


@pytest.mark.parametrize("arguments", [["sample", "RUN", "--help"], ["show", "RUN"]])
def test_every_option_and_every_sampler_is_listed_with_its_meaning_and_default(
    run, arguments, capsys
):
    assert code(*[run if a == "RUN" else a for a in arguments]) == 0
    page = re.sub(r"(?<=\w-)\s+(?=\w)", "", capsys.readouterr().out)  # words that were wrapped
    model = Run(run, device="cpu").model
    for name in set(inspect.signature(model.sample).parameters) - {"n", "cond"}:
        assert f"--{name.replace('_', '-')} " in page, name
    for name in (*model.samplers, "karras"):
        assert re.search(rf"\b{name}[,.]", page), name
    assert "default: heun" in page
    assert "default: 18" in page  # steps of sampling, not those of training


def test_the_help_page_of_a_verb_leaves_out_what_it_chooses_itself(run, capsys):
    assert code("ladder", run, "--help") == 0
    page = capsys.readouterr().out.split("Options of its model:")[1]
    assert "--guidance" in page
    assert "--sampler" not in page
    assert "--steps" not in page
    assert code("sample", "--help") == 0
    assert "`pofx sample RUN --help`" in capsys.readouterr().out


def test_options_of_completing_are_those_of_sampling_and_its_own(run):
    opened = Run(run, device="cpu")
    flags = {method: [f.split()[0] for f, _ in described(opened, method)] for method in
             ("sample", "complete", "edit")}  # fmt: skip
    assert set(flags["complete"]) == {*flags["sample"], "--repeats"}
    assert flags["edit"] == flags["sample"]
    assert all(meaning.strip() for method in flags for _, meaning in described(opened, method))


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--samplr", "did you mean '--sampler'?"),
        ("--batchsize", "did you mean '--batch'?"),
        ("--foo", "its options are --sampler, --steps, --grid, --eta, --guidance"),
    ],
)
def test_an_unknown_option_finds_the_models_and_the_verbs(run, option, hint, capsys):
    assert code("sample", run, option, "3") == 2
    said = capsys.readouterr().err
    assert hint in said
    assert f"`pofx sample {run} --help`" in said


def test_version_is_found(capsys):
    assert code("version") == 2
    assert "did you mean '--version'?" in capsys.readouterr().err
