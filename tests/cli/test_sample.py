"""How a model is asked to sample: its own options, from the command line."""

import csv

import numpy as np
import pytest
from verb import code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    small = ["--channels", "4,4", "--batch-size", 16, "--steps", 3, "--quiet", "--limit", 60]
    assert code("train", "ddpm", "--data", "digits", *small, "--out", path) == 0
    return path


@pytest.mark.parametrize(
    "options",
    [
        "--sampler dpmpp-2m --steps 4 --grid karras --eta 0.5 --guidance 2",
        "--sampler heun --steps 3 --guidance 2 --guidance-interval 0.2,0.8",
        "--sampler rk45 --steps 1 --class 3",
        "--sampler=unipc --steps=4 --grid=log-snr",
    ],
)
def test_a_sampler_its_grid_its_noise_and_its_guidance(run, tmp_path, options):
    for i, batch in enumerate((2, 5)):
        out = tmp_path / f"{i}.npz"
        assert code("sample", run, "-n", 5, "--batch", batch, "--out", out, *options.split()) == 0
    one, two = (np.load(tmp_path / f"{i}.npz")["x"] for i in range(2))
    assert one.shape == (5, 1, 8, 8)
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sampler", "dpmp-2m"], ("did you mean 'dpmpp-2m'",)),
        (["--sampler", "7"], ("--sampler", "a word")),
        (["--grid", "karas"], ("did you mean 'karras'",)),
        (["--steps", "0"], ("from 1 to 100000", "got 0")),
        (["--steps", "2.5"], ("--steps", "whole number")),
        (["--steps", "1001"], ("from 1 to 1000 steps",)),
        (["--sampler", "heun", "--eta", "0.5"], ("eta belongs to", "heun")),
        (["--eta", "2"], ("--eta must be from 0 to 1", "got 2")),
        (["--guidance", "nan"], ("--guidance", "finite number")),
        (["--sampler", "ddim,heun"], ("--sampler as a Sampler or a word", "('ddim', 'heun') came")),
        (["--guidance", "1,2"], ("--guidance must be a finite number", "(1, 2)")),
        (["--eta", "0,1"], ("--eta must be a finite number", "(0, 1)")),
        (["--steps", "1,2"], ("--steps must be a whole number", "(1, 2)")),
        (["--grid", "a,b"], ("--grid as a Grid or a word", "('a', 'b') came")),
        (["--guidance", "1", "--guidance-interval", "0,0"], ("to a later one", "(0, 0) came")),
        (["--out", ""], ("--out is a path", "leave it out")),
        (["--guidance", "1", "--guidance-interval", "0.8,0.2"], ("(0.8, 0.2) came",)),
        (["--guidance", "1", "--guidance-interval", "soon"], ("such as 0.2,0.8", "soon")),
        (["--guidanse", "1"], ("did you mean '--guidance'",)),
        (["--n", "5"], ("did you mean '-n'",)),
    ],
)
def test_options_that_are_refused(run, refused, options, named):
    refused(["sample", run, *options], *named)


def test_a_table_comes_back_with_its_column_of_labels_in_its_place(tmp_path):
    table, path = tmp_path / "pets.csv", tmp_path / "run"
    kinds = ["cat", "dog", '"big, one"']
    rows = [f"{i % 7},{kinds[i % 3]},{i / 4}" for i in range(60)]
    table.write_text("\n".join(["age,kind,weight", *rows]) + "\n")
    small = ["--hidden", 8, "--batch-size", 16, "--steps", 2, "--quiet", "--label", "kind"]
    assert code("train", "ddpm", "--data", table, *small, "--out", path) == 0
    assert code("sample", path, "-n", 6, "--steps", 2, "--out", tmp_path / "s.csv") == 0
    with (tmp_path / "s.csv").open(newline="") as file:
        names, *drawn = csv.reader(file)
    assert names == ["age", "kind", "weight"]
    assert [row[1] for row in drawn] == ["big, one", "cat", "dog"] * 2
    again = [path, "--data", tmp_path / "s.csv", "--out", tmp_path / "z.csv"]
    assert code("encode", *again) == 0  # what was drawn can be read as what was given


def test_samples_that_are_not_finite_are_refused_and_leave_what_was_there(tmp_path, refused):
    run, out = tmp_path / "run", tmp_path / "s.csv"
    small = ["--hidden", "8,", "--batch-size", 16, "--steps", 3, "--quiet", "--out", run]
    assert code("train", "score-matching", "--data", "two-moons", *small) == 0
    out.write_text("mine")
    refused(["sample", run, "-n", 3, "--step", "1e9", "--out", out], "3 of 3", "smaller")
    assert out.read_text() == "mine"
