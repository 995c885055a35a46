"""Batch: some examples, their conditions, and how far training has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from pofx.typing import Cond, Data


@dataclass(frozen=True)
class Batch:
    """Examples of one step.

    Args:
        x: examples, `(n, *event)`.
        cond: the condition of each, `(n, ...)`, or None.
        progress: the share of the training budget that is spent, in [0, 1). Schedules follow it,
            never a number of steps, so that a budget in minutes means what one in steps does.

    >>> import torch
    >>> batch = Batch(torch.arange(5.0), torch.arange(5), progress=0.5)
    >>> [len(part) for part in batch.chunk(2)], batch[:2].cond.tolist(), batch[3:].progress
    ([3, 2], [0, 1], 0.5)
    """

    x: Data
    cond: Cond | None = None
    progress: float = 0.0

    def __repr__(self) -> str:
        cond = "" if self.cond is None else f", conditions of shape {tuple(self.cond.shape[1:])}"
        shape = tuple(self.x.shape[1:])
        return f"Batch({len(self):,} of shape {shape}{cond}, progress {self.progress:.3g})"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """The examples at `rows`, with their conditions."""
        return self.map(lambda value: value[rows])

    def map(self, f: Callable[[Tensor], Tensor]) -> Batch:
        """Applies a function to the examples and to their conditions."""
        return replace(self, x=f(self.x), cond=None if self.cond is None else f(self.cond))

    def chunk(self, parts: int) -> list[Batch]:
        """Cuts the batch into at most so many parts, the first ones the larger, as torch does."""
        conds = [None] * parts if self.cond is None else self.cond.chunk(parts)
        pairs = zip(self.x.chunk(parts), conds, strict=False)
        return [replace(self, x=x, cond=cond) for x, cond in pairs]
