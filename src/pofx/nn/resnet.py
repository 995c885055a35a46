"""resnet: residual convolutional networks between images of any size and vectors.

At each resolution blocks add to what is there, and start as the identity, so that depth costs
training nothing at its beginning. The pixels of a large image are folded into channels before and
unfolded after, as in `pofx.nn.unet`: half of the work would be done at the finest resolution.

References:
    Identity mappings in deep residual networks (He et al., 2016), eq. 3 and figure 1b.
    https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.conv import pyramid
from pofx.nn.unet import normalize

LARGE = 24
"""The shortest side of an image whose pixels are folded."""


class ResNetEncoder(nn.Module):
    """Image to vector: `(n, channels, height, width) -> (n, outputs)`.

    Args:
        shape: channels, height and width of an image.
        outputs: width of the vector.
        channels: at the finest resolution; they double at each halving, up to eightfold.
        blocks: at each resolution.

    >>> ResNetEncoder((1, 9, 30), 5, channels=4)(torch.zeros(2, 1, 9, 30)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, shape: tuple[int, int, int], outputs: int, channels: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        self.patch, sizes, widths = _plan(shape, channels)
        self.padding = [-side % self.patch for side in shape[1:]]
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0] * self.patch**2, widths[0], 3, padding=1),
            *(Block(widths[0]) for _ in range(blocks)),
        ]
        for inputs, width in pairwise(widths):
            layers.append(nn.Conv2d(inputs, width, 3, stride=2, padding=1))
            layers += [Block(width) for _ in range(blocks)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, self.padding[1], 0, self.padding[0]))
        x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        return self.head(F.silu(normalize(self.body(x))).flatten(1))


class ResNetDecoder(nn.Module):
    """Vector to image: `(n, inputs) -> (n, channels, height, width)`, the mirror of
    `ResNetEncoder`.

    >>> ResNetDecoder(5, (1, 9, 30), channels=4)(torch.zeros(2, 5)).shape
    torch.Size([2, 1, 9, 30])
    """

    def __init__(
        self, inputs: int, shape: tuple[int, int, int], channels: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        self.patch, sizes, widths = _plan(shape, channels)
        self.size, self.sizes, widths = shape[1:], sizes[::-1], widths[::-1]
        self.first = (widths[0], *self.sizes[0])
        self.stem = nn.Linear(inputs, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.grow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(blocks))) for width in widths
        )
        self.last = nn.Conv2d(widths[-1], shape[0] * self.patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.stem(z).reshape(-1, *self.first)
        h = self.blocks[0](h.contiguous(memory_format=torch.channels_last))
        for size, grow, block in zip(self.sizes[1:], self.grow, self.blocks[1:], strict=True):
            # a 1x1 convolution and an enlargement commute, and this order is the cheaper
            h = block(F.interpolate(grow(h), size))
        y = F.pixel_shuffle(self.last(F.silu(normalize(h))), self.patch)
        return y[:, :, : self.size[0], : self.size[1]].contiguous()


def _plan(
    shape: tuple[int, int, int], channels: int
) -> tuple[int, list[tuple[int, int]], list[int]]:
    """The side of a patch, and the size and the width of each resolution, the finest first."""
    patch = 2 if min(shape[1:]) >= LARGE else 1
    sizes = pyramid(-(-shape[1] // patch), -(-shape[2] // patch))
    return patch, sizes, [channels * 2 ** min(i, 3) for i in range(len(sizes))]


class Block(nn.Module):
    """`h + conv(silu(conv(normalize(h))))`; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.silu(self.first(normalize(h))))
