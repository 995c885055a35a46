"""embeddings: of time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1], then a small network: `(n,) -> (n, width)`.

    References:
        Attention is all you need (Vaswani et al., 2017), section 3.5, as used by DDPM (Ho et al.,
        2020), appendix B.
    """

    rates: Tensor

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        exponents = torch.arange(frequencies // 2) / (frequencies // 2)
        self.register_buffer("rates", 1000 * torch.exp(-math.log(10_000) * exponents))
        self.net = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.rates
        return self.net(torch.cat([angles.sin(), angles.cos()], 1))
