r"""pixel_lstm: recurrent layers over an image, in which no pixel sees itself or a later one.

An LSTM runs over the rows of an image, or over its diagonals, with a convolution from one state to
the next:

.. math:: (o, f, i, g) = K_{ss} * h_{t-1} + K_{is} * x_t, \qquad
    c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad
    h_t = \sigma(o) \odot \tanh(c_t)

From row to row the convolution spans three pixels, so that a pixel sees a triangle above it. From
diagonal to diagonal it spans the pixel above and that to the left, in one direction and mirrored in
the other; together they see all that came before.

References:
    Pixel recurrent neural networks (van den Oord et al., 2016), eq. 3 and sections 3.1-3.3.
    https://arxiv.org/abs/1601.06759

Note:
    The way from the right brings what stands before a pixel of the row above, and not that pixel:
    the last of that row is seen within reach of the first convolution alone, as in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.masked_conv import ColourConv


class Recurrence(nn.Module):
    """A convolutional LSTM along the last axis but one: `(n, 4 c, steps, places) -> (n, c, ...)`.

    Args:
        channels: c, of a state.
        margin: places that a state sees to the left and to the right of its own.

    >>> Recurrence(3, (1, 1))(torch.zeros(2, 12, 5, 4)).shape
    torch.Size([2, 3, 5, 4])
    """

    def __init__(self, channels: int, margin: tuple[int, int]) -> None:
        super().__init__()
        self.margin = margin
        self.state = nn.Conv1d(channels, 4 * channels, sum(margin) + 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        h = c = inputs.new_zeros(inputs.shape[0], inputs.shape[1] // 4, inputs.shape[3])
        states = []
        for step in inputs.unbind(2):
            o, f, i, g = (self.state(F.pad(h, self.margin)) + step).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 2)


class RowLSTM(nn.Module):
    """From row to row: `(n, inputs, h, w) -> (n, channels, h, w)`; a pixel sees itself, too.

    Args:
        inputs: channels of an image.
        channels: of the states.
        colours: how many there are; each has a share of the channels.
    """

    def __init__(self, inputs: int, channels: int, colours: int) -> None:
        super().__init__()
        self.input = ColourConv(inputs, 4 * channels, colours, 1, parts=4)
        self.recurrence = Recurrence(channels, (1, 1))

    def forward(self, h: Tensor) -> Tensor:
        return self.recurrence(self.input(h))


class DiagonalBiLSTM(nn.Module):
    """From diagonal to diagonal, both ways: `(n, inputs, h, w) -> (n, channels, h, w)`.

    The way from the right is shifted down by a row, or a pixel would see those to its right.
    Arguments as for `RowLSTM`.
    """

    def __init__(self, inputs: int, channels: int, colours: int) -> None:
        super().__init__()
        ways = range(2)
        self.inputs = nn.ModuleList(
            ColourConv(inputs, 4 * channels, colours, parts=4) for _ in ways
        )
        self.recurrences = nn.ModuleList(Recurrence(channels, (1, 0)) for _ in ways)

    def forward(self, h: Tensor) -> Tensor:
        right = self._way(0, h)
        left = self._way(1, h.flip(3)).flip(3)
        return right + F.pad(left, (0, 0, 1, 0))[:, :, :-1]

    def _way(self, way: int, h: Tensor) -> Tensor:
        diagonals = skewed(self.inputs[way](h)).transpose(2, 3)
        return unskewed(self.recurrences[way](diagonals).transpose(2, 3))


def skewed(h: Tensor) -> Tensor:
    """Each row one place further to the right than the last: `(..., h, w) -> (..., h, w + h - 1)`.

    >>> skewed(torch.tensor([[1, 2], [3, 4]]))
    tensor([[1, 2, 0],
            [0, 3, 4]])
    """
    height, width = h.shape[-2:]
    flat = F.pad(h, (0, height)).flatten(-2)[..., : height * (width + height - 1)]
    return flat.unflatten(-1, (height, -1))


def unskewed(h: Tensor) -> Tensor:
    """The inverse of `skewed`."""
    height, length = h.shape[-2:]
    flat = F.pad(h.flatten(-2), (0, height))
    return flat.unflatten(-1, (height, length + 1))[..., : length - height + 1]


class PixelLSTM(nn.Module):
    """Residual recurrent layers: `(n, colours * inputs, h, w) -> (n, colours * outputs, h, w)`.

    Args:
        inputs: how many numbers each colour is seen as.
        outputs: how many numbers come out for each colour.
        colours: how many there are.
        layer: the kind of layer.
        channels: of a state, at least; twice as many between layers.
        layers: how many.
        classes: how many a label may name; 0 for none.

    >>> PixelLSTM(1, 2, 3, DiagonalBiLSTM, channels=3, layers=2)(torch.zeros(5, 3, 4, 6)).shape
    torch.Size([5, 6, 4, 6])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        colours: int,
        layer: type[RowLSTM | DiagonalBiLSTM],
        *,
        channels: int = 16,
        layers: int = 2,
        classes: int = 0,
    ) -> None:
        super().__init__()
        channels = -(-channels // colours) * colours
        wide, reach = 2 * channels, 3
        self.above = nn.Conv2d(colours * inputs, wide, (reach, 2 * reach + 1))
        self.left = ColourConv(colours * inputs, wide, colours, reach, strict=True)
        self.label = nn.Embedding(classes, wide) if classes else None
        self.layers = nn.ModuleList(layer(wide, channels, colours) for _ in range(layers))
        self.widen = nn.ModuleList(ColourConv(channels, wide, colours) for _ in range(layers))
        self.hidden = ColourConv(wide, wide, colours)
        self.last = ColourConv(wide, colours * outputs, colours)
        self.margin = (reach, reach, reach, 0)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.above(F.pad(x[:, :, :-1], self.margin)) + self.left(x)
        if self.label is not None:
            h = h + self.label(cond)[:, :, None, None].to(h.dtype)
        for layer, widen in zip(self.layers, self.widen, strict=True):
            h = h + widen(layer(h))
        return self.last(self.hidden(h.relu()).relu())
