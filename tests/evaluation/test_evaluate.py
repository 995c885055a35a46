import json
import math

import pytest
import torch
from torch import nn

from pofx.data.source import load
from pofx.errors import UserError
from pofx.evaluation.blocks import Stopped
from pofx.evaluation.collapse import warn_of_classes, warn_of_duplicates, warn_of_metrics
from pofx.evaluation.evaluate import depends_on_class, evaluate
from pofx.evaluation.noise_ceiling import uniform_like
from pofx.evaluation.report import Measured
from pofx.functional.dequantize import harden
from pofx.spec import Bytes, DataSpec, Interval, Mixed, Real


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def grid():
    return load("grid-25")


class Resampler(nn.Module):
    """Draws training examples, of the class that is asked for, with some noise."""

    def __init__(self, dataset, noise):
        super().__init__()
        x, y = dataset.train.values()
        self.spec, self.noise, self.x = dataset.spec, noise, x
        self.y = y if y is not None else torch.zeros(len(x), dtype=torch.int64)

    def sample(self, n, cond=None):
        u = torch.rand(n)
        pools = [torch.arange(len(self.x))] * n
        if cond is not None:
            pools = [(self.y == c).nonzero()[:, 0] for c in cond]
        rows = torch.stack([p[int(v * len(p))] for p, v in zip(pools, u, strict=True)])
        x = self.x[rows]
        return harden(x + self.noise * torch.randn_like(x), self.spec)


class OnePoint(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def sample(self, n):
        return self.x.expand(n, *self.x.shape).clone()


class Scored(nn.Module):
    def log_prob(self, x, cond=None):
        return -math.log(17) * torch.ones(len(x)) * x[0].numel()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def report(digits, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return evaluate(Resampler(digits, 0.2), digits)


def test_a_conditional_sampler_of_images(report, digits):
    m = report.metrics
    assert list(m) == [
        "frechet", "kid", "inception_score", "precision", "recall", "density", "coverage",
        "class_agreement",
    ]  # fmt: skip
    assert report.features["name"] == "classifier"
    assert report.features["accuracy"] > 0.95
    n = len(digits.test)
    assert report.counts == {"real": n, "fake": n, "reference": n, "likelihood": 0}
    frechet = m["frechet"]
    assert frechet.low <= frechet.value <= frechet.high
    assert frechet.floor < 0.3 * frechet.ceiling
    assert frechet.value < 0.5 * frechet.ceiling
    assert m["class_agreement"].value > 0.9
    assert m["class_agreement"].floor == report.features["accuracy"]
    assert report.likelihood is None
    assert report.warnings == ()
    assert report.samples.shape == (n, *digits.spec.shape)
    assert report.memorization.copies == 0


def test_samples_have_the_classes_of_the_floor_and_not_of_what_they_are_held_against(cache):
    """Real examples in the model's place score what the floor scores, classes and all."""
    digits = load("digits", limit=400)
    asked = []

    class Recorder(Resampler):
        def sample(self, n, cond=None):
            asked.append(cond)
            return super().sample(n, cond)

    found = evaluate(Recorder(digits, 0.0), digits, features="pca")
    labels = torch.cat(asked[2:])  # the first two calls ask whether the class matters
    counts = [
        torch.bincount(y, minlength=10)
        for y in (labels, digits.valid.values()[1], digits.test.values()[1])
    ]
    assert torch.equal(counts[0], counts[1])
    assert not torch.equal(counts[0], counts[2])
    frechet = found.metrics["frechet"]
    assert 0.5 < frechet.value / frechet.floor < 2


def test_the_report_is_json_and_a_table(report):
    text = json.dumps(report.to_json(), allow_nan=False)
    back = json.loads(text)
    assert back["frechet"]["floor"] == report.metrics["frechet"].floor
    assert back["n_fake"] == report.counts["fake"]
    assert back["likelihood"] is None
    rows = report.rows()
    assert all(len(row) == 3 and all(isinstance(cell, str) for cell in row) for row in rows)
    shown = dict((name, (value, beside)) for name, value, beside in rows)
    assert shown["frechet"][1].startswith("real ")
    assert "noise" in shown["frechet"][1]
    assert "classifier" in shown["features"][0]


def test_the_same_seed_gives_the_same_report(grid):
    model = Resampler(grid, 0.05)
    first, again = (evaluate(model, grid, n=300, seed=4).to_json() for _ in range(2))
    other = evaluate(model, grid, n=300, seed=5).to_json()
    for r in (first, again, other):
        r.pop("seconds")
    assert first == again
    assert first["frechet"] != other["frechet"]
    assert "energy_distance" in first
    assert "class_agreement" not in first


def test_copies_of_the_training_set_are_named(grid):
    found = evaluate(Resampler(grid, 0.0), grid, n=200)
    assert found.memorization.copies == 200
    assert any(w.startswith("Memorised") for w in found.warnings)


def test_a_collapsed_sampler_is_named(digits, cache):
    found = evaluate(OnePoint(digits.train.values([0])[0][0]), digits, n=100, features="pca")
    assert any(w.startswith("Mode collapse") for w in found.warnings)
    assert any(w.startswith("Repeated samples: 100%") for w in found.warnings)
    assert found.metrics["recall"].value < 0.2


def test_a_model_with_a_likelihood_only(digits):
    found = evaluate(Scored(), digits, n=50)
    assert found.likelihood.kind == "exact"
    assert found.bits_per_dim == pytest.approx(math.log2(17), rel=1e-5)
    assert found.counts == {"real": 50, "fake": 0, "reference": 0, "likelihood": 50}
    assert (found.metrics, found.memorization, found.samples) == ({}, None, None)
    assert found.to_json()["likelihood"]["bits_per_dim"] == pytest.approx(math.log2(17), rel=1e-5)
    assert found.rows()[0][0] == "log p(x), nats (exact, mass)"


def test_an_array_a_name_or_a_path_will_do_for_a_data_set(grid, tmp_path):
    class Density(nn.Module):
        def log_prob(self, x):
            return -((x - 100) ** 2).sum(1) / 2 - math.log(2 * math.pi)

    x = 100 + torch.randn(400, 2)
    for source in (x, x.numpy()):
        found = evaluate(Density(), source)  # as it stands, and not standardized
        assert found.likelihood.nats == pytest.approx(-1 - math.log(2 * math.pi), abs=0.5)
    named = evaluate(Resampler(grid, 0.05), "grid-25", n=300)
    assert (
        named.metrics["frechet"] == evaluate(Resampler(grid, 0.05), grid, n=300).metrics["frechet"]
    )
    with pytest.raises(UserError, match="a name, a path or an array, not a list"):
        evaluate(Density(), [[1.0, 2.0]])


def test_an_array_is_standardized_for_a_model_that_learned_so():
    x = 100 + 5 * torch.randn(400, 2)

    class Standard(nn.Module):
        spec = load(x).spec

        def log_prob(self, x):
            return -(x**2).sum(1) / 2 - math.log(2 * math.pi)

    expected = -1 - math.log(2 * math.pi) - 2 * math.log(5)
    assert evaluate(Standard(), x).likelihood.nats == pytest.approx(expected, abs=0.5)


def test_the_table_says_of_how_many_examples_the_likelihood_is(grid):
    class Tight(nn.Module):
        def importance_bound(self, x, cond=None, *, samples=500):
            return torch.zeros(len(x))

    found = evaluate(Tight(), grid, n=1200)
    assert found.counts["likelihood"] == 1000
    how = "500 importance samples, 1,000 of 1,200 examples"
    assert found.rows()[0][2] == f"{how}, gmm {found.yardstick.nats:.3f}"
    assert "of" not in evaluate(Tight(), grid, n=1000).rows()[0][2]


def test_a_few_examples_that_decide_the_mean_are_told_of(grid):
    class Outlier(nn.Module):
        def log_prob(self, x, cond=None):
            return torch.where(x[:, 0] == x[:, 0].max(), -1e6, 0.0)

    found = evaluate(Outlier(), grid, n=100)
    assert found.rows()[1][:2] == ("log p(x), median", "0.000")
    assert found.rows()[1][2] == "the worst 1 example makes 100% of what is below it"
    assert found.to_json()["likelihood"]["median"] == 0.0
    assert found.to_json()["likelihood"]["worst_share"] == 1.0
    assert found.to_json()["likelihood"]["worst_examples"] == 1
    assert any("decide the mean" in w for w in found.warnings)
    assert len(evaluate(Scored(), grid, n=100).rows()) == 1


def test_samples_that_are_not_finite_are_left_out_and_named(grid):
    class Broken(Resampler):
        def sample(self, n, cond=None):
            return super().sample(n) / (torch.rand(n, 1) > 0.3)

    found = evaluate(Broken(grid, 0.05), grid, n=300)
    assert 150 < found.counts["fake"] < 270
    assert "samples hold NaN or infinity" in found.warnings[0]
    assert math.isfinite(found.metrics["frechet"].value)


def test_what_cannot_be_evaluated_is_said_in_one_sentence(grid):
    with pytest.raises(UserError, match="none of it"):
        evaluate(nn.Linear(2, 2), grid, n=10)
    with pytest.raises(UserError, match="did you mean 'test'"):
        evaluate(Resampler(grid, 0.1), grid, split="tset")
    with pytest.raises(UserError, match="at least 2"):
        evaluate(Resampler(grid, 0.1), grid, n=1)
    for options in ({"n": 2.5}, {"n": "10"}, {"seed": 1.5}, {"samples": 0}, {"samples": None}):
        with pytest.raises(UserError, match="must be a whole number"):
            evaluate(Resampler(grid, 0.1), grid, **options)
    with pytest.raises(UserError, match="train, valid or test, not None"):
        evaluate(Resampler(grid, 0.1), grid, split=None)
    with pytest.raises(UserError, match=r"shape \(2,\), but have \(3,\)"):
        evaluate(OnePoint(torch.zeros(3)), grid, n=10)


@pytest.mark.parametrize("calls", [1, 3, 10, 60])
def test_it_stops_when_asked(grid, calls):
    left = iter(range(calls))
    with pytest.raises(Stopped) as caught:
        evaluate(Resampler(grid, 0.1), grid, n=300, stop=lambda: next(left, None) is None)
    assert caught.value.signal == 2


def test_whether_a_model_minds_the_class(digits, grid):
    class Heedless(Resampler):
        def sample(self, n, cond=None):
            return super().sample(n)

    assert depends_on_class(Resampler(digits, 0.1), digits.spec)
    assert not depends_on_class(Heedless(digits, 0.1), digits.spec)
    assert not depends_on_class(OnePoint(torch.zeros(1, 8, 8)), digits.spec)
    assert not depends_on_class(Resampler(grid, 0.1), grid.spec)


def test_noise_lies_in_the_support():
    mixed = DataSpec((3,), Mixed((Real(), Bytes(3), Interval())))
    real = torch.tensor([[5.0, 1.0, 0.0], [7.0, -1.0, 0.5]]).repeat(500, 1)
    noise = uniform_like(real, mixed)
    assert noise.shape == real.shape
    assert (noise[:, 0] > 5).all()
    assert (noise[:, 0] < 7).all()
    assert noise[:, 1].unique().tolist() == [-1, 0, 1]
    assert noise[:, 2].abs().max() <= 1
    assert noise[:, 2].std() == pytest.approx(3**-0.5, rel=0.1)


def test_warnings_say_what_the_figures_mean():
    def recall(value, precision):
        return {
            "recall": Measured(value, floor=0.6),
            "precision": Measured(precision, floor=0.7),
        }

    assert next(warn_of_metrics(recall(0.05, 0.7))).startswith("Mode collapse")
    assert next(warn_of_metrics(recall(0.05, 0.1))).startswith("Much of the data")
    assert not list(warn_of_metrics(recall(0.5, 0.7)))
    lost = {"frechet": Measured(50.0, floor=1.0, ceiling=40.0)}
    assert next(warn_of_metrics(lost)).startswith("No better than noise")
    for floor, ceiling in ((41.0, 40.0), (0.0, 0.0)):  # noise is as good as real examples
        assert not list(warn_of_metrics({"frechet": Measured(50.0, floor=floor, ceiling=ceiling)}))
    real = torch.eye(3).repeat(100, 1)
    fake = torch.eye(3)[:2].repeat(150, 1)
    (sentence,) = warn_of_classes(real, fake, ("cat", "dog", "owl"))
    assert "hardly a sample of owl" in sentence
    assert not list(warn_of_classes(real, real, ("cat", "dog", "owl")))
    cloud = torch.randn(200, 3)
    assert not list(warn_of_duplicates(cloud, torch.randn(200, 3)))
    assert list(warn_of_duplicates(cloud, cloud[:50].repeat(4, 1)))
