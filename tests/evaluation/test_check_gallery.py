"""A gallery of wrong models, each of which is refused for its own defect, and of right ones that
no seed may refuse.
"""

import math

import pytest
import torch
from model_gallery import (
    LOG_2PI,
    Alone,
    Bounded,
    Dropping,
    Independent,
    Normal,
    OfAClass,
    Restated,
    Spikes,
    Table,
    Triangular,
    Weighted,
    normal,
)
from torch import nn

from pofx.evaluation.check import ModelCheckError, check_model
from pofx.evaluation.checks.evidence import apart, away
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec

_ROW = (Real(), Real(), Real(), Categorical(4), Binary(), Bytes(9))
SPACES = {
    "real-1": (Normal, DataSpec((1,))),
    "real-2": (Normal, DataSpec((2,))),
    "real-8": (Normal, DataSpec((8,))),
    "real-64": (Normal, DataSpec((64,))),
    "real-300": (Normal, DataSpec((300,))),
    "interval-8": (Triangular, DataSpec((8,), Interval())),
    "interval-image": (Triangular, DataSpec((1, 8, 8), Interval())),
    "binary-20": (Independent, DataSpec((20,), Binary())),
    "binary-image": (Independent, DataSpec((1, 14, 14), Binary())),
    "categorical-40": (Independent, DataSpec((40,), Categorical(5))),
    "bytes-8": (Independent, DataSpec((8,), Bytes(256))),
    "bytes-image": (Independent, DataSpec((1, 4, 4), Bytes(17))),
    "mixed-6": (Table, DataSpec((6,), Mixed(_ROW))),
}


def refusal(model, spec, **options):
    """The name of the check that refuses a model, or None."""
    try:
        check_model(model.eval(), spec, **options)
    except ModelCheckError as error:
        return error.check
    return None


@pytest.mark.parametrize("name", SPACES)
def test_the_right_model_passes(name):
    kind, spec = SPACES[name]
    model = kind(spec)
    assert refusal(model, spec) is None
    energetic = Restated(model, log_prob=lambda p, x: p, energy=lambda p, x: 3 - p)
    assert refusal(energetic, spec) is None


@pytest.mark.parametrize("name", SPACES)
def test_an_energy_of_the_wrong_sign(name):
    kind, spec = SPACES[name]
    alone = Restated(kind(spec), energy=lambda p, x: p)
    assert refusal(alone, spec) == "rises"
    beside = Restated(kind(spec), log_prob=lambda p, x: p, energy=lambda p, x: p)
    assert refusal(beside, spec) == "constant"


@pytest.mark.parametrize("name", [n for n in SPACES if n != "real-1"])  # where it is right
def test_a_log_prob_that_is_averaged_over_elements(name):
    kind, spec = SPACES[name]
    averaged = Restated(kind(spec), log_prob=lambda p, x: p / spec.size)
    assert refusal(averaged, spec) in ("integral", "shape", "normalizer")


@pytest.mark.parametrize("name", SPACES)
def test_a_log_prob_of_the_wrong_sign(name):
    kind, spec = SPACES[name]
    upside_down = Restated(kind(spec), log_prob=lambda p, x: -p - 5)
    assert refusal(upside_down, spec) in ("integral", "shape", "normalizer")


VECTORS = [n for n in SPACES if not n.endswith("image") and n != "real-300"]


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("total", [0.9, 1.1])
def test_an_integral_that_is_nearly_right(name, total):
    """Up to 64 elements; above, and of images, of which few are drawn, only more can be seen."""
    kind, spec = SPACES[name]
    scaled = Restated(kind(spec), log_prob=lambda p, x: p + math.log(total))
    assert refusal(scaled, spec) in ("integral", "normalizer")


@pytest.mark.parametrize("name", ["real-1", "real-2", "real-8", "real-64", "interval-8"])
def test_a_wrong_log_determinant(name):
    kind, spec = SPACES[name]
    nats = math.log(2) * spec.size
    without = Restated(kind(spec), log_prob=lambda p, x: p + nats)
    assert refusal(without, spec) in ("integral", "normalizer")


@pytest.mark.parametrize("name", [n for n in SPACES if n != "bytes-image"])
def test_samples_of_another_distribution(name):
    kind, spec = SPACES[name]
    assert refusal(kind(spec, scale=1.6), spec) in ("shape", "normalizer")
    if spec.support == Real():
        assert refusal(kind(spec, shift=0.5), spec) in ("shape", "normalizer")


@pytest.mark.parametrize(
    ("where", "check"),
    [("log_prob", "random"), ("energy", "random"), ("elbo", "random"), ("sample", "split")],
)
def test_dropout_that_stays_on(where, check):
    for d in (2, 30):
        assert refusal(Dropping(DataSpec((d,)), where), DataSpec((d,))) == check
    assert refusal(Dropping(DataSpec((2,)), "nowhere"), DataSpec((2,))) is None


def test_noise_in_what_is_exact():
    spec = DataSpec((8,))
    noisy = Restated(Normal(spec), log_prob=lambda p, x: p + 0.1 * torch.randn(len(x)))
    assert refusal(noisy, spec) == "random"


BOTH = ("sample", "log_prob", "elbo")


@pytest.mark.parametrize(
    ("conditional", "heeds", "check"),
    [
        (True, BOTH, None),
        (False, (), None),
        (True, (), "conditional"),
        (True, ("log_prob", "elbo"), "conditional"),
        (True, ("sample", "elbo"), "conditional"),
        (True, ("sample", "log_prob"), "conditional"),
        (False, BOTH, "conditional"),
        (False, ("sample",), "conditional"),
        (False, ("log_prob",), "conditional"),
        (False, ("elbo",), "conditional"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_flag_that_lies_about_the_class(conditional, heeds, check, hidden):
    model = OfAClass(conditional, heeds)
    if hidden:  # layers that start at zero have not learned of the class yet
        model.means.data.zero_()
    assert refusal(model, DataSpec((4,), cond=class_spec(3))) == check


class OnlyWeighted(nn.Module):
    def __init__(self, bound):
        super().__init__()
        self.importance_bound = bound


@pytest.mark.parametrize("sd", [0.01, 0.5, 1.5])
def test_an_importance_bound_without_its_division(sd):
    spec = DataSpec((3,))
    assert refusal(Weighted(spec, sd, divides=False), spec) == "importance"
    bound = Weighted(spec, sd, divides=False).importance_bound
    assert refusal(OnlyWeighted(bound), spec) == "importance"  # with no log_prob beside it
    for seed in range(5):
        assert refusal(Weighted(spec, sd), spec, seed=seed) is None


SEEDS = range(4)
NOISES = {
    "normal": lambda n: 0.3 * torch.randn(n),
    "weight": lambda n: 0.5 * torch.randn(n) - 0.125,
    "exponential": lambda n: 1 + torch.rand(n).log(),
    "seldom": lambda n: 0.1 - 2.0 * (torch.rand(n) < 0.05),
    "tight": lambda n: -1e-4 * torch.rand(n),
}


@pytest.mark.parametrize("noise", NOISES)
def test_a_tight_noisy_bound_passes(noise):
    spec = DataSpec((3,))
    for seed in SEEDS:
        assert refusal(Bounded(spec, NOISES[noise]), spec, seed=seed) is None


@pytest.mark.parametrize("noise", NOISES)
def test_a_bound_just_above_does_not(noise):
    spec = DataSpec((3,))
    assert refusal(Bounded(spec, lambda n: NOISES[noise](n) + 0.3), spec) == "bound"


@pytest.mark.parametrize(
    ("log_prob", "d"),
    [
        (normal(100.0), 1),
        (normal(100.0), 2),
        (normal(-1e4, 3.0), 1),
        (normal(0.0, 0.002), 1),
        (Spikes(1, 3, 0.002).log_prob, 1),
        (Spikes(2, 9, 0.1).log_prob, 2),
        (lambda x: -torch.log1p(x[:, 0] ** 2) - math.log(math.pi), 1),
    ],
)
def test_a_density_alone_wherever_it_lies(log_prob, d):
    assert refusal(Alone(log_prob), DataSpec((d,))) is None


@pytest.mark.parametrize("total", [0.9, 1.1, 2.0])
@pytest.mark.parametrize(("mean", "d"), [(0.0, 1), (100.0, 1), (100.0, 2)])
def test_a_density_alone_that_is_not_normalized(total, mean, d):
    assert refusal(Alone(normal(mean, total=total)), DataSpec((d,))) == "integral"


@pytest.mark.parametrize(
    ("d", "count", "sd"),
    [(1, 1, 0.002), (1, 5, 0.002), (2, 25, 0.002), (3, 40, 0.05), (8, 4, 0.01)],
)
def test_spikes_pass(d, count, sd):
    for seed in range(2):
        assert refusal(Spikes(d, count, sd), DataSpec((d,)), seed=seed) is None


@pytest.mark.parametrize("name", ["real-2", "real-8", "interval-8", "binary-20", "mixed-6"])
def test_a_right_model_passes_for_every_seed(name):
    kind, spec = SPACES[name]
    for seed in SEEDS:
        assert refusal(kind(spec), spec, seed=seed) is None


@pytest.mark.parametrize("rare", [0.5, 0.1, 0.01, 0.003, 0.001, 1e-4])
def test_luck_is_no_evidence(rare):
    """Not once in 20,000 times, however seldom the values are that make the mean."""
    n = 512
    draws = (torch.rand(20_000, n, dtype=torch.float64) < rare).double()
    level = torch.full((n,), rare, dtype=torch.float64)
    assert not any(apart(row, level) for row in draws[:5000])
    assert not any(away(row, rare) for row in draws[:5000])
    # the same, all at once
    error = draws.std(1) / n**0.5
    assert bool(((draws.mean(1) - rare).abs() <= 6 * error + 17 / n).all())


def test_evidence_is_seen():
    values = torch.linspace(0, 1, 1000, dtype=torch.float64)
    assert away(values, 0.6) == pytest.approx(-0.1)
    assert apart(values, values - 0.2) == pytest.approx(0.2)
    assert LOG_2PI == pytest.approx(1.8378770664)
