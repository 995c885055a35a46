r"""transformer: a decoder-only Transformer, all places at once or one after another.

A block adds to its input what attention to the places up to each one says, and then what a small
network makes of that:

.. math:: h \leftarrow h + W_o\, \mathrm{softmax}\Big(\frac{q k^\top}{\sqrt d} + \text{mask}\Big) v,
    \quad (q, k, v) = W_{qkv} \bar h, \qquad h \leftarrow h + W_2\, \mathrm{gelu}(W_1 \bar h)

where :math:`\bar h` has mean 0 and variance 1 over its width.

References:
    Attention is all you need (Vaswani et al., 2017), eq. 1. https://arxiv.org/abs/1706.03762
    Language models are unsupervised multitask learners (Radford et al., 2019), section 2.3: norms
    at the entry of a block, and smaller weights at its end.
    RoFormer: enhanced transformer with rotary position embedding (Su et al., 2021), eq. 34.
    https://arxiv.org/abs/2104.09864
    GLU variants improve Transformer (Shazeer, 2020), eq. 6: SwiGLU.
    https://arxiv.org/abs/2002.05202

Note:
    Norms have no gain, which the matrix after them could absorb, and nothing has a bias: every
    parameter is a matrix, and weight decay may shrink all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.linear import Linear

Positions = Literal["rotary", "learned"]
STD = 0.02
"""Of the weights at the start."""
_BASE = 10_000.0


class Transformer(nn.Module):
    """Causal: `(n, t, width) -> (n, t, width)`, whose place i sees those up to i; t is at most
    `length`.

    Args:
        width: of the vectors; a multiple of twice the number of heads.
        layers: how many blocks.
        heads: of attention in each.
        length: how many places there are.
        positions: `rotary` turns queries and keys by their place; `learned` adds a vector.
        gated: whether the small network is a SwiGLU instead of one with a GELU.
        dropout: how often a number that is about to be added is dropped in training.

    >>> net = Transformer(16, 2, 2, 8)
    >>> net(torch.randn(3, 8, 16)).shape
    torch.Size([3, 8, 16])
    """

    turns: Tensor

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        length: int,
        *,
        positions: Positions = "rotary",
        gated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.length, self.dropout = width, heads, length, dropout
        self.places = (
            nn.Parameter(STD * torch.randn(length, width)) if positions == "learned" else None
        )
        self.register_buffer("turns", _turns(length, width // heads), persistent=False)
        self.blocks: list[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(width, heads, gated, STD / math.sqrt(2 * layers), dropout) for _ in range(layers)
        )

    def forward(self, h: Tensor) -> Tensor:
        t = h.shape[1]
        if self.places is not None:
            h = h + self.places[:t]
        turns = self.turns[:t] if self.places is None else None
        h = dropped(h, self.dropout, self.training)
        for block in self.blocks:
            h = block(h, turns)
        return normalized(h)


class Block(nn.Module):
    """Attention and a small network, each added to what came in.

    Args:
        width: of the vectors.
        heads: of attention.
        gated: SwiGLU or GELU.
        last: standard deviation of the weights whose outputs are added.
        dropout: how often one of those outputs is dropped in training.
    """

    def __init__(self, width: int, heads: int, gated: bool, last: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.gated, self.dropout = heads, gated, dropout
        # as many weights with the gate, which doubles the first layer, as without
        hidden = 8 * math.ceil(width / 3) if gated else 4 * width
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)
        self.up = Linear(width, 2 * hidden if gated else hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)
        for layer in (self.qkv, self.up):
            nn.init.normal_(layer.weight, std=STD)
        for layer in (self.out, self.down):
            nn.init.normal_(layer.weight, std=last)

    def forward(self, h: Tensor, turns: Tensor | None = None) -> Tensor:
        h = h + dropped(self.out(self.attend(h, turns)), self.dropout, self.training)
        hidden = self.activation(self.up(normalized(h)))
        return h + dropped(self.down(hidden), self.dropout, self.training)

    def attend(self, h: Tensor, turns: Tensor | None) -> Tensor:
        """What the heads say, side by side."""
        n, t, width = h.shape
        qkv = self.qkv(normalized(h)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.unbind(2)
        if turns is not None:
            q, k = turned(qkv[:, :, :2], turns[:, None, None]).unbind(2)
        seen = attended(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return seen.transpose(1, 2).reshape(n, t, width)

    def activation(self, h: Tensor) -> Tensor:
        """Of the small network's hidden units."""
        if not self.gated:
            return F.gelu(h)
        gate, value = h.chunk(2, -1)
        return F.silu(gate) * value


class _Layer(NamedTuple):
    """A block's weights, and the keys and values of the places before: by example and head, with
    keys as columns, and all in one `(2, n, heads, length, depth)`.
    """

    qkv: Tensor
    out: Tensor
    up: Tensor
    down: Tensor
    activation: Callable[[Tensor], Tensor]
    cache: Tensor
    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, block: Block, cache: Tensor) -> _Layer:
        keys, values = cache.flatten(1, 2)
        weights = (block.qkv.weight, block.out.weight.t(), block.up.weight, block.down.weight.t())
        return cls(*weights, block.activation, cache, keys.transpose(1, 2), values)


class Cached:
    """The network one place after another: keys and values of the places before are kept.

    Args:
        net: the network, in evaluation mode.
        n: how many sequences.

    >>> net, h = Transformer(16, 2, 2, 8), torch.randn(3, 8, 16)
    >>> step = Cached(net, 3)
    >>> torch.allclose(torch.stack([step(h[:, i]) for i in range(8)], 1), net(h), atol=1e-5)
    True
    """

    def __init__(self, net: Transformer, n: int) -> None:
        self.net, self.n, self.place = net, n, 0
        self.depth = net.width // net.heads
        like = net.blocks[0].qkv.weight
        shape = (len(net.blocks), 2, n, net.heads, net.length, self.depth)
        cache = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.layers = [_Layer.of(b, own) for b, own in zip(net.blocks, cache, strict=True)]
        self.nothing = like.new_zeros(())

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return self.place == self.net.length

    def __call__(self, h: Tensor) -> Tensor:
        """The output at the next place, `(n, width)`, from its input, `(n, width)`."""
        # nothing here is random, and to be asked of every step whether it is would cost as much
        with torch.no_grad(), torch._C.DisableTorchFunction():
            return self._step(h)

    def _step(self, h: Tensor) -> Tensor:
        n, heads, width, depth = self.n, self.net.heads, self.net.width, self.depth
        place, end, scale = self.place, self.place + 1, 1 / math.sqrt(self.depth)
        learned, axes = self.net.places, (width,)
        turn = torch.view_as_complex(self.net.turns[place]) if learned is None else None
        if learned is not None:
            h = h + learned[place]
        for layer in self.layers:
            a = F.linear(F.layer_norm(h, axes), layer.qkv).view(n, 3, heads, depth)
            if turn is not None:
                _complex(a[:, :2]).mul_(turn)
            layer.cache.select(3, place).copy_(a[:, 1:].transpose(0, 1))
            q, keys = a[:, 0].reshape(n * heads, 1, depth), layer.keys[:, :, :end]
            p = torch.baddbmm(self.nothing, q, keys, beta=0, alpha=scale).softmax(2)
            seen = torch.bmm(p, layer.values[:, :end]).view(n, width)
            h = torch.addmm(h, seen, layer.out)
            hidden = layer.activation(F.linear(F.layer_norm(h, axes), layer.up))
            h = torch.addmm(h, hidden, layer.down)
        self.place = end
        return F.layer_norm(h, axes)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What causal attention says, from queries, keys and values `(n, heads, t, depth)`."""
    if q.dtype != torch.bfloat16 or q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # on a CPU its kernel is slower in bfloat16 than in float32, and plain products are not
    n, heads, t, depth = q.shape
    q, k, v = (a.reshape(n * heads, t, depth) for a in (q, k, v))
    later = q.new_full((t, t), -math.inf).triu(1)
    p = torch.baddbmm(later, q, k.transpose(1, 2), alpha=1 / math.sqrt(depth)).softmax(2)
    return torch.bmm(p.to(q.dtype), v).view(n, heads, t, depth)


def normalized(h: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last axis."""
    return F.layer_norm(h, h.shape[-1:])


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Pairs of neighbours along the last axis, turned by angles of which `turns`, `(..., depth / 2,
    2)`, has the cosines and the sines.

    >>> turned(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0]]))
    tensor([0., 1.])
    """
    wide = x.float() if x.dtype == torch.bfloat16 else x
    both = _complex(wide) * torch.view_as_complex(turns)
    return torch.view_as_real(both).flatten(-2).to(x.dtype)


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def dropped(h: Tensor, p: float, training: bool) -> Tensor:
    """Dropout whose draws belong to the examples, as those of a dropout layer do not."""
    if not p or not training:
        return h
    return h * (torch.rand_like(h) >= p) / (1 - p)


def _turns(length: int, depth: int) -> Tensor:
    """Cosines and sines, `(length, depth / 2, 2)`, of the angles of every place."""
    rates = _BASE ** -(torch.arange(depth // 2) / (depth / 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], -1)
