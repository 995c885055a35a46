r"""top_down: the posterior of a hierarchy of codes, drawn from the top down.

.. math:: q(z_i | z_{i+1}, x) \propto N(\hat\mu_i, \hat v_i) \, p(z_i | z_{i+1})

The first factor is what the data say of a layer, the second is its prior given the code above it.

References:
    Ladder variational autoencoders (Sønderby et al., 2016), eq. 17-19. https://arxiv.org/abs/1602.02282
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.vae.normal import NormalPosterior, combined, log_normal


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
