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

from typing import Literal

from pofx.recipe import Former, Recipe, check_at_least
from pofx.spec import DataSpec
from pofx.vae.elbo import ELBO
from pofx.vae.networks import Networks, trained
from pofx.vae.normal_vae import build

FORMER = {"kl_warmup": Former("kl_warmup", 500)}


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 16,
    network: Literal["mlp", "conv", "resnet"] | None = None,
    beta: float = 1.0,
    kl_warmup: float = 0.05,
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
        network: by default convolutions for images, residual ones from 24 pixels a side, and fully
            connected layers for anything else; resnet has residual blocks of either.
        beta: weight of the KL term; the bound itself has 1.
        kl_warmup: share of the budget over which that weight rises from 0.
        kl_cycles: how often the weight starts from 0 again; 0 for a single rise.
        free_bits: nats of each dimension's KL that cost nothing.
        conditional: condition encoder and decoder on the class.
        pixel_noise: draw grey pixels from p(x | z) when sampling; otherwise show its mean.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_at_least("vae", 0, beta=beta, free_bits=free_bits)
    networks = Networks("vae", spec, hidden, channels, network, conditional, pixel_noise)
    model = build(networks, latent)
    objective = ELBO(model, beta, kl_warmup, kl_cycles, free_bits)
    return trained(model, objective, lr, batch_size, steps)
