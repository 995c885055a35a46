"""unet2d: the U-Net of DDPM in the layout in which diffusers stores its `UNet2DModel`.

Parameters have the names that they have in such a file, so that published weights can be loaded,
and ours opened elsewhere. On the way down every residual block leaves its output, and the shrinking
convolution its own, to be joined to the channels on the way up, where there is one block more at
each resolution.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), appendix B.
    https://arxiv.org/abs/2006.11239
    Group normalization (Wu and He, 2018), eq. 7. https://arxiv.org/abs/1803.08494
    Attention is all you need (Vaswani et al., 2017), sections 3.2 and 3.5.
    https://arxiv.org/abs/1706.03762
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Layout:
    """What a U-Net consists of; the names are those of diffusers' configuration.

    Args:
        in_channels: of an image.
        out_channels: of what the network says of it.
        center_input_sample: whether an image comes in [0, 1] and is carried to [-1, 1] first.
        freq_shift: taken from the count of frequencies that the smallest is computed with.
        flip_sin_to_cos: whether the cosines of a step come before its sines.
        time_embedding_dim: width of its embedding; None takes four times the first of
            `block_out_channels`.
        down_block_types: `DownBlock2D`, or `AttnDownBlock2D` with attention, at each resolution,
            the finest first.
        up_block_types: `UpBlock2D` or `AttnUpBlock2D`, the coarsest first.
        block_out_channels: channels at each resolution, the finest first.
        layers_per_block: residual blocks at each on the way down.
        downsample_padding: 1 on all sides; 0 pads only below and on the right.
        dropout: in residual blocks, while training.
        attention_head_dim: channels of a head; None makes one head of all.
        norm_num_groups: of group normalisation.
        norm_eps: added to a variance.
        add_attention: whether there is attention in the middle.
        num_class_embeds: how many classes there are; None leaves them out.
    """

    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    time_embedding_dim: int | None = None
    down_block_types: tuple[str, ...] = ("DownBlock2D", *("AttnDownBlock2D",) * 3)
    up_block_types: tuple[str, ...] = (*("AttnUpBlock2D",) * 3, "UpBlock2D")
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    downsample_padding: int = 1
    dropout: float = 0.0
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    add_attention: bool = True
    num_class_embeds: int | None = None

    @property
    def embedding(self) -> int:
        """Width of the embedding of a step."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    def heads(self, width: int) -> int:
        """How many heads the attention between `width` channels has."""
        return width // (self.attention_head_dim or width)


class UNet2D(nn.Module):
    """`(x, k, cond) -> y`, of images `(n, channels, height, width)` and steps k, `(n,)`.

    Args:
        layout: what it consists of. Both sides of an image are multiples of 2 to the power of its
            resolutions less one.

    >>> layout = Layout(block_out_channels=(8, 8), norm_num_groups=4,
    ...     down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    ...     up_block_types=("AttnUpBlock2D", "UpBlock2D"))
    >>> UNet2D(layout)(torch.zeros(2, 3, 6, 4), torch.tensor([0, 999])).shape
    torch.Size([2, 3, 6, 4])
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout, widths = layout, layout.block_out_channels
        self.conv_in = nn.Conv2d(layout.in_channels, widths[0], 3, padding=1)
        self.time_embedding = _Embedding(widths[0], layout.embedding)
        classes = layout.num_class_embeds
        self.class_embedding = None if classes is None else nn.Embedding(classes, layout.embedding)
        left, self.down_blocks, self.up_blocks = [widths[0]], nn.ModuleList(), nn.ModuleList()
        for i, (kind, width) in enumerate(zip(layout.down_block_types, widths, strict=True)):
            inputs = [left[-1]] + [width] * (layout.layers_per_block - 1)
            attentions, last = len(inputs) * ("Attn" in kind), i == len(widths) - 1
            self.down_blocks.append(_Down(layout, inputs, width, attentions, not last))
            left += [width] * (len(inputs) + (not last))
        self.mid_block = _Block(layout, [width] * 2, width, int(layout.add_attention))
        for kind, wide in zip(layout.up_block_types, widths[::-1], strict=True):
            own = [width] + [wide] * layout.layers_per_block
            inputs, width = [size + left.pop() for size in own], wide
            attentions = len(inputs) * ("Attn" in kind)
            self.up_blocks.append(_Up(layout, inputs, width, attentions, bool(left)))
        self.conv_norm_out = nn.GroupNorm(layout.norm_num_groups, widths[0], layout.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], layout.out_channels, 3, padding=1)

    def forward(self, x: Tensor, k: Tensor, cond: Tensor | None = None) -> Tensor:
        emb = self.time_embedding(self._waves(k).to(x.dtype))
        if self.class_embedding is not None:
            assert cond is not None
            emb = emb + self.class_embedding(cond)
        h = self.conv_in(2 * x - 1 if self.layout.center_input_sample else x)
        left = [h]
        for block in (*self.down_blocks, self.mid_block, *self.up_blocks):
            h = block(h, emb, left)
        return self.conv_out(F.silu(self.conv_norm_out(h)))

    def _waves(self, k: Tensor) -> Tensor:
        """Sines and cosines of a step: of float32, with which the weights were learned."""
        width, layout = self.layout.block_out_channels[0], self.layout
        places = torch.arange(width // 2, dtype=torch.float32, device=k.device)
        rates = (-math.log(10_000) * places / (width // 2 - layout.freq_shift)).exp()
        angles = k.float()[:, None] * rates
        waves = [angles.sin(), angles.cos()]
        return F.pad(torch.cat(waves[::-1] if layout.flip_sin_to_cos else waves, 1), (0, width % 2))


class _Embedding(nn.Module):
    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(waves, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, waves: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(waves)))


class _Block(nn.Module):
    """Residual blocks, after the first so many of which there is attention.

    `left` is what the way down has left for the way up.
    """

    def __init__(self, layout: Layout, inputs: list[int], width: int, attentions: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Residual(layout, size, width) for size in inputs)
        self.attentions = nn.ModuleList(_Attention(layout, width) for _ in range(attentions))

    def at(self, j: int, h: Tensor, emb: Tensor) -> Tensor:
        h = self.resnets[j](h, emb)
        return self.attentions[j](h) if j < len(self.attentions) else h

    def forward(self, h: Tensor, emb: Tensor, left: list[Tensor]) -> Tensor:
        for j in range(len(self.resnets)):
            h = self.at(j, h, emb)
        return h


class _Down(_Block):
    def __init__(
        self, layout: Layout, inputs: list[int], width: int, attentions: int, shrinks: bool
    ) -> None:
        super().__init__(layout, inputs, width, attentions)
        padding = layout.downsample_padding
        self.downsamplers = nn.ModuleList(_Shrink(width, padding) for _ in range(shrinks))

    def forward(self, h: Tensor, emb: Tensor, left: list[Tensor]) -> Tensor:
        for j in range(len(self.resnets)):
            h = self.at(j, h, emb)
            left.append(h)
        for shrink in self.downsamplers:
            h = shrink(h)
            left.append(h)
        return h


class _Up(_Block):
    def __init__(
        self, layout: Layout, inputs: list[int], width: int, attentions: int, grows: bool
    ) -> None:
        super().__init__(layout, inputs, width, attentions)
        self.upsamplers = nn.ModuleList(_Grow(width) for _ in range(grows))

    def forward(self, h: Tensor, emb: Tensor, left: list[Tensor]) -> Tensor:
        for j in range(len(self.resnets)):
            h = self.at(j, torch.cat([h, left.pop()], 1), emb)
        for grow in self.upsamplers:
            h = grow(h)
        return h


class _Residual(nn.Module):
    """`skip(h) + conv(silu(norm(conv(silu(norm(h))) + linear(silu(emb)))))`."""

    def __init__(self, layout: Layout, size: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(layout.norm_num_groups, size, layout.norm_eps)
        self.conv1 = nn.Conv2d(size, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(layout.embedding, width)
        self.norm2 = nn.GroupNorm(layout.norm_num_groups, width, layout.norm_eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Identity() if size == width else nn.Conv2d(size, width, 1)
        self.dropout = nn.Dropout(layout.dropout)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        r = self.conv1(F.silu(self.norm1(h))) + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        return self.conv_shortcut(h) + self.conv2(self.dropout(F.silu(self.norm2(r))))


class _Attention(nn.Module):
    """Self-attention between the places of an image, residual."""

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self.heads = layout.heads(width)
        self.group_norm = nn.GroupNorm(layout.norm_num_groups, width, layout.norm_eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, h: Tensor) -> Tensor:
        tokens = self.group_norm(h).flatten(2).transpose(1, 2)
        q, k, v = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return h + self.to_out[0](mixed).transpose(1, 2).reshape(h.shape)


class _Shrink(nn.Module):
    def __init__(self, width: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)
        self.margin = (0, 0, 0, 0) if padding else (0, 1, 0, 1)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv(F.pad(h, self.margin))


class _Grow(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv(F.interpolate(h, scale_factor=2.0))
