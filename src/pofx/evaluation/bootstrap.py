"""Bootstrap: intervals of a statistic of two samples (Efron, 1979).

Drawing rows anew with replacement repeats rows, which adds to a distance the same bias once more
that a finite sample has already. The spread of the resampled values is what we want, their shift is
not: the interval is their percentiles moved so that their mean is the statistic itself.

References:
    Bootstrap methods: another look at the jackknife (Efron, 1979).
    https://doi.org/10.1214/aos/1176344552
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.evaluation.blocks import Stop, poll
from pofx.functional.random import stream


class Interval(NamedTuple):
    """A statistic of the samples at hand, and where it would fall for others of the same counts."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Tensor, Tensor], float],
    a: Tensor,
    b: Tensor,
    *,
    resamples: int = 50,
    confidence: float = 0.95,
    seed: int = 0,
    stop: Stop | None = None,
) -> Interval:
    """The centred percentile interval of `statistic(a, b)` over resampled rows of both samples.

    >>> a, b = torch.zeros(100, 1), torch.ones(100, 1)
    >>> bootstrap(lambda a, b: float(b.mean() - a.mean()), a, b, resamples=5)
    Interval(value=1.0, low=1.0, high=1.0)
    """
    value = statistic(a, b)
    generator = torch.Generator().manual_seed(stream("bootstrap", seed))
    values = torch.empty(resamples, dtype=torch.float64)
    for i in range(resamples):
        poll(stop)
        rows = [torch.randint(len(t), (len(t),), generator=generator).to(t.device) for t in (a, b)]
        values[i] = statistic(a[rows[0]], b[rows[1]])
    tail = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = (value + values.quantile(tail) - values.mean()).tolist()
    return Interval(value, min(low, value), max(high, value))
