r"""wavenet: dilated causal convolutions over a sequence, in whole or step by step.

Layer l sees its own input now and :math:`d_l = 2^{l \bmod b}` steps ago, so that a block of b
layers sees :math:`2^b` steps back at the cost of b:

.. math:: z = \tanh(W_f * h + V_f y) \odot \sigma(W_g * h + V_g y), \qquad
    h \leftarrow h + A z, \qquad \text{out} = \sum_l S_l z_l

References:
    WaveNet: a generative model for raw audio (van den Oord et al., 2016), eq. 2 and 3, figures 3
    and 4. https://arxiv.org/abs/1609.03499
    Fast WaveNet generation algorithm (Le Paine et al., 2016): what a step needs is kept.
    https://arxiv.org/abs/1611.09482
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.condition import condition
from pofx.spec import DataSpec


class GatedLayer(nn.Module):
    """One gated layer: a convolution over two steps, the way on and the way out.

    Args:
        channels: of what goes through.
        skip: channels of the way out.
        cond: the spec of the condition, if there is one.
    """

    def __init__(self, channels: int, skip: int, cond: DataSpec | None = None) -> None:
        super().__init__()
        self.past = nn.Linear(channels, 2 * channels, bias=False)
        self.now = nn.Linear(channels, 2 * channels)
        self.label = condition(cond, 2 * channels, always=True)
        self.on = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, skip, bias=False)

    def forward(self, h: Tensor, past: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """What goes on and what goes out, of inputs and of those some steps before them."""
        gates = self.now(h) + self.past(past)
        if self.label is not None:
            told = self.label(cond)
            gates = gates + (told if h.ndim == 2 else told[:, None])
        filtered, gate = gates.chunk(2, -1)
        z = filtered.tanh() * gate.sigmoid()
        return h + self.on(z), self.out(z)


class WaveStack(nn.Module):
    """Blocks of gated layers: `(n, length, inputs) -> (n, length, outputs)`, each step from the
    inputs up to its own.

    Args:
        inputs: numbers at each step.
        outputs: numbers at each step.
        channels: of the layers.
        layers: in a block, whose dilations double from 1.
        blocks: how many.
        cond: the spec of the condition, if there is one.

    >>> WaveStack(1, 3, 8, layers=4)(torch.zeros(2, 20, 1)).shape
    torch.Size([2, 20, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int = 32,
        *,
        layers: int = 8,
        blocks: int = 1,
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, channels)
        self.dilations = [2**i for i in range(layers)] * blocks
        gated = [GatedLayer(channels, channels, cond) for _ in self.dilations]
        self.layers = nn.ModuleList(gated)
        self.last = nn.Sequential(
            nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, outputs)
        )

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.first(x)
        total = torch.zeros_like(h)
        for layer, d in zip(self.layers, self.dilations, strict=True):
            past = F.pad(h, (0, 0, d, 0))[:, : h.shape[1]]
            h, out = layer(h, past, cond)
            total = total + out
        return self.last(total)


class Steps:
    """A `WaveStack` step by step: each layer keeps the inputs that it has yet to see again.

    >>> net, x = WaveStack(1, 3, 8, layers=3), torch.randn(2, 20, 1)
    >>> steps = Steps(net, 2)
    >>> each = torch.stack([steps(x[:, i]) for i in range(20)], 1)
    >>> torch.allclose(each, net(x), atol=1e-5)
    True
    """

    def __init__(self, net: WaveStack, n: int, cond: Tensor | None = None) -> None:
        weight = net.first.weight
        self.net, self.cond, self.count = net, cond, 0
        self.kept = [weight.new_zeros(d, n, len(weight)) for d in net.dilations]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The outputs of the next step, `(n, outputs)`, from its inputs, `(n, inputs)`."""
        h = self.net.first(x)
        total = torch.zeros_like(h)
        for layer, kept in zip(self.net.layers, self.kept, strict=True):
            place = self.count % len(kept)
            past = kept[place].clone()
            kept[place] = h
            h, out = layer(h, past, self.cond)
            total = total + out
        self.count += 1
        return self.net.last(total)
