r"""normal: distributions of codes that are normal in each coordinate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.functional.precision import at_least_float32

LOG_2PI = math.log(2 * math.pi)


class NormalPosterior:
    """A normal distribution for each coordinate.

    Args:
        mu: means, `(n, latent)`.
        log_var: logs of the variances, `(n, latent)`.
    """

    def __init__(self, mu: Tensor, log_var: Tensor) -> None:
        self.mu, self.log_var = at_least_float32(mu), at_least_float32(log_var).clamp(-20, 10)

    @property
    def mean(self) -> Tensor:
        return self.mu

    def codes(self, k: int) -> tuple[Tensor, Tensor]:
        """Codes and the noise that they were made of, each `(k, n, latent)`."""
        n, latent = self.mu.shape
        eps = torch.randn(n, k, latent, dtype=self.mu.dtype, device=self.mu.device).transpose(0, 1)
        return self.mu + (0.5 * self.log_var).exp() * eps, eps

    def draw(self, k: int, *, stopped: bool = False) -> tuple[Tensor, Tensor]:
        z, eps = self.codes(k)
        if not stopped:
            return z, -0.5 * (eps**2 + self.log_var + LOG_2PI).sum(-1)
        return z, log_normal(z, self.mu.detach(), self.log_var.detach())


def log_normal(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Log of the normal density, summed over the last axis, nats.

    >>> log_normal(torch.zeros(2), torch.zeros(2), torch.zeros(2))
    tensor(-1.8379)
    """
    return -0.5 * ((z - mu) ** 2 * (-log_var).exp() + log_var + LOG_2PI).sum(-1)


def combined(a: NormalPosterior, b: NormalPosterior) -> NormalPosterior:
    """The product of two normal densities, normalised: means weighted by precision."""
    log_precision = torch.logaddexp(-a.log_var, -b.log_var)
    share = torch.sigmoid(b.log_var - a.log_var)  # of a
    return NormalPosterior(share * a.mu + (1 - share) * b.mu, -log_precision)


def normal_divergence(q: NormalPosterior, p: NormalPosterior) -> Tensor:
    """KL(q || p) of each coordinate, nats."""
    ratio = q.log_var - p.log_var
    return 0.5 * (ratio.exp() + (q.mu - p.mu) ** 2 * (-p.log_var).exp() - 1 - ratio)
