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

from pofx.functional.dequantize import relaxed_shape
from pofx.functional.reductions import sum_event
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Support
from pofx.typing import Data, PerExample


def log_likelihood(x: Data, mu: Tensor, std: float, spec: DataSpec) -> PerExample:
    """Log p(x), nats per example, given the relaxed mean `mu` and standard deviation `std`."""
    if relaxed_shape(spec) == spec.shape and not isinstance(spec.support, Mixed):
        return sum_event(_log_likelihood(x, mu, std, spec.support))
    widths = [c.levels if isinstance(c, Categorical) else 1 for c in spec.columns]
    columns = zip(x.flatten(1).unbind(1), mu.split(widths, 1), spec.columns, strict=True)
    return torch.stack([_column(v, m, std, c) for v, m, c in columns]).sum(0)


def _column(x: Tensor, mu: Tensor, std: float, support: Support) -> Tensor:
    if isinstance(support, Categorical):
        log_mass = torch.log_softmax(mu * (2 / std**2), 1)
        return log_mass.gather(1, x.long()[:, None])[:, 0]
    return _log_likelihood(x, mu[:, 0], std, support)


def _log_likelihood(x: Tensor, mu: Tensor, std: float, support: Support) -> Tensor:
    if not support.discrete:
        return -0.5 * ((x - mu) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    levels = support.levels  # type: ignore[union-attr]
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
