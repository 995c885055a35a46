"""heads: the likelihood p(x | parameters) of one example, chosen by the data's support.

A head says how many parameters a network must put out for each element, and turns them into a
log-probability, a sample or a mean. Binary data gets a Bernoulli, bytes a discretised logistic,
categories a softmax, real numbers a Gaussian with a learned variance: a grey image is never scored
as if it were a coin.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pofx.distributions.logistic import discretized_logistic_log_prob
from pofx.functional import bernoulli
from pofx.functional.dequantize import indices, values
from pofx.functional.reductions import sum_event
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, Support
from pofx.typing import Data, PerExample


class Head(nn.Module, ABC):
    """A factorised likelihood.

    Args:
        shape: event shape `(d, *rest)`.
        channels: what a network puts out is of shape `(n, channels, *rest)`.
    """

    def __init__(self, shape: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.shape, self.channels = shape, channels

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """The event shape of the parameters."""
        return (self.channels, *self.shape[1:])

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        """Log p(x | parameters), nats per example."""

    @abstractmethod
    def sample(self, parameters: Tensor) -> Data:
        """One draw for each row of parameters."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Data:
        """The mean, or the most probable value of what has none; in the support."""


class BernoulliHead(Head):
    """One logit for each element of 0 or 1."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape[0])

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        return bernoulli.log_prob(parameters.flatten(1), x.flatten(1))

    def sample(self, parameters: Tensor) -> Data:
        return torch.bernoulli(parameters.sigmoid())

    def mean(self, parameters: Tensor) -> Data:
        return (parameters > 0).to(parameters.dtype)


class GaussianHead(Head):
    """A mean for each element; the standard deviation is learned, one for each element or one for
    all.

    References:
        Simple and effective VAE training with calibrated decoders (Rybkin et al., 2021), section 4.
            https://arxiv.org/abs/2006.13202
    """

    def __init__(
        self, shape: tuple[int, ...], *, shared: bool = False, bound: float = math.inf
    ) -> None:
        super().__init__(shape, shape[0])
        self.bound = bound
        self.log_sigma = nn.Parameter(torch.zeros(() if shared else shape))

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, kept above 1e-3 so that a constant column has a density."""
        return self.log_sigma.exp() + 1e-3

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        z = (x - parameters) / self.sigma
        constant = self.sigma.log() + 0.5 * math.log(2 * math.pi)
        return sum_event(-0.5 * z**2 - constant)

    def sample(self, parameters: Tensor) -> Data:
        x = parameters + self.sigma * torch.randn_like(parameters)
        return x.clamp(-self.bound, self.bound)

    def mean(self, parameters: Tensor) -> Data:
        return parameters.clamp(-self.bound, self.bound)


class DiscretizedLogisticHead(Head):
    """A mean and a log-scale for each element of a grid of `levels` values."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, 2 * shape[0])
        self.levels = levels

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = parameters.chunk(2, 1)
        return mean, (log_scale - 2).clamp(-7, 3)

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        return sum_event(discretized_logistic_log_prob(x, *self._split(parameters), self.levels))

    def sample(self, parameters: Tensor) -> Data:
        mean, log_scale = self._split(parameters)
        u = torch.rand_like(mean).clamp(1e-6, 1 - 1e-6)
        return self._on_grid(mean + log_scale.exp() * torch.logit(u))

    def mean(self, parameters: Tensor) -> Data:
        return self._on_grid(self._split(parameters)[0])

    def _on_grid(self, x: Tensor) -> Data:
        support = Bytes(self.levels)
        return values(indices(x.clamp(-1, 1), support), support).to(x.dtype)


class CategoricalHead(Head):
    """`levels` logits for each element of a vector or an image of indices."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, levels * shape[0])
        self.levels = levels

    def _logits(self, parameters: Tensor) -> Tensor:
        """`(n, levels, *shape)`."""
        return parameters.unflatten(1, (self.shape[0], self.levels)).transpose(1, 2)

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        return -sum_event(
            nn.functional.cross_entropy(self._logits(parameters), x.long(), reduction="none")
        )

    def sample(self, parameters: Tensor) -> Data:
        logits = self._logits(parameters)
        gumbel = -torch.empty_like(logits).exponential_().log()
        return (logits + gumbel).argmax(1).to(parameters.dtype)

    def mean(self, parameters: Tensor) -> Data:
        return self._logits(parameters).argmax(1).to(parameters.dtype)


class MixedHead(Head):
    """A head of its own for each column of a table."""

    def __init__(self, columns: Sequence[Support]) -> None:
        heads = [head(DataSpec((1,), c)) for c in columns]
        super().__init__((len(columns),), sum(h.channels for h in heads))
        self.heads = nn.ModuleList(heads)
        self.widths = [h.channels for h in heads]

    def _columns(
        self, method: Callable[[Head, Tensor], Tensor], parameters: Tensor
    ) -> list[Tensor]:
        parts = parameters.split(self.widths, 1)
        return [method(h, p) for h, p in zip(self.heads, parts, strict=True)]  # type: ignore[arg-type]

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        parts = zip(self.heads, parameters.split(self.widths, 1), x.split(1, 1), strict=True)
        return torch.stack([h.log_prob(p, column) for h, p, column in parts]).sum(0)  # type: ignore[operator]

    def sample(self, parameters: Tensor) -> Data:
        return torch.cat(self._columns(lambda h, p: h.sample(p), parameters), 1)

    def mean(self, parameters: Tensor) -> Data:
        return torch.cat(self._columns(lambda h, p: h.mean(p), parameters), 1)


def head(spec: DataSpec) -> Head:
    """The likelihood that fits the data.

    >>> type(head(DataSpec((1, 28, 28), Bytes(256)))).__name__
    'DiscretizedLogisticHead'
    """
    match spec.support:
        case Binary():
            return BernoulliHead(spec.shape)
        case Bytes(levels):
            return DiscretizedLogisticHead(spec.shape, levels)
        case Categorical(levels):
            return CategoricalHead(spec.shape, levels)
        case Mixed(columns):
            return MixedHead(columns)
        case Interval():
            return GaussianHead(spec.shape, shared=spec.is_image, bound=1.0)
        case Real():
            return GaussianHead(spec.shape, shared=spec.is_image)
