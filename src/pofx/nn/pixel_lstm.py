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

from pofx.nn.condition import shift
from pofx.nn.masked_conv import ColourConv, ColourWindow, Head, Point, by_colour
from pofx.spec import DataSpec


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
            h, c = cell(self.state(F.pad(h, self.margin)) + step, c)
            states.append(h)
        return torch.stack(states, 2)


def cell(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """H and c of a step, from those of the gates and the c before it."""
    o, f, i, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


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

    def unrolled(self, n: int, width: int) -> _RowSteps:
        """The layer, pixel by pixel."""
        return _RowSteps(self, n, width)


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

    def unrolled(self, n: int, width: int) -> _DiagonalSteps:
        """The layer, pixel by pixel."""
        return _DiagonalSteps(self, n, width)

    def convolutions(self) -> tuple[ColourConv, ColourConv]:
        """From an image to the gates, there and mirrored."""
        here, mirrored = self.inputs
        return here, mirrored  # type: ignore[return-value]

    def weights(self) -> tuple[Tensor, Tensor]:
        """From state to state, there and mirrored."""
        here, mirrored = (r.state.weight for r in self.recurrences)  # type: ignore[union-attr]
        return here, mirrored  # type: ignore[return-value]

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
        cond: the spec of the condition, if there is one.

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
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        channels = -(-channels // colours) * colours
        wide, reach = 2 * channels, 3
        self.above = nn.Conv2d(colours * inputs, wide, (reach, 2 * reach + 1))
        self.left = ColourConv(colours * inputs, wide, colours, reach, strict=True)
        self.label = shift(cond, wide)
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

    def unrolled(self, n: int, height: int, width: int, cond: Tensor | None) -> LSTMByPixel:
        """The network, pixel by pixel."""
        return LSTMByPixel(self, n, height, width, cond)


class LSTMByPixel:
    """A `PixelLSTM` whose image becomes known element by element, for one pass's cost.

    What stands above and to the left of a pixel is kept in the states, so that a new element costs
    one step of each layer; the way from the right takes a row once it is whole. Without gradients.

    Args:
        net: the network.
        n: how many examples.
        height: of an image.
        width: of an image.
        cond: a class for each example, if the network takes one.
    """

    def __init__(
        self, net: PixelLSTM, n: int, height: int, width: int, cond: Tensor | None
    ) -> None:
        self.net, self.cond, self.row, reach = net, cond, 0, net.left.reach
        self.left = ColourWindow(net.left, n, width)
        size = (n, net.left.in_channels, height + reach, width + 2 * reach)
        self.image = net.left.weight.new_zeros(size)
        self.above = self.image.new_empty(0)
        self.layers = [layer.unrolled(n, width) for layer in net.layers]  # type: ignore[operator]
        self.widen = [Point(conv, n) for conv in net.widen]  # type: ignore[arg-type]
        self.head = Head(net.hidden, net.last, n)

    @torch.no_grad()
    def start(self, row: int) -> None:
        """Turns to a row; all those above are known."""
        self.row = row
        above = self.net.above(self.image[:, :, row : row + self.left.reach])[:, :, 0]
        if self.net.label is not None:
            above = above + self.net.label(self.cond)[:, :, None]
        self.above = by_colour(above, self.net.left)
        self.left.clear()
        for layer in self.layers:
            layer.start(row)

    @torch.no_grad()
    def outputs(self, at: int, colour: int) -> Tensor:
        """What comes out for a colour of the pixel at a column: `(n, outputs)`."""
        h = self.left.step(at, colour, self.above[at, colour])
        for layer, widen in zip(self.layers, self.widen, strict=True):
            h = h + widen.step(colour, layer.step(at, colour, h))
        return self.head.step(colour, h)

    @torch.no_grad()
    def reveal(self, at: int, colour: int, x: Tensor) -> None:
        """Makes a colour of the pixel at a column known, as it is seen: `(n, inputs)`."""
        own = self.left.reveal(at, colour, x)
        self.image[:, own, self.row + self.left.reach, at + self.left.reach] = x


class _RowSteps:
    """A `RowLSTM` at one pixel, with the states of the row above."""

    def __init__(self, layer: RowLSTM, n: int, width: int) -> None:
        self.input, self.state = layer.input, layer.recurrence.state
        self.window, self.colours = ColourWindow(layer.input, n, width), layer.input.colours
        self.h = self.state.weight.new_zeros(n, self.state.in_channels, width)
        self.c, self.c_above = torch.zeros_like(self.h), torch.zeros_like(self.h)
        self.across = self.h.new_empty(0)

    def start(self, row: int) -> None:
        self.across = by_colour(self.state(F.pad(self.h, (1, 1))), self.input)
        self.c_above = self.c.clone()
        self.window.clear()

    def step(self, at: int, colour: int, x: Tensor) -> Tensor:
        self.window.reveal(at, colour, x)
        own = _share(self.h.shape[1], self.colours, colour)
        a = self.window.step(at, colour, self.across[at, colour])
        h, c = cell(a, self.c_above[:, own, at])
        self.h[:, own, at], self.c[:, own, at] = h, c
        return h


class _DiagonalSteps:
    """A `DiagonalBiLSTM` at one pixel, with the states of this row and the one above."""

    def __init__(self, layer: DiagonalBiLSTM, n: int, width: int) -> None:
        self.input, self.mirrored_input = layer.convolutions()
        self.window = ColourWindow(self.input, n, width)
        self.weight, self.mirrored = layer.weights()
        self.colours, channels = self.input.colours, self.weight.shape[1]
        self.above = self.weight.new_zeros(n, channels, width)  # h of the row above, from the left
        self.right = torch.zeros_like(self.above)  # and from the right
        self.h, self.c = (self.weight.new_zeros(n, channels, width + 1) for _ in range(2))
        self.across = self.h.new_empty(0)

    def start(self, row: int) -> None:
        if row > 0:
            self._from_the_right()
        self.above = self.h[:, :, 1:].clone()
        self.h.zero_()
        self.c.zero_()
        self.window.clear()

    def _from_the_right(self) -> None:
        """The mirrored way over the row that is whole now."""
        inputs = self.mirrored_input(self.window.seen.transpose(1, 2)[:, :, None])[:, :, 0]
        h = c = torch.zeros_like(self.right[:, :, 0])
        for at in reversed(range(inputs.shape[2])):
            a = inputs[:, :, at] + _state(self.mirrored, self.right[:, :, at], h)
            h, c = cell(a, c)
            self.right[:, :, at] = h

    def step(self, at: int, colour: int, x: Tensor) -> Tensor:
        self.window.reveal(at, colour, x)
        if colour == 0:
            a = _state(self.weight, self.above[:, :, at], self.h[:, :, at])
            self.across = by_colour(a[:, :, None], self.input)[0]
        own = _share(self.h.shape[1], self.colours, colour)
        h, c = cell(self.window.step(at, colour, self.across[colour]), self.c[:, own, at])
        self.h[:, own, at + 1], self.c[:, own, at + 1] = h, c
        return h + self.right[:, own, at]


def _state(weight: Tensor, above: Tensor, beside: Tensor) -> Tensor:
    """What two states say to the next: `(n, c) -> (n, 4 c)`."""
    return F.linear(above, weight[..., 0]) + F.linear(beside, weight[..., 1])


def _share(channels: int, colours: int, colour: int) -> slice:
    share = channels // colours
    return slice(colour * share, (colour + 1) * share)
