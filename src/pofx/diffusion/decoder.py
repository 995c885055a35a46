r"""decoder: the likelihood of an example given a Gaussian guess of it, in the relaxed space.

A level of a discrete value owns the cell about it; the outermost cells are endless, so the masses
sum to one:

.. math:: P(x) = \Phi\Big(\frac{x + h - \mu}{s}\Big) - \Phi\Big(\frac{x - h - \mu}{s}\Big)

with h half the distance of two levels. A category, embedded as a corner of a cube, has a mass
proportional to the Gaussian density at its corner. A continuous value keeps its density.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 13.
    https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.functional.dequantize import split_as_relaxed, split_relaxed
from pofx.functional.reductions import sum_event
from pofx.spec import Binary, Categorical, DataSpec, Simple
from pofx.typing import Data, PerExample


def log_likelihood(x: Data, mu: Tensor, std: float, spec: DataSpec) -> PerExample:
    """Log p(x), nats per example, given the relaxed mean `mu` and standard deviation `std`."""
    parts = zip(split_as_relaxed(x, spec), split_relaxed(mu, spec), strict=True)
    each = [sum_event(_log_likelihood(v, m, std, support)) for (v, support), (m, _) in parts]
    return torch.stack(each).sum(0)


def _log_likelihood(x: Tensor, mu: Tensor, std: float, support: Simple) -> Tensor:
    if isinstance(support, Categorical):
        return torch.log_softmax(mu * (2 / std**2), 1).gather(1, x.long())
    if not support.discrete:
        return -0.5 * ((x - mu) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    levels = support.levels
    x = 2 * x - 1 if isinstance(support, Binary) else x
    half = 1 / (levels - 1)
    upper = torch.where(x + half > 1, math.inf, (x + half - mu) / std)
    lower = torch.where(x - half < -1, -math.inf, (x - half - mu) / std)
    return log_interval(lower, upper)


def log_interval(lower: Tensor, upper: Tensor) -> Tensor:
    """log(Phi(upper) - Phi(lower)) for lower < upper, accurate however far out in a tail.

    >>> log_interval(torch.tensor(-torch.inf), torch.tensor(0.0)).exp()
    tensor(0.5000)
    """
    flip = lower + upper > 0  # the left tail is where log_ndtr is accurate
    a = torch.where(flip, -upper, lower)
    b = torch.where(flip, -lower, upper)
    high, low = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    return high + torch.log(-torch.expm1(low - high))
