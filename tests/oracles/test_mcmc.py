"""Chains against closed forms: the bias of Langevin dynamics, the acceptance of MALA, the exactness
of Hamiltonian moves, and the weights of modes.
"""

import math
from itertools import islice, pairwise

import pytest
import torch

from pofx.errors import UserError
from pofx.functional.gradients import score_of, slope_of
from pofx.functional.random import noise
from pofx.mcmc.annealed import annealed_langevin, denoised, geometric_levels
from pofx.mcmc.chains import metropolis, take
from pofx.mcmc.hmc import Phase, hmc, leapfrog
from pofx.mcmc.independence import independence
from pofx.mcmc.langevin import langevin
from pofx.mcmc.mala import mala

pytestmark = pytest.mark.usefixtures("double")

COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
PRECISION = COVARIANCE.inverse()


def normal(x):
    return 0.5 * (x @ PRECISION * x).sum(1)


def exact(n):
    return torch.randn(n, 2) @ torch.linalg.cholesky(COVARIANCE).T


def well(x):
    """Two wells at -1 and 1, of different depth."""
    return (2 * (x.square() - 1).square() + 0.3 * x).sum(1)


def well_moments():
    grid = torch.linspace(-4, 4, 4001)[:, None]
    p = (-well(grid)).softmax(0)
    return [float(p @ grid[:, 0] ** k) for k in (1, 2)]


def test_the_score_of_an_energy_is_minus_its_gradient_even_without_gradients():
    x = exact(5)
    with torch.no_grad():
        assert torch.allclose(score_of(normal)(x), -x @ PRECISION, atol=1e-12)
        by_hand = slope_of(normal, lambda x: -x @ PRECISION)(x)
        by_autograd = slope_of(normal)(x)
    for a, b in zip(by_hand, by_autograd, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
        assert not b.requires_grad


def test_a_differentiable_score_has_the_curvature_as_its_slope():
    x = exact(3).requires_grad_()
    s = score_of(normal, differentiable=True)(x)
    (slope,) = torch.autograd.grad(s[:, 0].sum(), x)
    assert torch.allclose(slope, -PRECISION[0].expand(3, 2), atol=1e-12)


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sd", [1.0, 2.0])
def test_langevin_has_the_variance_and_correlation_of_the_closed_form(step, sd):
    step = step * sd**2
    variance, n = sd**2 / (1 - step / (4 * sd**2)), 200_000
    chains = langevin(lambda x: -x / sd**2, variance**0.5 * torch.randn(n), step)
    before = next(chains).x.clone()
    after = next(chains).x
    assert abs(float(after.var()) / variance - 1) < 5 * (2 / n) ** 0.5
    correlation = float((before * after).mean()) / variance
    assert abs(correlation - (1 - step / (2 * sd**2))) < 5 * n**-0.5


def test_langevin_is_stable_up_to_four_variances():
    start = torch.randn(100)
    assert take(langevin(lambda x: -x, start, 3.9), 2000).abs().max() < 100
    assert take(langevin(lambda x: -x, start, 4.1), 2000).abs().max() > 1e10


def test_without_temperature_langevin_climbs():
    x = torch.tensor([[1.0, -2.0]])
    assert torch.equal(take(langevin(lambda x: -x, x, 0.5, temperature=0.0), 1), 0.75 * x)
    assert torch.equal(x, torch.tensor([[1.0, -2.0]])), "where chains start is left as it is"


@pytest.mark.parametrize("width", [1.0, 1.65, 2.0])
def test_mala_is_accepted_as_often_as_theory_says(width):
    """In many dimensions a step of `l^2 d^(-1/3)` is accepted with probability 2 Phi(-l^3 / 8)."""
    d = 200
    chains = mala(
        lambda x: x.square().sum(1) / 2, torch.randn(1000, d), width**2 * d ** (-1 / 3),
        score=torch.neg,
    )  # fmt: skip
    found = torch.stack([state.acceptance.mean() for state in islice(chains, 20)]).mean()
    expected = math.erfc(width**3 / 8 / math.sqrt(2))
    assert abs(float(found) - expected) < 0.01
    if width == 1.65:
        assert abs(expected - 0.574) < 1e-3


def test_jumps_are_longest_at_the_theory_s_width():
    d, lengths = 100, {}
    for width in (1.2, 1.65, 2.2):
        x = torch.randn(2000, d)
        chains = mala(lambda x: x.square().sum(1) / 2, x, width**2 * d ** (-1 / 3), score=torch.neg)
        lengths[width] = float((take(chains, 1) - x).square().sum(1).mean())
    assert max(lengths, key=lengths.get) == 1.65


def wide(x):
    return x.square().sum(1) / (2 * 2.0**2)


KERNELS = {
    "independence": lambda energy, x: independence(
        energy, x, lambda n: 2 * torch.randn(n, x.shape[1]), wide
    ),
    "mala": lambda energy, x: mala(energy, x, 0.3),
    "hmc": lambda energy, x: hmc(energy, x, 0.3, 5),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_distribution_is_left_as_it_is(kernel):
    """Steps so long that Langevin's own variance would be off by a fifth."""
    n = 100_000
    x = take(kernel(normal, exact(n)), 8)
    assert float((x.mean(0) / (COVARIANCE.diagonal() / n).sqrt()).abs().max()) < 5
    outer = COVARIANCE.diagonal()
    error = ((outer[:, None] * outer + COVARIANCE.square()) / n).sqrt()
    assert float(((x.T @ x / n - COVARIANCE) / error).abs().max()) < 5


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_two_wells_get_their_weights(kernel):
    x = take(kernel(well, torch.rand(20_000, 1)), 150)  # far out proposals overshoot for ever
    mean, square = well_moments()
    assert abs(float(x.mean()) - mean) < 5 * float(x.std()) / len(x) ** 0.5
    assert abs(float(x.square().mean()) - square) < 5 * float(x.square().std()) / len(x) ** 0.5


def test_jumps_weigh_modes_that_no_step_joins():
    """Of two modes eight standard deviations apart, three quarters in one."""
    means, log_weights = torch.tensor([-2.0, 2.0]), torch.tensor([0.25, 0.75]).log()

    def energy(x):
        return -(log_weights - (x - means).square() / (2 * 0.25**2)).logsumexp(1)

    start = torch.full((4000, 1), -2.0)
    assert bool((take(mala(energy, start, 0.05), 100) < 0).all())
    x = take(KERNELS["independence"](energy, start), 100)
    assert abs(float((x > 0).double().mean()) - 0.75) < 0.035


def test_a_single_leap_is_mala():
    x = exact(500)
    with noise(0, 500):
        one = take(mala(normal, x, 0.3), 5)
    with noise(0, 500):
        other = take(hmc(normal, x, 0.3**0.5, 1), 5)
    assert torch.allclose(one, other, atol=1e-10)


def phase(n=50):
    slope, x = slope_of(well), torch.randn(n, 1)
    return slope, Phase(x, torch.randn(n, 1), slope(x))


def test_the_leapfrog_s_energy_error_is_of_second_order():
    slope, start = phase()
    errors = [
        (leapfrog(slope, start, 1 / n, n).hamiltonian - start.hamiltonian).abs().mean()
        for n in (40, 80, 160)
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(order - 2) < 0.05 for order in orders)


def test_the_leapfrog_goes_back_where_it_came_from():
    slope, start = phase()
    end = leapfrog(slope, start, 0.05, 30)
    back = leapfrog(slope, end._replace(momentum=-end.momentum), 0.05, 30)
    assert float((end.x - start.x).abs().max()) > 0.1
    assert torch.allclose(back.x, start.x, atol=1e-10)
    assert torch.allclose(back.momentum, -start.momentum, atol=1e-10)


def test_the_leapfrog_keeps_volumes():
    def move(z):
        x, momentum = z[:1, None], z[1:, None]
        slope = slope_of(well, score_of(well, differentiable=True))
        end = leapfrog(slope, Phase(x, momentum, slope(x)), 0.1, 7)
        return torch.cat([end.x, end.momentum])[:, 0]

    jacobian = torch.autograd.functional.jacobian(move, torch.tensor([0.4, -1.1]))
    assert abs(float(jacobian.det()) - 1) < 1e-10


def test_an_energy_that_overflows_is_a_refusal():
    accepted, probability = metropolis(torch.tensor([float("nan"), -math.inf, math.inf, 3.0]))
    assert accepted.tolist() == [False, False, True, True]
    assert probability.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("kernel", ["mala", "hmc", "langevin"])
def test_a_chain_is_the_same_in_any_batch(kernel):
    def run(x):
        if kernel == "langevin":
            return take(langevin(score_of(normal), x, 0.1), 4)
        return take(KERNELS[kernel](normal, x), 4)

    x = exact(6)
    with noise(3, 6):
        whole = run(x)
    with noise(3, 2, first=4):
        part = run(x[4:])
    assert torch.allclose(whole[4:], part, atol=1e-12)


@pytest.mark.parametrize("kernel", ["mala", "hmc", "langevin"])
def test_a_chain_of_images_is_that_of_their_vectors(kernel):
    def energy(x):
        return x.flatten(1).norm(dim=1) + x.flatten(1).pow(4).sum(1)

    def run(x):
        if kernel == "langevin":
            return take(langevin(score_of(energy), x, 0.1), 4)
        return take({"mala": mala, "hmc": hmc}[kernel](energy, x, 0.3), 4)

    x = torch.randn(9, 6)
    with noise(3, 9):
        vectors = run(x)
    with noise(3, 9):
        images = run(x.unflatten(1, (2, 1, 3)))
    assert torch.allclose(images.flatten(1), vectors, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_a_temperature_scales_the_variance(temperature):
    """Of x' = (1 - h / 2) x + sqrt(h T) e it is T / (1 - h / 4)."""
    x = math.sqrt(temperature) * torch.randn(20_000, 1)
    x = take(langevin(lambda x: -x, x, 0.4, temperature=temperature), 15)
    assert float(x.var()) == pytest.approx(temperature / 0.9, rel=0.05)


WEIGHTS, MEANS, SD = torch.tensor([0.8, 0.2]), torch.tensor([-4.0, 4.0]), 0.5


def blurred_score(x, sigma):
    """Of a mixture of two normal distributions with noise on it."""
    variance = SD**2 + sigma**2
    share = (WEIGHTS.to(x).log() - (x[:, None] - MEANS.to(x)) ** 2 / (2 * variance)).softmax(1)
    return (share * (MEANS.to(x) - x[:, None])).sum(1) / variance


def test_annealed_langevin_finds_the_weights_of_modes_and_plain_langevin_does_not():
    n, sigmas = 4000, geometric_levels(8.0, 0.1, 12)
    start = 8 * torch.randn(n)
    plain = take(langevin(lambda x: blurred_score(x, 0.0), start, 0.005), 200)
    chains = annealed_langevin(blurred_score, start, sigmas, 0.0016, 60)
    x = take(chains, 720)
    assert next(chains, None) is None
    assert abs(float((x > 0).double().mean()) - 0.2) < 0.035
    assert abs(float((plain > 0).double().mean()) - 0.2) > 0.2
    right = x[x > 0]
    assert abs(float(right.mean()) - 4) < 0.1
    assert abs(float(right.std()) - math.hypot(SD, 0.1)) < 0.08


def test_the_last_step_is_the_mean_of_the_clean_data():
    """Of N(0, 1) with noise of variance v it is x / (1 + v)."""
    x = torch.randn(10)
    assert torch.allclose(denoised(lambda x, s: -x / (1 + s**2), x, 0.5), x / 1.25, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "run",
    [
        lambda x: score_of(normal)(x),
        lambda x: take(langevin(score_of(normal), x, 0.1), 3),
        lambda x: take(mala(normal, x, 0.1), 3),
        lambda x: take(hmc(normal, x, 0.1, 2), 3),
    ],
    ids=["score", "langevin", "mala", "hmc"],
)
def test_whoever_needs_no_graph_gets_the_same_chains(run, mode):
    with noise(0, 4):
        expected = run(torch.ones(4, 2))
    with mode(), noise(0, 4):
        assert torch.equal(run(torch.ones(4, 2)), expected)


@pytest.mark.parametrize(
    ("energy", "came"),
    [
        (lambda x: x.square().sum(), r"\(3,\), and \(\) came"),
        (lambda x: x.square().sum(1, keepdim=True), r"\(3,\), and \(3, 1\) came"),
        (torch.square, r"\(3,\), and \(3, 2\) came"),
    ],
    ids=["all", "column", "elements"],
)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_an_energy_is_one_number_for_each_example(kernel, energy, came):
    with pytest.raises(UserError, match=came):
        next(kernel(energy, torch.ones(3, 2)))
    with pytest.raises(UserError, match=came):
        next(langevin(score_of(energy), torch.ones(3, 2), 0.1))


def test_an_energy_without_a_graph_has_no_slope():
    for energy in (lambda x: torch.zeros(len(x)), torch.no_grad()(normal)):
        with pytest.raises(UserError, match="has no graph"):
            next(mala(energy, torch.ones(3, 2), 0.1))


def anneal(sigmas, each=1):
    return next(annealed_langevin(blurred_score, torch.zeros(2), sigmas, 0.1, each))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: next(langevin(lambda x: -x[:, :1], torch.ones(3, 2), 0.1)), r"\(3, 1\) came"),
        (lambda: next(mala(normal, torch.ones(3, 2), 0.1, score=lambda x: -x.sum())), r"\(\) came"),
        (lambda: next(langevin(torch.neg, torch.zeros(1), 0.0)), "positive number, and 0.0 came"),
        (lambda: next(mala(normal, torch.zeros(1, 2), -1.0)), "positive number"),
        (
            lambda: next(langevin(torch.neg, torch.zeros(1), 0.1, temperature=-1.0)),
            "at least 0, and -1.0 came",
        ),
        (lambda: next(langevin(torch.neg, torch.zeros(1), math.inf)), "number, and inf came"),
        (
            lambda: next(langevin(torch.neg, torch.zeros(1), 0.1, temperature=math.nan)),
            "at least 0, and nan came",
        ),
        (lambda: take(langevin(torch.neg, torch.zeros(1), 0.1), 0), "1 or more, and 0 came"),
        (lambda: take(langevin(torch.neg, torch.zeros(1), 0.1), 2.5), "1 or more, and 2.5 came"),
        (lambda: take(langevin(torch.neg, torch.zeros(1), 0.1), math.nan), "and nan came"),
        (lambda: take(islice(langevin(torch.neg, torch.zeros(1), 0.1), 2), 3), "before step 3"),
        (lambda: next(hmc(normal, torch.zeros(1, 2), 0.1, 0)), "at least one leap"),
        (lambda: geometric_levels(0.1, 1.0, 3), "the larger first"),
        (lambda: geometric_levels(math.inf, 1.0, 3), "from inf to 1.0 came"),
        (lambda: anneal([]), "0 levels"),
        (lambda: anneal([1.0, 2.0]), "levels of noise that fall"),
        (lambda: anneal([1.0, 0.0]), "positive levels"),
        (lambda: anneal([1.0], each=0), "0 steps at each"),
    ],
)
def test_mistakes_are_told(call, says):
    with pytest.raises(UserError, match=says):
        call()
