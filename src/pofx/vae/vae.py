r"""vae: Auto-encoding variational Bayes (Kingma and Welling, 2014).

Good for: codes, quick samples and a bound on log p(x): a middle way.

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

from pofx.parameters import (
    Conditional,
    EncoderSize,
    FreeBits,
    KLWarmup,
    Latent,
    NonNegative,
    PixelNoise,
    Training,
    Whole,
)
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec
from pofx.vae.elbo import ELBO
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal_vae import build

FORMER = {"kl_warmup": Former("kl_warmup", 500)}


def recipe(
    spec: DataSpec,
    *,
    latent: Latent = 32,
    beta: NonNegative = 1.0,
    kl_warmup: KLWarmup = 0.05,
    kl_cycles: Whole = 0,
    free_bits: FreeBits = 0.0,
    conditional: Conditional = False,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A VAE with the likelihood that the data calls for.

    Args:
        beta: weight of the KL term; the bound itself has 1.
        kl_cycles: how often the weight starts from 0 again; 0 for a single rise.
    """
    networks = Networks(spec, network, pixel_noise)
    model = build(networks, latent)
    objective = ELBO(model, beta, kl_warmup, kl_cycles, free_bits)
    return trained(model, objective, training)
