"""Models that qualify, and models with one planted defect each, which must be named."""

import math

import pytest
import torch
from torch import nn

from pofx.errors import UserError
from pofx.evaluation.check import ModelCheckError, check_model
from pofx.functional.dequantize import harden
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec

PLANE = DataSpec((2,), Real())
BITS = DataSpec((3,), Binary())
IMAGE = DataSpec((1, 4, 4), Bytes(17), cond=class_spec(3))


class Normal(nn.Module):
    """A normal distribution on the plane, with every capability that it can have."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("sd", torch.tensor([0.5, 2.0]))

    def sample(self, n, cond=None):
        return self.mean + self.sd * torch.randn(n, 2)

    def log_prob(self, x, cond=None):
        z = (x - self.mean) / self.sd
        return -(z**2).sum(1) / 2 - self.sd.log().sum() - math.log(2 * math.pi)

    def elbo(self, x, cond=None):
        return self.log_prob(x) - torch.rand(len(x))

    def score(self, x_t, t, cond=None):
        return (self.mean - x_t) / (self.sd**2 + t[:, None])

    def encode(self, x, cond=None):
        return (x - self.mean) / self.sd

    def decode(self, z, cond=None):
        return self.mean + self.sd * z


class TenLines(nn.Module):
    """A model of a user who has never heard of this project."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 2)

    def log_prob(self, x):
        mean, log_sd = self.net(torch.ones(1, 1)).unbind(1)
        return -((x[:, 0] - mean) ** 2) / (2 * (2 * log_sd).exp()) - log_sd - 0.918938533


class Coins(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.3, -1.0, 2.0]))

    def log_prob(self, x, cond=None):
        return -nn.functional.softplus(self.logits * (1 - 2 * x)).sum(1)

    def sample(self, n, cond=None):
        return torch.bernoulli(self.logits.sigmoid().expand(n, 3))


class Painter(nn.Module):
    """Images of bytes, of a class."""

    def __init__(self):
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([-0.5, 0.0, 0.5]))

    def sample(self, n, cond=None):
        level = self.levels[cond] if cond is not None else self.levels.mean().expand(n)
        return harden(level[:, None, None, None] + 0.2 * torch.randn(n, 1, 4, 4), IMAGE)


def test_models_that_mean_what_they_promise():
    every = (
        "sample_shape_and_support", "seed", "split", "stream", "per_example", "random", "integral",
        "bound", "score", "latent", "state_dict", "shape", "normalizer",
    )  # fmt: skip
    assert check_model(Normal(), PLANE) == every
    assert check_model(TenLines(), DataSpec((1,))) == (
        "per_example", "random", "integral", "state_dict",
    )  # fmt: skip
    assert "sum" in check_model(Coins(), BITS)
    assert "cond" in check_model(Painter(), IMAGE)


def test_the_model_and_the_random_stream_are_left_as_they_were():
    model = Normal().train()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_model(model, PLANE)
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert model.mean.tolist() == [1.0, -2.0]


def test_double_precision():
    assert "integral" in check_model(Normal().double(), PLANE)


class WrongShape(Normal):
    def sample(self, n, cond=None):
        return torch.randn(n, 3)


class NotFinite(Normal):
    def sample(self, n, cond=None):
        return super().sample(n) / (torch.rand(n, 1) > 0.5)


class GlobalState(Normal):
    calls = 0

    def sample(self, n, cond=None):
        self.calls += 1
        return super().sample(n) + self.calls


class MixesExamples(Normal):
    def sample(self, n, cond=None):
        x = super().sample(n)
        return x - x.mean(0)


class UnkeyedNoise(Normal):
    def sample(self, n, cond=None):
        return torch.distributions.Normal(self.mean, self.sd).sample((n,))


class Doubled(Normal):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + math.log(2)


class WithoutJacobian(Normal):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) + 3 * self.sd.log().sum() - math.log(3)


class MeanOverBatch(Normal):
    def log_prob(self, x, cond=None):
        return super().log_prob(x).mean()


class BatchNormalised(Normal):
    def log_prob(self, x, cond=None):
        return super().log_prob((x - x.mean(0)) / x.std(0))


class BoundAbove(Normal):
    def elbo(self, x, cond=None):
        return self.log_prob(x) + 0.1


class WrongSign(Normal):
    def score(self, x_t, t, cond=None):
        return -super().score(x_t, t)


class ScoreOfHalf(Normal):
    def score(self, x_t, t, cond=None):
        return super().score(x_t, t) / 2


class EnergyUpsideDown(nn.Module):
    def energy(self, x, cond=None):
        return (x**2).sum(1) / 2

    def score(self, x_t, t, cond=None):
        return x_t


class DecodesHalf(Normal):
    def decode(self, z, cond=None):
        return z[:, :1]


class NaNs(Normal):
    def log_prob(self, x, cond=None):
        return super().log_prob(x) * torch.where(x[:, 0] > 1, torch.nan, 1.0)


class Unsaved(Normal):
    def __init__(self):
        super().__init__()
        self.register_buffer("chains", torch.ones(2), persistent=False)

    def load_state_dict(self, *args, **options):
        self.chains = torch.zeros(2)
        return super().load_state_dict(*args, **options)

    def sample(self, n, cond=None):
        return super().sample(n) + self.chains


@pytest.mark.parametrize(
    ("model", "check", "says"),
    [
        (WrongShape, "sample_shape_and_support", r"shape \(64, 2\), but has \(64, 3\)"),
        (NotFinite, "sample_shape_and_support", "finite"),
        (GlobalState, "seed", "same seed"),
        (MixesExamples, "split", "4 and 2"),
        (UnkeyedNoise, "split", "torch.randn"),
        (Doubled, "integral", r"gives (1\.9|2)"),
        (WithoutJacobian, "integral", "integrate to 1"),
        (MeanOverBatch, "per_example", r"shape \(64,\)"),
        (BatchNormalised, "per_example", "depend on its batch"),
        (NaNs, "per_example", "NaN"),
        (BoundAbove, "bound", "above it"),
        (WrongSign, "score", "off by 2"),
        (ScoreOfHalf, "score", "off by 0.5"),
        (EnergyUpsideDown, "score", "wrong sign"),
        (DecodesHalf, "latent", "decode"),
        (Unsaved, "state_dict", "state_dict"),
    ],
)
def test_a_planted_defect_is_named(model, check, says):
    with pytest.raises(ModelCheckError, match=says) as caught:
        check_model(model(), PLANE)
    assert caught.value.check == check
    assert str(caught.value).startswith(model.__name__)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    ("support", "value"),
    [
        (Interval(), 1.2),
        (Binary(), 0.5),
        (Bytes(17), 0.01),
        (Bytes(256), 1.5),
        (Categorical(3), 3.0),
        (Categorical(40), -1.0),
        (Mixed((Real(), Binary())), 0.5),
    ],
)
def test_samples_outside_the_support(support, value):
    class Outside(nn.Module):
        def sample(self, n, cond=None):
            return torch.cat([torch.zeros(n, 1), torch.full((n, 1), value)], 1)

    with pytest.raises(ModelCheckError, match="lie in the support"):
        check_model(Outside(), DataSpec((2,), support))


def test_a_mass_that_does_not_sum_to_one():
    class Half(Coins):
        def log_prob(self, x, cond=None):
            return super().log_prob(x) - math.log(2)

    with pytest.raises(ModelCheckError, match=r"sums to 0\.5"):
        check_model(Half(), BITS)


def test_a_sampler_that_fails_for_a_class():
    class NoClass(Painter):
        def sample(self, n, cond=None):
            if cond is not None:
                raise RuntimeError("index out of range")
            return super().sample(n)

    with pytest.raises(ModelCheckError, match="out of range") as caught:
        check_model(NoClass(), IMAGE)
    assert caught.value.check == "cond"


def test_a_thing_without_capabilities():
    with pytest.raises(ModelCheckError, match="has none"):
        check_model(object(), PLANE)
