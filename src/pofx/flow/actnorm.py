r"""actnorm: a scale and a shift for each channel, which begin as a batch's normalisation.

.. math:: z_c = x_c e^{s_c} + b_c, \qquad \log|\det| = h w \sum_c s_c

They are set once, so that what the first batch becomes has mean 0 and variance 1 in each channel,
and learned from then on; an example's density never depends on its neighbours.

Whether they have been set is stored with the weights; `pofx.flow.flow.MaximumLikelihood` sets them.

References:
    Glow: generative flow with invertible 1x1 convolutions (Kingma and Dhariwal, 2018), section 3.1.
    https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pofx.flow.bijection import DataDependent
from pofx.functional.processes import sum_over_processes
from pofx.typing import Cond, PerExample


class ActNorm(DataDependent):
    """Scales and shifts each element of a vector, or each channel of an image."""

    ready: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        scale, shift = _by_channel(self.log_scale.exp(), x), _by_channel(self.shift, x)
        ladj = self.log_scale.sum() * x[0, 0].numel()
        return torch.addcmul(shift, x, scale), ladj.expand(len(x))

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return (z - _by_channel(self.shift, z)) * _by_channel(self.log_scale.neg().exp(), z)

    @torch.no_grad()
    def normalise(self, x: Tensor) -> None:
        """Sets scale and shift by a batch, of which other processes may hold a part."""
        axes = [i for i in range(x.ndim) if i != 1]
        count = sum_over_processes(x.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(x.sum(axes)) / count
        spread = sum_over_processes((x - _by_channel(mean, x)).square().sum(axes)) / count
        self.log_scale.copy_(-0.5 * spread.clamp(min=1e-12).log())
        self.shift.copy_(-mean * self.log_scale.exp())
        self.ready.fill_(True)


def _by_channel(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape(-1, *(1,) * (x.ndim - 2))
