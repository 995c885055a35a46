"""conv: strided convolutional networks between images of any size and vectors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


def pyramid(height: int, width: int, smallest: int = 4) -> list[tuple[int, int]]:
    """The sizes of an image that is halved, rounding up, until a side would fall below `smallest`.

    >>> pyramid(28, 28)
    [(28, 28), (14, 14), (7, 7), (4, 4)]
    >>> pyramid(30, 12)
    [(30, 12), (15, 6)]
    """
    sizes = [(height, width)]
    while min((s + 1) // 2 for s in sizes[-1]) >= smallest:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


class ConvEncoder(nn.Module):
    """Image to vector: `(n, channels, height, width) -> (n, outputs)`.

    One strided convolution a halving, doubling the channels, then a linear layer. No normalisation,
    so that an example's output never depends on its neighbours in the batch.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        channels: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        sizes = pyramid(*shape[1:])
        widths = [channels * 2 ** min(i, 3) for i in range(len(sizes))]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 3, padding=1), activation()]
        for inputs, width in pairwise(widths):
            layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), activation()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class ConvDecoder(nn.Module):
    """Vector to image: `(n, inputs) -> (n, channels, height, width)`, the mirror of `ConvEncoder`.

    Nearest-neighbour upsampling and a convolution a doubling, which leaves no checkerboard;
    activations are laid out channels last, in which both are fastest.

    References:
        Deconvolution and checkerboard artifacts (Odena et al., 2016). https://distill.pub/2016/deconv-checkerboard
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int, int],
        channels: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.sizes = pyramid(*shape[1:])[::-1]
        widths = [channels * 2 ** min(i, 3) for i in range(len(self.sizes))][::-1]
        self.first = (widths[0], *self.sizes[0])
        self.stem = nn.Linear(inputs, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        self.activation = activation()

    def forward(self, z: Tensor) -> Tensor:
        h = self.activation(self.stem(z)).reshape(-1, *self.first)
        h = h.contiguous(memory_format=torch.channels_last)
        for size, conv in zip(self.sizes[1:], self.convs, strict=True):
            h = self.activation(conv(nn.functional.interpolate(h, size)))
        return self.last(h).contiguous()


def conditioned(h: Tensor, embedding: Tensor | None) -> Tensor:
    """Appends an embedding to a vector, if there is one."""
    return h if embedding is None else torch.cat([h, embedding], 1)
