r"""gibbs: Gibbs sampling, of one site after another or of two sides by turns.

Each site in turn is drawn given all the others, which leaves the distribution invariant:

.. math:: x_i \sim p(x_i | x_{-i})

Where the sites fall into two sides that are each independent given the other, a sweep draws the
other side and comes back:

.. math:: h \sim p(h | v), \quad v \sim p(v | h)

References:
    Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images (Geman and
    Geman, 1984).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.gradients import check_energy
from pofx.functional.precision import at_least_float32
from pofx.typing import PerExample

Conditional = Callable[[Tensor], Tensor]
"""Draws one side given the other: `(n, *given) -> (n, *drawn)`."""

LogDensity = Callable[[Tensor], PerExample]
"""Log of a density up to a constant: `(n, *event) -> (n,)`."""

Kernel = Callable[[Tensor, LogDensity], Tensor]
"""Moves every chain and leaves the density as it is: `(n, *event) -> (n, *event)`."""


def sites(values: Sequence[Tensor]) -> Kernel:
    """Gibbs sampling of one site after another, in an order that each sweep draws anew, so that it
    is reversible.

    Args:
        values: what each element of an example may be; a density is asked once for each of them.

    A chain stays where it is at a site whose every value has a density of 0.

    >>> _ = torch.manual_seed(0)
    >>> sweep = sites([torch.arange(3.0)] * 2)
    >>> x = sweep(torch.zeros(3000, 2), lambda x: 50.0 * (x[:, 0] == x[:, 1]))
    >>> bool((x[:, 0] == x[:, 1]).all())
    True
    """

    def sweep(x: Tensor, log_f: LogDensity) -> Tensor:
        if x.shape[1:].numel() != len(values):
            raise UserError(
                f"Gibbs sampling of sites takes the values of every element, {len(values)} came, "
                f"and examples have {x.shape[1:].numel()} elements; give as many as there are."
            )
        for site in torch.randperm(len(values)).tolist():
            x = _draw_site(x, site, values[site].to(x), log_f)
        return x

    return sweep


def _draw_site(x: Tensor, site: int, values: Tensor, log_f: LogDensity) -> Tensor:
    n = len(x)
    each = x.flatten(1).repeat(len(values), 1)
    each[:, site] = values.repeat_interleave(n)
    rows = each.view(-1, *x.shape[1:])
    log_p = check_energy(log_f(rows), rows).view(len(values), n).T
    stuck = log_p.amax(1) == -math.inf
    p = torch.where(stuck[:, None], 1.0, log_p.softmax(1))
    try:
        drawn = values[torch.multinomial(p, 1)[:, 0]]
    except RuntimeError:
        raise UserError(
            "a density that Gibbs sampling asks for is finite or 0, and its log came as NaN or "
            "plus infinity; where an example is impossible its energy is plus infinity."
        ) from None
    each[:n, site] = torch.where(stuck, x.flatten(1)[:, site], drawn)
    return each[:n].view(x.shape)


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
