"""The first layer of flows of bits and categories, against closed forms, in float64."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from pofx import catalogue
from pofx.batch import Batch
from pofx.flow.bijection import Chain, Flatten, normalise
from pofx.flow.flow import DequantizedFlow, Unbound, flow
from pofx.flow.marginals import Marginals
from pofx.functional.dequantize import dequantize, log_cell
from pofx.functional.marginals import moments_within
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real
from pofx.training.loop import Options, Training

pytestmark = pytest.mark.usefixtures("double")

BITS = DataSpec((1, 2, 3), Binary(), count=10)
TABLE = DataSpec((4,), Mixed((Categorical(3), Real(), Binary(), Interval())), count=10)
SPECS = {"bits": BITS, "categories": DataSpec((3,), Categorical(5), count=10), "table": TABLE}


def examples(spec, n):
    """Discrete columns whose levels are far from equally frequent."""
    columns = [
        (torch.rand(n).pow(3) * c.levels).floor() if c.discrete else torch.rand(n) - 0.5
        for c in spec.columns
    ]
    return torch.stack(columns, 1).reshape(n, *spec.shape)


def shaken(spec):
    layer = Marginals(spec)
    with torch.no_grad():
        layer.logits += torch.randn_like(layer.logits)
    return layer


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_determinant_is_autograds_and_the_inverse_comes_back(spec):
    layer, y = shaken(spec), dequantize(examples(spec, 5), spec)
    z, ladj = layer(y)
    for one, found in zip(y, ladj, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda a: layer(a[None])[0].flatten(), one)
        _, expected = torch.linalg.slogdet(jacobian.reshape(spec.size, spec.size))
        assert torch.allclose(found, expected, atol=1e-9)
    assert torch.allclose(layer.inverse(z), y, atol=1e-9)


@pytest.mark.parametrize("name", ["bits", "categories"])
def test_under_the_identity_the_bound_is_the_likelihood_of_independent_elements(name):
    spec, n = SPECS[name], 40
    x, levels = examples(spec, n), spec.columns[0].levels
    model = flow(Flatten(spec.shape), spec)
    assert isinstance(model, DequantizedFlow)
    normalise(model.bijection, dequantize(x, spec))
    one_hot = torch.nn.functional.one_hot(x.flatten(1).long(), levels)
    log_p = ((one_hot.sum(0) + 0.5) / (n + levels / 2)).log()
    assert torch.allclose(model.elbo(x), (one_hot * log_p).sum((1, 2)), atol=1e-10)


def test_what_is_sampled_has_the_frequencies():
    x = examples(TABLE, 4000)
    model = flow(Chain([]), TABLE)
    normalise(model.bijection, dequantize(x, TABLE))
    drawn = model.sample(4000)
    for i in (0, 2):
        levels = TABLE.columns[i].levels
        wanted, found = (torch.bincount(v[:, i].long(), minlength=levels) for v in (x, drawn))
        assert len(found) == levels
        assert (found - wanted).abs().max() < 5 * math.sqrt(2 * 1000)
    assert drawn[:, 3].abs().max() <= 1


def test_elements_at_the_ends_of_their_cells_stay_finite():
    spec = DataSpec((2,), Binary(), count=10)
    layer = Marginals(spec)
    layer.normalise(torch.full((1000, 2), -0.5))
    z, ladj = layer(torch.tensor([[-1.0, 1.0], [0.0, 1.0]]))
    assert z.isfinite().all()
    assert ladj.isfinite().all()


def test_where_the_count_is_not_known_or_levels_are_many_the_logit_stays():
    def layers(spec):
        found = [type(m) for m in flow(Flatten(spec.shape), spec).bijection.bijections]
        return found[:-1]

    assert layers(DataSpec((2,), Binary())) == [Unbound]
    assert layers(DataSpec((2,), Bytes(), count=10)) == [Unbound]
    assert layers(DataSpec((2,), Categorical(257), count=10)) == [Unbound]
    assert layers(DataSpec((2,), Binary(), count=10)) == [Marginals]
    assert layers(TABLE) == [Marginals, Unbound]


@pytest.mark.parametrize("name", ["maf", "residual-flow"])
def test_the_first_batch_sets_it_however_it_comes(name):
    spec = DataSpec((4,), Categorical(3), count=12)
    x = examples(spec, 12)
    found = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        recipe = catalogue.build(name, spec)
        training = Training(recipe, options=Options(keyed_noise=True, accumulate=accumulate))
        training.train_step(Batch(x))
        found += [m for m in recipe.model.modules() if isinstance(m, Marginals)]
    whole, parts = found
    assert whole.ready
    assert torch.equal(whole.start, parts.start)
    counts = torch.nn.functional.one_hot(x.long(), 3).sum(0)
    assert torch.allclose(whole.start.softmax(1), (counts + 0.5) / 13.5)


def test_it_is_as_much_of_the_cells_volume_as_the_levels_say():
    y = dequantize(examples(TABLE, 3), TABLE)
    _, ladj = Marginals(TABLE)(y)  # equal probabilities: what is left is the normal density
    z = Marginals(TABLE)(y)[0][:, [0, 2]]
    normal = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert torch.allclose(ladj + normal, torch.full((3,), -2 * math.log(2)))
    assert math.isclose(log_cell(TABLE), math.log(2 / 3))


def test_the_mean_and_variance_of_a_cell_are_those_of_the_normal_variable_within_it():
    p = torch.tensor([[0.1, 0.7, 0.2], [0.4, 0.6, 0.0]])
    mean, variance = moments_within(p)
    for i, row in enumerate(p):
        knots = [0.0, *row.cumsum(0).tolist()]
        for j, (low, high) in enumerate(pairwise(knots)):
            if high - low < 1e-9:
                continue
            first, second = (
                quad(lambda u, k=k: norm.ppf(u) ** k, low, high)[0] / (high - low) for k in (1, 2)
            )
            assert mean[i, j].item() == pytest.approx(first, abs=1e-6)
            assert variance[i, j].item() == pytest.approx(second - first**2, abs=1e-5)
