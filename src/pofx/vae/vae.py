r"""vae: Auto-encoding variational Bayes (Kingma and Welling, 2014).

A latent-variable model `p(x) = \int p(z) p(x | z) dz` with a standard normal prior, trained
together with an approximate posterior `q(z | x) = N(mu(x), sigma(x)^2)` by the evidence lower bound

.. math:: \mathrm{elbo}(x)
    = \mathbb{E}_{q(z|x)} \log p(x|z) - \mathrm{KL}\big(q(z|x) \,\|\, p(z)\big) \le \log p(x)

The likelihood p(x | z) is chosen by the data's support (`pofx.distributions.heads`).

References:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), eq. 3, 7 and 10. https://arxiv.org/abs/1312.6114
    Importance weighted autoencoders (Burda et al., 2016), eq. 8: the bound by several samples. https://arxiv.org/abs/1509.00519
    beta-VAE (Higgins et al., 2017), eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pofx.distributions.heads import Head, head
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.nn.defaults import Decoder, Encoder
from pofx.objective import LossObjective, Metrics
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    r"""KL(N(mu, exp(log_var)) || N(0, 1)) of each coordinate, in nats.

    >>> kl_to_standard_normal(torch.tensor(1.0), torch.tensor(0.0))
    tensor(0.5000)
    """
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var)


class VAE(nn.Module):
    """A variational autoencoder: capabilities Samples, Bound, ImportanceBound and Latent.

    Args:
        encoder: `(x relaxed, cond) -> (n, 2 latent)`, the mean and log-variance of q(z | x).
        decoder: `(z, cond) -> parameters` of the likelihood.
        likelihood: p(x | z).
        spec: of the data.
        latent: dimensions of z.
        conditional: whether `cond` is used.
        pixel_noise: whether samples are drawn from p(x | z); otherwise they are its mean.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latent: int,
        *,
        conditional: bool = False,
        pixel_noise: bool = True,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.spec, self.latent = spec, latent
        self.conditional, self.pixel_noise = conditional, pixel_noise

    def posterior(self, x: Data, cond: Cond | None = None) -> tuple[Tensor, Tensor]:
        """The mean and log-variance of q(z | x), each `(n, latent)`."""
        mu, log_var = self.encoder(relax(x, self.spec), cond).chunk(2, 1)
        return mu, log_var.clamp(-20, 10)

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """Log p(x | z) of one reparameterised draw z ~ q, `(n,)`, and the KL of each coordinate,
        `(n, latent)`.
        """
        mu, log_var = self.posterior(x, cond)
        z = mu + (0.5 * log_var).exp() * torch.randn_like(mu)
        log_likelihood = self.likelihood.log_prob(self.decoder(z, cond), x)
        return log_likelihood, kl_to_standard_normal(mu, log_var)

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        log_likelihood, kl = self.terms(x, cond)
        return log_likelihood - kl.sum(1)

    def importance_bound(
        self, x: Data, cond: Cond | None = None, *, samples: int = 500
    ) -> PerExample:
        mu, log_var = self.posterior(x, cond)
        total = torch.full_like(mu[:, 0], -math.inf)
        for _ in range(samples):
            eps = torch.randn_like(mu)
            z = mu + (0.5 * log_var).exp() * eps
            log_ratio = 0.5 * (eps**2 + log_var - z**2).sum(1)  # log p(z) - log q(z | x)
            log_likelihood = self.likelihood.log_prob(self.decoder(z, cond), x)
            total = torch.logaddexp(total, log_likelihood + log_ratio)
        return total - math.log(samples)

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        return self.posterior(x, cond)[0]

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        return self.likelihood.mean(self.decoder(z, cond))

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        like = next(self.parameters())
        z = torch.randn(n, self.latent, device=like.device, dtype=like.dtype)
        parameters = self.decoder(z, cond)
        return (
            self.likelihood.sample(parameters)
            if self.pixel_noise
            else self.likelihood.mean(parameters)
        )


class ELBO(LossObjective):
    """Minimises `-log p(x | z) + beta KL`, averaged over examples.

    Args:
        model: the autoencoder.
        beta: weight of the KL; the bound itself has 1.
        kl_warmup: steps over which the weight rises from 0, so that no latent is switched off
            before the decoder has learned to use it: the cure of posterior collapse.
    """

    steps: Tensor

    def __init__(self, model: VAE, beta: float = 1.0, kl_warmup: int = 0) -> None:
        super().__init__()
        self.model: VAE = model
        self.beta, self.kl_warmup = beta, kl_warmup
        self.register_buffer("steps", torch.zeros(()))

    @property
    def weight(self) -> Tensor | float:
        """The weight of the KL now."""
        return (
            self.beta * (self.steps / self.kl_warmup).clamp(max=1) if self.kl_warmup else self.beta
        )

    def after_step(self) -> None:
        self.steps += 1

    def loss(self, x: Data, cond: Cond | None = None) -> tuple[Tensor, Metrics]:
        log_likelihood, kl = self.model.terms(x, cond)
        reconstruction, total_kl = -log_likelihood.mean(), kl.sum(1).mean()
        active = (kl.detach().mean(0) > 0.01).sum().to(kl.dtype)
        metrics = {"reconstruction": reconstruction, "kl": total_kl, "active_units": active}
        return reconstruction + self.weight * total_kl, metrics


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    beta: float = 1.0,
    kl_warmup: int = 500,
    conditional: bool = False,
    pixel_noise: bool = False,
    lr: float = 1e-3,
    batch_size: int = 128,
    steps: int = 10_000,
) -> Recipe:
    """A VAE with the likelihood that the data calls for.

    Args:
        latent: dimensions of the latent z.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 uses fully connected networks.
        beta: weight of the KL term; above 1 disentangles, below 1 reconstructs.
        kl_warmup: steps over which that weight rises from 0.
        conditional: condition encoder and decoder on the class.
        pixel_noise: draw grey pixels from p(x | z) when sampling; otherwise show its mean.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if conditional and not spec.classes:
        raise RecipeError(
            "vae: --conditional needs data with classes, and this has none; leave it out."
        )
    if latent < 1:
        raise RecipeError(f"vae: --latent is at least 1, and {latent} came.")
    if beta < 0:
        raise RecipeError(f"vae: --beta is a weight of at least 0, and {beta} came.")
    likelihood = head(spec)
    classes = spec.classes if conditional else 0
    encoder = Encoder(
        relaxed_shape(spec), 2 * latent, hidden=hidden, channels=channels, classes=classes
    )
    decoder = Decoder(
        latent, likelihood.parameters_shape, hidden=hidden[::-1], channels=channels, classes=classes
    )
    noisy = pixel_noise or not spec.is_image or spec.columns[0].levels == 2
    model = VAE(
        encoder, decoder, likelihood, spec, latent, conditional=conditional, pixel_noise=noisy
    )
    return Recipe(
        model=model,
        objective=ELBO(model, beta, kl_warmup),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
        clip=100.0,
        warmup=100,
    )
