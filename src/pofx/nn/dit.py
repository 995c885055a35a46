"""dit: Transformers told a time and a class: of images cut into patches, and of tokens.

Every place sees every other. What a block normalises is scaled and shifted, and what it adds is
weighed, by numbers made of the time and the class; they start at zero, so a block starts as the
identity and the network as y = 0.

References:
    Scalable diffusion models with Transformers (Peebles and Xie, 2023), section 3.2: adaLN-Zero.
    https://arxiv.org/abs/2212.09748
    An image is worth 16x16 words (Dosovitskiy et al., 2021), eq. 1: patches.
    https://arxiv.org/abs/2010.11929
    Masked autoencoders are scalable vision learners (He et al., 2022), appendix A.1: places as
    sines and cosines of rows and columns. https://arxiv.org/abs/2111.06377
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.linear import Linear
from pofx.nn.unet import Embedding
from pofx.nn.zeroed import zeroed
from pofx.spec import DataSpec

_BASE = 10_000.0


class DiT(nn.Module):
    """`(x, t, cond) -> y`, with x and y of shape `(n, channels, height, width)`; starts as y = 0.

    Images of any size serve: one that is no multiple of `patch` is padded within.

    Args:
        shape: channels, height and width of an image.
        width: of the vector of a patch; a multiple of the number of heads.
        layers: how many blocks.
        heads: of attention in each.
        patch: side of a patch.
        cond: the spec of the condition; None leaves it out.
        copies: how many times as many channels y has.

    >>> DiT((3, 9, 14), width=16, layers=1, heads=2)(torch.zeros(2, 3, 9, 14), torch.zeros(2)).shape
    torch.Size([2, 3, 9, 14])
    """

    places: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        patch: int = 2,
        cond: DataSpec | None = None,
        copies: int = 1,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.padding = [-side % patch for side in shape[1:]]
        rows, columns = ((s + p) // patch for s, p in zip(shape[1:], self.padding, strict=True))
        self.grid = (rows, columns)
        self.register_buffer("places", _places(rows, columns, width), persistent=False)
        self.first = Linear(shape[0] * patch**2, width)
        self.body = _Body(width, layers, heads, cond)
        self.last = zeroed(Linear(width, copies * shape[0] * patch**2))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, self.padding[1], 0, self.padding[0]))
        patches = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        h = self.body(self.first(patches) + self.places, t, cond)
        y = self.last(h).transpose(1, 2).unflatten(2, self.grid)
        return F.pixel_shuffle(y, self.patch)[:, :, :height, :width].contiguous()


class SequenceDiT(nn.Module):
    """`(x, t, cond) -> y` for vectors that are sequences of `length` equal parts; starts as y = 0.

    Args:
        length: how many parts a vector has.
        size: of a part.
        width: as for `DiT`.
        layers: as for `DiT`.
        heads: as for `DiT`.
        cond: as for `DiT`.
        copies: how many times as many numbers y has: whole sequences, one after the other.
    """

    def __init__(
        self,
        length: int,
        size: int,
        *,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        cond: DataSpec | None = None,
        copies: int = 1,
    ) -> None:
        super().__init__()
        self.length, self.copies = length, copies
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.first = Linear(size, width)
        self.body = _Body(width, layers, heads, cond)
        self.last = zeroed(Linear(width, copies * size))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        parts = x.unflatten(1, (self.length, -1))
        y = self.last(self.body(self.first(parts) + self.places, t, cond))
        return y.unflatten(2, (self.copies, -1)).transpose(1, 2).flatten(1)


class TokenDiT(nn.Module):
    """`(k, t, cond) -> y`: tokens `(n, length)`, int64, to `(n, length, outputs)`; starts as y = 0.

    Args:
        length: how many places there are.
        tokens: how many tokens there are.
        outputs: numbers at each place.
        width: as for `DiT`.
        layers: as for `DiT`.
        heads: as for `DiT`.
        cond: as for `DiT`.
    """

    def __init__(
        self,
        length: int,
        tokens: int,
        outputs: int,
        *,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.embed = nn.Embedding(tokens, width)
        self.body = _Body(width, layers, heads, cond)
        self.last = zeroed(Linear(width, outputs))

    def forward(self, k: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.last(self.body(self.embed(k) + self.places, t, cond))


class _Body(nn.Module):
    """All blocks: `(n, places, width)` with times and classes to the same shape."""

    def __init__(self, width: int, layers: int, heads: int, cond: DataSpec | None) -> None:
        super().__init__()
        self.embed = Embedding(width, cond)
        self.film = zeroed(Linear(width, (6 * layers + 2) * width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))

    def forward(self, h: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        films = self.film(F.silu(self.embed(t, cond)))[:, None].split(h.shape[2], 2)
        for i, block in enumerate(self.blocks):
            h = block(h, films[6 * i : 6 * i + 6])
        return _modulated(h, *films[-2:])


class _Block(nn.Module):
    """`h + gate attention(film(h))`, and then the same with a small network."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)
        for layer in (self.qkv, self.out, self.up, self.down):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, films: tuple[Tensor, ...]) -> Tensor:
        scale, shift, gate, scale_2, shift_2, gate_2 = films
        h = torch.addcmul(h, gate, self._attention(_modulated(h, scale, shift)))
        hidden = F.gelu(self.up(_modulated(h, scale_2, shift_2)), approximate="tanh")
        return torch.addcmul(h, gate_2, self.down(hidden))

    def _attention(self, h: Tensor) -> Tensor:
        heads = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads.unbind(0))
        return self.out(mixed.transpose(1, 2).flatten(2))


def _modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)


def _places(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of the row and of the column of each place, `(rows columns, width)`."""
    quarter = math.ceil(width / 4)
    rates = _BASE ** -(torch.arange(quarter) / quarter)
    row, column = torch.arange(rows)[:, None] * rates, torch.arange(columns)[:, None] * rates
    row, column = row.repeat_interleave(columns, 0), column.repeat(rows, 1)
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], 1)[:, :width]
