"""Products of normal distributions and classes of a mixture, whose scores are closed forms."""

import pytest
import torch
from torch import nn

from pofx.capabilities import Energy, Score
from pofx.errors import UserError
from pofx.functional.gradients import score_of
from pofx.hybrids.composition import Conditioned, EnergyProduct, Product, score_at
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin

pytestmark = pytest.mark.usefixtures("double")


class Normal(nn.Module):
    def __init__(self, mean, precision):
        super().__init__()
        self.mean, self.precision = torch.tensor(mean), torch.tensor(precision)

    def energy(self, x, cond=None):
        return 0.5 * ((x - self.mean) @ self.precision * (x - self.mean)).sum(1)

    def score(self, x_t, t, cond=None):
        return -(x_t - self.mean) @ self.precision


def pair():
    return [
        Normal([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]]),
        Normal([-1.0, 2.0], [[1.0, -0.3], [-0.3, 3.0]]),
    ]


@pytest.mark.parametrize("weights", [None, (2.0, 0.5)])
def test_a_product_of_normals_is_the_normal_of_added_precisions(weights):
    a, b = models = pair()
    product = EnergyProduct(models, weights)
    u, v = weights or (1.0, 1.0)
    precision = u * a.precision + v * b.precision
    covariance = precision.inverse()
    mean = covariance @ (u * a.precision @ a.mean + v * b.precision @ b.mean)
    x = torch.randn(20, 2)
    assert torch.allclose(score_at(product)(x), -(x - mean) @ precision, atol=1e-12)
    assert torch.allclose(score_of(product.energy)(x), score_at(product)(x), atol=1e-12)
    n, step = 20_000, 0.05
    drawn = take(langevin(score_at(product), torch.randn(n, 2), step), 100)
    assert float((drawn.mean(0) - mean).abs().max()) < 0.03
    biased = (precision - step / 4 * precision @ precision).inverse()  # Langevin's own
    assert float((drawn.T.cov() - biased).abs().max()) < 0.03


CENTRES = torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=torch.float64)


class Mixture:
    def log_parts(self, x, t):
        return -0.5 * (x[:, None] - CENTRES).square().sum(2) / (1 + t[:, None])

    def score(self, x_t, t, cond=None):
        assert cond is None, "what is conditioned is asked without a class"
        share = self.log_parts(x_t, t).softmax(1)
        return (share @ CENTRES - x_t) / (1 + t[:, None])

    def log_prob(self, x_t, t, cond):
        return self.log_parts(x_t, t).log_softmax(1).gather(1, cond[:, None])[:, 0]


@pytest.mark.parametrize("t", [0.0, 0.4])
def test_a_mixture_led_by_its_own_classifier_is_the_component(t):
    mixture, x = Mixture(), torch.randn(10, 2)
    conditioned = Conditioned(mixture, mixture.log_prob)
    cond = torch.arange(10) % 2
    with torch.inference_mode():
        found = score_at(conditioned, t, cond)(x)
    assert torch.allclose(found, (CENTRES[cond] - x) / (1 + t), atol=1e-12)
    plain = score_at(conditioned, t)(x)
    assert torch.equal(plain, score_at(mixture, t)(x))
    half = score_at(Conditioned(mixture, mixture.log_prob, 0.5), t, cond)(x)
    assert torch.allclose(half, (found + plain) / 2, atol=1e-12)


def test_langevin_dynamics_draws_the_class_that_it_was_led_to():
    mixture = Mixture()
    cond = torch.arange(4000) % 2
    score = score_at(Conditioned(mixture, mixture.log_prob), cond=cond)
    x = take(langevin(score, torch.randn(4000, 2), 0.05), 200)
    for k in (0, 1):
        assert float((x[cond == k].mean(0) - CENTRES[k]).abs().max()) < 0.1


def test_they_are_scores_themselves_and_their_models_move_with_them():
    product = Product([*pair(), Conditioned(Mixture(), Mixture().log_prob)])
    assert isinstance(product, Score)
    assert not isinstance(product, Energy)
    assert len(product.owned) == 3
    assert isinstance(EnergyProduct(pair()), Energy)


def test_mistakes_are_told():
    with pytest.raises(UserError, match="2 models with 1 weights"):
        Product(pair(), [1.0])
    with pytest.raises(UserError, match="object has no method score"):
        Product([*pair(), object()])
    with pytest.raises(UserError, match="Mixture has none"):
        EnergyProduct([Mixture()]).energy(torch.zeros(1, 2))
