r"""mala: Langevin dynamics with every step put to Metropolis' test.

.. math:: y = x + \tfrac{\epsilon}{2} s(x) + \sqrt{\epsilon}\, z, \qquad
    \log r = E(x) - E(y) + \tfrac12 |z|^2 - \tfrac{1}{2 \epsilon} |x - y - \tfrac{\epsilon}{2}
    s(y)|^2

It leaves p exactly invariant. In high dimension the most is gained from a step whose proposals are
accepted with probability 0.574.

References:
    Exponential convergence of Langevin distributions and their discrete approximations (Roberts and
    Tweedie, 1996), section 1.4.2. https://doi.org/10.2307/3318418
    Optimal scaling of discrete approximations to Langevin diffusions (Roberts and Rosenthal, 1998),
    theorem 2. https://doi.org/10.1111/1467-9868.00123
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from pofx.functional.gradients import EnergyFunction, ScoreFunction, slope_of
from pofx.functional.reductions import sum_event
from pofx.mcmc.chains import Chains, check_step, metropolis, select
from pofx.typing import Data


@torch.no_grad()
def mala(
    energy: EnergyFunction, x: Data, step: float, *, score: ScoreFunction | None = None
) -> Iterator[Chains]:
    """Moves chains without end.

    Args:
        energy: `-log p` up to a constant.
        x: where the chains start, `(n, *event)`.
        step: epsilon, the variance of a proposal's noise.
        score: minus the gradient of the energy; by automatic differentiation if there is none.

    >>> _ = torch.manual_seed(0)
    >>> chains = mala(lambda x: x.square().sum(1) / 2, torch.zeros(100, 3), 0.1)
    >>> 0.9 < float(next(chains).acceptance.mean()) < 1
    True
    """
    check_step(step)
    slope = slope_of(energy, score)
    here = slope(x)
    while True:
        z = torch.randn_like(x)
        y = x + step / 2 * here.score + math.sqrt(step) * z
        there = slope(y)
        back = sum_event((x - y - step / 2 * there.score).square()) / step
        log_ratio = here.energy - there.energy + (sum_event(z.square()) - back) / 2
        accepted, probability = metropolis(log_ratio)
        x, *moved = select(accepted, (y, *there), (x, *here))
        here = type(here)(*moved)
        yield Chains(x, probability)
