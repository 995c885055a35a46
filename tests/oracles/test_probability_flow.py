"""Log p(x) by the probability flow, and the bound beside it, against closed forms."""

import math

import pytest
import torch

from pofx.capabilities import Bound, Density, Estimate
from pofx.diffusion.analytic import Mixture
from pofx.diffusion.bound import Chain, elbo, least_noise
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.likelihood import log_density
from pofx.diffusion.model import Diffusion
from pofx.diffusion.probability_flow import ProbabilityFlow
from pofx.diffusion.schedule import EDM, VP, CosineVP, Level, LinearVP, Rectified
from pofx.errors import UserError
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.likelihood import likelihood
from pofx.spec import Binary, Bytes, DataSpec, Mixed, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")


def two_normals(schedule):
    means, stds = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2])
    return Mixture(schedule, torch.tensor([0.3, 0.7]), means, stds)


def plane(schedule):
    means, stds = torch.tensor([[-1.0, 0.5], [0.6, -0.9]]), torch.tensor([0.5, 0.3])
    return Mixture(schedule, torch.tensor([0.4, 0.6]), means, stds)


def level_at(denoiser, t, n):
    return denoiser.schedule.level(torch.full((n,), t), 2)


# --- densities


def test_log_density_of_the_mixture_is_off_by_the_prior_alone():
    """Nine points: 1.65e-2 with sigma up to 80, .16 with 10, and 1e-4 with the exact prior."""
    x, errors = torch.linspace(-1.6, 1.6, 9)[:, None], []
    for most in (80.0, 10.0):
        denoiser = two_normals(EDM(0.002, most))
        first = denoiser.schedule.first
        exact = denoiser.log_prob(x, level_at(denoiser, first, 9))
        found = log_density(denoiser, x, steps=150)
        errors.append((found.log_prob - exact).abs().max().item())
        flow = ProbabilityFlow(denoiser)
        end = denoiser.log_prob(flow.unscaled(found.z, 1.0), level_at(denoiser, 1.0, 9))
        growth = math.log(math.hypot(1, most))
        assert torch.allclose(end + growth + found.ladj, exact, atol=1e-4)
    assert errors == pytest.approx([0.0165, 0.16], rel=0.03)


@pytest.mark.parametrize(
    "schedule", [VP(), LinearVP(), Rectified()], ids=lambda s: type(s).__name__
)
def test_the_whole_trace_gives_the_density_and_says_that_it_is_exact(schedule):
    denoiser = plane(schedule)
    model = Diffusion(denoiser, DataSpec((2,), Real())).by_flow(steps=60)
    assert isinstance(model, Density)
    assert not isinstance(model, Bound | Estimate)
    x = torch.randn(40, 2)
    ((alpha, sigma),) = schedule.scales([schedule.first])
    level = Level(torch.full((40,), schedule.first), alpha, sigma)
    exact = denoiser.log_prob(alpha * x, level) + 2 * math.log(alpha)
    assert torch.allclose(model.log_prob(x), exact, atol=2e-2)
    stated = likelihood(model, x, None, DataSpec((2,), Real()))
    assert stated.kind == "exact"
    assert stated.nats == pytest.approx(exact.mean().item(), abs=5e-3)
    assert "240 evaluations, the whole trace, at a noise of" in stated.detail


@pytest.mark.parametrize("schedule", [EDM(0.01, 40.0), Rectified()])
def test_the_density_between_the_ends_is_in_the_units_of_its_time(schedule):
    """Where alpha^2 + sigma^2 is far from 1."""
    denoiser, t = plane(schedule), 0.7
    ((alpha, sigma),) = schedule.scales([t])
    assert abs(math.hypot(alpha, sigma) - 1) > 0.2
    x_t = alpha * torch.randn(9, 2) + sigma * torch.randn(9, 2)
    exact = denoiser.log_prob(x_t, Level(torch.full((9,), t), alpha, sigma))
    found = log_density(denoiser, x_t, t, steps=60).log_prob
    assert torch.allclose(found, exact, atol=3e-2)


def test_random_directions_are_right_in_the_mean_and_know_their_error():
    denoiser, x, n = plane(VP()), torch.tensor([[0.1, -0.2]]), 2000
    exact = log_density(denoiser, x, steps=20)
    assert (exact.stderr == 0).all()
    found = log_density(denoiser, x.expand(n, 2), steps=20, directions=4)
    assert found.evaluations == exact.evaluations == 80
    spread = found.log_prob.std().item()
    assert spread > 0.01
    off = (found.log_prob.mean() - exact.log_prob).item()
    assert abs(off) < 5 * spread / math.sqrt(n)
    assert found.stderr.square().mean().sqrt().item() == pytest.approx(spread, rel=0.1)
    assert log_density(denoiser, x, steps=5, directions=1).stderr.isnan().all()
    assert torch.allclose(found.z[:1], exact.z)


def test_random_directions_make_an_estimate_and_discrete_data_a_bound():
    denoiser = plane(VP())
    estimate = Diffusion(denoiser, DataSpec((2,), Real())).by_flow(steps=10, directions=3)
    assert isinstance(estimate, Estimate)
    assert not isinstance(estimate, Density | Bound)
    assert "3 directions" in estimate.likelihood_detail
    for support in (Bytes(5), Binary(), Mixed((Real(), Binary()))):
        bound = Diffusion(denoiser, DataSpec((2,), support)).by_flow(steps=10)
        assert isinstance(bound, Bound)
        assert not isinstance(bound, Density | Estimate)
    for bad in ({"steps": 0}, {"directions": 0}):
        with pytest.raises(UserError, match="at least 1 step and 1 direction"):
            Diffusion(denoiser, DataSpec((2,), Real())).by_flow(**bad)


def test_the_density_is_of_the_class_that_is_asked_for():
    spec = DataSpec((2,), Real(), cond=class_spec(2))
    model = Diffusion(plane(VP()), spec).by_flow(steps=40)
    x, cond = torch.randn(6, 2) * 0.5, torch.arange(6) % 2
    means, stds = torch.tensor([[-1.0, 0.5], [0.6, -0.9]]), torch.tensor([0.5, 0.3])
    ratio = VP().ratio(VP().first)
    variance = (stds[cond] ** 2 + ratio**2)[:, None]
    exact = -0.5 * ((x - means[cond]) ** 2 / variance + torch.log(2 * math.pi * variance)).sum(1)
    assert torch.allclose(model.log_prob(x, cond), exact, atol=6e-2)


# --- masses


class TwoPoints(Denoiser):
    """The best denoiser of +1 with probability p and -1 otherwise."""

    def __init__(self, schedule, p):
        super().__init__(schedule)
        self.half_logit = 0.5 * math.log(p / (1 - p))

    def denoise(self, x_t, level, cond=None):
        return torch.tanh(level.alpha * x_t / level.sigma**2 + self.half_logit)


def test_the_flow_bounds_a_mass_and_closely():
    p, n = 0.8, 4000
    model = Diffusion(TwoPoints(VP(), p), DataSpec((1,), Binary())).by_flow(steps=40)
    x = (torch.arange(n) < p * n).double()[:, None]
    value = model.elbo(x)
    stderr = value.std().item() / math.sqrt(n)
    exact = p * math.log(p) + (1 - p) * math.log(1 - p)
    assert value.mean().item() < exact + 4 * stderr
    assert value.mean().item() > exact - 0.05
    rough = Diffusion(TwoPoints(VP(), p), DataSpec((1,), Binary())).by_flow(steps=40, directions=1)
    assert torch.allclose(rough.elbo(x).mean(), value.mean(), atol=5 * stderr)  # of one axis: exact
    stated = likelihood(model, x[::40], None, DataSpec((1,), Binary()))
    assert (stated.kind, stated.unit) == ("bound", "mass")
    assert "dequantised by noise" in stated.detail


# --- the chain's end


class Off(Denoiser):
    """Knows the one clean example there is, but for a constant."""

    def __init__(self, schedule, x0, error):
        super().__init__(schedule)
        self.x0, self.error = x0, error

    def denoise(self, x_t, level, cond=None):
        return torch.full_like(x_t, self.x0 + self.error)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_chain_ends_where_the_decoder_knows_the_value(levels):
    spec = DataSpec((3,), Binary() if levels == 2 else Bytes(levels))
    half = 1 / (levels - 1)
    assert least_noise(spec) == pytest.approx(half / 3)
    chain = Chain(CosineVP(), 1000, least_noise(spec))
    assert chain.decoder_std >= half / 3
    last = chain.times[-1].item()
    assert CosineVP().ratio(last - 1e-3) < half / 3 or last == pytest.approx(1e-3)
    # a value of probability erf(3 / sqrt 2) = .9973 at the most
    assert chain.decoder_std == pytest.approx(half / 3, rel=0.5) or levels == 256


def test_an_error_far_below_a_grey_level_costs_little():
    """A tenth of half a grey level costs (.1 * 3)^2 / 2 nats an element, not what the first step's
    signal-to-noise ratio makes of it.
    """
    spec, half, n = DataSpec((1,), Bytes(17)), 1 / 16, 3000
    x, error = torch.full((n, 1), 2 * 8 / 16 - 1.0), half / 10
    exact = elbo(Off(CosineVP(), 0.0, 0.0), x, spec).mean().item()
    assert exact == pytest.approx(0, abs=0.02)
    cost = exact - elbo(Off(CosineVP(), 0.0, error), x, spec)
    chain = Chain(CosineVP(), 1000, least_noise(spec))
    snr = (chain.alpha / chain.sigma) ** 2
    expected = 0.5 * (snr[-1] - snr[0]).item() * error**2
    assert expected < 0.05
    stderr = cost.std().item() / math.sqrt(n)
    assert cost.mean().item() == pytest.approx(expected, abs=5 * stderr + 2e-3)  # and the decoder's
    whole = Chain(CosineVP(), 1000)
    assert 0.5 * ((whole.alpha[-1] / whole.sigma[-1]) ** 2).item() * error**2 > 8 * expected


class Normals:
    """A data set of normal numbers of mean 1 and standard deviation 0.5."""

    name, spec = "normals", DataSpec((2,), Real())

    def __init__(self):
        self.x = 1 + 0.5 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        self.train = self.valid = self.test = self

    def __len__(self):
        return len(self.x)

    def values(self, rows=slice(None)):
        return self.x[rows], None


def test_an_evaluation_takes_the_flow_of_at_most_200_examples_as_exact():
    data = Normals()
    normal = Mixture(VP(), torch.ones(1), torch.ones(1, 2), torch.full((1,), 0.5))
    found = evaluate(Diffusion(normal, data.spec), data, flow=True, features="raw")
    few = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:200]
    true = torch.distributions.Normal(1.0, 0.5).log_prob(data.x[few].double()).sum(1)
    assert found.likelihood.kind == "exact"
    assert found.counts["likelihood"] == 200
    assert found.likelihood.nats == pytest.approx(float(true.mean()), abs=2e-3)
