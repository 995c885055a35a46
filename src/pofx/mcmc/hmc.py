r"""hmc: Hamiltonian Monte Carlo, long moves that are seldom refused.

A chain is given a random momentum p and follows the motion of
:math:`H(x, p) = E(x) + \tfrac12 |p|^2` for a while, by the leapfrog scheme,

.. math:: p \leftarrow p + \tfrac{h}{2} s(x), \quad x \leftarrow x + h p, \quad
    p \leftarrow p + \tfrac{h}{2} s(x),

which is reversible, keeps volumes and gains or loses energy by a term of the order of :math:`h^2`
only; Metropolis' test of that term makes p exactly invariant. With a single leapfrog step of
:math:`h = \sqrt{\epsilon}` it is MALA.

References:
    Hybrid Monte Carlo (Duane et al., 1987). https://doi.org/10.1016/0370-2693(87)91197-X
    MCMC using Hamiltonian dynamics (Neal, 2011), eq. 5.18 to 5.20 and figure 2.
    https://arxiv.org/abs/1206.1901
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.gradients import EnergyFunction, ScoreFunction, Slope, SlopeFunction, slope_of
from pofx.functional.reductions import sum_event
from pofx.mcmc.chains import Chains, check_step, metropolis, select
from pofx.typing import Data, PerExample


class Phase(NamedTuple):
    """A point of the motion: where it is, how it moves, and the slope there."""

    x: Data
    momentum: Tensor
    slope: Slope

    @property
    def hamiltonian(self) -> PerExample:
        """Potential and kinetic energy, `(n,)`; the motion keeps it but for the scheme's error."""
        return self.slope.energy + sum_event(self.momentum.square()) / 2


def leapfrog(slope: SlopeFunction, phase: Phase, step: float, leaps: int) -> Phase:
    """Follows the motion for a time of `step * leaps`."""
    x, momentum, here = phase
    for _ in range(leaps):
        momentum = momentum + step / 2 * here.score
        x = x + step * momentum
        here = slope(x)
        momentum = momentum + step / 2 * here.score
    return Phase(x, momentum, here)


@torch.no_grad()
def hmc(
    energy: EnergyFunction,
    x: Data,
    step: float,
    leaps: int = 10,
    *,
    score: ScoreFunction | None = None,
) -> Iterator[Chains]:
    """Moves chains without end.

    Args:
        energy: `-log p` up to a constant.
        x: where the chains start, `(n, *event)`.
        step: h, of the leapfrog scheme; at most twice the narrowest standard deviation.
        leaps: of a move; a move of about a quarter of a swing, `step * leaps` of 1.5 standard
            deviations, forgets the most.
        score: minus the gradient of the energy; by automatic differentiation if there is none.
    """
    check_step(step)
    if leaps < 1:
        raise UserError(f"a move is of at least one leap, and {leaps} came; 10 are usual.")
    slope = slope_of(energy, score)
    here = slope(x)
    while True:
        start = Phase(x, torch.randn_like(x), here)
        end = leapfrog(slope, start, step, leaps)
        accepted, probability = metropolis(start.hamiltonian - end.hamiltonian)
        x, *moved = select(accepted, (end.x, *end.slope), (x, *here))
        here = Slope(*moved)
        yield Chains(x, probability)
