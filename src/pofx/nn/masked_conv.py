r"""masked_conv: convolutions in which no pixel sees itself or what comes after it.

Pixels come row by row, and the colours of a pixel in turn. Two stacks of features see all that came
before: v sees the rows above, h what is left of it in its own row as well as v:

.. math:: u = W_v * v, \qquad v' = \mathrm{gate}(u), \qquad
    h' = h + W_o \, \mathrm{gate}(W_h * h + W_u u), \qquad
    \mathrm{gate}(a, b) = \tanh(a) \odot \sigma(b)

with a bias of its class in each gate. Because v has the whole width of the rows above, no pixel
within reach hides in a blind spot. Features of h belong to one colour each, and see those of a
colour that is not later at their own pixel.

References:
    Conditional image generation with PixelCNN decoders (van den Oord et al., 2016), eq. 2 and 4 and
    figure 2.
    https://arxiv.org/abs/1606.05328

Note:
    Convolutions reach only upward or to the left, so that no weight is masked but between the
    colours of one pixel. The shift down by a row is in the first layer, and v is strictly above.
    Rows and columns may move the first gates, which the paper does not have.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.condition import shift
from pofx.spec import DataSpec


class ColourConv(nn.Conv2d):
    """Convolves a pixel with `reach` pixels to its left; its own colours are seen in order.

    Args:
        inputs: channels, an equal share for each colour.
        outputs: channels, an equal share for each colour, in each of `parts` parts.
        colours: how many there are.
        reach: pixels to the left.
        strict: whether a colour sees only those before it at its own pixel, and not itself.
        parts: how many runs of all colours the outputs are, side by side.

    >>> conv = ColourConv(3, 3, 3, strict=True)
    >>> conv.masked()[:, :, 0, 0].ne(0).long().tolist()
    [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        colours: int,
        reach: int = 0,
        *,
        strict: bool = False,
        parts: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, (1, reach + 1))
        self.reach, self.colours, self.parts = reach, colours, parts
        source = torch.arange(inputs) // (inputs // colours)
        share = outputs // parts
        target = (torch.arange(outputs) % share // (share // colours))[:, None]
        mask = torch.ones(outputs, inputs, 1, reach + 1)
        mask[:, :, 0, -1] = (target > source) if strict else (target >= source)
        self.register_buffer("mask", mask, persistent=False)
        self.full = colours == 1 and not strict

    def masked(self) -> Tensor:
        """The weights that are in use."""
        return self.weight if self.full else self.weight * self.mask

    def forward(self, h: Tensor) -> Tensor:
        return F.conv2d(F.pad(h, (self.reach, 0)), self.masked(), self.bias)

    def of_colours(self) -> list[Tensor]:
        """The weights of each colour's outputs, `(its outputs, pixels * inputs)`."""
        weight = self.masked()[:, :, 0].transpose(1, 2).flatten(1)
        by_colour = weight.unflatten(0, (self.parts, self.colours, -1))
        return [by_colour[:, j].flatten(0, 1) for j in range(self.colours)]


class GatedLayer(nn.Module):
    """One layer of both stacks: `(v, h) -> (v', h')`.

    Args:
        inputs: channels of v and of h.
        channels: those that come out.
        colours: how many there are.
        reach: pixels to either side, to the left and upward.
        cond: the spec of the condition, if there is one.
        size: height and width of an image, of which each row and each column moves the gates; the
            margin alone does not tell a pixel where it is. None for no such thing.
        first: whether v and h are the image itself, of which the pixel is not to be seen.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        colours: int,
        reach: int,
        cond: DataSpec | None = None,
        size: tuple[int, int] | None = None,
        *,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.reach = first, reach
        self.down = nn.Conv2d(inputs, 2 * channels, (reach + 1 - first, 2 * reach + 1))
        self.right = ColourConv(inputs, 2 * channels, colours, reach, strict=first, parts=2)
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = ColourConv(channels, channels, colours)
        self.label = shift(cond, 4 * channels)
        self.place = _Place(4 * channels, *size) if size else None

    def forward(self, v: Tensor, h: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        side = self.reach
        above = F.pad(v[:, :, :-1] if self.first else v, (side, side, side, 0))
        u, across = self.above(above, cond)
        out = self.out(gate(self.right(h) + across))
        return gate(u), out if self.first else h + out

    def above(self, padded: Tensor, cond: Tensor | None, row: int = 0) -> tuple[Tensor, Tensor]:
        """What the rows above, with a margin of zeros, say to v and to h, from a row on; before the
        gate.
        """
        u = self.down(padded)
        to_v = to_h = u.new_zeros(())
        if self.label is not None:
            to_v, to_h = self.label(cond)[:, :, None, None].to(u.dtype).chunk(2, 1)
        if self.place is not None:
            place = self.place(slice(row, row + u.shape[2])).to(u.dtype)
            to_v, to_h = to_v + place[: u.shape[1]], to_h + place[u.shape[1] :]
        u = u + to_v
        return u, self.link(u) + to_h


class _Place(nn.Module):
    """What the row and the column of a pixel add to its features: `(channels, rows, width)`."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(channels, height))
        self.columns = nn.Parameter(torch.zeros(channels, width))

    def forward(self, rows: slice) -> Tensor:
        return self.rows[:, rows, None] + self.columns[:, None]


def gate(a: Tensor) -> Tensor:
    """The first half of the channels, as far as the second lets it through."""
    content, opening = a.chunk(2, 1)
    return content.tanh() * opening.sigmoid()


class GatedStacks(nn.Module):
    """Both stacks: `(n, colours * inputs, h, w) -> (n, colours * outputs, h, w)`.

    What comes out for a colour of a pixel has seen the colours before it and the pixels before.

    Args:
        inputs: how many numbers each colour is seen as.
        outputs: how many numbers come out for each colour.
        colours: how many there are.
        channels: features of each stack; at least so many, for colours share them equally.
        layers: how many, the first of which sees the image.
        reach: how far each layer sees.
        first: how far the first layer sees.
        cond: the spec of the condition, if there is one.
        size: height and width of an image, if a pixel is to know where it is.

    >>> GatedStacks(1, 2, 3, channels=6, layers=2)(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        colours: int,
        *,
        channels: int = 32,
        layers: int = 5,
        reach: int = 1,
        first: int = 3,
        cond: DataSpec | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.colours, self.inputs, self.outputs = colours, inputs, outputs
        channels = -(-channels // colours) * colours
        widths = [colours * inputs, *[channels] * layers]
        self.layers = nn.ModuleList(
            GatedLayer(
                a, b, colours, reach if i else first, cond, None if i else size, first=i == 0
            )
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.hidden = ColourConv(channels, channels, colours)
        self.last = ColourConv(channels, colours * outputs, colours)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        v = h = x
        for layer in self.gated:
            v, h = layer(v, h, cond)
        return self.last(self.hidden(h.relu()).relu())

    def unrolled(self, n: int, height: int, width: int, cond: Tensor | None) -> PixelByPixel:
        """The network, pixel by pixel."""
        return PixelByPixel(self, n, height, width, cond)

    @property
    def gated(self) -> list[GatedLayer]:
        """The layers."""
        return list(self.layers)  # type: ignore[arg-type]


class PixelByPixel:
    """`GatedStacks` whose image becomes known element by element, for one pass's cost.

    The vertical stack is computed once a row, and what h has made of the pixels to the left is
    kept, so that a new element costs its own column of every layer and no more. Without gradients.

    Args:
        net: the network.
        n: how many examples.
        height: of an image.
        width: of an image.
        cond: a class for each example, if the network takes one.

    >>> net, x = GatedStacks(1, 1, 1, channels=4, layers=2), torch.randn(5, 1, 2, 1)
    >>> steps = PixelByPixel(net, 5, 2, 1)
    >>> for row in range(2):
    ...     steps.start(row)
    ...     out = steps.outputs(0, 0)
    ...     steps.reveal(0, 0, x[:, :, row, 0])
    >>> torch.allclose(out, net(x)[:, :, 1, 0], atol=1e-6)
    True
    """

    def __init__(
        self, net: GatedStacks, n: int, height: int, width: int, cond: Tensor | None = None
    ) -> None:
        self.cond, self.row = cond, 0
        self.columns = [_Column(layer, n, height, width) for layer in net.gated]
        self.head = Head(net.hidden, net.last, n)

    @torch.no_grad()
    def start(self, row: int) -> None:
        """Turns to a row; all those above are known."""
        self.row = row
        below: list[_Column | None] = [*self.columns[1:], None]
        for column, next_column in zip(self.columns, below, strict=True):
            v = column.start(row, self.cond)
            if next_column is not None:
                next_column.above[:, :, row + next_column.reach, next_column.inner] = v

    @torch.no_grad()
    def outputs(self, at: int, colour: int) -> Tensor:
        """What comes out for a colour of the pixel at a column: `(n, outputs)`."""
        h = self.columns[0].step(at, colour)
        for column in self.columns[1:]:
            column.left.reveal(at, colour, h)
            h = h + column.step(at, colour)
        return self.head.step(colour, h)

    @torch.no_grad()
    def reveal(self, at: int, colour: int, x: Tensor) -> None:
        """Makes a colour of the pixel at a column known, as it is seen: `(n, inputs)`."""
        first = self.columns[0]
        own = first.left.reveal(at, colour, x)
        first.above[:, own, self.row + first.reach, at + first.reach] = x


class ColourWindow:
    """A `ColourConv` along one row that becomes known pixel after pixel, colour after colour.

    Args:
        conv: the convolution.
        n: how many examples.
        width: of the row.
    """

    def __init__(self, conv: ColourConv, n: int, width: int = 1) -> None:
        assert conv.bias is not None
        by_part = conv.bias.unflatten(0, (conv.parts, conv.colours, -1))
        self.biases = [by_part[:, j].flatten() for j in range(conv.colours)]
        self.weights = [w.t() for w in conv.of_colours()]
        self.reach, self.share = conv.reach, conv.in_channels // conv.colours
        self.seen = conv.weight.new_zeros(n, conv.reach + width, conv.in_channels)

    def clear(self) -> None:
        """Turns to another row."""
        self.seen.zero_()

    def reveal(self, at: int, colour: int, h: Tensor) -> slice:
        """Writes a colour of a pixel, `(n, its channels)`; which channels these are."""
        own = slice(colour * self.share, (colour + 1) * self.share)
        self.seen[:, at + self.reach, own] = h
        return own

    def step(self, at: int, colour: int, plus: Tensor | None = None) -> Tensor:
        """A colour's outputs at a pixel, `(n, its outputs)`: later colours are still zero.

        With something to add to them that has the bias in it, or with the bias.
        """
        window = self.seen[:, at : at + self.reach + 1].flatten(1)
        plus = self.biases[colour] if plus is None else plus
        return torch.addmm(plus, window, self.weights[colour])


class Point:
    """A `ColourConv` without reach at one pixel after another."""

    def __init__(self, conv: ColourConv, n: int) -> None:
        self.window, self.alone = ColourWindow(conv, n), conv.colours == 1

    def step(self, colour: int, h: Tensor) -> Tensor:
        """A colour's outputs from its inputs, `(n, its channels)`, and the colours before it."""
        if self.alone:  # nothing to keep
            return torch.addmm(self.window.biases[0], h, self.window.weights[0])
        self.window.reveal(0, colour, h)
        return self.window.step(0, colour)


class Head:
    """The last two layers at one pixel after another."""

    def __init__(self, hidden: ColourConv, last: ColourConv, n: int) -> None:
        self.hidden, self.last = Point(hidden, n), Point(last, n)

    def step(self, colour: int, h: Tensor) -> Tensor:
        """What comes out for a colour."""
        return self.last.step(colour, self.hidden.step(colour, h.relu()).relu())


class _Column:
    """One layer at one pixel: all that it has seen, with a margin of zeros."""

    def __init__(self, layer: GatedLayer, n: int, height: int, width: int) -> None:
        self.layer, self.reach = layer, layer.reach
        self.rows = layer.down.kernel_size[0]
        self.inner = slice(self.reach, self.reach + width)
        self.left, self.out = ColourWindow(layer.right, n, width), Point(layer.out, n)
        size = (n, layer.right.in_channels, height + self.reach, width + 2 * self.reach)
        self.above = layer.right.weight.new_zeros(size)
        self.across = self.above.new_empty(0)

    def start(self, row: int, cond: Tensor | None) -> Tensor:
        """Computes v' of a row, and what its v says to h: once for all of its pixels."""
        u, across = self.layer.above(self.above[:, :, row : row + self.rows], cond, row)
        self.across = by_colour(across[:, :, 0], self.layer.right)
        self.left.clear()
        return gate(u)[:, :, 0]

    def step(self, at: int, colour: int) -> Tensor:
        """What is added to a colour at a pixel: `(n, share)`."""
        return self.out.step(colour, gate(self.left.step(at, colour, self.across[at, colour])))


def by_colour(row: Tensor, conv: ColourConv) -> Tensor:
    """What is to be added to a convolution of a row, and its bias, for each pixel and colour:
    `(n, c, w) -> (w, colours, n, share)`.
    """
    assert conv.bias is not None
    apart = (row + conv.bias[:, None]).unflatten(1, (conv.parts, conv.colours, -1))
    return apart.permute(4, 2, 0, 1, 3).flatten(3).contiguous()
