"""normal_vae: a VAE whose posterior is normal, which several of the family train or extend."""

from __future__ import annotations

from torch import Tensor, nn

from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import Networks
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
        options: `pixel_noise`.
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


def build(networks: Networks, latent: int) -> VAE:
    """A VAE with these networks."""
    decoder, likelihood = networks.decoder(latent)
    encoder = networks.encoder(2 * latent)
    return VAE(encoder, decoder, likelihood, networks.spec, latent, **networks.options)
