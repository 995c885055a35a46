r"""Evidence: when do two means differ by more than luck?

A model is refused on evidence that a right one gives less than once in a million seeds. What is
averaged lies between -1 and 1, so only rare values can hide from an estimated variance; of those
that have a share above 17 / n in the mean, n draws miss all with probability :math:`e^{-17}`.
"""

from __future__ import annotations

import math

from torch import Tensor

_ERRORS = 6.0
"""Standard errors that luck does not explain: one-sided, 1e-9."""
_RARE = 17.0


def away(values: Tensor, expected: float = 0.0) -> float:
    """How far the mean of bounded `values`, `(n,)`, is from what is expected; 0 if luck may be the
    reason.
    """
    n = len(values)
    gap = float(values.mean()) - expected
    return gap if abs(gap) > _ERRORS * _error(values) + _RARE / n else 0.0


def apart(a: Tensor, b: Tensor) -> float:
    """How far the means of two independent sets of numbers in [0, 1] are apart; 0 if luck may be
    the reason.
    """
    gap = float(a.mean() - b.mean())
    error = math.hypot(_error(a), _error(b))
    return gap if abs(gap) > _ERRORS * error + _RARE / min(len(a), len(b)) else 0.0


def above(values: Tensor, limit: float = 0.0) -> float:
    """How far the mean of numbers without bounds is above a limit; 0 if luck may be the reason."""
    gap = float(values.mean()) - limit
    return gap if gap > _ERRORS * _error(values) else 0.0


def _error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
