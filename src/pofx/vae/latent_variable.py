r"""LatentVariable: the contract of the family: a prior, a likelihood, and a posterior to train by.

.. math:: \log p(x) = \log \int p(z) \, p(x | z) \, dz
    \ge \mathbb{E}_{q(z|x)} \Big[ \log p(x | z) + \log \frac{p(z)}{q(z | x)} \Big]

A leaf says what q is, and p(z) where that is no standard normal distribution; bounds, samples and
codes follow. Noise has the example as its leading axis, so codes are drawn `(n, k, latent)` and
handed on `(k, n, latent)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.labels import check_given
from pofx.functional.precision import at_least_float32
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample
from pofx.vae.normal import LOG_2PI

_DRAWS = 25
"""Codes of each example that are decoded at once, where many are needed."""


class Posterior(Protocol):
    """The distribution q(z | x) for each of n examples."""

    @property
    def mean(self) -> Tensor:
        """A code that stands for each example, `(n, latent)`."""
        ...

    def draw(self, k: int, *, stopped: bool = False) -> tuple[Tensor, Tensor]:
        """Codes by reparameterisation, `(k, n, latent)`, and their log q, `(k, n)`, nats.

        Args:
            k: how many for each example.
            stopped: whether log q is a function of the code alone, its parameters held constant.
        """
        ...


class LatentVariable(nn.Module, ABC):
    """Capabilities Samples, Bound, ImportanceBound and Latent.

    Args:
        decoder: `(z, cond) -> parameters` of the likelihood.
        likelihood: p(x | z).
        spec: of the data.
        latent: numbers in a code.
        pixel_noise: whether samples are drawn from p(x | z); otherwise they are its mean.
    """

    def __init__(
        self,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latent: int,
        *,
        pixel_noise: bool = True,
    ) -> None:
        super().__init__()
        self.decoder, self.likelihood = decoder, likelihood
        self.spec, self.latent = spec, latent
        self.pixel_noise = pixel_noise

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.spec.cond is not None

    @abstractmethod
    def posterior(self, x: Data, cond: Cond | None = None) -> Posterior:
        """Q(z | x)."""

    def log_prior(self, z: Tensor) -> Tensor:
        """Log p(z), nats: `(..., latent) -> (...)`."""
        return -0.5 * (z**2 + LOG_2PI).sum(-1)

    def draw_prior(self, n: int) -> Tensor:
        """Draws codes from p(z), `(n, latent)`."""
        like = next(self.parameters())
        return torch.randn(n, self.latent, device=like.device, dtype=like.dtype)

    def seen(self, z: Tensor) -> Tensor:
        """What the decoder sees of a code."""
        return z

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """Log p(x | z) of one draw z ~ q, `(n,)`, and the divergence of q from the prior in parts
        that add up, `(n, parts)`; here as one part, estimated by the same draw.
        """
        log_likelihood, divergence = self.weigh(x, cond, *self.posterior(x, cond).draw(1))
        return log_likelihood[0], divergence.T

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        log_likelihood, divergence = self.terms(x, cond)
        return log_likelihood - divergence.sum(1)

    def weigh(self, x: Data, cond: Cond | None, z: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """`log p(x | z)` and `log q(z | x) - log p(z)` of codes that were drawn, each `(k, n)`."""
        return self._log_likelihood(x, z, cond), log_q - self.log_prior(z)

    def log_weights(self, x: Data, cond: Cond | None, z: Tensor, log_q: Tensor) -> Tensor:
        """Log of `p(x, z) / q(z | x)` of codes that were drawn, `(k, n)`."""
        log_likelihood, divergence = self.weigh(x, cond, z, log_q)
        return log_likelihood - divergence

    def importance_bound(
        self, x: Data, cond: Cond | None = None, *, samples: int = 500
    ) -> PerExample:
        posterior = self.posterior(x, cond)
        total = torch.full((x.shape[0],), -math.inf, dtype=x.dtype, device=x.device)
        for first in range(0, samples, _DRAWS):
            drawn = posterior.draw(min(_DRAWS, samples - first))
            total = torch.logaddexp(total, self.log_weights(x, cond, *drawn).logsumexp(0))
        return total - math.log(samples)

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        return self.posterior(x, cond).mean

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        return self.likelihood.mean(self.decoder(self.seen(z), cond))

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        check_given(cond, self.spec)
        parameters = self.decoder(self.seen(self.draw_prior(n)), cond)
        drawn = self.likelihood.sample if self.pixel_noise else self.likelihood.mean
        return drawn(parameters)

    def _log_likelihood(self, x: Data, z: Tensor, cond: Cond | None) -> Tensor:
        """Log p(x | z) of codes `(k, n, latent)`: `(k, n)`."""
        check_given(cond, self.spec)
        k, n = z.shape[:2]
        labels = None if cond is None else cond.repeat(k, *(1,) * (cond.ndim - 1))
        parameters = at_least_float32(self.decoder(self.seen(z).flatten(0, 1), labels))
        repeated = x if k == 1 else x.repeat(k, *(1,) * (x.ndim - 1))
        return self.likelihood.log_prob(parameters, repeated).reshape(k, n)
