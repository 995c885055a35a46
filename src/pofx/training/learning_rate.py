"""learning_rate: the factor by which a recipe's learning rate is multiplied as training goes on."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["constant", "cosine", "linear"]


def factor(step: int, progress: float, *, warmup: int = 0, decay: Decay = "constant") -> float:
    """Linear warm-up over `warmup` steps, then a decay to 0 over the budget.

    Args:
        step: steps already taken.
        progress: the share of the budget that is spent, in [0, 1].
        warmup: steps over which the rate rises to its full value.
        decay: `constant`, `cosine` or `linear`.

    >>> factor(0, 0.0, warmup=10), factor(500, 0.5, decay="cosine")
    (0.1, 0.5)
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    progress = min(progress, 1.0)
    if decay == "cosine":
        return rise * round(0.5 + 0.5 * math.cos(math.pi * progress), 12)
    return rise * (1 - progress) if decay == "linear" else rise
