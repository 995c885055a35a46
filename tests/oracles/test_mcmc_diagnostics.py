"""Diagnostics on chains whose mixing is known in closed form."""

import math
from itertools import islice

import pytest
import torch

from pofx.errors import UserError
from pofx.mcmc.chains import Chains
from pofx.mcmc.diagnostics import diagnose, effective_sample_size, split_rhat
from pofx.mcmc.langevin import langevin
from pofx.mcmc.mala import mala

pytestmark = pytest.mark.usefixtures("double")


def autoregression(rho, steps, chains):
    """x' = rho x + noise, of unit variance, from its stationary distribution."""
    x, draws = torch.randn(chains), []
    for _ in range(steps):
        draws.append(x)
        x = rho * x + math.sqrt(1 - rho**2) * torch.randn(chains)
    return torch.stack(draws)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_the_effective_sample_size_is_that_of_an_autoregression(rho):
    draws = autoregression(rho, 2000, 16)
    expected = draws.numel() * (1 - rho) / (1 + rho)
    assert abs(float(effective_sample_size(draws)) / expected - 1) < 0.15
    apart = (1 + rho) / (1 - rho) / 1000  # the variance of the mean of half a chain
    assert abs(float(split_rhat(draws)) - math.sqrt(1 + apart)) < 0.006


def test_it_tells_how_far_means_are_off():
    """The variance of the mean over many repetitions is that of `ess` independent draws."""
    draws = autoregression(0.8, 400, 400)
    found = float(effective_sample_size(draws)) / 400
    assert abs(float(draws.mean(0).var()) * found - 1) < 5 * (2 / 400) ** 0.5 + 0.05


def test_rhat_is_the_closed_form_of_chains_apart():
    n, apart = 2000, torch.tensor([-1.0, 1.0, 3.0, 5.0])
    draws = torch.randn(n, 4) + apart
    between = apart.repeat(2).var()
    assert abs(float(split_rhat(draws)) - math.sqrt(1 + between)) < 0.05


def test_a_drift_shows_between_the_halves_of_one_chain():
    draws = torch.randn(1000, 1) + torch.linspace(0, 4, 1000)[:, None]
    assert float(split_rhat(draws)) > 1.3


def test_stuck_chains_are_worth_few_draws():
    draws = torch.randn(1000, 4) * 0.1 + torch.tensor([-1.0, 1.0, -1.0, 1.0])
    assert float(effective_sample_size(draws)) < 20


def test_elements_are_judged_apart():
    draws = torch.stack([autoregression(0.9, 1000, 8), autoregression(0.0, 1000, 8)], 2)
    slow, fast = effective_sample_size(draws).tolist()
    assert slow < 0.15 * fast


def test_langevin_s_draws_are_worth_what_its_correlation_says():
    """On N(0, 1) Langevin dynamics is an autoregression with rho = 1 - step / 2."""
    start = torch.randn(20, 1) / math.sqrt(1 - 0.4 / 4)
    found = diagnose(islice(langevin(torch.neg, start, 0.4), 3000), warmup=0)
    assert abs(float(found.ess) / (60_000 * 0.2 / 1.8) - 1) < 0.1
    assert found.acceptance is None
    assert found.draws.shape == (3000, 20, 1)
    assert not torch.equal(found.draws[0], found.draws[1]), "each step is kept by itself"


def test_a_diagnosis_counts_refusals_and_leaves_the_warm_up_out():
    chains = mala(lambda x: x.square().sum(1) / 2, torch.full((50, 2), 30.0), 1.0)
    found = diagnose(islice(chains, 400))
    assert len(found.draws) == 200
    assert 0.5 < found.acceptance < 0.98
    assert float(found.draws.abs().max()) < 10
    assert float(found.rhat.max()) < 1.05


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: split_rhat(torch.zeros(3, 5)), "at least 4 steps"),
        (lambda: diagnose([]), "at least 4 steps"),
        (lambda: diagnose(islice(langevin(torch.neg, torch.zeros(0, 2), 0.1), 20)), "and a chain"),
        (lambda: diagnose([], warmup=math.nan), "from 0 to below 1, and nan came"),
        (lambda: diagnose([], warmup=-1.0), "and -1.0 came"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, says):
    with pytest.raises(UserError, match=says):
        call()


def test_draws_keep_no_graph():
    chains = (Chains(torch.randn(4, 2, requires_grad=True)) for _ in range(8))
    assert not diagnose(chains).draws.requires_grad


def test_split_rhat_is_the_definition():
    """sqrt(((n - 1) / n W + B / n) / W) of halves of n steps (Gelman et al., 2013, eq. 11.4)."""
    draws = torch.randn(10, 3, dtype=torch.float64) + torch.tensor([0.0, 0.5, 1.0])
    halves = torch.cat([draws[:5], draws[5:]], 1)
    within = halves.var(0, correction=1).mean()
    total = 4 / 5 * within + halves.mean(0).var(correction=1)
    assert split_rhat(draws).item() == pytest.approx((total / within).sqrt().item(), rel=1e-12)
