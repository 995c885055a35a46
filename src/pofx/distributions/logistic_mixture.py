r"""logistic_mixture: the discretised logistic mixture of a pixel, whose colours see one another.

A pixel draws one of K components for all of its colours; a colour's mean is linear in those before
it:

.. math:: P(x) = \sum_k \pi_k \prod_j \mathrm{DL}\Big(x_j; \mu_{kj} + \sum_{i < j} c_{kji} x_i,
    s_{kj}\Big)

with DL of `pofx.distributions.logistic`. Summing over what is unknown of the last colours leaves
the same mixture over the first, so that a pixel may be known in part.

References:
    PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and other
    modifications (Salimans et al., 2017), eq. 1-3.
    https://arxiv.org/abs/1701.05517

Note:
    Means start side by side over [-1, 1], each component as wide as its share.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.distributions.heads import Head
from pofx.distributions.logistic import discretized_logistic_log_prob
from pofx.functional.dequantize import indices, values
from pofx.functional.reductions import sum_event
from pofx.spec import Bytes
from pofx.typing import Data, PerExample


class LogisticMixtureHead(Head):
    """One mixture for each pixel of an example `(colours, *rest)` of bytes.

    Args:
        shape: event shape `(colours, *rest)`.
        levels: values that a colour may take.
        components: of the mixture.

    >>> head = LogisticMixtureHead((3, 2, 2), 256, 10)
    >>> head.channels
    100
    >>> head.log_prob(torch.zeros(5, 100, 2, 2), torch.zeros(5, 3, 2, 2)).shape
    torch.Size([5])
    """

    centers: Tensor

    def __init__(self, shape: tuple[int, ...], levels: int, components: int = 10) -> None:
        colours = shape[0]
        super().__init__(shape, components * (1 + 2 * colours + colours * (colours - 1) // 2))
        self.levels, self.components = levels, components
        outermost = 1 - 1 / components
        centers = torch.linspace(-outermost, outermost, components)
        self.register_buffer("centers", centers, persistent=False)

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        return sum_event(self.each(parameters, x))

    def each(self, parameters: Tensor, x: Data, known: Tensor | None = None) -> Tensor:
        """Log P of each pixel, or of the colours of it that are known, its first; nats:
        `(n, *rest)`.
        """
        pixel = self._split(parameters)
        return (pixel.log_weights + self._evidence(pixel, x, known)).logsumexp(1)

    def sample(self, parameters: Tensor) -> Data:
        x = parameters.new_zeros(parameters.shape[0], self.shape[0], *parameters.shape[2:])
        known = torch.zeros(x.shape[1:], dtype=torch.bool, device=x.device)
        return self.complete(parameters, x, known)

    def complete(self, parameters: Tensor, x: Data, known: Tensor) -> Data:
        """Draws the colours that are not known, the last of each pixel."""
        pixel = self._split(parameters)
        logits = pixel.log_weights + self._evidence(pixel, x, known)
        k = (logits - torch.empty_like(logits).exponential_().log()).argmax(1, keepdim=True)
        return self._colours(pixel.of(k), x, known, torch.rand_like(x).clamp(1e-6, 1 - 1e-6))

    def mean(self, parameters: Tensor) -> Data:
        """The mean of each pixel's weightiest component."""
        pixel = self._split(parameters)
        chosen = pixel.of(pixel.log_weights.argmax(1, keepdim=True))
        x = torch.zeros_like(chosen.mean[:, 0])
        nothing = torch.zeros_like(x[0], dtype=torch.bool)
        return self._colours(chosen, x, nothing, torch.full_like(x, 0.5))

    def _colours(self, pixel: _Pixel, x: Data, known: Tensor, u: Tensor) -> Data:
        """Colour after colour from the one component that is left, at quantiles u."""
        drawn: list[Tensor] = []
        for j in range(self.shape[0]):
            mean = pixel.mean[:, 0, j]
            for i, before in enumerate(drawn):
                mean = mean + pixel.slope[:, 0, _pair(i, j)] * before
            y = self._on_grid(mean + pixel.log_scale[:, 0, j].exp() * u[:, j].logit())
            drawn.append(torch.where(known[j], x[:, j], y))
        return torch.stack(drawn, 1)

    def _evidence(self, pixel: _Pixel, x: Data, known: Tensor | None) -> Tensor:
        """Log P of the known colours under each component: `(n, components, *rest)`."""
        means = []
        for j in range(self.shape[0]):
            mean = pixel.mean[:, :, j]
            for i in range(j):
                mean = mean + pixel.slope[:, :, _pair(i, j)] * x[:, None, i]
            means.append(mean)
        mean = torch.stack(means, 2)
        each = discretized_logistic_log_prob(x[:, None], mean, pixel.log_scale, self.levels)
        return (each if known is None else torch.where(known, each, 0.0)).sum(2)

    def _split(self, parameters: Tensor) -> _Pixel:
        k, c = self.components, self.shape[0]
        logits, means, scales, slopes = parameters.split([k, k * c, k * c, k * c * (c - 1) // 2], 1)
        centers = self.centers.view(k, 1, *(1,) * (parameters.ndim - 2))
        return _Pixel(
            logits.log_softmax(1),
            means.unflatten(1, (k, c)) + centers,
            (scales.unflatten(1, (k, c)) - math.log(k)).clamp(-7, 3),
            slopes.unflatten(1, (k, -1)).tanh(),
        )

    def _on_grid(self, x: Tensor) -> Data:
        support = Bytes(self.levels)
        return values(indices(x.clamp(-1, 1), support), support).to(x.dtype)


class _Pixel(NamedTuple):
    """The parameters of each pixel; all but the weights are `(n, components, colours, *rest)`."""

    log_weights: Tensor
    mean: Tensor
    log_scale: Tensor
    slope: Tensor

    def of(self, k: Tensor) -> _Pixel:
        """The one component of each pixel that `k` names: `(n, 1, *rest)`."""
        rest = [
            torch.take_along_dim(t, k[:, :, None].expand(-1, -1, t.shape[2], *k.shape[2:]), 1)
            for t in self[1:]
        ]
        return _Pixel(torch.take_along_dim(self.log_weights, k, 1), *rest)


def _pair(i: int, j: int) -> int:
    """The number of a pair of colours i < j."""
    return j * (j - 1) // 2 + i
