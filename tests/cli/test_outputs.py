"""Data are never written over, be they the run's own or what a verb is given."""

import os

import numpy as np
import pytest
from PIL import Image
from verb import code

import pofx
from pofx.errors import UserError

TINY = {"hidden": 8, "batch_size": 8, "steps": 1, "quiet": True}
VERBS = {
    "sample": [],
    "encode": [],
    "decode": ["--codes", "given.csv"],
    "interpolate": ["--between", 0, 1],
    "traverse": [],
    "complete": [],
    "edit": [],
    "anomaly": [],
}
READING = [v for v in VERBS if v not in ("sample", "decode")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    np.savetxt(folder / "own.csv", np.random.default_rng(0).normal(size=(40, 3)), delimiter=",")
    return pofx.fit("ddpm", folder / "own.csv", out=folder / "run", **TINY).path


@pytest.fixture
def given():
    np.savetxt("given.csv", np.random.default_rng(1).normal(size=(5, 3)), delimiter=",")


@pytest.mark.parametrize("verb", VERBS)
def test_the_runs_own_data(verb, run, given, refused):
    own = run.parent / "own.csv"
    os.symlink(own, "linked.csv")
    for out in (own, os.path.relpath(own), "linked.csv"):
        refused(
            [verb, run, *VERBS[verb], "--out", out], "over data that are read", "choose another"
        )


@pytest.mark.parametrize("verb", [*READING, "decode"])
def test_what_is_given(verb, run, given, refused):
    options = [*VERBS[verb], *([] if verb == "decode" else ["--data", "given.csv"])]
    refused([verb, run, *options, "--out", "./given.csv"], "./given.csv", "choose another path")
    assert code(verb, run, *options, "--out", "new.csv") == 0
    assert code(verb, run, *options, "--out", "new.csv") == 0  # any other file may be


def test_what_the_default_would_write_over(run, given, refused):
    assert code("complete", run, "-n", 5) == 0
    name = run / "completed-0.csv"
    refused(["complete", run, "--data", name], "completed-0.csv", "choose another path")


def test_what_a_prior_was_trained_on(run, refused):
    assert code("encode", run, "--out", "codes.csv") == 0
    pofx.fit("ppca", "codes.csv", out="prior", quiet=True)
    refused(["sample", run, "--prior", "prior", "--out", "codes.csv"], "codes.csv", "another path")


def test_an_image_of_a_folder(refused):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)
    os.makedirs("images/a")
    for i, p in enumerate(pixels):
        Image.fromarray(p).save(f"images/a/{i}.png")
    run = pofx.fit("ppca", "images", out="run", quiet=True)
    for out in ("images/a/3.png", "images", "images/new.png", "images/b/new.npz"):
        refused(["sample", run.path, "--out", out], "over data that are read", "another path")
    with pytest.raises(UserError, match=r"3\.png' would be written over"):
        run.save(run.sample(2), "images/a/3.png")


def test_a_built_in_set_is_no_file(tmp_path):
    run = pofx.fit("ppca", "two-moons", out="run", quiet=True)
    (tmp_path / "two-moons").mkdir()
    run.spare("two-moons/x.npz")
    (tmp_path / "two-moons" / "x.npz").touch()
    run.spare("two-moons/x.npz", "two-moons")


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_path(verb, run, given, refused):
    refused([verb, run, *VERBS[verb], "--out", ""], "--out is a path", "an empty one")
