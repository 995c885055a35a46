r"""marginals: between levels, each spread evenly over its cell, and a standard normal variable.

A value of L levels with probabilities p is spread evenly over cells of [-1, 1]. Its distribution is
piecewise linear, with a knot at each level, and that of z is standard normal:

.. math:: F(y) = \sum_{l < k} p_l + u p_k, \quad k + u = \tfrac{L}{2} (y + 1), \quad
    z = \Phi^{-1}(F(y)), \quad \log \frac{dz}{dy} = \log \frac{L p_k}{2} - \log \mathcal{N}(z; 0, 1)

Elements lie along the last axis, and each has its own levels: probabilities are `(size, width)`, 0
where a level is none of the element's, and levels `(size,)`.

References:
    Gaussianization (Chen and Gopinath, 2000), section 2.
    https://papers.nips.cc/paper/1856-gaussianization
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def to_normal(y: Tensor, log_p: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Z and the log of dz/dy, nats, `(n, size)` both.

    >>> even = torch.tensor([[0.5, 0.5]]).log()
    >>> to_normal(torch.tensor([[0.0], [0.5]]), even, torch.tensor([2]))[0].flatten()
    tensor([0.0000, 0.6745])
    """
    k, u = cells(y, levels)
    own, p = pick(log_p, k), log_p.exp()
    below = pick(p.cumsum(1) - p, k)
    eps = torch.finfo(y.dtype).eps
    z = torch.special.ndtri((below + u * own.exp()).clamp(eps, 1 - eps))
    return z, own + (0.5 * levels).log() + 0.5 * (z.square() + _LOG_2PI)


def from_normal(z: Tensor, p: Tensor, levels: Tensor) -> Tensor:
    """The y that `to_normal` sends to z, in [-1, 1]."""
    up_to = p.cumsum(1)
    reached = torch.special.ndtr(z)
    k = torch.searchsorted(up_to.contiguous(), reached.T.contiguous(), right=True).T
    k = torch.minimum(k, levels - 1)
    own = pick(p, k).clamp(min=torch.finfo(p.dtype).tiny)
    u = ((reached - pick(up_to - p, k)) / own).clamp(0, 1)
    return (k + u) * (2 / levels) - 1


def moments_within(p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of z over the cell of each level, `(size, width)` both.

    >>> mean, variance = moments_within(torch.tensor([[0.5, 0.5]]))
    >>> mean, variance  # of half a normal distribution
    (tensor([[-0.7979,  0.7979]]), tensor([[0.3634, 0.3634]]))
    """
    up_to = p.cumsum(1)
    knots = torch.cat([torch.zeros_like(p[:, :1]), up_to / up_to[:, -1:]], 1).clamp(max=1)
    z = torch.special.ndtri(knots)
    density = torch.exp(-0.5 * (z.square() + _LOG_2PI))
    slope = torch.where(z.isfinite(), z * density, 0.0)
    share = p.clamp(min=torch.finfo(p.dtype).tiny)
    mean = -density.diff(dim=1) / share
    return mean, (1 - slope.diff(dim=1) / share - mean.square()).clamp(min=0)


def cells(y: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The cell of each element, and the place within it, in [0, 1]."""
    at = (y + 1) * (0.5 * levels)
    k = torch.minimum(at.detach().floor().clamp(min=0).long(), levels - 1)
    return k, (at - k).clamp(0, 1)


def pick(of: Tensor, k: Tensor) -> Tensor:
    """The entries of `(size, width)` for the cells of examples, `(n, size)`."""
    return of.flatten().index_select(0, (k + firsts(of)).flatten()).reshape(k.shape)


def firsts(of: Tensor) -> Tensor:
    """Where the levels of each element begin in `of`, flattened."""
    return torch.arange(len(of), device=of.device) * of.shape[1]


def counts(k: Tensor, like: Tensor) -> Tensor:
    """How often each level of each element is in cells `(n, size)`, of the shape of `like`."""
    found = torch.bincount((k + firsts(like)).flatten(), minlength=like.numel())
    return found.reshape(like.shape).to(like)
