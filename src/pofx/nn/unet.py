"""unet: a network from images to images of the same size, told a time and a class.

Made for a processor as much as for an accelerator: activations are laid out channels last, in
which convolutions are fastest there; each block has one normalisation (over the whole example, one
kernel in that layout) and one nonlinearity; what an image of full resolution would cost is saved
by folding patches of pixels into channels; and a skip connection is a sum, so that no convolution
runs over twice the channels.

References:
    U-Net: convolutional networks for biomedical image segmentation (Ronneberger et al., 2015).
    https://arxiv.org/abs/1505.04597
    Denoising diffusion probabilistic models (Ho et al., 2020), appendix B.
    https://arxiv.org/abs/2006.11239
    FiLM: visual reasoning with a general conditioning layer (Perez et al., 2018), eq. 1.
        https://arxiv.org/abs/1709.07871
    Real-time single image super-resolution using an efficient sub-pixel convolutional network (Shi
    et al., 2016), section 3.2: patches as channels. https://arxiv.org/abs/1609.05158
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.condition import condition, embedded
from pofx.nn.conv import pyramid
from pofx.nn.embeddings import TimeEmbedding
from pofx.nn.mlp import ResidualMLP
from pofx.nn.zeroed import zeroed
from pofx.spec import DataSpec


class UNet(nn.Module):
    """`(x, t, cond) -> y`, with x and y of shape `(n, channels, height, width)`; starts as y = 0.

    Images of any size serve: one that is no multiple of `patch` is padded within.

    Args:
        shape: channels, height and width of an image.
        widths: channels at each resolution, the finest first; as many as the image allows are used
            (the coarsest keeps both sides at 4 or more).
        blocks: residual blocks at each resolution on the way down, and as many on the way up.
        patch: side of the squares of pixels that are folded into channels.
        head: channels of an attention head; there is attention at the coarsest resolution.
        embedding: width of the embedding of time and class.
        cond: the spec of the condition; None leaves it out.
        copies: how many times as many channels y has.

    >>> UNet((3, 9, 14), widths=(8, 16))(torch.zeros(2, 3, 9, 14), torch.zeros(2)).shape
    torch.Size([2, 3, 9, 14])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        widths: tuple[int, ...] = (64, 128),
        blocks: int = 1,
        patch: int = 1,
        head: int = 32,
        embedding: int = 128,
        cond: DataSpec | None = None,
        copies: int = 1,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.padding = [-side % patch for side in shape[1:]]
        rows, columns = ((s + p) // patch for s, p in zip(shape[1:], self.padding, strict=True))
        widths = widths[: len(pyramid(rows, columns))]
        self.embed = Embedding(embedding, cond)
        self.film = nn.Linear(embedding, 4 * blocks * sum(widths))
        down = [2 * w for w in widths for _ in range(blocks)]
        self.film_sizes = down + down[::-1]
        self.stem = nn.Conv2d(shape[0] * patch**2, widths[0], 3, padding=1)
        self.body = _Level(widths, blocks, head)
        self.last = zeroed(nn.Conv2d(widths[0], copies * shape[0] * patch**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, self.padding[1], 0, self.padding[0]))
        x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        films = self.film(F.silu(self.embed(t, cond))).split(self.film_sizes, 1)
        h = self.body(self.stem(x), list(films))
        y = F.pixel_shuffle(self.last(F.silu(normalize(h))), self.patch)
        return y[:, :, :height, :width].contiguous()


class Embedding(nn.Module):
    """A time, and a class if there are any, as one vector: `(n,), (n,) -> (n, width)`."""

    def __init__(self, width: int, cond: DataSpec | None = None) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.label = condition(cond, width)

    def forward(self, t: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.time(t)
        told = embedded(self.label, cond, t)
        if told is None:
            return h
        return h + told


class TimedMLP(nn.Module):
    """`(x, t, cond) -> y` for vectors: a residual network told a time and a class; starts as y = 0.

    Args:
        size: of a vector.
        hidden: width of the layers.
        blocks: residual blocks.
        cond: as for `UNet`.
        copies: how many times as many numbers y has.
    """

    def __init__(
        self,
        size: int,
        *,
        hidden: int = 256,
        blocks: int = 3,
        cond: DataSpec | None = None,
        copies: int = 1,
    ) -> None:
        super().__init__()
        self.embed = Embedding(hidden, cond)
        self.body = ResidualMLP(size, copies * size, hidden, blocks)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.body(x, self.embed(t, cond))


class _Level(nn.Module):
    """One resolution with all that are coarser."""

    def __init__(self, widths: tuple[int, ...], blocks: int, head: int) -> None:
        super().__init__()
        width = widths[0]
        self.down = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.up = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.inner = _Coarser(widths, blocks, head) if len(widths) > 1 else Attention(width, head)

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
        self.shrink = nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1)
        self.level = _Level(widths[1:], blocks, head)
        self.grow = nn.Conv2d(widths[1], widths[0], 1)
        self.skip = nn.Conv2d(widths[0], widths[0], 1)

    def forward(self, h: Tensor, films: list[Tensor]) -> Tensor:
        # a 1x1 convolution and an enlargement commute, and this order is the cheaper
        coarse = self.grow(self.level(self.shrink(h), films))
        return self.skip(h) + F.interpolate(coarse, h.shape[2:])


class _Block(nn.Module):
    """`h + conv(silu(film(conv(normalize(h)))))`; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        zeroed(self.second)

    def forward(self, h: Tensor, film: Tensor) -> Tensor:
        scale, shift = film[:, :, None, None].chunk(2, 1)
        r = torch.addcmul(shift, self.first(normalize(h)), 1 + scale)
        return h + self.second(F.silu(r))


class Attention(nn.Module):
    """Self-attention between the places of an image; residual, and the identity at first.

    Args:
        width: channels.
        head: channels of a head; all of them form one head where they are fewer or it does not
            divide them.
    """

    def __init__(self, width: int, head: int = 32) -> None:
        super().__init__()
        self.head = head if width % head == 0 else width
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        zeroed(self.outward)

    def forward(self, h: Tensor, films: list[Tensor] | None = None) -> Tensor:
        n, width, rows, columns = h.shape
        tokens = normalize(h).permute(0, 2, 3, 1).reshape(n, rows * columns, width)
        heads = self.inward(tokens).unflatten(2, (3, -1, self.head)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads.unbind(0)).transpose(1, 2).flatten(2)
        return h + self.outward(mixed).reshape(n, rows, columns, width).permute(0, 3, 1, 2)


def normalize(h: Tensor) -> Tensor:
    """Zero mean and unit variance over each whole example: group normalisation with one group."""
    last = h.permute(0, 2, 3, 1)
    return F.layer_norm(last, last.shape[1:]).permute(0, 3, 1, 2)
