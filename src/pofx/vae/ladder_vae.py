r"""ladder-vae: Ladder variational autoencoders (Sønderby et al., 2016).

Good for: codes in layers, from details to the whole.

A hierarchy of codes, whose posterior goes down the same way as the generation and corrects each
step of it by what the data say from below:

.. math:: p(x, z) = p(x | z_1) \, p(z_1 | z_2) \cdots p(z_L), \qquad
    q(z_i | z_{i+1}, x) = N(\mu_i, v_i) \\
    v_i = \frac{1}{\hat v_i^{-1} + v_{p,i}^{-1}}, \qquad
    \mu_i = v_i \left( \hat\mu_i \hat v_i^{-1} + \mu_{p,i} v_{p,i}^{-1} \right)

:math:`\hat\mu_i, \hat v_i` come from a deterministic pass upwards, :math:`\mu_{p,i}, v_{p,i}` from
the prior of that layer given the code above it.

References:
    Ladder variational autoencoders (Sønderby et al., 2016), eq. 8-12 and 17-19.
    https://arxiv.org/abs/1602.02282

Note:
    No batch normalisation, because an example's bound would then depend on its neighbours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.nn.mlp import MLP
from pofx.parameters import (
    Conditional,
    Count,
    EncoderSize,
    FreeBits,
    KLWarmup,
    PixelNoise,
    Sizes,
    Training,
)
from pofx.recipe import Former, Recipe, RecipeError, trained
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample
from pofx.vae.elbo import ELBO
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal import NormalPosterior, normal_divergence
from pofx.vae.top_down import TopDownPosterior, TopDownPrior


class LadderVAE(LatentVariable):
    """Layers of codes; a code of the whole model is all of them side by side, the lowest first.

    Args:
        encoder: `(x relaxed, cond) -> (n, width)`, the start of the way up.
        up: the way from each layer to the next.
        evidence: from each stop on the way to `(n, 2 latent_i)`.
        priors: of each layer but the top, given the one above it.
        decoder: of the lowest code.
        likelihood: p(x | z_1).
        spec: of the data.
        latents: numbers in each layer's code, from the lowest up.
        options: as for `VAE`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        up: nn.ModuleList,
        evidence: nn.ModuleList,
        priors: TopDownPrior,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latents: tuple[int, ...],
        **options: bool,
    ) -> None:
        super().__init__(decoder, likelihood, spec, sum(latents), **options)
        self.encoder, self.up, self.evidence, self.priors = encoder, up, evidence, priors
        self.latents = latents

    def posterior(self, x: Data, cond: Cond | None = None) -> TopDownPosterior:
        stops = [self.encoder(relax(x, self.spec), cond)]
        for net in self.up:
            stops.append(net(stops[-1]))
        pairs = zip(self.evidence, stops, strict=True)
        said = [NormalPosterior(*net(h).chunk(2, 1)) for net, h in pairs]
        return TopDownPosterior(self.priors, said)

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """Log p(x | z_1) of one draw, and each coordinate's KL given the draw above it."""
        z, layers = self.posterior(x, cond).drawn()
        divergence = torch.cat([normal_divergence(*layer) for layer in layers], 1)
        return self._log_likelihood(x, torch.cat(z, 1)[None], cond)[0], divergence

    def seen(self, z: Tensor) -> Tensor:
        return z[..., : self.latents[0]]

    def log_prior(self, z: Tensor) -> Tensor:
        return self.priors.log_prob(z.split(self.latents, -1))

    def draw_prior(self, n: int) -> Tensor:
        eps = super().draw_prior(n)
        return torch.cat(self.priors.draw(eps.split(self.latents, 1)), 1)


FORMER = {"kl_warmup": Former("kl_warmup", 2_000)}


def recipe(
    spec: DataSpec,
    *,
    latents: Sizes = (32, 16),
    width: Count = 256,
    kl_warmup: KLWarmup = 0.2,
    free_bits: FreeBits = 0.0,
    conditional: Conditional = False,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A ladder VAE.

    Args:
        latents: dimensions of each layer's code, from the lowest up.
        width: of what goes up from layer to layer, and of the networks between codes.
    """
    if not latents:
        raise RecipeError("--latents must be one number or more (got none): give 32,16.")
    networks = Networks(spec, network, pixel_noise)
    decoder, likelihood = networks.decoder(latents[0])
    model = LadderVAE(
        networks.encoder(width),
        nn.ModuleList(MLP([width, width, width], nn.SiLU) for _ in latents[1:]),
        nn.ModuleList(MLP([width, width, 2 * latent], nn.SiLU) for latent in latents),
        TopDownPrior(
            MLP([above, width, 2 * below], nn.SiLU) for above, below in pairwise(latents[::-1])
        ),
        decoder, likelihood, spec, tuple(latents), **networks.options,
    )  # fmt: skip
    objective = ELBO(model, kl_warmup=kl_warmup, free_bits=free_bits)
    return trained(model, objective, training)
