"""Noise-contrastive estimation of any energy; the mathematics is in
`pofx.functional.noise_contrastive`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.ebm.langevin_contrast import Startable
from pofx.functional.dequantize import relax
from pofx.functional.noise_contrastive import noise_contrastive
from pofx.objective import LossObjective, Metrics
from pofx.typing import PerExample


class Noise(Protocol):
    """A distribution whose density is known and that is easily drawn from."""

    def draw(self, like: Tensor) -> Tensor:
        """As many draws as there are examples in `like`, of its shape."""
        ...

    def log_prob(self, y: Tensor) -> PerExample:
        """Exact log-density, nats."""
        ...


class NoiseContrastive(LossObjective):
    """Learns an energy together with its constant.

    Args:
        model: whose energy has a constant that can be learned, such as the bias of a last layer.
        noise: what data is told from, in the space of relaxed examples.
        ratio: draws of noise to each example.
        log_z: what log Z of the model will be once it is learned.
        smoothing: standard deviation of normal noise on the data.
    """

    def __init__(
        self,
        model: Startable,
        noise: Noise,
        *,
        ratio: int = 1,
        log_z: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model
        self.energy, self.spec = model.potential, model.spec
        self.noise, self.ratio, self.log_z, self.smoothing = noise, ratio, log_z, smoothing

    def log_ratio(self, y: Tensor) -> PerExample:
        """G: the model's density over that of the noise."""
        return -self.energy(y) - self.log_z - self.noise.log_prob(y)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x = batch.x
        y = relax(x, self.spec)
        if self.smoothing:
            y = y + self.smoothing * torch.randn_like(y)
        noise = [self.noise.draw(y) for _ in range(self.ratio)]
        ratios = self.log_ratio(torch.cat([y, *noise]))
        n = y.shape[0]
        data, others = ratios[:n], ratios[n:]
        right = ((data > 0).to(y).mean() + (others < 0).to(y).mean()) / 2
        return noise_contrastive(data, others, self.ratio), {"told_apart": right}
