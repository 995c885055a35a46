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

from typing import Literal

from torch import nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.recipe import Former, Recipe, check_at_least
from pofx.spec import DataSpec
from pofx.typing import Cond, Data
from pofx.vae.elbo import ELBO
from pofx.vae.inverse_autoregressive import IAFPosterior, IAFStep
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import Networks, trained
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
        options: `conditional` and `pixel_noise`.
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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    flow_steps: int = 2,
    context: int = 32,
    width: int = 128,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 16,
    network: Literal["mlp", "conv", "resnet"] | None = None,
    kl_warmup: float = 0.05,
    conditional: bool = False,
    pixel_noise: bool = False,
    lr: float = 1e-3,
    batch_size: int = 128,
    steps: int = 10_000,
) -> Recipe:
    """A VAE with an inverse autoregressive posterior.

    Args:
        flow_steps: steps of the posterior; 0 leaves it normal.
        context: numbers that the encoder tells every step.
        width: of the steps' hidden layer.
        latent: dimensions of the latent z.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 uses fully connected networks.
        network: by default convolutions for images, residual ones from 24 pixels a side, and fully
            connected layers for anything else; resnet has residual blocks of either.
        kl_warmup: share of the budget over which the weight of the KL term rises from 0.
        conditional: condition encoder and decoder on the class.
        pixel_noise: draw grey pixels from p(x | z) when sampling; otherwise show its mean.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_at_least("iaf-vae", 1, context=context, width=width)
    networks = Networks("iaf-vae", spec, hidden, channels, network, conditional, pixel_noise)
    decoder, likelihood = networks.decoder(latent)
    encoder = networks.encoder(2 * latent + context)
    flow = [IAFStep(latent, context, width, backwards=i % 2 > 0) for i in range(flow_steps)]
    model = IAFVAE(
        encoder, decoder, likelihood, spec, latent, nn.ModuleList(flow), **networks.options
    )
    return trained(model, ELBO(model, kl_warmup=kl_warmup), lr, batch_size, steps)
