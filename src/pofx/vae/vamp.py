r"""vamp: VAE with a VampPrior (Tomczak and Welling, 2018).

Good for: a VAE whose samples are closer to the data.

The best prior for a given encoder is the mean of its posteriors over all data, which overfits and
costs too much; the VampPrior is the mean over K learned pseudo-inputs,

.. math:: p(z) = \frac1K \sum_{k=1}^K q(z | u_k),

a multimodal prior that comes from the encoder's own weights.

References:
    VAE with a VampPrior (Tomczak and Welling, 2018), eq. 9. https://arxiv.org/abs/1705.07120

Note:
    Pseudo-inputs live in the relaxed space of `functional.dequantize`, clipped to it where data are
    bounded; they start as noise about its middle.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relaxed_shape
from pofx.functional.labels import any_class
from pofx.parameters import Count, EncoderSize, KLWarmup, Latent, PixelNoise, Training
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec, Real
from pofx.typing import Cond, Data, PerExample
from pofx.vae.elbo import ELBO
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal import NormalPosterior
from pofx.vae.normal_vae import VAE


class VampVAE(VAE):
    """A VAE whose prior is a mixture of its own posteriors.

    Args:
        encoder: as for `VAE`, and so on.
        decoder: of codes.
        likelihood: p(x | z).
        spec: of the data.
        latent: numbers in a code.
        components: K.
        options: as for `VAE`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latent: int,
        components: int,
        **options: bool,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, spec, latent, **options)
        self.bounded = not any(isinstance(c, Real) for c in spec.columns)
        self.pseudo_inputs = nn.Parameter(0.1 * torch.randn(components, *relaxed_shape(spec)))

    def components(self) -> NormalPosterior:
        """The prior's K components."""
        u = self.pseudo_inputs.clamp(-1, 1) if self.bounded else self.pseudo_inputs
        return NormalPosterior(*self.encoder(u, None).chunk(2, 1))

    def log_prior(self, z: Tensor) -> Tensor:
        """Log of the mixture's density, by matrix products: `(..., latent) -> (...)`."""
        prior = self.components()
        precision = (-prior.log_var).exp()
        square = (z**2) @ precision.T - 2 * z @ (prior.mu * precision).T
        constant = (prior.mu**2 * precision + prior.log_var + math.log(2 * math.pi)).sum(1)
        return (-0.5 * (square + constant)).logsumexp(-1) - math.log(len(constant))

    def draw_prior(self, n: int) -> Tensor:
        prior = self.components()
        k = any_class(n, len(prior.mu), prior.mu.device)
        return NormalPosterior(prior.mu[k], prior.log_var[k]).codes(1)[0][0]

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        return LatentVariable.terms(self, x, cond)


FORMER = {"kl_warmup": Former("kl_warmup", 500)}


def recipe(
    spec: DataSpec,
    *,
    components: Count = 100,
    latent: Latent = 32,
    kl_warmup: KLWarmup = 0.05,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A VAE with a VampPrior.

    Args:
        components: pseudo-inputs of the prior.
    """
    spec = replace(spec, cond=None)  # the prior knows no classes
    networks = Networks(spec, network, pixel_noise)
    decoder, likelihood = networks.decoder(latent)
    encoder = networks.encoder(2 * latent)
    model = VampVAE(encoder, decoder, likelihood, spec, latent, components, **networks.options)
    return trained(model, ELBO(model, kl_warmup=kl_warmup), training)
