r"""reflection: chains between walls, by mirror images of what is between them.

.. math:: \text{fold}(u) = 1 - \big| ((u + 1) \bmod 4) - 2 \big|

maps the line to [-1, 1] as a path is seen that bounces off walls there. An energy of what is folded
repeats itself along the line, and a chain of it, folded, is one of the energy between the walls:
Langevin dynamics, MALA and HMC treat every image alike, so that what is between the walls is left
invariant just so far as they leave an energy of the whole line invariant, and no proposal is
refused because it lies beyond a wall.

References:
    MCMC using Hamiltonian dynamics (Neal, 2011), the part on handling constraints: a particle
    bounces off a wall. https://arxiv.org/abs/1206.1901
"""

from __future__ import annotations

import torch
from torch import Tensor


def fold(u: Tensor) -> Tensor:
    """Where `u` is seen between walls at -1 and 1; what is there already is itself.

    >>> fold(torch.tensor([0.5, 1.25, -1.5, 3.0, 4.5])).tolist()
    [0.5, 0.75, -0.5, -1.0, 0.5]
    """
    return torch.where(u.abs() <= 1, u, 1 - (torch.remainder(u + 1, 4) - 2).abs())
