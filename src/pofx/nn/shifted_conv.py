r"""shifted_conv: the network of PixelCNN++: shifted convolutions on several scales, with skips.

Two streams of features: u sees the rows above a pixel, ul those and what is left of it in its own
row. A convolution reaches up, or up and to the left, which keeps both as they are on every scale;
a residual block gates what it adds:

.. math:: h' = h + a \odot \sigma(b), \qquad
    (a, b) = W_2 * \phi(W_1 * \phi(h) + W_s \phi(\mathrm{skip})), \qquad
    \phi(h) = \mathrm{elu}([h, -h])

References:
    PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and other
    modifications (Salimans et al., 2017), sections 2.3-2.5 and figure 2.
    https://arxiv.org/abs/1701.05517

Note:
    Weights have torch's own start, that of a block's last layer a tenth of it, where the paper
    normalises them by the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.condition import shift
from pofx.spec import DataSpec

_Conv = Callable[[Tensor], Tensor]


class Shifted(nn.Conv2d):
    """A convolution up, and to both sides (`down`) or to the left (`right`): `(2, 3)` or `(2, 2)`.

    Args:
        inputs: channels.
        outputs: channels.
        right: whether a pixel sees its own row only up to itself.
        kernel: height and width, where they are others.
        stride: 2 halves the image, rounding up.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        right: bool,
        kernel: tuple[int, int] | None = None,
        stride: int = 1,
    ) -> None:
        height, width = kernel or (2, 2 if right else 3)
        super().__init__(inputs, outputs, (height, width), stride)
        left, sides = width - 1, width // 2
        self.margin = (left, 0, height - 1, 0) if right else (sides, sides, height - 1, 0)

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(F.pad(h, self.margin))


class Upward(nn.ConvTranspose2d):
    """Doubles an image's sides, so that a pixel still sees none that is not before it."""

    def __init__(self, channels: int, *, right: bool) -> None:
        super().__init__(channels, channels, (2, 2 if right else 3), 2)
        self.first = 0 if right else 1

    def forward(self, h: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(h)[..., self.first :]


class GatedResidual(nn.Module):
    """A gated residual block of one stream.

    Args:
        channels: of the stream.
        right: as for `Shifted`.
        skip: channels of what else is looked at, at the pixel itself; 0 for nothing.
        cond: the spec of the condition, if there is one.
        dropout: share of hidden features that are dropped in training.
    """

    def __init__(
        self,
        channels: int,
        *,
        right: bool,
        skip: int = 0,
        cond: DataSpec | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = Shifted(2 * channels, channels, right=right)
        self.skip = nn.Conv2d(2 * skip, channels, 1) if skip else None
        self.last = Shifted(2 * channels, 2 * channels, right=right)
        self.label = shift(cond, 2 * channels)
        self.dropout = dropout
        with torch.no_grad():
            self.last.weight *= 0.1

    def forward(self, h: Tensor, skip: Tensor | None, cond: Tensor | None) -> Tensor:
        return self.by(self.first, self.last, h, skip, cond)

    def by(
        self, first: _Conv, last: _Conv, h: Tensor, skip: Tensor | None, cond: Tensor | None
    ) -> Tensor:
        """The same by other ways to convolve."""
        r = first(both_signs(h))
        if self.skip is not None and skip is not None:
            r = r + self.skip(both_signs(skip))
        r = last(self._dropped(both_signs(r)))
        if self.label is not None:
            r = r + self.label(cond)[:, :, None, None].to(r.dtype)
        content, opening = r.chunk(2, 1)
        return h + content * opening.sigmoid()

    def _dropped(self, r: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return r
        return r * (torch.rand_like(r) >= self.dropout) / (1 - self.dropout)


def both_signs(h: Tensor) -> Tensor:
    """ELU of the features and of their negatives, side by side."""
    return F.elu(torch.cat([h, -h], 1))


def beside(*seen: Tensor | None) -> Tensor | None:
    """What a block looks at, side by side; None for nothing."""
    there = [h for h in seen if h is not None]
    return torch.cat(there, 1) if there else None


class Made(NamedTuple):
    """What the blocks of a scale, and of those below it, have made of a stream."""

    there: list[Tensor]
    below: Made | None
    back: list[Tensor]

    def columns(self, at: slice) -> Made:
        """At some columns of this scale."""
        return Made([h[..., at] for h in self.there], self.below, [h[..., at] for h in self.back])


_Block = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
_Below = Callable[[Tensor, Made | None, Tensor | None], tuple[Tensor, Made | None]]


class Scale(nn.Module):
    """One stream, on one scale and those below it: down by halves, and up again.

    On the way back a block looks at what the way there has left, the last first; blocks of ul look
    at what theirs of u have made, too.

    Args:
        channels: of the stream.
        blocks: residual blocks on a scale.
        levels: how many scales.
        right: whether the stream is ul.
        cond: the spec of the condition, if there is one.
        dropout: in each block.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        levels: int,
        *,
        right: bool,
        cond: DataSpec | None,
        dropout: float,
    ) -> None:
        super().__init__()
        other, block = channels * right, partial(GatedResidual, channels, right=right)
        block = partial(block, cond=cond, dropout=dropout)
        self.there: list[GatedResidual] = nn.ModuleList(  # type: ignore[assignment]
            block(skip=other) for _ in range(blocks)
        )
        self.back: list[GatedResidual] = nn.ModuleList(  # type: ignore[assignment]
            block(skip=other + channels) for _ in range(blocks + (levels > 1))
        )
        self.below: Below | None = None
        if levels > 1:
            scale = Scale(channels, blocks, levels - 1, right=right, cond=cond, dropout=dropout)
            self.below = Below(channels, scale, right=right)

    def forward(self, h: Tensor, other: Made | None, cond: Tensor | None) -> Made:
        return through(self.there, self.below, self.back, h, other, cond)


class Below(nn.Module):
    """The scales below one: what they have made, and that as large as what came in."""

    def __init__(self, channels: int, scale: Scale, *, right: bool) -> None:
        super().__init__()
        self.shrink = Shifted(channels, channels, right=right, stride=2)
        self.scale, self.grow = scale, Upward(channels, right=right)

    def forward(
        self, h: Tensor, other: Made | None, cond: Tensor | None
    ) -> tuple[Tensor, Made | None]:
        made = self.scale(self.shrink(h), other, cond)
        height, width = h.shape[2:]
        return self.grow(made.back[-1])[:, :, :height, :width], made


def through(
    there: Iterable[_Block],
    below: _Below | None,
    back: Iterable[_Block],
    h: Tensor,
    other: Made | None,
    cond: Tensor | None,
) -> Made:
    """What blocks on the way there, the scales below and blocks on the way back make of h, and of
    what those of another stream have made.
    """
    seen = other or Made([], None, [])
    skips, made, result = [h], None, list[Tensor]()
    for block, beside_it in zip_longest(there, seen.there):
        skips.append(block(skips[-1], beside(beside_it), cond))
    left = skips.copy()
    if below is None:
        h = left.pop()
    else:
        h, made = below(left[-1], seen.below, cond)
    for block, beside_it in zip_longest(back, seen.back):
        h = block(h, beside(beside_it, left.pop()), cond)
        result.append(h)
    return Made(skips[1:], made, result)


class ShiftedUNet(nn.Module):
    """Down by halves, and up again: `(n, inputs, h, w) -> (n, outputs, h, w)`.

    What comes out at a pixel has seen the pixels before it.

    Args:
        inputs: channels of an image.
        outputs: channels that come out.
        channels: of each stream.
        blocks: residual blocks of a scale.
        levels: how many scales.
        cond: the spec of the condition, if there is one.
        dropout: in each block.

    >>> ShiftedUNet(3, 7, channels=4, blocks=1, levels=3)(torch.zeros(2, 3, 7, 10)).shape
    torch.Size([2, 7, 7, 10])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 32,
        blocks: int = 2,
        levels: int = 2,
        cond: DataSpec | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        seen = inputs + 1  # ones, which tell the image from its margin
        self.above = Shifted(seen, channels, right=False, kernel=(2, 3))
        self.row_above = Shifted(seen, channels, right=False, kernel=(1, 3))
        self.left = Shifted(seen, channels, right=True, kernel=(2, 1))
        scale = partial(Scale, channels, blocks, levels, cond=cond, dropout=dropout)
        self.u, self.ul = scale(right=False), scale(right=True)
        self.last = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        above = F.pad(self.above(x), (0, 0, 1, 0))[:, :, :-1]
        row_above = F.pad(self.row_above(x), (0, 0, 1, 0))[:, :, :-1]
        left = F.pad(self.left(x), (1, 0))[..., :-1]
        return self.out(self.ul(row_above + left, self.u(above, None, cond), cond))

    def out(self, ul: Made) -> Tensor:
        """What comes out in the end."""
        return self.last(F.elu(ul.back[-1]))

    def unrolled(self, n: int, height: int, width: int, cond: Tensor | None) -> PixelByPixel:
        """The network, pixel by pixel."""
        return PixelByPixel(self, n, height, width, cond)


class PixelByPixel:
    """A `ShiftedUNet` whose image becomes known pixel by pixel, for about one pass's cost.

    Convolutions keep what they have seen. u is computed once a row and ul once a pixel, and those
    of a scale below only where one of its own pixels begins. Without gradients.

    Args:
        net: the network.
        n: how many examples.
        height: of an image.
        width: of an image.
        cond: a class for each example, if the network takes one.

    >>> net, x = ShiftedUNet(1, 1, channels=4, blocks=1), torch.randn(5, 1, 2, 1)
    >>> steps = PixelByPixel(net, 5, 2, 1, None)
    >>> for row in range(2):
    ...     steps.start(row)
    ...     out = steps.outputs(0)
    ...     steps.reveal(0, x[:, :, row, 0])
    >>> torch.allclose(out, net(x)[:, :, 1, 0], atol=1e-6)
    True

    References:
        Fast generation for convolutional autoregressive models (Ramachandran et al., 2017).
        https://arxiv.org/abs/1704.06001
    """

    def __init__(
        self, net: ShiftedUNet, n: int, height: int, width: int, cond: Tensor | None
    ) -> None:
        self.net, self.cond, self.row = net, cond, 0
        self.x = net.last.weight.new_ones(n, net.above.in_channels, height, width)
        self.nothing = self.x.new_zeros(n, net.last.in_channels, 1, width)
        self.u, self.ul = (_Kept(scale, n, height, width) for scale in (net.u, net.ul))

    @torch.no_grad()
    def start(self, row: int) -> None:
        """Turns to a row; all those above are known."""
        self.row, above, self.row_above = row, self.nothing, self.nothing
        if row:
            known = self.x[:, :, max(0, row - 2) : row]
            above, self.row_above = self.net.above(known), self.net.row_above(known)
        self.made = self.u(above[:, :, -1:], None, self.cond, row, slice(0, self.x.shape[3]))

    @torch.no_grad()
    def outputs(self, column: int) -> Tensor:
        """What comes out at a column: `(n, outputs)`."""
        at = slice(column, column + 1)
        h = self.row_above[:, :, -1:, at]
        if column:
            known = self.x[:, :, max(0, self.row - 1) : self.row + 1, column - 1 : column]
            h = h + self.net.left(known)[:, :, -1:]
        return self.net.out(self.ul(h, self.made, self.cond, self.row, at))[:, :, 0, 0]

    def reveal(self, column: int, x: Tensor) -> None:
        """Makes the pixel at a column known: `(n, inputs)`."""
        self.x[:, :-1, self.row, column] = x


class _Kept:
    """A `Scale` at some columns of a row after the other."""

    def __init__(self, scale: Scale, n: int, height: int, width: int) -> None:
        size = n, height, width
        self.there = [_KeptResidual(block, *size) for block in scale.there]
        self.below = _KeptBelow(scale.below, *size) if scale.below is not None else None
        self.back = [_KeptResidual(block, *size) for block in scale.back]

    def __call__(
        self, h: Tensor, other: Made | None, cond: Tensor | None, row: int, at: slice
    ) -> Made:
        there, back = ([partial(b, row=row, at=at) for b in bs] for bs in (self.there, self.back))
        below = partial(self.below, row=row, at=at) if self.below is not None else None
        return through(there, below, back, h, other and other.columns(at), cond)


class _KeptBelow:
    """The scales `Below` one; they are computed where a pixel of theirs begins."""

    def __init__(self, below: Below, n: int, height: int, width: int) -> None:
        self.shrink, self.grow = _KeptShifted(below.shrink, n, height, width), below.grow
        rows, columns = -(-height // 2), -(-width // 2)
        self.scale = _Kept(below.scale, n, rows, columns)
        self.made: Made | None = None
        self.large = below.grow.weight.new_empty(n, below.grow.out_channels, 2, 2 * columns)

    def __call__(
        self, h: Tensor, other: Made | None, cond: Tensor | None, *, row: int, at: slice
    ) -> tuple[Tensor, Made | None]:
        self.shrink.see(h, row, at)
        if row % 2 == at.start % 2 == 0:
            half = slice(at.start // 2, (at.stop + 1) // 2)
            h = self.shrink.convolved(row, at)
            self.made = self.scale(h, other, cond, row // 2, half)
            self.large[..., 2 * half.start : 2 * half.stop] = self.grow(self.made.back[-1])
        return self.large[:, :, row % 2 : row % 2 + 1, at], self.made


class _KeptResidual:
    """A `GatedResidual` at some columns of a row after the other."""

    def __init__(self, block: GatedResidual, n: int, height: int, width: int) -> None:
        self.block = block
        self.first = _KeptShifted(block.first, n, height, width)
        self.last = _KeptShifted(block.last, n, height, width)

    def __call__(
        self, h: Tensor, skip: Tensor | None, cond: Tensor | None, *, row: int, at: slice
    ) -> Tensor:
        first, last = partial(self.first, row=row, at=at), partial(self.last, row=row, at=at)
        return self.block.by(first, last, h, skip, cond)


class _KeptShifted:
    """A `Shifted` convolution that keeps what it has seen, with a margin of zeros."""

    def __init__(self, conv: Shifted, n: int, height: int, width: int) -> None:
        self.conv = conv
        self.left, right, self.top, _ = conv.margin
        size = n, conv.in_channels, height + self.top, self.left + width + right
        self.seen = conv.weight.new_zeros(size)

    def __call__(self, h: Tensor, *, row: int, at: slice) -> Tensor:
        self.see(h, row, at)
        return self.convolved(row, at)

    def see(self, h: Tensor, row: int, at: slice) -> None:
        """Keeps what comes in at some columns of a row."""
        self.seen[:, :, row + self.top, at.start + self.left : at.stop + self.left] = h[:, :, 0]

    def convolved(self, row: int, at: slice) -> Tensor:
        """What comes out there."""
        height, width = self.conv.kernel_size
        window = self.seen[:, :, row : row + height, at.start : at.stop + width - 1]
        return F.conv2d(window, self.conv.weight, self.conv.bias, self.conv.stride)
