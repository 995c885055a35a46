"""Parallel tempering against enumeration, where chains at one temperature stay where they began."""

import math
import re

import pytest
import torch
from torch.distributions import Bernoulli, Independent

from pofx.ebm.energy import binary_states
from pofx.ebm.harmonium import AnnealedPath, SmallHarmonium
from pofx.ebm.units import Bits
from pofx.errors import UserError
from pofx.mcmc.geometric_path import GeometricPath
from pofx.mcmc.gibbs import sites
from pofx.mcmc.tempering import parallel_tempering, swap_log_ratio

pytestmark = pytest.mark.usefixtures("double")

BETAS = torch.linspace(0, 1, 9).tolist()


def states(n: int) -> torch.Tensor:
    return binary_states(0, 2**n, n, torch.zeros(()))


def two_modes() -> SmallHarmonium:
    """All visible units on or all off, of weights 0.8 and 0.2, and next to nothing between them."""
    rbm = SmallHarmonium(Bits((8,)), 4)
    with torch.no_grad():
        rbm.weight.fill_(4.0)
        rbm.visible.bias.fill_(-8.0)
        rbm.hidden_bias.fill_(-16.0)
        rbm.visible.bias += (math.log(0.8) - math.log(0.2)) / 8
    return rbm


def test_the_two_modes_are_far_apart():
    p = two_modes().log_prob(states(8)).exp().detach()
    assert math.isclose(float(p[-1] / p[0]), 4.0, rel_tol=1e-3)
    assert float(p[0] + p[-1]) > 0.99


def test_the_swap_s_ratio_is_that_of_the_energies():
    """For f = exp(-beta E): (beta - beta') (E(x) - E(x'))."""
    energy = torch.randn(8)

    class Tempered:
        def log_f(self, x, beta):
            return -beta * energy[x]

    x, other = torch.randint(0, 8, (2, 50))
    found = swap_log_ratio(Tempered(), x, other, 0.3, 0.8)
    assert torch.allclose(found, (0.3 - 0.8) * (energy[x] - energy[other]), atol=1e-12)


def test_impossible_states_swap_as_if_they_were_one():
    class Walled:
        def log_f(self, s, beta):
            return torch.where(s > 0, -math.inf, beta * s)

    low, high = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([2.0, -1.0, -2.0])
    found = swap_log_ratio(Walled(), low, high, 0.3, 0.8)
    assert torch.allclose(found, torch.tensor([0.0, 0.0, (0.3 - 0.8) * (-2.0 + 1.0)]))


def test_it_weighs_two_far_modes_rightly_where_gibbs_sampling_does_not():
    rbm = two_modes()
    path = AnnealedPath(rbm)
    n, sweeps = 400, 150
    zero = path.state(torch.zeros(n, 8))
    chains = parallel_tempering(path, [zero] * len(BETAS), BETAS)
    total = torch.zeros(n)
    for i in range(2 * sweeps):
        replicas = next(chains)
        if i >= sweeps:
            total += replicas.x[-1].v.mean(1) / sweeps
    p = rbm.log_prob(states(8)).exp()
    expected = float((p @ states(8).mean(1)).detach())
    assert expected > 0.79
    assert abs(float(total.mean()) - expected) < 5 * float(total.std()) / n**0.5
    assert float(total.std()) / n**0.5 < 0.02
    s = zero
    with torch.no_grad():
        for _ in range(2 * sweeps):
            s = path.transition(s, 1.0)
    assert float(s.v.mean()) < 0.3, "at one temperature they stay where they began"


def test_every_temperature_keeps_its_own_density():
    """From exact samples at every beta, steps with swaps leave exact samples at every beta."""
    energy = 1.5 * torch.randn(8)
    base = Independent(Bernoulli(torch.tensor([0.3, 0.5, 0.8])), 1)
    number = torch.tensor([4.0, 2, 1])
    path = GeometricPath(
        base, lambda x: energy[(x @ number).long()], sites([torch.arange(2.0)] * 3)
    )
    betas, n = [0.0, 0.5, 1.0], 40_000
    exact = [path.log_f(states(3), beta).softmax(0) for beta in betas]
    start = [states(3)[torch.multinomial(p, n, replacement=True)] for p in exact]
    chains = parallel_tempering(path, start, betas)
    swaps = torch.stack([next(chains).swaps for _ in range(2)])
    after = next(chains)
    for x, p in zip(after.x, exact, strict=True):
        share = torch.bincount((x @ number).long(), minlength=8) / n
        assert float(((share - p) / (p * (1 - p) / n).sqrt()).abs().max()) < 5
    assert bool(swaps[0, 0].isfinite().all())
    assert bool(swaps[0, 1].isnan().all()), "every other pair is tried"
    assert bool(swaps[1, 1].isfinite().all())
    expected = torch.zeros(())
    for i in range(8):
        for j in range(8):
            rate = math.exp(min(0.0, -0.5 * float(_tilt(path, i) - _tilt(path, j))))
            expected += exact[0][i] * exact[1][j] * rate
    assert abs(float(swaps[0, 0].mean() - expected)) < 5 * float(swaps[0, 0].std()) / n**0.5


def _tilt(path: GeometricPath, i: int) -> torch.Tensor:
    """Log of f at beta = 1 over f at beta = 0, for state i."""
    x = states(3)[i : i + 1]
    return -(path.log_f(x, 1.0) - path.log_f(x, 0.0))[0]


def test_samples_of_an_rbm_may_be_tempered():
    rbm = two_modes()
    rbm.visible.moments.fill_(0.4)
    plain, tempered = rbm.sample(400, sweeps=300), rbm.sample(400, sweeps=300, tempering=9)
    assert float(plain.mean()) < 0.5
    assert abs(float(tempered.mean()) - 0.8) < 5 * 0.4 / 20


def test_it_refuses_what_does_not_pair_up():
    path = AnnealedPath(two_modes())
    with pytest.raises(UserError, match="give as many of both"):
        next(parallel_tempering(path, [path.start(2)], [0.0, 1.0]))
    for betas in ([0.0, 0.5], [1.0, 0.0], [0.5, 0.25, 1.0], [-1.0, 1.0], [0.0, math.nan]):
        with pytest.raises(UserError, match="rise to 1"):
            next(parallel_tempering(path, [path.start(2)] * len(betas), betas))
    for counts in ([0, 0], [3, 4]):
        with pytest.raises(UserError, match=re.escape(f"one at least, and {counts} came")):
            next(parallel_tempering(path, [path.start(n) for n in counts], [0.0, 1.0]))
    for options in ({"tempering": 1}, {"tempering": 0}, {"tempering": 2, "sweeps": 0}):
        with pytest.raises(UserError, match="at least 2 temperatures and 1 sweep"):
            two_modes().sample(2, **options)
