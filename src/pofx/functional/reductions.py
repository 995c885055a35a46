"""Reductions over an example's own axes."""

from __future__ import annotations

from torch import Tensor


def sum_event(x: Tensor) -> Tensor:
    """Sums over every axis but the first: `(n, *event) -> (n,)`.

    >>> import torch
    >>> sum_event(torch.ones(2, 3, 4))
    tensor([12., 12.])
    """
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def expand_like(scalar: Tensor, x: Tensor) -> Tensor:
    """Views one number per example, `(n,)`, so that it broadcasts over `x`, `(n, *event)`."""
    return scalar.reshape(scalar.shape[0], *(1,) * (x.ndim - 1))
