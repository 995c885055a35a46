"""work: what a piece of computation costs, counted, not timed, so that equal runs agree on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_CALL = 4000
"""Numbers that a kernel could write in the time that it takes to call it."""
_PRODUCTS = 20
"""Multiplications of a matrix product in the time that it takes to write a number."""


class Work(TorchDispatchMode):
    """Counts the work of what runs inside, roughly in numbers written.

    >>> import torch
    >>> with Work() as once: _ = torch.ones(100, 100) @ torch.ones(100, 100)
    >>> with Work() as twice: _ = [torch.ones(100, 100) @ torch.ones(100, 100) for _ in range(2)]
    >>> twice.total == 2 * once.total > 0
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        written = sum(t.numel() for t in _tensors(out if isinstance(out, tuple | list) else [out]))
        self.total += _CALL + written + _multiplications(func, args, kwargs or {}, out) / _PRODUCTS
        return out


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)]


def _multiplications(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    known = flop_registry.get(func._overloadpacket)
    if known is not None:
        return known(*args, **kwargs, out_val=out) / 2
    if "linear" in func.__name__:  # oneDNN's
        x, weight = _tensors(args)[:2]
        return x.numel() * weight.shape[0]
    return 0.0
