r"""top_down: prior and posterior of a hierarchy of codes, both drawn from the top down.

.. math:: p(z) = p(z_L) \, p(z_{L-1} | z_L) \cdots p(z_1 | z_2), \qquad
    q(z_i | z_{i+1}, x) \propto N(\hat\mu_i, \hat v_i) \, p(z_i | z_{i+1})

The first factor of q is what the data say of a layer, the second is its prior given the code above
it. Layers are listed from the lowest up.

References:
    Ladder variational autoencoders (Sønderby et al., 2016), eq. 8-10 and 17-19.
    https://arxiv.org/abs/1602.02282
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.vae.normal import NormalPosterior, combined, log_normal


class TopDownPrior(nn.ModuleList):
    """Networks from a code to mean and log-variance of the one below it, from the top down; the
    topmost code is standard normal.
    """

    def log_prob(self, layers: Sequence[Tensor]) -> Tensor:
        """Log of the density of the codes of all layers: each `(..., latent_i)` to `(...)`."""
        top = torch.zeros_like(layers[-1])
        total = log_normal(layers[-1], top, top)
        for net, above, below in zip(self, layers[:0:-1], layers[-2::-1], strict=True):
            prior = NormalPosterior(*net(above).chunk(2, -1))
            total = total + log_normal(below, prior.mu, prior.log_var)
        return total

    def draw(self, eps: Sequence[Tensor]) -> list[Tensor]:
        """Codes of all layers, made of standard normal noise of the same shapes."""
        z = [eps[-1]]
        for net, noise in zip(self, eps[-2::-1], strict=True):
            prior = NormalPosterior(*net(z[-1]).chunk(2, 1))
            z.append(prior.mu + (0.5 * prior.log_var).exp() * noise)
        return z[::-1]


class Layer(NamedTuple):
    """What a layer's code is drawn from, given the one above it, in inference and generation."""

    posterior: NormalPosterior
    prior: NormalPosterior


class TopDownPosterior:
    """The codes of all layers, drawn from the top down.

    Args:
        priors: from a code to mean and log-variance of the one below it, from the top down.
        evidence: what the data say of each layer, from the lowest up.
    """

    def __init__(self, priors: Iterable[nn.Module], evidence: list[NormalPosterior]) -> None:
        self.priors, self.evidence = priors, evidence

    @property
    def mean(self) -> Tensor:
        """The mean of each layer given those above it, side by side, the lowest first."""
        z, _ = self._down(1, lambda q: q.mu)
        return torch.cat(z, 1)

    def draw(self, k: int, *, stopped: bool = False) -> tuple[Tensor, Tensor]:
        z, layers = self.drawn(k)
        n = self.evidence[0].mu.shape[0]
        log_q = torch.zeros_like(z[0][:, 0])
        for part, (q, _) in zip(z, layers, strict=True):
            held = (q.mu.detach(), q.log_var.detach()) if stopped else (q.mu, q.log_var)
            log_q = log_q + log_normal(part, *held)
        return torch.cat(z, 1).reshape(k, n, -1), log_q.reshape(k, n)

    def drawn(self, k: int = 1) -> tuple[list[Tensor], list[Layer]]:
        """The codes of each layer, `(k n, latent_i)`, and what they were drawn from, the lowest
        first.
        """

        def choose(q: NormalPosterior) -> Tensor:
            # the noise of a row belongs to its example
            n, latent = len(q.mu) // k, q.mu.shape[1]
            eps = torch.randn(n, k, latent, dtype=q.mu.dtype, device=q.mu.device)
            return q.mu + (0.5 * q.log_var).exp() * eps.transpose(0, 1).flatten(0, 1)

        return self._down(k, choose)

    def _down(
        self, k: int, choose: Callable[[NormalPosterior], Tensor]
    ) -> tuple[list[Tensor], list[Layer]]:
        z: list[Tensor] = []
        layers: list[Layer] = []
        for said, net in zip(self.evidence[::-1], [None, *self.priors], strict=True):
            mu, log_var = said.mu.repeat(k, 1), said.log_var.repeat(k, 1)
            zero = torch.zeros_like(mu)
            top = NormalPosterior(zero, zero)
            prior = top if net is None else NormalPosterior(*net(z[-1]).chunk(2, 1))
            layers.append(Layer(combined(NormalPosterior(mu, log_var), prior), prior))
            z.append(choose(layers[-1].posterior))
        return z[::-1], layers[::-1]
