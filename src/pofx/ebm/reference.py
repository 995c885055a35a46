r"""reference: the distribution that an energy tilts, normal, and cut off where the data's values end.

.. math:: q(y) = N(y; 0, \sigma_0^2 I) / P(\text{all that is bounded lies in } [-1, 1])

Chains that leave an interval are seen as those that bounce off its ends (`pofx.mcmc.reflection`).

References:
    A theory of generative ConvNet (Xie et al., 2016), eq. 2. https://arxiv.org/abs/1602.03264
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import relaxed_shape, relaxed_width
from pofx.functional.reductions import sum_event
from pofx.mcmc.reflection import fold
from pofx.spec import DataSpec, Interval
from pofx.typing import PerExample


class Reference(nn.Module):
    """A normal distribution of relaxed examples, on the interval of each element that has one.

    Args:
        spec: of the data.
        sd: sigma_0.

    >>> from pofx.spec import Real
    >>> round(float(Reference(DataSpec((2,), Real()), 2.0).log_prob(torch.zeros(1, 2))), 4)
    -3.2242
    """

    bounded: Tensor

    def __init__(self, spec: DataSpec, sd: float) -> None:
        super().__init__()
        self.shape, self.sd = relaxed_shape(spec), sd
        widths = [relaxed_width(c) for c in spec.columns]
        flags = [isinstance(c, Interval) for c in spec.columns]
        bounded = torch.tensor(flags).repeat_interleave(torch.tensor(widths)).view(self.shape)
        self.register_buffer("bounded", bounded, persistent=False)
        self.walls = int(bounded.sum())
        self.within = math.erf(1 / (sd * math.sqrt(2)))

    def home(self, y: Tensor) -> Tensor:
        """Where chains at `y` are, which may have bounced off a wall."""
        return torch.where(self.bounded, fold(y), y) if self.walls else y

    def draw(self, like: Tensor) -> Tensor:
        """As many draws as there are examples in `like`, of its dtype and device."""
        free = self.sd * torch.randn_like(like)
        if not self.walls:
            return free
        u = self.within * (2 * torch.rand_like(like) - 1)
        inside = (self.sd * math.sqrt(2) * torch.erfinv(u)).clamp(-1, 1)
        return torch.where(self.bounded, inside, free)

    def energy(self, y: Tensor) -> PerExample:
        """Minus its log-density, without the constant, at examples between the walls."""
        return sum_event(y.square()) / (2 * self.sd**2)

    def log_partition(self) -> float:
        """Log of that constant."""
        whole = self.bounded.numel() / 2 * math.log(2 * math.pi * self.sd**2)
        return whole + self.walls * math.log(self.within)

    def log_prob(self, y: Tensor) -> PerExample:
        """Exact log-density, nats, wherever a chain is."""
        return -self.energy(self.home(y)) - self.log_partition()
