r"""sde: solvers of :math:`dx = f(t, x)\, dt + g(t, x)\, dw` with noise for each element.

References:
    Numerical solution of stochastic differential equations (Kloeden and Platen, 1992), eq. 10.2.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.solvers.ode import Field

Drift = Field
"""f: the mean change of x in a unit of time, of x's shape."""

Diffusion = Callable[[float, Tensor], Tensor | float]
"""g: the standard deviation of the change, of x's shape, or one number for all."""


def euler_maruyama(
    drift: Drift, diffusion: Diffusion, x: Tensor, start: float, end: float, steps: int
) -> Tensor:
    """Equal steps of strong order one half, and of weak order one; backwards in time too.

    >>> still = euler_maruyama(lambda t, x: -x, lambda t, x: 0.0, torch.ones(1), 0.0, 1.0, 1000)
    >>> round(still.item(), 3)
    0.368
    """
    h = (end - start) / steps
    root = math.sqrt(abs(h))
    for i in range(steps):
        t = start + i * h
        g = diffusion(t, x)
        moved = torch.add(x, drift(t, x), alpha=h)
        if isinstance(g, Tensor):
            x = moved.addcmul_(g, torch.randn_like(x), value=root)
        elif g:
            x = moved.add_(torch.randn_like(x), alpha=root * g)
        else:
            x = moved
    return x
