r"""ladder-vae: Ladder variational autoencoders (Sønderby et al., 2016).

A hierarchy of codes, whose posterior goes down the same way as the generation and corrects each
step of it by what the data say from below:

.. math:: p(x, z) = p(x | z_1) \, p(z_1 | z_2) \cdots p(z_L), \qquad
    q(z_i | z_{i+1}, x) = N(\mu_i, v_i) \\
    v_i = \frac{1}{\hat v_i^{-1} + v_{p,i}^{-1}}, \qquad
    \mu_i = v_i \left( \hat\mu_i \hat v_i^{-1} + \mu_{p,i} v_{p,i}^{-1} \right)

:math:`\hat\mu_i, \hat v_i` come from a deterministic pass upwards, :math:`\mu_{p,i}, v_{p,i}` from
the prior of that layer given the code above it.

References:
    Ladder variational autoencoders (Sønderby et al., 2016), eq. 8-12 for the passes and 17-19 for
    the combination. https://arxiv.org/abs/1602.02282

Note:
    No batch normalisation, because an example's bound would then depend on its neighbours; the KL
    warm-up, which the paper needs as well, is there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.nn.mlp import MLP
from pofx.recipe import Recipe
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample
from pofx.vae.elbo import ELBO
from pofx.vae.latent_variable import LatentVariable, NormalPosterior, log_normal
from pofx.vae.vae import check_codes, decoder_for, encoder_for, is_noisy, trained


class Layer(NamedTuple):
    """What a layer's code is drawn from, given the one above it, in inference and generation."""

    posterior: NormalPosterior
    prior: NormalPosterior


class LadderPosterior:
    """The codes of all layers, drawn from the top down.

    Args:
        model: whose posterior it is.
        evidence: what the data say of each layer, from the lowest up.
    """

    def __init__(self, model: LadderVAE, evidence: list[NormalPosterior]) -> None:
        self.model, self.evidence = model, evidence

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
        for said, net in zip(self.evidence[::-1], [None, *self.model.priors], strict=True):
            mu, log_var = said.mu.repeat(k, 1), said.log_var.repeat(k, 1)
            zero = torch.zeros_like(mu)
            top = NormalPosterior(zero, zero)
            prior = top if net is None else NormalPosterior(*net(z[-1]).chunk(2, 1))
            layers.append(Layer(combined(NormalPosterior(mu, log_var), prior), prior))
            z.append(choose(layers[-1].posterior))
        return z[::-1], layers[::-1]


def combined(a: NormalPosterior, b: NormalPosterior) -> NormalPosterior:
    """The product of two normal densities, normalised: means weighted by precision."""
    log_precision = torch.logaddexp(-a.log_var, -b.log_var)
    share = torch.sigmoid(b.log_var - a.log_var)  # of a
    return NormalPosterior(share * a.mu + (1 - share) * b.mu, -log_precision)


def normal_divergence(q: NormalPosterior, p: NormalPosterior) -> Tensor:
    """KL(q || p) of each coordinate, nats."""
    ratio = q.log_var - p.log_var
    return 0.5 * (ratio.exp() + (q.mu - p.mu) ** 2 * (-p.log_var).exp() - 1 - ratio)


class LadderVAE(LatentVariable):
    """Layers of codes; a code of the whole model is all of them side by side, the lowest first.

    Args:
        encoder: `(x relaxed, cond) -> (n, width)`, the start of the way up.
        up: the way from each layer to the next.
        evidence: from each stop on the way to `(n, 2 latent_i)`.
        priors: from a code to mean and log-variance of the one below it, from the top down.
        decoder: of the lowest code.
        likelihood: p(x | z_1).
        spec: of the data.
        latents: numbers in each layer's code, from the lowest up.
        options: `conditional` and `pixel_noise`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        up: nn.ModuleList,
        evidence: nn.ModuleList,
        priors: nn.ModuleList,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latents: tuple[int, ...],
        **options: bool,
    ) -> None:
        super().__init__(decoder, likelihood, spec, sum(latents), **options)
        self.encoder, self.up, self.evidence, self.priors = encoder, up, evidence, priors
        self.latents = latents

    def posterior(self, x: Data, cond: Cond | None = None) -> LadderPosterior:
        stops = [self.encoder(relax(x, self.spec), cond)]
        for net in self.up:
            stops.append(net(stops[-1]))
        pairs = zip(self.evidence, stops, strict=True)
        return LadderPosterior(self, [NormalPosterior(*net(h).chunk(2, 1)) for net, h in pairs])

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """Log p(x | z_1) of one draw, and each coordinate's KL given the draw above it."""
        z, layers = self.posterior(x, cond).drawn()
        divergence = torch.cat([normal_divergence(*layer) for layer in layers], 1)
        return self._log_likelihood(x, torch.cat(z, 1)[None], cond)[0], divergence

    def seen(self, z: Tensor) -> Tensor:
        return z[..., : self.latents[0]]

    def log_prior(self, z: Tensor) -> Tensor:
        layers = z.split(self.latents, -1)
        total = super().log_prior(layers[-1])
        for net, above, below in zip(self.priors, layers[:0:-1], layers[-2::-1], strict=True):
            prior = NormalPosterior(*net(above).chunk(2, -1))
            total = total + log_normal(below, prior.mu, prior.log_var)
        return total

    def draw_prior(self, n: int) -> Tensor:
        like = next(self.parameters())
        eps = torch.randn(n, self.latent, device=like.device, dtype=like.dtype)
        *lower, top = eps.split(self.latents, 1)
        z = [top]
        for net, noise in zip(self.priors, lower[::-1], strict=True):
            prior = NormalPosterior(*net(z[-1]).chunk(2, 1))
            z.append(prior.mu + (0.5 * prior.log_var).exp() * noise)
        return torch.cat(z[::-1], 1)


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    latents: tuple[int, ...] = (32, 16),
    width: int = 256,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    kl_warmup: int = 2_000,
    free_bits: float = 0.0,
    conditional: bool = False,
    pixel_noise: bool = False,
    lr: float = 1e-3,
    batch_size: int = 128,
    steps: int = 10_000,
) -> Recipe:
    """A ladder VAE.

    Args:
        latents: dimensions of each layer's code, from the lowest up.
        width: of what goes up from layer to layer, and of the networks between codes.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 uses fully connected networks.
        kl_warmup: steps over which the weight of the KL term rises from 0.
        free_bits: nats of each dimension's KL that cost nothing.
        conditional: condition encoder and decoder on the class.
        pixel_noise: draw grey pixels from p(x | z) when sampling; otherwise show its mean.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_codes("ladder-vae", spec, latent=min(latents, default=0), conditional=conditional)
    classes = spec.classes if conditional else 0
    decoder, likelihood = decoder_for(spec, latents[0], hidden, channels, classes)
    model = LadderVAE(
        encoder_for(spec, width, hidden, channels, classes),
        nn.ModuleList(MLP([width, width, width], nn.SiLU) for _ in latents[1:]),
        nn.ModuleList(MLP([width, width, 2 * latent], nn.SiLU) for latent in latents),
        nn.ModuleList(
            MLP([above, width, 2 * below], nn.SiLU) for above, below in pairwise(latents[::-1])
        ),
        decoder, likelihood, spec, tuple(latents),
        conditional=conditional, pixel_noise=is_noisy(spec, pixel_noise),
    )  # fmt: skip
    return trained(
        model, ELBO(model, kl_warmup=kl_warmup, free_bits=free_bits), lr, batch_size, steps
    )
