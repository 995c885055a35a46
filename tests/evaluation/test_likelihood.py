import math

import pytest
import torch
from torch import nn

from pofx.capabilities import Likelihood
from pofx.errors import UserError
from pofx.evaluation.blocks import Stopped
from pofx.evaluation.likelihood import bits_per_dim, likelihood, warn_of_worst
from pofx.spec import Bytes, DataSpec, Interval, Mixed, Real, class_spec

REAL = DataSpec((3,), Real(), log_scale=1.5)
MASS = DataSpec((3,), Bytes(4))
X = torch.linspace(-1, 1, 60).reshape(20, 3)


class Exact(nn.Module):
    def log_prob(self, x):
        return -(x**2).sum(1)


class Bounded(nn.Module):
    likelihood_detail = "uniform dequantisation"

    def elbo(self, x, cond=None):
        return -(x**2).sum(1) + torch.randn(len(x))


class Tight(Bounded):
    def importance_bound(self, x, cond=None, *, samples=500):
        return torch.full((len(x),), float(samples))


class Guess(nn.Module):
    def log_prob_estimate(self, x, cond=None):
        return torch.randn(len(x), 2).sum(1)


class Unnormalised(nn.Module):
    def energy(self, x, cond=None):
        return (x**2).sum(1)

    def log_partition(self):
        return 2.0, 0.25


class OfAClass(nn.Module):
    def log_prob(self, x, cond=None):
        return -(x**2).sum(1) - (0 if cond is None else cond)


def test_exact_density_in_the_users_units():
    values = -(X.double() ** 2).sum(1)
    found = likelihood(Exact(), X, None, REAL, batch=7)
    assert (found.kind, found.unit, found.detail) == ("exact", "density", "")
    assert found.nats == pytest.approx(float(values.mean()) - 1.5, abs=1e-6)
    assert found.stderr == pytest.approx(float(values.std()) / 20**0.5, rel=1e-5)
    assert likelihood(Exact(), X, None, MASS).nats == pytest.approx(float(values.mean()), abs=1e-6)
    assert likelihood(Exact(), X, None, MASS).unit == "mass"
    mixed = DataSpec((3,), Mixed((Real(), Bytes(4), Bytes(4))), log_scale=1.0)
    assert likelihood(Exact(), X, None, mixed).unit == "density"
    assert likelihood(Exact(), X, None, mixed).nats == pytest.approx(float(values.mean()) - 1)


def test_the_strongest_statement_is_taken_and_named():
    assert likelihood(Bounded(), X, None, MASS).kind == "bound"
    assert likelihood(Bounded(), X, None, MASS).detail == (
        "uniform dequantisation, 16 draws of each"
    )
    tight = likelihood(Tight(), X, None, MASS, samples=64)
    assert (tight.nats, tight.kind, tight.detail) == (64.0, "bound", "64 importance samples")
    assert likelihood(Guess(), X, None, MASS).kind == "estimate"
    assert likelihood(nn.Linear(1, 1), X, None, MASS) is None


def test_an_estimated_constant_adds_its_own_error():
    values = -(X.double() ** 2).sum(1)
    found = likelihood(Unnormalised(), X, None, MASS)
    assert found.kind == "estimate"
    assert found.nats == pytest.approx(float(values.mean()) - 2)
    assert found.stderr == pytest.approx(math.hypot(float(values.std()) / 20**0.5, 0.25), rel=1e-5)
    assert found.detail == "log Z = 2.000 +- 0.250"


def test_random_draws_belong_to_examples_and_widen_the_error():
    by_batch = [likelihood(Bounded(), X, None, MASS, batch=b) for b in (1, 6, 20)]
    assert by_batch[0].nats == pytest.approx(by_batch[2].nats, abs=1e-6)
    assert by_batch[1] == by_batch[2]
    assert likelihood(Bounded(), X, None, MASS, seed=1).nats != by_batch[0].nats
    many = torch.linspace(0, 1e-3, 2000)[:, None].expand(-1, 3)  # unlike, and all the same nats
    found = likelihood(Bounded(), many, None, MASS)
    assert found.stderr == pytest.approx(1 / (16 * 2000) ** 0.5, rel=0.1)
    assert found.nats == pytest.approx(0, abs=4 * found.stderr)


def test_as_many_draws_as_are_cheap():
    wide = DataSpec((1000,), Bytes(4))
    for n, draws in ((4, 16), (16, 8), (65, 2)):
        found = likelihood(Bounded(), torch.rand(n, 1000), None, wide)
        assert found.detail == f"uniform dequantisation, {draws} draws of each"
    assert likelihood(Bounded(), torch.rand(66, 1000), None, wide).detail == (
        "uniform dequantisation"
    )

    class Sure(nn.Module):
        calls = 0

        def elbo(self, x):
            self.calls += 1
            return -(x**2).sum(1)

    sure = Sure()
    found = likelihood(sure, X, None, MASS)
    assert (found.detail, sure.calls) == ("", 2)
    assert found.nats == pytest.approx(float(-(X.double() ** 2).sum(1).mean()), abs=1e-6)


def test_the_worst_examples_and_what_they_do_to_the_mean():
    class Told(nn.Module):
        def log_prob(self, x):
            return x[:, 0]

    one = DataSpec((1,), Real(), log_scale=2.0)
    x = torch.cat([torch.full((500,), 12.0), torch.full((499,), 14.0), torch.tensor([-999_986.0])])
    found = likelihood(Told(), x[:, None], None, one)
    # the median is 12 less the unit's 2; below it lies one example alone
    assert found.spread.median == 10.0
    assert (found.spread.worst, found.spread.share) == (10, 1.0)
    rest = (491 * 12 + 499 * 14) / 990 - 2
    assert found.spread.pull == pytest.approx(found.nats - rest, abs=1e-6)
    (sentence,) = warn_of_worst(found, 1000)
    assert "the worst 10 examples make 100%" in sentence
    normal = torch.erfinv(torch.linspace(-1, 1, 10_002)[1:-1]) * 2**0.5
    found = likelihood(Told(), normal[:, None], None, one)
    # of a normal variable the worst 1% make phi(z.01) / phi(0) = .0668
    assert found.spread.share == pytest.approx(0.0668, abs=1e-3)
    assert not list(warn_of_worst(found, 10_000))
    assert likelihood(Told(), torch.ones(1, 1), None, one).spread is None
    same = likelihood(Told(), torch.ones(300, 1), None, one)
    assert (same.spread.share, same.spread.pull) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x": X.numpy()}, r"tensor of shape \(n, 3\) \(got a ndarray\)"),
        ({"x": X[:, :2]}, r"got a float32 tensor of shape \(20, 2\)"),
        ({"x": X.long()}, "must be floating"),
        ({"x": X[:0]}, "at least 1"),
        ({"spec": (3,)}, "must be a DataSpec"),
        ({"cond": [1] * 20}, "int64 tensor"),
        ({"cond": torch.ones(3, dtype=torch.int64)}, "equally many rows"),
        ({"samples": 0}, r"samples must be a whole number of at least 1 \(got 0\)"),
        ({"batch": 2.5}, r"batch must be .* \(got 2\.5\)"),
        ({"seed": None}, "seed must be a whole number"),
    ],
)
def test_wrong_calls(arguments, says):
    given = {"x": X, "cond": None, "spec": REAL} | arguments
    with pytest.raises(UserError, match=says):
        likelihood(Exact(), given.pop("x"), given.pop("cond"), given.pop("spec"), **given)


def test_a_class_reaches_a_model_that_takes_one_and_is_named_where_it_matters():
    spec = DataSpec((3,), Real(), cond=class_spec(2))
    cond = torch.ones(20, dtype=torch.int64)
    given = likelihood(OfAClass(), X, cond, spec)
    assert given.nats == pytest.approx(likelihood(OfAClass(), X, None, spec).nats - 1)
    assert given.detail == "given the class"
    assert likelihood(Exact(), X, cond, spec).detail == ""
    unheeded = likelihood(Bounded(), X, cond, spec).detail
    assert unheeded == "uniform dequantisation, 16 draws of each"


def test_the_model_is_in_evaluation_mode_meanwhile_and_no_gradient_is_kept():
    class Modal(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.seen = set()

        def log_prob(self, x):
            self.seen.add((self.training, torch.is_grad_enabled()))
            return x.sum(1) * self.scale

    model = Modal().train()
    likelihood(model, X, None, REAL)
    assert model.seen == {(False, False)}
    assert model.training


def test_it_stops_when_asked():
    with pytest.raises(Stopped):
        likelihood(Exact(), X, None, REAL, stop=lambda: True)


def test_bits_per_dim():
    uniform = -math.log(256) * 12
    mass = Likelihood(uniform, "exact", 0.0, "mass")
    assert bits_per_dim(mass, DataSpec((3, 2, 2), Bytes(256))) == pytest.approx(8)
    # A density of 1 / 2 for each element of [-1, 1] is as good as a uniform choice of 256.
    density = Likelihood(-math.log(2) * 12, "exact", 0.0, "density")
    assert bits_per_dim(density, DataSpec((3, 2, 2), Interval())) == pytest.approx(8)
    # ... and of 17, where there are no more.
    coarse = DataSpec((3, 2, 2), Interval(17))
    assert bits_per_dim(density, coarse) == pytest.approx(math.log2(17))
    assert bits_per_dim(density, DataSpec((12,), Interval())) is None
    assert bits_per_dim(density, DataSpec((12,), Real())) is None
