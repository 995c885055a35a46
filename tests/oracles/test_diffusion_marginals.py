"""The guess of each element alone against Bayes' rule, in float64."""

import pytest
import torch

from pofx.diffusion.bound import Chain, least_noise
from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.marginals import Marginals, marginals
from pofx.diffusion.parameterization import Eps, Preconditioned, V
from pofx.diffusion.schedule import EDM, CosineVP
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Real

pytestmark = pytest.mark.usefixtures("double")

TABLE = DataSpec((4,), Mixed((Binary(), Categorical(3), Real(), Categorical(2))), count=6)
X = torch.tensor(
    [[0, 2, 0.1, 1], [1, 2, 0.3, 1], [1, 0, -2, 0], [1, 2, 1, 1], [1, 1, 0, 1], [0, 2, 0, 0]]
).double()


def seen():
    found = Marginals(TABLE)
    for part in (X[:2], X[2:]):
        found.log_odds.see(part)
    found.log_odds.settle()
    return found


def test_it_is_the_posterior_mean_under_the_frequencies():
    x_t, level = torch.randn(5, 7), CosineVP().level(torch.full((5,), 0.4).double(), 2)
    guess, mine = seen().guess(x_t, level)
    assert mine.tolist() == [True, True, True, True, False, True, True]
    corners = {
        0: (torch.tensor([[-1.0], [1.0]]), torch.tensor([2.5, 4.5]) / 7),
        1: (2 * torch.eye(3) - 1, torch.tensor([1.5, 1.5, 4.5]) / 7.5),
        5: (2 * torch.eye(2) - 1, torch.tensor([2.5, 4.5]) / 7),
    }
    for start, (values, p) in corners.items():
        values, p = values.double(), p.double()
        part = x_t[:, start : start + values.shape[1]]
        square = (part[:, None] - level.alpha[:, None] * values).square().sum(2)
        share = (p.log() - square / (2 * level.sigma**2)).softmax(1)
        assert torch.allclose(guess[:, start : start + values.shape[1]], share @ values, atol=1e-6)


@pytest.mark.parametrize("kind", [Eps, V, Preconditioned])
def test_a_network_that_says_nothing_guesses_each_element_alone(kind):
    schedule = EDM() if kind is Preconditioned else CosineVP()
    denoiser = NetworkDenoiser(
        lambda x, t, cond: torch.zeros_like(x), schedule, kind(), marginals=seen()
    )
    x_t, level = torch.randn(5, 7), schedule.level(torch.full((5,), 0.4).double(), 2)
    guess, mine = seen().guess(x_t, level)
    assert torch.allclose(denoiser.denoise(x_t, level)[:, mine], guess[:, mine], atol=1e-9)
    none = NetworkDenoiser(lambda x, t, cond: torch.zeros_like(x), schedule, kind())
    assert torch.equal(denoiser.denoise(x_t, level)[:, ~mine], none.denoise(x_t, level)[:, ~mine])


def test_many_examples_or_an_unknown_number_have_none():
    for spec in (DataSpec((2,), Binary(), count=60_000), DataSpec((2,), Binary())):
        assert marginals(spec) is None
    assert marginals(DataSpec((2,), Real(), count=10)) is None


def test_a_step_of_two_values_costs_what_the_best_variance_does():
    """Half of log(1 + w (1 - D^2)), in the mean over values that the guess D is right about."""
    chain = Chain(CosineVP(), 50, least_noise(DataSpec((1,), Binary())), pairs=1.0)
    k, guess = torch.arange(len(chain.share)), torch.full((len(chain.share), 1), 0.3)
    cost = {y: chain.divergence_of_pairs(k, torch.full_like(guess, y), guess) for y in (-1.0, 1.0)}
    mean = 0.35 * cost[-1.0] + 0.65 * cost[1.0]
    expected = 0.5 * torch.log1p(2 * chain.weights[1] * (1 - 0.09))
    assert torch.allclose(mean[:, 0], expected, atol=1e-9)
    assert (mean[:, 0] <= chain.weights[1] * (1 - 0.09) + 1e-12).all()  # that of beta-tilde
