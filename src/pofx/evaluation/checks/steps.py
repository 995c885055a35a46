"""Steps: from an example to another, as likely there and back, whatever the support."""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.spec import Bytes, DataSpec, Interval, Real

LADDER = 6
"""Sizes of steps, from 0, the smallest: each is four times that before."""


def step(spec: DataSpec, x: Tensor, spread: Tensor, size: int, g: torch.Generator) -> Tensor:
    """A random step from every row.

    A number moves by normal noise, and round the ends of an interval to the other one; a discrete
    element, if it is among those that move, is any of its values.

    Args:
        spec: what a row is.
        x: rows `(n, size)`, float64.
        spread: the standard deviation of each column.
        size: from 0 to `LADDER - 1`.
        g: the source of the noise.
    """
    scale = 2.4 / spec.size**0.5 * 4.0 ** (size - 3)
    y = x + scale * spread * torch.randn(x.shape, generator=g, dtype=x.dtype)
    supports = spec.columns
    bounded = torch.tensor([isinstance(c, Interval) for c in supports])
    y = torch.where(bounded, torch.remainder(y + 1, 2) - 1, y)
    discrete = torch.tensor([c.discrete for c in supports])
    if not discrete.any():
        return y
    u = torch.rand(x.shape, generator=g, dtype=x.dtype)
    share = min(1.0, 4.0**size / spec.size)
    moved = torch.rand(x.shape, generator=g, dtype=x.dtype) < share
    one = torch.randint(spec.size, (len(x), 1), generator=g)
    moved.scatter_(1, one, True)
    return torch.where(discrete, torch.where(moved, uniform(spec, u), x), y)


def uniform(spec: DataSpec, u: Tensor) -> Tensor:
    """Any value of each discrete element, by uniform numbers `(n, size)`; others are left as u."""
    supports = spec.columns
    count = torch.tensor([c.levels if c.discrete else 1 for c in supports], dtype=u.dtype)
    k = (u * count).floor().minimum(count - 1)
    is_bytes = torch.tensor([isinstance(c, Bytes) for c in supports])
    k = torch.where(is_bytes, k * (2 / (count - 1).clamp(min=1)) - 1, k)
    return torch.where(torch.tensor([isinstance(c, Real | Interval) for c in supports]), u, k)
