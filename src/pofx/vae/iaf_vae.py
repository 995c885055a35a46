r"""iaf-vae: Improved variational inference with inverse autoregressive flow (Kingma et al., 2016).

Good for: a VAE whose posterior is not bound to be normal.

A VAE whose posterior is not normal: a normal draw goes through steps that are each quick to apply
and have a triangular Jacobian,

.. math:: z_t = \sigma_t \odot z_{t-1} + (1 - \sigma_t) \odot m_t, \qquad
    (m_t, s_t) = \mathrm{MADE}_t(z_{t-1}, h), \quad \sigma_t = \mathrm{sigmoid}(s_t) \\
    \log q(z_T | x) = \log q(z_0 | x) - \sum_t \sum_i \log \sigma_{t, i}

with a context h from the encoder. The order of the coordinates turns round from step to step.

References:
    Improved variational inference with inverse autoregressive flow (Kingma et al., 2016), algorithm
    1 and eq. 10-14. https://arxiv.org/abs/1606.04934
"""

from __future__ import annotations

from torch import nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.parameters import (
    Conditional,
    Count,
    EncoderSize,
    KLWarmup,
    Latent,
    PixelNoise,
    Training,
    Whole,
)
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import Cond, Data
from pofx.vae.elbo import ELBO
from pofx.vae.inverse_autoregressive import IAFPosterior, IAFStep
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal import NormalPosterior


class IAFVAE(LatentVariable):
    """A VAE with an inverse autoregressive posterior.

    Args:
        encoder: `(x relaxed, cond) -> (n, 2 latent + context)`.
        decoder: of codes.
        likelihood: p(x | z).
        spec: of the data.
        latent: numbers in a code.
        steps: of the posterior.
        options: `pixel_noise`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latent: int,
        steps: nn.ModuleList,
        **options: bool,
    ) -> None:
        super().__init__(decoder, likelihood, spec, latent, **options)
        self.encoder, self.steps = encoder, steps

    def posterior(self, x: Data, cond: Cond | None = None) -> IAFPosterior:
        h = self.encoder(relax(x, self.spec), cond)
        start = NormalPosterior(h[:, : self.latent], h[:, self.latent : 2 * self.latent])
        return IAFPosterior(start, h[:, 2 * self.latent :], self.steps)


FORMER = {"kl_warmup": Former("kl_warmup", 500)}


def recipe(
    spec: DataSpec,
    *,
    flow_steps: Whole = 2,
    context: Count = 32,
    width: Count = 128,
    latent: Latent = 32,
    kl_warmup: KLWarmup = 0.05,
    conditional: Conditional = False,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A VAE with an inverse autoregressive posterior.

    Args:
        flow_steps: steps of the posterior; 0 leaves it normal.
        context: numbers that the encoder tells every step.
        width: of the steps' hidden layer.
    """
    networks = Networks(spec, network, pixel_noise)
    decoder, likelihood = networks.decoder(latent)
    encoder = networks.encoder(2 * latent + context)
    flow = [IAFStep(latent, context, width, backwards=i % 2 > 0) for i in range(flow_steps)]
    model = IAFVAE(
        encoder, decoder, likelihood, spec, latent, nn.ModuleList(flow), **networks.options
    )
    return trained(model, ELBO(model, kl_warmup=kl_warmup), training)
