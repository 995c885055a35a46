"""Schedules, parameterisations, weightings and grids against their definitions."""

import itertools
import math

import pytest
import torch

from pofx.diffusion.grid import GRIDS, Karras, LogSNR, grid
from pofx.diffusion.parameterization import X0, Eps, Preconditioned, Score, V, Velocity
from pofx.diffusion.schedule import EDM, VE, VP, CosineVP, Level, LinearVP, Rectified, SubVP
from pofx.diffusion.weighting import MinSNR, Of
from pofx.errors import UserError

pytestmark = pytest.mark.usefixtures("double")
SCHEDULES = [LinearVP(), CosineVP(), VP(), SubVP(), VE(), EDM(), Rectified()]
PREDICTIONS = [Eps(), X0(), V(), Score(), Velocity(), Preconditioned(0.5)]


def name(x):
    return type(x).__name__


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_noise_rises_from_none_at_the_data_and_time_is_its_inverse(schedule):
    t = torch.linspace(0, 1, 3001)
    alpha, sigma = schedule(t)
    assert (alpha[0].item(), sigma[0].item()) == (1, 0)
    ratio = sigma / alpha
    assert (ratio[:-1].diff() > 0).all()
    inner = (t >= schedule.first) & (t <= schedule.last)
    assert torch.allclose(schedule.time(ratio[inner]), t[inner], atol=1e-9)
    assert schedule.ratio(schedule.last) < math.inf
    assert schedule.ratio(0.5) == pytest.approx(ratio[1500].item())


def test_levels_are_those_of_the_papers():
    alpha, sigma = SubVP()(torch.tensor(0.4))
    integral = 0.5 * 0.4**2 * 19.9 + 0.4 * 0.1
    assert alpha.item() == pytest.approx(math.exp(-0.5 * integral))
    assert sigma.item() == pytest.approx(1 - math.exp(-integral))
    _, sigma = VE(0.01, 50.0)(torch.tensor(0.3))
    assert sigma.item() == pytest.approx(math.sqrt((0.01 * 5000**0.3) ** 2 - 0.01**2))
    assert VE().ratio(VE().first) == pytest.approx(0.01)
    assert [v.item() for v in Rectified()(torch.tensor(0.3))] == pytest.approx([0.7, 0.3])
    # Karras et al., eq. 5, but for the last of its steps, which starts at sigma_min
    wanted = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    for lay, schedule in ((grid("uniform"), EDM()), (Karras(), EDM()), (Karras(), VE(0.002, 80.0))):
        sigmas = [sigma for _, sigma in schedule.scales(lay(schedule, 18))]
        assert sigmas[1:] == pytest.approx([*wanted[1:], 0.0], rel=1e-6)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.last == 1], ids=name)
def test_rates_are_those_of_the_equation_that_makes_the_noise(schedule):
    """Mean and variance by Euler's method in tiny steps from one time to another."""
    times = torch.linspace(0.4, 0.5, 20_001).tolist()
    (alpha, sigma), (alpha_s, sigma_s) = schedule.scales([0.4, 0.5])
    mean, variance = alpha, sigma**2
    for f, square in schedule.rates(times[:-1]):
        mean, variance = mean * (1 + f * 5e-6), variance + (2 * f * variance + square) * 5e-6
    assert (mean, math.sqrt(variance)) == pytest.approx((alpha_s, sigma_s), rel=1e-4)


def test_rates_of_vp_and_ve_are_closed_forms():
    ((f, square),) = VP().rates([0.3])
    beta = 0.1 + 0.3 * 19.9
    assert (f, square) == pytest.approx((-beta / 2, beta))
    ((f, square),) = SubVP().rates([0.3])
    integral = 0.5 * 0.3**2 * 19.9 + 0.3 * 0.1
    assert (f, square) == pytest.approx((-beta / 2, beta * (1 - math.exp(-2 * integral))))
    ((f, square),) = VE().rates([0.3])
    assert f == 0
    assert square == pytest.approx((0.01 * 5000**0.3) ** 2 * 2 * math.log(5000))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_conversions_round_trip_for_every_schedule(schedule, prediction):
    x0, eps = torch.randn(2, 40, 3)
    t = torch.linspace(max(schedule.first, 0.01), schedule.last, 40)
    level = schedule.level(t, 2)
    x_t = level.alpha * x0 + level.sigma * eps
    output = prediction.target(x0, eps, level)
    size = (level.sigma / level.alpha).clamp(min=1) * (level.alpha / level.sigma).clamp(min=1)
    for found, true in (
        (prediction.clean(output, x_t, level), x0),
        (prediction.noise(output, x_t, level), eps),
    ):
        assert ((found - true).abs() / size).max() < 1e-10


def test_preconditioned_output_is_that_of_the_paper_and_has_unit_variance():
    s, sigma, n = 0.5, 1.7, 200_000
    x0, eps = s * torch.randn(n), torch.randn(n)
    x = x0 + sigma * eps
    skip = s**2 / (sigma**2 + s**2)
    out = sigma * s / math.sqrt(sigma**2 + s**2)
    found = Preconditioned(s).target(x0, eps, Level(torch.ones(1), 1.0, sigma))
    assert torch.allclose(found, (x0 - skip * x) / out, atol=1e-12)
    assert found.var().item() == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    level = Level(torch.ones(1), 0.6, 0.8)
    assert torch.allclose(Preconditioned(1.0).target(x0, eps, level), -V().target(x0, eps, level))


def test_targets_of_score_and_velocity():
    x0, eps, level = torch.randn(4), torch.randn(4), Level(torch.ones(1), 0.6, 0.8)
    x_t = 0.6 * x0 + 0.8 * eps
    assert torch.allclose(Score().target(x0, eps, level), -(x_t - 0.6 * x0) / 0.64)
    assert torch.allclose(Velocity().target(x0, eps, level), eps - x0)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_weights_turn_an_error_of_the_clean_guess_into_one_of_the_prediction(prediction):
    x0, eps, level = torch.randn(5), torch.randn(5), Level(torch.ones(1), 0.6, 0.8)
    output = torch.randn(5)
    error = (output - prediction.target(x0, eps, level)).square()
    clean = (x0 - prediction.clean(output, 0.6 * x0 + 0.8 * eps, level)).square()
    assert torch.allclose(error, Of(prediction)(level) * clean, atol=1e-10)


def test_named_weights():
    level = Level(torch.ones(2), torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.1]))
    assert torch.allclose(
        Of(Preconditioned(0.5))(level), (level.sigma**2 + 0.25) / (level.sigma * 0.5) ** 2
    )
    assert torch.allclose(MinSNR(5.0)(level), torch.tensor([0.25, 5.0]))
    assert Of(X0())(level) == pytest.approx(torch.ones(2))
    vp = Level(torch.ones(1), 0.6, 0.8)
    assert Of(V())(vp) == pytest.approx(0.36 / 0.64 + 1)


@pytest.mark.parametrize("lay", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_grids_fall_from_noise_to_data_and_repeat_no_time(lay, schedule, steps):
    times = lay()(schedule, steps)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert all(a > b for a, b in itertools.pairwise(times))
    if steps > 1 and lay is not GRIDS["uniform"]:
        assert times[-2] == pytest.approx(schedule.first)


def test_a_grid_in_log_snr_is_even_in_it():
    schedule = VP()
    logs = [math.log(schedule.ratio(t)) for t in LogSNR()(schedule, 9)[:-1]]
    gaps = [a - b for a, b in itertools.pairwise(logs)]
    assert gaps == pytest.approx([gaps[0]] * 8)


def test_grids_that_are_refused():
    with pytest.raises(UserError, match="did you mean 'karras'"):
        grid("karas")
    for lay in GRIDS.values():
        with pytest.raises(UserError, match=r"at least 1 step|from 1 to 1000"):
            lay()(LinearVP(), 0)
