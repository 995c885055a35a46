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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.masked_conv import class_bias


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

    def forward(self, h: Tensor, like: Tensor) -> Tensor:  # type: ignore[override]
        """As large as `like`."""
        height, width = like.shape[2:]
        return super().forward(h)[:, :, :height, self.first : self.first + width]


class GatedResidual(nn.Module):
    """A gated residual block of one stream.

    Args:
        channels: of the stream.
        right: as for `Shifted`.
        skip: channels of what else is looked at, at the pixel itself; 0 for nothing.
        classes: how many a label may name; 0 for none.
        dropout: share of hidden features that are dropped in training.
    """

    def __init__(
        self, channels: int, *, right: bool, skip: int = 0, classes: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.first = Shifted(2 * channels, channels, right=right)
        self.skip = nn.Conv2d(2 * skip, channels, 1) if skip else None
        self.last = Shifted(2 * channels, 2 * channels, right=right)
        self.label = class_bias(classes, 2 * channels)
        self.dropout = dropout
        with torch.no_grad():
            self.last.weight *= 0.1

    def forward(self, h: Tensor, skip: Tensor | None, cond: Tensor | None) -> Tensor:
        r = self.first(both_signs(h))
        if self.skip is not None and skip is not None:
            r = r + self.skip(both_signs(skip))
        r = self.last(self._dropped(both_signs(r)))
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


Streams = tuple[Tensor, Tensor]
"""u and ul."""


class _Block(nn.Module):
    """A residual block of each stream; ul looks at u, and on the way back both at their skips."""

    def __init__(self, channels: int, back: bool, classes: int, dropout: float) -> None:
        super().__init__()
        skips = (channels, 2 * channels) if back else (0, channels)
        self.u = GatedResidual(
            channels, right=False, skip=skips[0], classes=classes, dropout=dropout
        )
        self.ul = GatedResidual(
            channels, right=True, skip=skips[1], classes=classes, dropout=dropout
        )

    def forward(self, streams: Streams, skips: Streams | None, cond: Tensor | None) -> Streams:
        if skips is None:
            u = self.u(streams[0], None, cond)
            return u, self.ul(streams[1], u, cond)
        u = self.u(streams[0], skips[0], cond)
        return u, self.ul(streams[1], torch.cat([u, skips[1]], 1), cond)


class _Rescale(nn.Module):
    """Halves both streams, or doubles them to the size of others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        both = (False, True)
        self.halves = nn.ModuleList(Shifted(channels, channels, right=r, stride=2) for r in both)
        self.doubles = nn.ModuleList(Upward(channels, right=r) for r in both)

    def halved(self, streams: Streams) -> Streams:
        return self.halves[0](streams[0]), self.halves[1](streams[1])

    def doubled(self, streams: Streams, like: Streams) -> Streams:
        return self.doubles[0](streams[0], like[0]), self.doubles[1](streams[1], like[1])


class ShiftedUNet(nn.Module):
    """Down by halves, and up again: `(n, inputs, h, w) -> (n, outputs, h, w)`.

    What comes out at a pixel has seen the pixels before it.

    Args:
        inputs: channels of an image.
        outputs: channels that come out.
        channels: of each stream.
        blocks: residual blocks of a scale.
        levels: how many scales.
        classes: how many a label may name; 0 for none.
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
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        seen = inputs + 1  # ones, which tell the image from its margin
        self.above = Shifted(seen, channels, right=False, kernel=(2, 3))
        self.row_above = Shifted(seen, channels, right=False, kernel=(1, 3))
        self.left = Shifted(seen, channels, right=True, kernel=(2, 1))
        there = [
            [_Block(channels, False, classes, dropout) for _ in range(blocks)]
            for _ in range(levels)
        ]
        back = [
            [_Block(channels, True, classes, dropout) for _ in range(blocks + (level > 0))]
            for level in range(levels)
        ]
        self.there = nn.ModuleList(map(nn.ModuleList, there))
        self.back = nn.ModuleList(map(nn.ModuleList, back))
        self.rescale = nn.ModuleList(_Rescale(channels) for _ in range(levels - 1))
        self.last = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        above = F.pad(self.above(x), (0, 0, 1, 0))[:, :, :-1]
        row_above = F.pad(self.row_above(x), (0, 0, 1, 0))[:, :, :-1]
        left = F.pad(self.left(x), (1, 0))[..., :-1]
        skips = self._down((above, row_above + left), cond)
        streams = skips.pop()
        for level, blocks in enumerate(self.back):
            if level > 0:
                streams = self.rescale[-level].doubled(streams, skips[-1])  # type: ignore[operator]
            for block in blocks:  # type: ignore[attr-defined]
                streams = block(streams, skips.pop(), cond)
        return self.last(F.elu(streams[1]))

    def _down(self, streams: Streams, cond: Tensor | None) -> list[Streams]:
        """What each layer on the way down makes of an image; the last is the smallest."""
        skips = [streams]
        for level, blocks in enumerate(self.there):
            if level > 0:
                skips.append(self.rescale[level - 1].halved(skips[-1]))  # type: ignore[operator]
            for block in blocks:  # type: ignore[attr-defined]
                skips.append(block(skips[-1], None, cond))
        return skips
