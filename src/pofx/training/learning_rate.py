"""learning_rate: the factor by which a recipe's learning rate is multiplied as training goes on."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["constant", "cosine", "linear"]


def factor(
    step: int,
    progress: float,
    *,
    warmup: int = 0,
    share: float | None = None,
    decay: Decay = "constant",
) -> float:
    """Linear warm-up over `warmup` steps, then a decay to 0 over the budget.

    Args:
        step: steps already taken.
        progress: the share of the budget that is spent, in [0, 1].
        warmup: steps over which the rate rises to its full value.
        share: of the budget, over which it rises where that is sooner.
        decay: `constant`, `cosine` or `linear`.

    >>> factor(0, 0.0, warmup=10), factor(500, 0.5, decay="cosine")
    (0.1, 0.5)
    >>> [factor(n, n / 40, warmup=100, share=0.1) for n in (0, 2, 4)]  # of 40 steps
    [0.01, 0.5, 1.0]
    """
    rise = (step + 1) / warmup if warmup else 1.0
    rise = min(1.0, max(rise, progress / share) if share else rise)
    progress = min(progress, 1.0)
    if decay == "cosine":
        return rise * round(0.5 + 0.5 * math.cos(math.pi * progress), 12)
    return rise * (1 - progress) if decay == "linear" else rise
