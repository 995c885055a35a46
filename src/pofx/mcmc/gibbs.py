r"""gibbs: block Gibbs sampling between two sides that are each independent given the other.

From x on one side, a sweep draws the other side and comes back; it leaves the joint distribution of
the two invariant:

.. math:: h \sim p(h | v), \quad v \sim p(v | h)

References:
    Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images (Geman and
    Geman, 1984).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.functional.precision import at_least_float32

Conditional = Callable[[Tensor], Tensor]
"""Draws one side given the other: `(n, *given) -> (n, *drawn)`."""


def block_gibbs(x: Tensor, there: Conditional, back: Conditional, steps: int) -> Tensor:
    """Takes `steps` sweeps from `x` and returns its side: `(n, *event) -> (n, *event)`.

    Args:
        x: where the chains are, `(n, *event)`, on either side.
        there: draws the other side given this one.
        back: draws this side given the other.
        steps: how many sweeps.
    """
    for _ in range(steps):
        x = back(there(x))
    return x


def bernoulli(logits: Tensor) -> Tensor:
    """Draws 0 or 1 with these logits of 1, in their dtype or, where that is narrower, in float32.

    A uniform number of eight bits is 0 once in 256 draws, and then turns on every unit that should
    all but never be. On a CPU this takes a third of the time of `torch.bernoulli`.
    """
    p = at_least_float32(logits).sigmoid()
    return torch.rand_like(p).lt_(p)
