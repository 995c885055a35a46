r"""activity: how active each number of a code is over the data, and what it costs to be otherwise.

.. math:: \sum_j \mathrm{KL}(\rho \,\|\, \bar z_j), \qquad
    \frac{\partial}{\partial \bar z_j}
    = -\frac{\rho}{\bar z_j} + \frac{1 - \rho}{1 - \bar z_j}

References:
    Sparse autoencoder, CS294A lecture notes (Ng, 2011), section 3.
    https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.special import xlog1py, xlogy

from pofx.functional.processes import sum_over_processes

_SHARE = 0.1
"""Of the last step in the moving average."""
_EDGE = 1e-6


class Activity(nn.Module):
    """The mean activity of each number of a code, followed from step to step.

    The penalty is taken along its slope at that mean, so that it adds up over examples: however a
    batch is divided, its gradient is the same.

    Args:
        latent: numbers of a code.
        rate: rho, the mean activity that is wanted, and is there to begin with.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, latent: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("mean", torch.full((latent,), rate))
        self.register_buffer("seen", torch.zeros(latent + 1))

    def penalty(self, z: Tensor) -> Tensor:
        """The divergence at the mean, and along its slope as far as these codes are from it."""
        mean, rate = self.mean.clamp(_EDGE, 1 - _EDGE), self.rate
        slope = (1 - rate) / (1 - mean) - rate / mean
        return rate_divergence(rate, mean).sum() + ((z.mean(0) - mean) * slope).sum()

    def see(self, z: Tensor) -> None:
        """Takes note of codes."""
        total = torch.cat([z.detach().sum(0), z.new_full((1,), len(z))])
        self.seen += total.to(self.seen).nan_to_num()

    def step(self) -> None:
        """Moves the mean towards that of all codes that any process saw since the last step."""
        seen = sum_over_processes(self.seen)
        self.mean.lerp_(seen[:-1] / seen[-1].clamp(min=1), _SHARE)
        self.seen.zero_()


def rate_divergence(rate: float, mean: Tensor) -> Tensor:
    """KL between coins that show heads at `rate` and at each `mean`, in nats.

    >>> rate_divergence(0.5, torch.tensor([0.5, 0.25]))
    tensor([0.0000, 0.1438])
    """
    p = torch.as_tensor(rate, dtype=mean.dtype, device=mean.device)
    mean = mean.clamp(_EDGE, 1 - _EDGE)
    return xlogy(p, p / mean) + xlog1py(1 - p, (mean - p) / (1 - mean))
