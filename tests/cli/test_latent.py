"""Codes on the command line: there, back, between and along."""

import numpy as np
import pytest
import torch
from PIL import Image
from verb import code

import pofx

SMALL = {"latent": 3, "hidden": (16,), "channels": 0, "steps": 5, "quiet": True, "threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    pofx.fit("autoencoder", "digits", out=folder / "ae", **SMALL)
    pofx.fit("vae", "digits", out=folder / "vae", conditional=True, **SMALL)
    return folder


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv"])
def test_codes_are_written_and_decoded(run, tmp_path, suffix):
    codes, out = tmp_path / f"codes.{suffix}", tmp_path / "back.npz"
    assert code("encode", run / "ae", "--out", codes) == 0
    assert code("decode", run / "ae", "--codes", codes, "--out", out) == 0
    opened = pofx.load(run / "ae")
    x, y = opened.dataset.train.values()
    with torch.no_grad():
        expected = opened.model.decode(opened.model.encode(x))
    assert (np.load(out)["x"] == opened.schema.native(expected)).mean() > 0.999
    if suffix == "csv":
        assert codes.read_text().splitlines()[0] == "z0,z1,z2"
        assert len(codes.read_text().splitlines()) == 1 + len(x)
    if suffix == "npz":
        assert np.load(codes)["y"].tolist() == [str(k) for k in y.tolist()]


def test_codes_keep_the_classes_that_they_were_made_with(run, tmp_path):
    codes, own, sevens = (tmp_path / f"{name}.npz" for name in ("codes", "own", "sevens"))
    assert code("encode", run / "vae", "--out", codes) == 0
    assert code("decode", run / "vae", "--codes", codes, "--out", own) == 0
    assert code("decode", run / "vae", "--codes", codes, "--class", 7, "--out", sevens) == 0
    opened = pofx.load(run / "vae")
    x, y = opened.dataset.train.values()
    for out, cond in ((own, y), (sevens, torch.full_like(y, 7))):
        with torch.no_grad():
            expected = opened.model.decode(opened.model.encode(x, y), cond)
        assert (np.load(out)["x"] == opened.schema.native(expected)).mean() > 0.999


def test_codes_of_other_data(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (12, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "new.npy", images)
    codes = tmp_path / "codes.npy"
    assert code("encode", run / "ae", "--data", tmp_path / "new.npy", "--out", codes) == 0
    assert np.load(codes).shape == (12, 3)
    limited = ["--limit", 5, "--out", tmp_path / "few.npz"]
    assert code("encode", run / "ae", "--data", tmp_path / "new.npy", *limited) == 0
    few = np.load(tmp_path / "few.npz")["x"]
    assert np.allclose(few, np.load(codes)[:5], rtol=1e-5, atol=1e-6)
    assert code("encode", run / "ae", *limited) == 0
    own = np.load(tmp_path / "few.npz")
    assert len(own["x"]) == len(own["y"]) == 5


def test_a_prior_of_codes_draws_examples(run, tmp_path, capsys):
    codes, prior = tmp_path / "codes.npz", tmp_path / "prior"
    assert code("encode", run / "ae", "--out", codes) == 0
    assert code("train", "ppca", "--data", codes, "--out", prior, "--quiet") == 0
    drawn = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for out, batch in zip(drawn, (4, 32), strict=True):
        how = ("--prior", prior, "-n", 32, "--batch", batch, "--out", out)
        assert code("sample", run / "ae", *how) == 0
    first, second = (np.load(out)["x"] for out in drawn)
    assert np.array_equal(first, second)
    opened = pofx.load(run / "ae")
    z = opened.encode()[0]
    of_prior = pofx.load(prior)
    drawn_codes = torch.from_numpy(of_prior.schema.native(of_prior.sample(4000)))
    assert torch.allclose(drawn_codes.mean(0), z.mean(0), atol=0.2 * float(z.std()))
    capsys.readouterr()
    assert code("evaluate", run / "ae", "--prior", prior, "-n", 100) == 0
    assert "frechet" in capsys.readouterr().out


def test_what_does_not_sample_says_what_to_do(run, refused):
    refused(["sample", run / "ae"], "give that run as the prior")
    refused(["sample", run / "ae", "--prior", run / "vae"], "train the prior on those codes")
    refused(["sample", run / "ae", "--prior", run / "none"], "none")


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_a_strip_and_a_film_from_one_example_to_another(run, tmp_path, name):
    strip, film, arrays = (tmp_path / f"x.{s}" for s in ("png", "gif", "npz"))
    for out in (strip, film, arrays):
        arguments = ["--between", 3, 7, "--steps", 5, "--curve", "linear", "--out", out]
        assert code("interpolate", run / name, *arguments) == 0
    assert Image.open(strip).width > 4 * Image.open(strip).height
    assert Image.open(film).n_frames > 1
    opened = pofx.load(run / name)
    x, y = opened.dataset.test.values()
    cond = y[[3, 7]] if name == "vae" else None
    with torch.no_grad():
        ends = opened.model.decode(opened.model.encode(x[[3, 7]], cond), cond)
    assert np.array_equal(np.load(arrays)["x"][[0, -1]], opened.schema.native(ends))


def test_a_traversal_has_a_row_for_each_dimension(run, tmp_path):
    out = tmp_path / "x.npz"
    arguments = ["--dimensions", "2,0", "--steps", 5, "--reach", 1.5, "--out", out]
    assert code("traverse", run / "ae", *arguments) == 0
    assert np.load(out)["x"].shape == (10, 1, 8, 8)
    assert code("traverse", run / "vae", "--out", tmp_path / "x.png") == 0
    assert Image.open(tmp_path / "x.png").height < Image.open(tmp_path / "x.png").width


MISTAKES = [
    (["interpolate", "--between", 3, 999], "0 to 179"),
    (["interpolate", "--between", 3, -1], "-1"),
    (["traverse", "--dimensions", "7"], "0 to 2"),
    (["traverse", "--dimensions", "a"], "'a'"),
    (["traverse", "--reach", 0], "reach"),
    (["encode", "--out", "codes.txt"], ".npz"),
    (["decode", "--codes", "digits"], "(3,)"),
    (["decode", "--codes", "nowhere.npz"], "nowhere.npz"),
]


@pytest.mark.parametrize(("arguments", "word"), MISTAKES, ids=[w for _, w in MISTAKES])
def test_mistakes_are_one_sentence(run, refused, arguments, word):
    verb, *rest = arguments
    refused([verb, run / "ae", *rest], word)


def test_a_model_without_codes_says_so(tmp_path, refused):
    pofx.fit("gmm", "two-moons", out=tmp_path / "gmm", quiet=True)
    refused(["encode", tmp_path / "gmm"], "no codes")


@pytest.mark.parametrize("verb", [["interpolate", "--between", 0, 1], ["traverse"]])
def test_a_film_of_points_is_refused_with_what_to_write_instead(tmp_path, verb, capsys):
    name, *options = verb
    out = tmp_path / "flow"
    small = {"layers": 1, "hidden": (4,), "steps": 1, "quiet": True}
    pofx.fit("nsf", "two-moons", out=out, data_options={"limit": 100}, **small)
    assert code(name, out, *options, "--out", tmp_path / "film.GIF") == 2
    said = capsys.readouterr().err
    assert "must be images (got vectors of 2): give --out a .png of the points, or an .npz" in said
    assert not (tmp_path / "film.GIF").exists()
