"""Samplers, guidance, editing and the probability flow against closed forms.

Tables and orders are those of the reference results, sections 6a to 6c.
"""

import itertools
import math

import pytest
import torch

from pofx.diffusion.analytic import Mixture
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.editing import Repeated, below
from pofx.diffusion.grid import LogSNR, Quadratic
from pofx.diffusion.guidance import Autoguidance, Classifier, ClassifierFree, Product
from pofx.diffusion.model import Diffusion
from pofx.diffusion.probability_flow import ProbabilityFlow
from pofx.diffusion.sampler import blend, mix
from pofx.diffusion.samplers import SAMPLERS
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.diffusion.samplers.annealed_langevin import AnnealedLangevin
from pofx.diffusion.samplers.ddim import DDIM
from pofx.diffusion.samplers.deis import DEIS
from pofx.diffusion.samplers.dpm_solver import DPMSolver
from pofx.diffusion.samplers.dpmpp_2m import DPMpp2M
from pofx.diffusion.samplers.euler import Euler
from pofx.diffusion.samplers.heun import EDM as ChurnedHeun
from pofx.diffusion.samplers.heun import Heun
from pofx.diffusion.samplers.predictor_corrector import PredictorCorrector
from pofx.diffusion.samplers.rk45 import RK45
from pofx.diffusion.samplers.unipc import UniPC
from pofx.diffusion.schedule import EDM, VE, VP, CosineVP, LinearVP, Rectified, SubVP
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.functional.random import noise
from pofx.solvers.ode import dormand_prince_each
from pofx.spec import Bytes, DataSpec, Mixed, Real, class_spec
from pofx.spec import Categorical as Category

pytestmark = pytest.mark.usefixtures("double")
SCHEDULES = [LinearVP(), CosineVP(), VP(), SubVP(), VE(), EDM(), Rectified()]


def name(x):
    return type(x).__name__


def normal(schedule, std, mean=0.0):
    return Mixture(schedule, torch.ones(1), torch.full((1, 1), mean), torch.tensor([std]))


def run(sampler, denoiser, x, times, cond=None):
    *_, state = sampler.trajectory(denoiser, x.clone(), times, cond)
    return state.x_t


def times_of(schedule, ratios):
    """The times of these noise-to-signal ratios, the first at t = 1."""
    return [1.0, *schedule.time(torch.tensor(ratios[1:])).tolist()]


# --- one step, many names


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_ddim_is_euler_is_dpm_solver_1_is_dpmpp_1(schedule):
    """Euler's step in sigma on data that are rescaled by 1 / alpha."""
    denoiser = Mixture(
        schedule, torch.tensor([0.4, 0.6]), torch.tensor([[-1.0], [0.7]]), torch.tensor([0.3, 0.5])
    )
    times = LogSNR()(schedule, 13)[1:]
    x = torch.randn(20, 1) * schedule.prior_scale
    y = x.clone()
    for (alpha, sigma), (alpha_s, sigma_s), t in zip(
        schedule.scales(times), schedule.scales(times)[1:], times, strict=False
    ):
        eps = (y - alpha * denoiser(y, torch.full((20,), t))) / sigma
        y = alpha_s * (y / alpha + (sigma_s / alpha_s - sigma / alpha) * eps)
    first_of_2m = [s._replace(clean=s.clean[:1]) for s in DPMpp2M().plan(schedule, times[:2])]
    assert first_of_2m[0] == (*Euler().plan(schedule, times[:2])[0][:1], first_of_2m[0].clean, 0.0)
    for sampler in (DDIM(), DPMSolver(1), Euler(), DEIS(1)):
        assert torch.allclose(run(sampler, denoiser, x, times), y, atol=1e-9)


def test_higher_orders_begin_with_that_step():
    schedule, denoiser = VP(), normal(VP(), 0.4)
    x, times = torch.randn(9, 1), [0.8, 0.7]
    euler = run(Euler(), denoiser, x, times)
    for sampler in (DPMpp2M(), DEIS(3), UniPC(3)):
        assert torch.allclose(run(sampler, denoiser, x, times), euler, atol=1e-12)
    assert not torch.allclose(run(Heun(), denoiser, x, times), euler, atol=1e-6)
    (t, s) = schedule.scales(times)
    eta = DPMpp2M(1.0).plan(schedule, times)[0]
    small = Ancestral("small").coefficients(t, s)
    assert (eta.keep, eta.clean[0], eta.noise) == pytest.approx(tuple(small), abs=1e-12)


def test_heun_without_churn_is_heun():
    x, times = torch.randn(5, 1) * 80, EDM().grid(9)
    quiet = run(ChurnedHeun(churn=0.0), normal(EDM(), 0.5), x, times)
    assert torch.equal(quiet, run(Heun(), normal(EDM(), 0.5), x, times))


@pytest.mark.parametrize(
    ("keep", "weights"),
    [
        (0.3, (0.7,)),  # means
        (0.0, (1.0,)),
        (0.3, (1.2, -0.5)),
        (1.2, (0.0, 0.9, -1.1)),
        (1.0, (2.0, -2.0)),  # nothing to take a mean of
        (1.0, (2.0, 0.0, 1.0)),
        (0.3, (0.5,)),
        (0.3, (0.5, 0.1, 0.1)),
        (0.3, ()),
    ],
)
def test_a_step_is_the_weighted_sum_in_however_many_passes(keep, weights):
    x, others = torch.randn(5, 2), list(torch.randn(3, 5, 2))
    before = [y.clone() for y in others]
    expected = keep * x + sum(w * y for w, y in zip(weights, others, strict=False))
    out = torch.full_like(x, math.nan)
    mix(x, keep, weights, others, out=out)
    assert torch.allclose(out, expected, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(before, others, strict=True))
    inplace = x.clone()
    mix(inplace, keep, weights, others, out=inplace, spare=others[0])
    assert torch.allclose(inplace, expected, atol=1e-12)
    for w in weights[:1]:
        blended = x.clone()
        blend(blended, keep, w, before[0])
        assert torch.allclose(blended, keep * x + w * before[0], atol=1e-12)


@pytest.mark.parametrize(
    "which", ["ddim", "euler", "heun", "dpm-2", "dpm-3", "dpmpp-2m", "deis", "unipc"]
)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_single_precision_is_not_lost_in_small_differences(which, schedule):
    times = LogSNR()(schedule, 5)
    x = torch.randn(64, 1) * schedule.prior_scale
    expected = run(SAMPLERS[which](), normal(schedule, 0.5), x, times)
    found = run(SAMPLERS[which](), normal(schedule, 0.5).float(), x.float(), times)
    assert (found - expected).abs().max() < 1e-5


# --- tables


@pytest.mark.parametrize(
    ("steps", "stds"),
    [
        (5, (0.23363, 1.25789, 0.43265)),
        (35, (0.45990, 0.50647, 0.50696)),
        (50, (0.47181, 0.50305, 0.50320)),
        (100, (0.48584, 0.50072, 0.50074)),
    ],
)
def test_final_std_of_gaussian_data_on_karras_grid(steps, stds):
    """Every sampler is linear here, so where 80 goes says how the deviation of 80 z does."""
    denoiser, x = normal(EDM(), 0.5), torch.full((1, 1), 80.0)
    found = [run(s, denoiser, x, EDM().grid(steps)).item() for s in (Euler(), Heun(), DPMpp2M())]
    assert found == pytest.approx(stds, abs=1e-5)


# --- orders of convergence

_COUNTS = (8, 16, 32, 64, 128, 256, 512)
_ERRORS = {
    "ddim": (DDIM(), (1.82e-1, 1.55e-1, 1.22e-1, 1.90e-2, 8.60e-3, 4.14e-3, 2.04e-3)),
    "heun": (Heun(), (4.70e-2, 9.35e-3, 2.09e-3, 4.95e-4, 1.21e-4, 2.99e-5, 7.44e-6)),
    "dpm-2": (DPMSolver(2), (2.25e-2, 5.03e-3, 1.33e-3, 3.58e-4, 9.45e-5, 2.44e-5, 6.20e-6)),
    "dpmpp-2m": (DPMpp2M(), (9.13e-2, 1.35e-2, 4.00e-3, 1.15e-3, 3.07e-4, 7.92e-5, 2.01e-5)),
}


class TwoNormals:
    """.3 N(-1, .04) + .7 N(1, .04), and where the exact flow takes 41 points from 10 to .02."""

    def __init__(self):
        self.schedule = EDM(0.02, 10.0)
        self.denoiser = Mixture(
            self.schedule,
            torch.tensor([0.3, 0.7]),
            torch.tensor([[-1.0], [1.0]]),
            torch.tensor([0.2, 0.2]),
        )
        self.x = 10 * torch.linspace(-2, 2, 41)[:, None]
        self.flow = ProbabilityFlow(self.denoiser)
        self.end = float(self.schedule.time(torch.tensor(0.02)))
        y = dormand_prince_each(
            self.flow.field, self.start, self.flow.place(1.0), math.log(0.02), rtol=1e-9, atol=1e-11
        )
        self.exact = self.flow.unscaled(y, self.end)

    @property
    def start(self):
        return self.flow.scaled(self.x, 1.0)

    def times(self, steps):
        logs = torch.linspace(math.log(10), math.log(0.02), steps + 1)
        return times_of(self.schedule, logs.exp().tolist())

    def error(self, y):
        return (y - self.exact).square().mean().sqrt().item()

    def slope(self, sampler, few, many):
        errors = [
            self.error(run(sampler, self.denoiser, self.x, self.times(n))) for n in (few, many)
        ]
        return math.log(errors[0] / errors[1]) / math.log(many / few)


@pytest.fixture(scope="module")
def two_normals():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield TwoNormals()
    torch.set_default_dtype(before)


@pytest.mark.parametrize("which", _ERRORS)
def test_errors_are_those_of_the_reference_and_fall_at_first_or_second_order(two_normals, which):
    sampler, errors = _ERRORS[which]
    found = [
        two_normals.error(run(sampler, two_normals.denoiser, two_normals.x, two_normals.times(n)))
        for n in _COUNTS
    ]
    assert found == pytest.approx(errors, rel=6e-3)
    order = 1 if which == "ddim" else 2
    assert math.log2(found[-2] / found[-1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(DPMSolver(3), 3), (UniPC(2), 3), (DEIS(2), 2), (UniPC(1), 2), (DEIS(3), 2.85)],
    ids=["dpm-3", "unipc-2", "deis-2", "unipc-1", "deis-3"],
)
def test_orders_of_the_others(two_normals, sampler, order):
    """DEIS-3 nears its order from below: 2.75, 2.83, 2.79, 2.87."""
    assert two_normals.slope(sampler, 256, 512) == pytest.approx(order, abs=0.1)


def test_runge_kutta_on_the_flow_is_of_fourth_order(two_normals):
    flow, errors = two_normals.flow, []
    for steps in (32, 64, 128):
        y = flow.carry(two_normals.start, flow.place(1.0), math.log(0.02), steps)
        errors.append(two_normals.error(flow.unscaled(y, two_normals.end)))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.15)


def test_with_few_evaluations_second_order_and_multistep_beat_euler():
    """12 and 24 evaluations on the Karras grid, against the reference's figures."""
    toy = TwoNormals()
    ends = [10 ** (1 / 7), 0.02 ** (1 / 7)]
    for evaluations, errors in (
        (12, (0.158, 0.079, 0.050, 0.052, 0.022)),
        (24, (0.136, 0.0145, 0.0090, 0.0045, 0.0061)),
    ):
        found = []
        samplers = ((Euler(), 1), (Heun(), 2), (DPMSolver(2), 2), (DPMSolver(3), 3), (DPMpp2M(), 1))
        for sampler, cost in samplers:
            ratios = torch.linspace(*ends, evaluations // cost + 1) ** 7
            times = times_of(toy.schedule, ratios.tolist())
            found.append(toy.error(run(sampler, toy.denoiser, toy.x, times)))
        assert found == pytest.approx(errors, rel=0.06)


def test_the_adaptive_solver_follows_the_exact_flow():
    toy = TwoNormals()
    states = list(RK45(1e-7).trajectory(toy.denoiser, toy.x.clone(), [1.0, 0.0]))
    assert [s.t for s in states] == [toy.schedule.first, 0.0]
    x_t = next(iter(RK45(1e-7).trajectory(toy.denoiser, toy.x.clone(), [1.0, 0.0]))).x_t
    assert toy.error(x_t) < 1e-4


@pytest.mark.parametrize("schedule", [VE(0.01, 10.0), EDM(0.002, 10.0)], ids=name)
def test_the_flow_of_a_normal_distribution_is_a_scaling(schedule):
    """x(sigma) = x(sigma_0) sqrt((s^2 + sigma^2) / (s^2 + sigma_0^2))."""
    s, flow = 0.5, ProbabilityFlow(normal(schedule, 0.5))
    y = flow.carry(flow.scaled(torch.full((1, 1), 7.0), 1.0), flow.place(1.0), flow.place(0.4), 200)
    ((_, sigma_0), (_, sigma)) = schedule.scales([1.0, 0.4])
    expected = 7 * math.sqrt((s**2 + sigma**2) / (s**2 + sigma_0**2))
    assert flow.unscaled(y, 0.4).item() == pytest.approx(expected, rel=1e-7)


# --- every sampler draws from the mixture

_STEPS = {
    "ddim": 150, "euler": 150, "dpm-1": 150, "ancestral": 120, "ancestral-small": 250,
    "ancestral-learned": 150, "heun": 40, "edm": 80, "dpm-2": 30, "dpm-3": 15, "dpmpp-2m": 50,
    "dpmpp-2m-sde": 80, "deis": 30, "unipc": 30, "predictor-corrector": 150, "reverse-sde": 200,
    "rk45": 1, "annealed-langevin": 400,
}  # fmt: skip
_WEIGHTS, _MEANS = torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.5], [1.0, -0.2]])
_SPREADS = torch.tensor([0.5, 0.3])


class Learned(Mixture):
    """With variances of steps halfway between the two bounds."""

    learns_variance = True

    def guess(self, x_t, level, cond=None):
        return self.denoise(x_t, level, cond), torch.full_like(x_t, 0.5)


def mixture(schedule):
    return Learned(
        schedule,
        *(v.to(torch.get_default_dtype()) for v in (_WEIGHTS, _MEANS, _SPREADS)),
    )


def z_scores(x, mean, covariance):
    """Of the mean and of the covariance, each in its own standard errors."""
    off = x.double() - mean
    products = off[:, :, None] * off[:, None, :]
    return torch.cat(
        [
            off.mean(0) / (off.var(0) / len(x)).sqrt(),
            ((products.mean(0) - covariance) / (products.var(0) / len(x)).sqrt()).flatten(),
        ]
    )


def moments():
    weights, means = _WEIGHTS.double(), _MEANS.double()
    mean = weights @ means
    off = means - mean
    within = (weights * _SPREADS.double() ** 2).sum() * torch.eye(2)
    return mean, (weights[:, None, None] * off[:, :, None] * off[:, None, :]).sum(0) + within


@pytest.mark.parametrize("which", SAMPLERS)
def test_every_sampler_reproduces_mean_and_covariance(which):
    torch.set_default_dtype(torch.float32)
    schedule = VP()
    x = torch.randn(50_000, 2)
    x = run(SAMPLERS[which](), mixture(schedule), x, Quadratic()(schedule, _STEPS[which]))
    assert z_scores(x, *moments()).abs().max() < 5


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_annealed_langevin_reaches_every_level_with_just_its_noise(schedule, steps):
    """Of data that are a point, at few levels and at many."""
    n, point = 40_000, 1.5
    for grid in (schedule.grid(4), LogSNR()(schedule, 30)):
        x = torch.randn(n, 1) * schedule.prior_scale
        sampler = AnnealedLangevin(steps)
        for t, x_t, _ in sampler.trajectory(normal(schedule, 1e-9, mean=point), x, grid):
            ((alpha, sigma),) = schedule.scales([t])
            assert abs(float(x_t.mean()) - alpha * point) <= 5 * sigma / n**0.5 + 1e-6
            assert float(x_t.var()) == pytest.approx(sigma**2, rel=5 * (2 / n) ** 0.5, abs=1e-9)


@pytest.mark.parametrize(("epsilon", "same"), [(1.0, DDIM()), (2.0, Ancestral("small"))])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_one_langevin_step_at_a_level_is_a_step_of_others(schedule, epsilon, same):
    x, times = torch.randn(50, 2), LogSNR()(schedule, 12)[1:]  # where there is a signal
    ends = []
    for sampler in (AnnealedLangevin(1, epsilon), same):
        torch.manual_seed(1)
        ends.append(run(sampler, mixture(schedule), x.clone(), times))
    assert torch.allclose(*ends, atol=1e-7)


@pytest.mark.parametrize("which", SAMPLERS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_every_sampler_serves_every_schedule(which, schedule):
    """The means of the mixture's classes come out of each, in the same samples for any batch."""
    model = Diffusion(mixture(schedule), DataSpec((2,), Real(), cond=class_spec(2)), sampler=which)
    cond = torch.arange(40) % 2
    grid = "log-snr" if which != "reverse-sde" else "quadratic"
    x = draw(model, 40, cond=cond, steps=25, grid=grid, seed=1)
    spread = 0.5 / math.sqrt(20)
    for k in (0, 1):
        assert (x[cond == k].mean(0) - _MEANS[k]).abs().max() < 5 * spread
    parts = draw(model, 40, cond=cond, steps=25, grid=grid, seed=1, batch=17)
    assert torch.allclose(x, parts, atol=1e-8)
    assert x.isfinite().all()


@pytest.mark.parametrize("which", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_still_end_in_numbers(which, steps):
    for schedule in SCHEDULES:
        model = Diffusion(mixture(schedule), DataSpec((2,), Real()), sampler=which, steps=steps)
        assert model.sample(5).isfinite().all()


class Wrong(Denoiser):
    """Another denoiser, off by a twentieth of its noise, as networks are."""

    def __init__(self, denoiser):
        super().__init__(denoiser.schedule)
        self.denoiser = denoiser

    def denoise(self, x_t, level, cond=None):
        return self.denoiser.denoise(x_t, level) + 0.05 * torch.cos(40 * x_t)


@pytest.mark.parametrize("which", [w for w in SAMPLERS if w not in ("ancestral-learned", "rk45")])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_errors_of_the_denoiser_are_not_blown_up_where_there_is_no_signal(which, schedule):
    """On the schedule's own grid, whose first steps are long in sigma / alpha."""
    x = torch.randn(500, 2) * schedule.prior_scale
    x = run(SAMPLERS[which](), Wrong(mixture(schedule)), x, schedule.grid(12))
    assert (x[:, 0].std() / moments()[1][0, 0].sqrt()).item() == pytest.approx(1, abs=0.5)


# --- guidance


class Linear(Denoiser):
    """The best denoiser of N(mean, std^2) of a class, and of another one of no class."""

    def __init__(self, schedule, means, stds):
        super().__init__(schedule, class_spec(len(means) - 1))
        self.parts = [normal(schedule, s, m) for m, s in zip(means, stds, strict=True)]

    def denoise(self, x_t, level, cond=None):
        label = -1 if cond is None else int(cond[0])
        if cond is None or len(set(cond.tolist())) == 1:
            return self.parts[label].denoise(x_t, level)
        each = torch.stack([p.denoise(x_t, level) for p in self.parts])
        return each[cond, torch.arange(len(cond))]


def guided_end(denoiser, w, x, interval=(0.0, 1.0), steps=400):
    guided = ClassifierFree(denoiser, w, interval)
    cond = torch.zeros(len(x), dtype=torch.int64)
    times = times_of(
        denoiser.schedule,
        torch.linspace(math.log(20), math.log(1e-3), steps + 1).exp().tolist(),
    )
    return run(DPMSolver(2), guided, x, times, cond)


def test_guidance_of_equal_spreads_moves_the_mean_by_w_times_the_distance():
    """The flow ends in N(m + w (m - m_0), s^2)."""
    schedule, s, w, x = EDM(1e-3, 20.0), 0.5, 1.5, torch.tensor([[-20.0], [5.0]])
    found = guided_end(Linear(schedule, (0.6, -0.2), (s, s)), w, x)
    mean = 0.6 + w * 0.8
    scale = math.sqrt((s**2 + 1e-6) / (s**2 + 400))
    assert torch.allclose(found, mean + (x - mean) * scale, atol=2e-4)


@pytest.mark.parametrize(
    ("w", "low", "high"), [(0.0, 0, 20), (-1.0, 0, 20), (2.0, 0, 20), (2.0, 0.3, 4)]
)
def test_guidance_of_unequal_spreads_has_a_closed_form_with_an_interval_or_without(w, low, high):
    r"""The logs of the two distributions' scalings, 1 + w and -w times, where guided."""
    schedule, s, s_0, x = EDM(1e-3, 20.0), 0.4, 1.1, torch.tensor([[9.0]])
    interval = [float(schedule.time(torch.tensor(float(v)))) for v in (low, high)]
    found = guided_end(Linear(schedule, (0.0, 0.0), (s, s_0)), w, x, tuple(interval), steps=600)

    def log_scale(std, end, start):
        return 0.5 * math.log((std**2 + end**2) / (std**2 + start**2))

    inside = max(low, 1e-3), high
    excess = w * (log_scale(s, *inside) - log_scale(s_0, *inside))
    expected = 9.0 * math.exp(log_scale(s, 1e-3, 20.0) + excess)
    assert found.item() == pytest.approx(expected, rel=1e-2)


def test_autoguidance_is_that_of_a_worse_model():
    good, bad = normal(VP(), 0.4, 0.3), normal(VP(), 0.9, -0.5)
    x_t, t = torch.randn(8, 1), torch.rand(8)
    found = Autoguidance(good, bad, 1.5)(x_t, t)
    assert torch.allclose(found, 2.5 * good(x_t, t) - 1.5 * bad(x_t, t), atol=1e-12)
    assert torch.equal(Autoguidance(good, bad, 0.0)(x_t, t), good(x_t, t))


def test_a_classifier_makes_the_conditional_denoiser_by_bayes_rule():
    denoiser = mixture(VP())
    x_t, t, cond = torch.randn(30, 2), torch.rand(30) * 0.9 + 0.05, torch.arange(30) % 2
    guided = Classifier(denoiser, denoiser.log_class)
    assert torch.allclose(guided(x_t, t, cond), denoiser(x_t, t, cond), atol=1e-9)
    assert torch.equal(guided(x_t, t), denoiser(x_t, t))
    twice = Classifier(denoiser, denoiser.log_class, 2.0)(x_t, t, cond)
    expected = 2 * denoiser(x_t, t, cond) - denoiser(x_t, t)
    assert torch.allclose(twice, expected, atol=1e-9)


def test_scores_of_a_product_add_beyond_what_is_common():
    one, two, base = normal(VP(), 0.4, 0.3), normal(VP(), 0.8, -0.5), normal(VP(), 1.5)
    x_t, t = torch.randn(9, 1), torch.rand(9) * 0.9 + 0.05
    total = one.score(x_t, t) + two.score(x_t, t)
    assert torch.allclose(Product([one, two]).score(x_t, t), total, atol=1e-9)
    found = Product([one, two], base).score(x_t, t)
    assert torch.allclose(found, total - base.score(x_t, t), atol=1e-9)
    assert torch.equal(Product([one])(x_t, t), one(x_t, t))
    with pytest.raises(UserError, match="one denoiser or more"):
        Product([])


def test_of_three_factors_what_is_common_is_taken_away_twice():
    parts = [normal(VP(), 0.4, 0.3), normal(VP(), 0.8, -0.5), normal(VP(), 0.6, 0.1)]
    base = normal(VP(), 1.5)
    x_t, t = torch.randn(9, 1), torch.rand(9) * 0.9 + 0.05
    total = sum(p.score(x_t, t) for p in parts)
    assert torch.allclose(Product(parts).score(x_t, t), total, atol=1e-9)
    found = Product(parts, base).score(x_t, t)
    assert torch.allclose(found, total - 2 * base.score(x_t, t), atol=1e-9)


def test_langevin_draws_from_a_product():
    """N(.3, .16) times N(-.5, .64), of which precisions add."""
    schedule = EDM(1e-3, 0.3)
    product = Product([normal(schedule, 0.4, 0.3), normal(schedule, 0.8, -0.5)])
    precision = 1 / 0.16 + 1 / 0.64
    sampler, x = PredictorCorrector(snr=0.12), torch.randn(20_000, 1) * 0.4
    step, t = sampler.correction(1.0, 0.3), torch.ones(20_000)
    variances = (0.16 + 0.09, 0.64 + 0.09)  # at the only level that the dynamics run at
    precision = sum(1 / v for v in variances)
    mean = (0.3 / variances[0] - 0.5 / variances[1]) / precision
    for _ in range(150):
        x = step.keep * x + step.clean * product(x, t) + step.noise * torch.randn_like(x)
    bias = 1 / (1 - (step.noise**2) * precision / 4)  # of unadjusted steps
    assert x.mean().item() == pytest.approx(mean, abs=5 / math.sqrt(20_000 * precision))
    assert x.var().item() * precision == pytest.approx(bias, abs=5 * math.sqrt(2 / 20_000))


# --- what is known


class Correlated(Denoiser):
    """The best denoiser of two standard normal values with correlation rho."""

    def __init__(self, schedule, rho):
        super().__init__(schedule)
        self.register_buffer("covariance", torch.tensor([[1.0, rho], [rho, 1.0]]))

    def denoise(self, x_t, level, cond=None):
        variance = level.alpha**2 * self.covariance + level.sigma**2 * torch.eye(2)
        return level.alpha * torch.linalg.solve(variance, x_t.T).T @ self.covariance


def test_completion_nears_the_conditional_distribution_as_steps_are_repeated():
    """x2 given x1 = 1 is N(rho, 1 - rho^2)."""
    rho, n = 0.8, 8000
    known = torch.tensor([True, False])
    model = Diffusion(Correlated(VP(), rho), DataSpec((2,), Real()), sampler="ancestral", steps=30)
    model.double()
    x = torch.tensor([1.0, float("nan")]).expand(n, 2)
    means, variances = [], []
    for repeats in (1, 3, 15):
        done = model.complete(x, known, repeats=repeats, grid="log-snr")
        assert (done[:, 0] == 1).all()
        means.append(done[:, 1].mean().item())
        variances.append(done[:, 1].var().item())
    off = [abs(m - rho) for m in means]
    assert off[0] > 2 * off[1] > 2 * off[2]
    assert means[2] == pytest.approx(rho, abs=0.03)
    assert variances[2] == pytest.approx(1 - rho**2, rel=0.1)


def test_completion_chooses_the_component_that_the_known_value_belongs_to():
    weights, spreads = torch.full((2,), 0.5), torch.full((2,), 0.1)
    denoiser = Mixture(VP(), weights, torch.tensor([[-1.0, 0.8], [1.0, -0.8]]), spreads)
    model = Diffusion(denoiser, DataSpec((2,), Real()), steps=40)
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).repeat(50, 1)
    done = model.complete(x, torch.tensor([True, False]), repeats=4)
    assert torch.equal(done[:, 0], x[:, 0])
    assert (done[:, 1] * -x[:, 0] > 0).double().mean() > 0.97


def test_every_sampler_completes_and_whole_categories_are_known():
    spec = DataSpec((2,), Mixed((Category(3), Real())))
    denoiser = Learned(VP(), torch.ones(1), torch.zeros(1, 4), torch.tensor([0.5]))
    known, x = torch.tensor([True, False]), torch.tensor([[2.0, float("nan")], [0.0, 3.0]])
    for which in SAMPLERS:
        model = Diffusion(denoiser, spec, sampler=which, steps=5)
        with noise(0, 2):
            done = model.complete(x, known)
        assert torch.equal(done[:, 0], x[:, 0])
        assert done.isfinite().all()


def test_the_adaptive_solver_stops_on_its_way_where_a_grid_ends():
    denoiser, x = mixture(VP()), torch.randn(20, 2)
    whole = run(RK45(1e-9), denoiser, x, [1.0, 0.0])
    parts = Repeated(RK45(1e-9), 1).trajectory(denoiser, x.clone(), [1.0, 0.6, 0.2, 0.0])
    *between, last = [(s.t, s.x_t.clone()) for s in parts]
    assert [t for t, _ in between] == [0.6, 0.2]
    assert torch.allclose(last[1], whole, atol=1e-6)


def test_langevin_dynamics_are_not_given_noise_of_steps_that_they_do_not_take():
    """They stay at the noise level of a step's start, so repetitions are more of the same."""
    rho, x = 0.8, torch.tensor([1.0, float("nan")]).expand(2000, 2)
    model = Diffusion(
        Correlated(VP(), rho), DataSpec((2,), Real()), sampler="annealed-langevin", steps=30
    )
    done = model.double().complete(x, torch.tensor([True, False]), repeats=15, grid="log-snr")
    assert done[:, 1].mean().item() == pytest.approx(rho, abs=0.12)
    rectified = Diffusion(mixture(Rectified()), DataSpec((2,), Real()), sampler=model.sampler)
    assert rectified.complete(x[:3], torch.tensor([True, False]), steps=4).isfinite().all()


def test_steps_repeated_once_are_the_steps():
    denoiser, times, x = normal(VP(), 0.5), VP().grid(7), torch.randn(4, 1)
    plain = list(DDIM().trajectory(denoiser, x.clone(), times))
    repeated = list(Repeated(DDIM(), 1).trajectory(denoiser, x.clone(), times))
    assert [s.t for s in plain] == [s.t for s in repeated]
    assert torch.equal(plain[-1].x_t, repeated[-1].x_t)
    with pytest.raises(UserError, match="at least once"):
        Repeated(DDIM(), 0)


def test_an_edit_stays_the_nearer_the_weaker_it_is():
    model = Diffusion(mixture(VP()), DataSpec((2,), Real()), steps=100)
    rough = torch.tensor([[-1.3, 0.9]]).expand(2000, 2)
    far = []
    for strength in (0.05, 0.3, 1.0):
        far.append((model.edit(rough, strength=strength) - rough).norm(dim=1).mean().item())
    assert far[0] < 0.2 < far[1] < far[2]
    for strength, share in ((1.0, 0.7), (0.2, 0.0)):  # of the component that it is not of
        crossed = (model.edit(rough, strength=strength)[:, 0] > 0).double().mean().item()
        assert crossed == pytest.approx(share, abs=0.06)
    for strength in (0.0, 1.5):
        with pytest.raises(UserError, match="strength of an edit"):
            below([1.0, 0.0], strength)


# --- to noise and back


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_examples_come_back_from_their_noise_which_is_normal(schedule):
    model = Diffusion(mixture(schedule), DataSpec((2,), Real()))
    which = (torch.arange(4000) % 10 >= 3).long()
    x = _MEANS[which] + _SPREADS[which][:, None] * torch.randn(4000, 2)
    z = model.encode(x)
    assert z_scores(z, torch.zeros(2), torch.eye(2)).abs().max() < 5
    assert (model.decode(z) - x).abs().mean() < 0.01


def test_between_two_codes_lie_examples():
    spec = DataSpec((2,), Bytes(9))
    model = Diffusion(mixture(VP()), spec)
    z = torch.randn(6, 2)
    x = model.decode(z)
    assert ((x + 1) * 4).frac().abs().max() < 1e-9
    assert model.encode(x).shape == z.shape


# --- what sampling refuses


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sampler": "dpmp-2m"}, "did you mean 'dpmpp-2m'"),
        ({"grid": "karas"}, "did you mean 'karras'"),
        ({"sampler": "heun", "eta": 0.5}, "eta belongs to"),
        ({"sampler": Heun(), "eta": 0.5}, "the sampler is Heun; leave"),
        ({"sampler": "dpmpp-2m", "eta": 1.5}, "eta is from 0"),
        ({"guidance": 2.0, "guidance_interval": (0.8, 0.2)}, "from a time to a later"),
        ({"guidance": 2.0, "guidance_interval": (0.2, "x")}, r"such as 0.2,0.8, and \(0.2, 'x'\)"),
        ({"guidance": 2.0, "guidance_interval": (0.2,)}, "from a time to a later"),
        ({"steps": 10**9}, "at most 100,000"),
        ({"steps": 0}, "at least 1 step"),
    ],
)
def test_bad_options_are_named_in_one_sentence(options, match):
    model = Diffusion(mixture(VP()), DataSpec((2,), Real(), cond=class_spec(2)))
    with pytest.raises(UserError, match=match):
        model.sample(2, torch.zeros(2, dtype=torch.int64), **options)


def test_guidance_without_classes_is_refused():
    model = Diffusion(normal(VP(), 0.5), DataSpec((1,), Real()))
    model.denoiser.cond = None
    for options in ({"guidance": 2.0}, {"guidance_interval": (0.2, 0.8)}):
        with pytest.raises(UserError, match="knows none"):
            model.sample(2, **options)


def test_the_grid_is_the_callers_the_models_or_what_suits_the_sampler():
    def times(schedule, model_grid=None, **options):
        model = Diffusion(normal(schedule, 0.5), DataSpec((1,), Real()), grid=model_grid, steps=6)
        return [1.0, *(s.t for s in model.trajectory(1, **options))]

    uniform, even = VP().grid(6), LogSNR()(VP(), 6)
    assert times(VP(), sampler="ddim") == uniform
    for which in ("heun", "edm", "dpm-2", "dpm-3", "dpmpp-2m", "dpmpp-2m-sde", "unipc"):
        assert times(VP(), sampler=which) == even
        assert times(EDM(), sampler=which) == EDM().grid(6)
        assert times(Rectified(), sampler=which) == Rectified().grid(6)
    assert times(VP(), "quadratic", sampler="unipc") == Quadratic()(VP(), 6)
    assert times(VP(), "quadratic", sampler="unipc", grid="uniform") == uniform


def test_plans_are_made_beforehand_and_have_no_hole():
    schedule = VP()
    for which in ("heun", "dpm-2", "dpm-3", "edm"):
        plan = SAMPLERS[which]().plan(schedule, LogSNR()(schedule, 6))
        assert [round(s.start, 3) for s in plan] >= [0.0] * 6
        for a, b in itertools.pairwise(plan):
            assert a.start > b.start
