"""conditioner: networks that say, of one half of an example, where the other half goes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pofx.flow.coupling import Couplings, ElementwiseCoupling
from pofx.flow.elementwise import Affine, Elementwise
from pofx.functional.products import linear, linear_relu
from pofx.nn.condition import condition
from pofx.nn.zeroed import zeroed
from pofx.spec import DataSpec
from pofx.typing import Cond

_EMBEDDING = 16
_AFFINE = Affine()


class VectorConditioner(nn.Module):
    """A fully connected network whose output starts at zero: `(inputs, n) -> (outputs, n)`.

    Biases of the first layer are spread wide, so that the kinks of its rectifiers cover the range
    of standardised data: with one or two inputs the usual narrow ones start all of them near the
    origin.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: tuple[int, ...] = (128, 128),
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.label = condition(cond, _EMBEDDING)
        sizes = [inputs + (_EMBEDDING if cond else 0), *hidden, outputs]
        layers = [_rectified(a, b) for a, b in pairwise(sizes)]
        nn.init.uniform_(layers[0].bias, -2, 2)
        zeroed(layers[-1])
        self.hidden, self.last = nn.ModuleList(layers[:-1]), layers[-1]

    def forward(self, a: Tensor, cond: Cond | None = None) -> Tensor:
        h = a.t() if self.label is None else torch.cat([a.t(), self.label(cond)], 1)
        for layer in self.hidden:
            h = linear_relu(h, layer.weight, layer.bias)  # type: ignore[arg-type]
        # the layer's transpose comes out as the coupling wants it, `(outputs, n)`
        return linear(self.last.weight, h).to(a.dtype).add_(self.last.bias[:, None])


class ImageConditioner(nn.Module):
    """A small residual network whose output starts at zero: `(n, inputs, h, w) -> (n, outputs, h,
    w)`.

    Within, channels come last in memory, where convolutions take half the time; what comes out has
    the precision of what went in.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int = 32,
        blocks: int = 2,
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.label = condition(cond, channels)
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_block(channels) for _ in range(blocks))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, outputs, 3, padding=1))
        zeroed(self.last[-1])

    def forward(self, a: Tensor, cond: Cond | None = None) -> Tensor:
        h = self.first(a.contiguous(memory_format=torch.channels_last))
        if self.label is not None:
            h = h + self.label(cond)[:, :, None, None]
        for block in self.blocks:
            h = h + block(h)
        return self.last(h).to(a.dtype, memory_format=torch.contiguous_format)


def _rectified(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def _block(channels: int) -> nn.Sequential:
    wide = nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Sequential(nn.ReLU(), wide, nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1))


def vector_couplings(
    size: int,
    layers: int,
    hidden: tuple[int, ...],
    map: Elementwise = _AFFINE,
    cond: DataSpec | None = None,
) -> Couplings:
    """Couplings between the halves of a vector, each with a network of its own."""
    halves = ((size + 1) // 2, size // 2)
    sizes = [halves if i % 2 == 0 else halves[::-1] for i in range(layers)]
    nets = [VectorConditioner(a, map.numbers * b, hidden, cond) for a, b in sizes]
    return Couplings([ElementwiseCoupling(net, map) for net in nets], halves[0])
