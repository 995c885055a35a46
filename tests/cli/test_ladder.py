"""`pofx ladder`: its table, picture and recommendation, of any model that has samplers."""

import json
import math
from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from verb import code

from pofx import catalogue
from pofx.diffusion.analytic import Mixture
from pofx.diffusion.model import Diffusion
from pofx.diffusion.schedule import VP
from pofx.errors import UserError
from pofx.evaluation.ladder import Ladder, Rung, recommended
from pofx.run import Run
from pofx.spec import DataSpec, Real, class_spec


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    small = ["--channels", "4,4", "--batch-size", 16, "--steps", 3, "--quiet", "--limit", 200]
    assert code("train", "ddpm", "--data", "digits", *small, "--out", path) == 0
    return path


def test_a_table_a_picture_and_a_recommendation(run, capsys):
    asked = ["--samplers", "ddim,heun", "--steps", "2,3", "-n", 20, "--features", "pca"]
    assert code("ladder", run, *asked, "--guidance", "1") == 0
    said = capsys.readouterr().out
    report = json.loads((run / "ladder.json").read_text())
    rungs = report["rungs"]
    assert [(r["sampler"], r["steps"]) for r in rungs] == [
        ("ddim", 2), ("ddim", 3), ("heun", 2), ("heun", 3)
    ]  # fmt: skip
    # guidance asks twice for each; Heun's method twice in each step but the last
    assert [r["evaluations"] for r in rungs] == [4, 6, 6, 10]
    best = report["recommended"]
    assert f"recommended: --sampler {best['sampler']} --steps {best['steps']}" in said
    width, height = Image.open(run / "ladder.png").size
    assert width / height == pytest.approx(10 / 4, rel=0.05)
    assert code("ladder", run, *asked, "--json") == 0
    assert json.loads(capsys.readouterr().out)["options"] == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--samplers", "dimm"], ("did you mean 'ddim'",)),
        (["--steps", "5,x"], ("whole numbers", "5,x")),
        (["--steps", "0"], ("from 1", "'0' came")),
        (["--out", "table.csv"], (".png", "table.csv")),
        (["--guidanse", "1"], ("did you mean '--guidance'",)),
        (["--features", "pca", "--steps", "10,2000"], ("from 1 to 1000 steps",)),
        (["--samplers", "ddim", "--sampler", "heun"], ("--sampler heun came", "--samplers ddim,")),
        (["--guidance", "1,2"], ("--guidance must be a finite number", "(1, 2)")),
    ],
)
def test_what_it_refuses(run, refused, options, named):
    refused(["ladder", run, "-n", 10, *options], *named)


def test_the_same_setting_is_measured_once(run):
    """Nor is rk45, which chooses its steps itself, at a second count of them."""
    opened = Run(run)
    asked = {"samplers": ["ddim", "rk45", "ddim"], "steps": [3, 2, 3], "n": 10, "features": "pca"}
    found = Ladder(opened.model, opened.dataset, **asked)
    assert found.settings == [("ddim", 3), ("ddim", 2), ("rk45", 3)]
    assert len(found) == 3
    few, many = (opened.sample(2, sampler="rk45", steps=k) for k in (1, 9))
    assert torch.equal(few, many)


def test_a_model_without_samplers_is_refused(tmp_path, refused):
    path = tmp_path / "run"
    small = ["--latent", 2, "--hidden", "8,8", "--channels", 4, "--batch-size", 16, "--quiet"]
    assert code("train", "vae", "--data", "digits", *small, "--steps", 2, "--out", path) == 0
    refused(["ladder", path], "has samplers", "ddpm or edm")


# --- what it measures


class Whole:
    """Two normal distributions in the plane as a data set."""

    name = "two"
    spec = DataSpec((2,), Real(), cond=class_spec(2))

    def __init__(self, means, stds):
        self.train, self.valid, self.test = (self._part(means, stds) for _ in range(3))

    def _part(self, means, stds, n=4000):
        cond = (torch.rand(n) < 0.5).long()
        x = means[cond] + stds[cond][:, None] * torch.randn(n, 2)
        return torch.utils.data.TensorDataset(x, cond)


class Part:
    def __init__(self, data):
        self.x, self.cond = data.tensors

    def __len__(self):
        return len(self.x)

    def values(self, rows):
        return self.x[rows], self.cond[rows]


def test_distance_falls_with_steps_to_that_of_real_examples():
    means, stds = torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), torch.tensor([0.6, 0.4])
    data = Whole(means, stds)
    data.train, data.valid, data.test = map(Part, (data.train, data.valid, data.test))
    model = Diffusion(Mixture(VP(), torch.full((2,), 0.5), means, stds), data.spec)
    found = Ladder(model, data, samplers=["ddim", "unipc"], steps=(2, 8, 60), n=4000)
    rungs = list(found)
    assert len(found) == len(rungs) == 6
    ddim, unipc = rungs[:3], rungs[3:]
    assert ddim[0].frechet > 2 * ddim[1].frechet > 2 * ddim[2].frechet
    assert unipc[2].frechet < 5 * found.floor + 0.002
    best = recommended(rungs)
    assert best.evaluations == min(
        r.evaluations for r in rungs if r.frechet <= 1.05 * min(other.frechet for other in rungs)
    )


def test_evaluations_are_rows_that_the_network_sees():
    model = catalogue.build("ddpm", DataSpec((2,), Real(), cond=class_spec(2)), hidden=8).model
    with model.counted() as calls:
        model.sample(6, torch.zeros(6, dtype=torch.int64), steps=3, guidance=1.0)
    assert sum(calls) == 6 * 3 * 2
    model.sample(2, steps=2)
    assert sum(calls) == 36  # no longer
    assert "ancestral-learned" not in model.samplers
    assert len(set(model.samplers)) == len(model.samplers) > 15


def test_any_model_with_samplers_has_a_ladder_and_infinite_samples_are_far():
    class Own:
        samplers = ("good", "broken")

        def sample(self, n, cond=None, *, sampler=None, steps=None):
            return torch.randn(n, 2) if sampler == "good" else torch.full((n, 2), math.nan)

        def check(self, **options):
            assert options["steps"] == 1

        @contextmanager
        def counted(self):
            yield [7]

    data = Whole(torch.zeros(2, 2), torch.ones(2))
    data.train, data.valid, data.test = map(Part, (data.train, data.valid, data.test))
    good, broken = Ladder(Own(), data, steps=(1,), n=700, features="raw")
    assert good.frechet < 0.1
    assert broken.frechet == math.inf
    assert broken.to_json()["frechet"] is None
    assert good.evaluations == pytest.approx(0.01)
    with pytest.raises(UserError, match="has samplers"):
        Ladder(object(), data)


def test_recommended_is_the_cheapest_near_the_best():
    rungs = [
        Rung("a", k, d, e, 1.0, torch.empty(0))
        for k, d, e in ((1, 1.1, 1), (2, 1.04, 5), (3, 1.0, 4))
    ]
    assert recommended(rungs).steps == 3
    assert recommended(rungs, 0.2).steps == 1
