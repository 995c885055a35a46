"""Precision: where an answer in eight bits would not do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

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


def unrounded(x: Tensor) -> AbstractContextManager[Any]:
    """A block in which autocast rounds nothing on the device of `x`; a meta tensor has no numbers
    to round.

    >>> with torch.autocast("cpu", torch.bfloat16), unrounded(torch.ones(2, 2)):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    kind = x.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
