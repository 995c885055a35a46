"""unet1d: a U-Net of sequences: sound, series, tokens and columns as vectors.

`pofx.nn.unet` with one axis: residual blocks with one normalisation and one nonlinearity each, a
sum as skip connection, attention at the coarsest resolution.

References:
    U-Net: convolutional networks for biomedical image segmentation (Ronneberger et al., 2015).
    https://arxiv.org/abs/1505.04597
    Wave-U-Net: a multi-scale neural network for end-to-end audio source separation (Stoller et al.,
    2018), section 3: of sequences. https://arxiv.org/abs/1806.03185
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.unet import Attention, Embedding
from pofx.nn.zeroed import zeroed
from pofx.spec import DataSpec

_SHORTEST = 4
"""The least length of the coarsest resolution."""


class SequenceUNet(nn.Module):
    """`(x, t, cond) -> y` for vectors that are sequences of `length` equal parts; starts as y = 0.

    Args:
        length: how many parts a vector has.
        size: of a part.
        widths: channels at each resolution, the finest first; as many as the length allows are
            used.
        blocks: residual blocks at each resolution on the way down, and as many on the way up.
        head: channels of an attention head.
        embedding: width of the embedding of time and class.
        cond: the spec of the condition; None leaves it out.
        copies: how many times as many numbers y has: whole sequences, one after the other.

    >>> SequenceUNet(10, 3, widths=(8, 16))(torch.zeros(2, 30), torch.zeros(2)).shape
    torch.Size([2, 30])
    """

    def __init__(
        self,
        length: int,
        size: int = 1,
        *,
        widths: tuple[int, ...] = (32, 64, 96),
        blocks: int = 1,
        head: int = 32,
        embedding: int = 128,
        cond: DataSpec | None = None,
        copies: int = 1,
    ) -> None:
        super().__init__()
        self.length, self.copies = length, copies
        widths = widths[: max(1, (length // _SHORTEST).bit_length())]
        self.embed = Embedding(embedding, cond)
        self.film = nn.Linear(embedding, 4 * blocks * sum(widths))
        down = [2 * w for w in widths for _ in range(blocks)]
        self.film_sizes = down + down[::-1]
        self.first = nn.Conv1d(size, widths[0], 3, padding=1)
        self.body = _Level(widths, blocks, head)
        self.last = zeroed(nn.Conv1d(widths[0], copies * size, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        x = x.unflatten(1, (self.length, -1)).transpose(1, 2)
        films = self.film(F.silu(self.embed(t, cond)))[:, :, None].split(self.film_sizes, 1)
        y = self.last(F.silu(_normalized(self.body(self.first(x), list(films)))))
        return y.unflatten(1, (self.copies, -1)).transpose(2, 3).flatten(1)


class _Level(nn.Module):
    """One resolution with all that are coarser."""

    def __init__(self, widths: tuple[int, ...], blocks: int, head: int) -> None:
        super().__init__()
        width = widths[0]
        self.down = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.up = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.inner = _Coarser(widths, blocks, head) if len(widths) > 1 else _Mixing(width, head)

    def forward(self, h: Tensor, films: list[Tensor]) -> Tensor:
        for block in self.down:
            h = block(h, films.pop(0))
        h = self.inner(h, films)
        for block in self.up:
            h = block(h, films.pop(0))
        return h


class _Coarser(nn.Module):
    """The coarser resolutions as a branch around which the skip connection goes."""

    def __init__(self, widths: tuple[int, ...], blocks: int, head: int) -> None:
        super().__init__()
        self.shrink = nn.Conv1d(widths[0], widths[1], 3, stride=2, padding=1)
        self.level = _Level(widths[1:], blocks, head)
        self.grow = nn.Conv1d(widths[1], widths[0], 1)
        self.skip = nn.Conv1d(widths[0], widths[0], 1)

    def forward(self, h: Tensor, films: list[Tensor]) -> Tensor:
        coarse = self.grow(self.level(self.shrink(h), films))
        return self.skip(h) + F.interpolate(coarse, h.shape[2])


class _Block(nn.Module):
    """`h + conv(silu(film(conv(normalized(h)))))`; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = zeroed(nn.Conv1d(width, width, 3, padding=1))

    def forward(self, h: Tensor, film: Tensor) -> Tensor:
        scale, shift = film.chunk(2, 1)
        r = torch.addcmul(shift, self.first(_normalized(h)), 1 + scale)
        return h + self.second(F.silu(r))


class _Mixing(nn.Module):
    """Attention between all places."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.attention = Attention(width, head)

    def forward(self, h: Tensor, films: list[Tensor]) -> Tensor:
        return self.attention(h[:, :, None])[:, :, 0]


def _normalized(h: Tensor) -> Tensor:
    """Zero mean and unit variance over each whole example."""
    return F.layer_norm(h, h.shape[1:])
