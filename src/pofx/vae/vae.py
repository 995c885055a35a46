r"""vae: Auto-encoding variational Bayes (Kingma and Welling, 2014).

A latent-variable model `p(x) = \int p(z) p(x | z) dz` with a standard normal prior, trained
together with an approximate posterior `q(z | x) = N(mu(x), sigma(x)^2)` by the evidence lower bound

.. math:: \mathrm{elbo}(x)
    = \mathbb{E}_{q(z|x)} \log p(x|z) - \mathrm{KL}\big(q(z|x) \,\|\, p(z)\big) \le \log p(x)

The likelihood p(x | z) is chosen by the data's support (`pofx.distributions.heads`).

References:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), eq. 3, 7 and 10. https://arxiv.org/abs/1312.6114
    Importance weighted autoencoders (Burda et al., 2016), eq. 8: the bound by several samples. https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.recipe import Recipe, check_at_least
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample
from pofx.vae.elbo import ELBO
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import check_codes, decoder_for, encoder_for, is_noisy, trained
from pofx.vae.normal import NormalPosterior


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    r"""KL(N(mu, exp(log_var)) || N(0, 1)) of each coordinate, in nats.

    >>> import torch
    >>> kl_to_standard_normal(torch.tensor(1.0), torch.tensor(0.0))
    tensor(0.5000)
    """
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var)


class VAE(LatentVariable):
    """A variational autoencoder with a standard normal prior and a normal posterior.

    Args:
        encoder: `(x relaxed, cond) -> (n, 2 latent)`, the mean and log-variance of q(z | x).
        decoder: as for `LatentVariable`, and so on.
        likelihood: p(x | z).
        spec: of the data.
        latent: numbers in a code.
        options: `conditional` and `pixel_noise`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Head,
        spec: DataSpec,
        latent: int,
        **options: bool,
    ) -> None:
        super().__init__(decoder, likelihood, spec, latent, **options)
        self.encoder = encoder

    def posterior(self, x: Data, cond: Cond | None = None) -> NormalPosterior:
        return NormalPosterior(*self.encoder(relax(x, self.spec), cond).chunk(2, 1))

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """Log p(x | z) of one draw, and the KL of each coordinate in closed form, `(n, latent)`."""
        posterior = self.posterior(x, cond)
        z, _ = posterior.codes(1)
        kl = kl_to_standard_normal(posterior.mu, posterior.log_var)
        return self._log_likelihood(x, z, cond)[0], kl


def build(
    name: str,
    spec: DataSpec,
    latent: int,
    hidden: tuple[int, ...],
    channels: int,
    *,
    conditional: bool = False,
    pixel_noise: bool = False,
) -> VAE:
    """A VAE with networks that suit the data."""
    check_codes(name, spec, latent=latent, conditional=conditional)
    classes = spec.classes if conditional else 0
    encoder = encoder_for(spec, 2 * latent, hidden, channels, classes)
    decoder, likelihood = decoder_for(spec, latent, hidden, channels, classes)
    noisy = is_noisy(spec, pixel_noise)
    return VAE(
        encoder, decoder, likelihood, spec, latent, conditional=conditional, pixel_noise=noisy
    )


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    beta: float = 1.0,
    kl_warmup: int = 500,
    kl_cycles: int = 0,
    free_bits: float = 0.0,
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
        beta: weight of the KL term; the bound itself has 1.
        kl_warmup: steps over which that weight rises from 0.
        kl_cycles: how often the weight starts from 0 again; 0 for a single rise.
        free_bits: nats of each dimension's KL that cost nothing.
        conditional: condition encoder and decoder on the class.
        pixel_noise: draw grey pixels from p(x | z) when sampling; otherwise show its mean.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_at_least("vae", 0, beta=beta, free_bits=free_bits)
    model = build(
        "vae", spec, latent, hidden, channels, conditional=conditional, pixel_noise=pixel_noise
    )
    objective = ELBO(model, beta, kl_warmup, kl_cycles, free_bits)
    return trained(model, objective, lr, batch_size, steps)
