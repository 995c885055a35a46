r"""times: at which noise levels a denoiser is trained, one for each example.

What is drawn decides how often each level is learned from, and so has the part of a weight; noise
levels that matter most are in the middle.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), algorithm 1: steps of the chain.
    https://arxiv.org/abs/2006.11239
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    section 4.2: geometric levels. https://arxiv.org/abs/1907.05600
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 7: even times.
    https://arxiv.org/abs/2011.13456
    Variational diffusion models (Kingma et al., 2021), eq. 18: even in the logarithm of the ratio.
    https://arxiv.org/abs/2107.00630
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), section
    5: log-normal. https://arxiv.org/abs/2206.00364
    Scaling rectified flow Transformers for high-resolution image synthesis (Esser et al., 2024),
    section 3.1: logit-normal. https://arxiv.org/abs/2403.03206
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pofx.diffusion.schedule import Schedule


class Times(ABC):
    """A rule that draws times."""

    @abstractmethod
    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        """A time for each example of `x0`, `(n,)`."""


class Steps(Times):
    """Any step of a chain, k / T for k from 1 to T.

    Args:
        count: T.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        k = torch.randint(1, self.count + 1, (x0.shape[0],), device=x0.device)
        return k.to(x0) / self.count


class Even(Times):
    """Any time between the schedule's first and 1."""

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        return schedule.first + (1 - schedule.first) * _uniform(x0)


class LogitNormal(Times):
    r""":math:`\mathrm{logit}(t) \sim N(\mu, \lambda^2)`: rarely close to data or to noise.

    Args:
        mean: mu; above 0 draws more noise.
        std: lambda.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = mean, std

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        return (self.mean + self.std * _normal(x0)).sigmoid()


class LogNormal(Times):
    r""":math:`\log(\sigma / \alpha) \sim N(\mu, \lambda^2)`.

    Args:
        mean: mu.
        std: lambda.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        self.mean, self.std = mean, std

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        return schedule.time((self.mean + self.std * _normal(x0)).exp())


class LogSNR(Times):
    """Even in the logarithm of the ratio of noise to signal, from the schedule's first to its last:
    with the weight that an unweighted loss on eps has, a bound of the likelihood.
    """

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        return _between(schedule, _uniform(x0))


class Geometric(Times):
    """One of a number of levels whose ratios of noise to signal grow by a constant factor, from the
    schedule's first to its last.

    Args:
        count: how many levels.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, schedule: Schedule, x0: Tensor) -> Tensor:
        k = torch.randint(0, self.count, (x0.shape[0],), device=x0.device)
        return _between(schedule, k.to(x0) / (self.count - 1))


def _between(schedule: Schedule, share: Tensor) -> Tensor:
    """The time this share of the way from the first to the last, in the logarithm of the ratio."""
    first, last = (math.log(schedule.ratio(t)) for t in (schedule.first, schedule.last))
    return schedule.time((first + share * (last - first)).exp())


def _uniform(x0: Tensor) -> Tensor:
    return torch.rand(x0.shape[0], dtype=x0.dtype, device=x0.device)


def _normal(x0: Tensor) -> Tensor:
    return torch.randn(x0.shape[0], dtype=x0.dtype, device=x0.device)
