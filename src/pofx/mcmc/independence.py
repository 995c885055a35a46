r"""independence: proposals that forget where the chain was, put to Metropolis' test.

.. math:: y \sim q, \qquad \log r = E(x) - E(y) + \log q(x) - \log q(y)

Where q covers p, as in few dimensions it can, chains jump between modes that no small step joins,
and so find how modes are weighed. In many dimensions hardly a proposal is accepted.

References:
    Markov chains for exploring posterior distributions (Tierney, 1994), section 2.3.3.
    https://doi.org/10.1214/aos/1176325750
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from pofx.functional.gradients import EnergyFunction, check_energy
from pofx.mcmc.chains import Chains, metropolis, select
from pofx.typing import Data


@torch.no_grad()
def independence(
    energy: EnergyFunction,
    x: Data,
    draw: Callable[[int], Data],
    draw_energy: EnergyFunction,
) -> Iterator[Chains]:
    """Moves chains without end.

    Args:
        energy: `-log p` up to a constant.
        x: where the chains start, `(n, *event)`.
        draw: as many draws of q as are asked for.
        draw_energy: `-log q` up to a constant.

    Where q is p itself every proposal is accepted:

    >>> square = lambda x: x.square() / 2
    >>> next(independence(square, torch.zeros(3), torch.randn, square)).acceptance
    tensor([1., 1., 1.])
    """

    def tilt(x: Data) -> torch.Tensor:
        return check_energy(energy(x), x) - check_energy(draw_energy(x), x)

    here = tilt(x)
    while True:
        y = draw(x.shape[0])
        there = tilt(y)
        accepted, probability = metropolis(here - there)
        x, here = select(accepted, (y, there), (x, here))
        yield Chains(x, probability)
