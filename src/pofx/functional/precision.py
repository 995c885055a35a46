"""Precision: where an answer in eight bits would not do."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 where its dtype is narrower, and as it is where not.

    >>> at_least_float32(torch.ones((), dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.ones((), dtype=torch.float64)).dtype
    torch.float64
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
