r"""beta-vae: Learning basic visual concepts with a constrained variational framework (Higgins et al., 2017).

Good for: codes of which each number stands for one factor of the data.

A VAE whose divergence weighs more than the bound says, so that only what explains much of the data
is worth a code, and codes come out independent:

.. math:: L = -\mathbb{E}_q \log p(x | z) + \beta \, \mathrm{KL}
    \qquad \text{or} \qquad -\mathbb{E}_q \log p(x | z) + \beta \, |\mathrm{KL} - C_t|

The second holds the divergence at a capacity of :math:`C_t` nats, which rises from 0, so that the
code fills with one factor after the other. Of a linear decoder with variance :math:`\sigma^2`, the
principal components with an eigenvalue above :math:`\beta \sigma^2` stay active.

References:
    beta-VAE (Higgins et al., 2017), eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
    Understanding disentangling in beta-VAE (Burgess et al., 2018), eq. 8. https://arxiv.org/abs/1804.03599
    Don't blame the ELBO! A linear VAE perspective on posterior collapse (Lucas et al., 2019),
    section 4. https://arxiv.org/abs/1911.02469
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import torch
from torch import Tensor

from pofx.parameters import (
    Conditional,
    EncoderSize,
    Fraction,
    Latent,
    NonNegative,
    PixelNoise,
    Training,
)
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec
from pofx.vae.elbo import ELBO
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal_vae import VAE, build


class Capacity(ELBO):
    """Holds the divergence at a capacity that rises.

    Args:
        model: what is trained.
        beta: weight of what the divergence is away from the capacity.
        capacity: C at the end of the rise, nats.
        rise: the share of the training budget over which it rises from 0.
    """

    def __init__(self, model: VAE, beta: float, capacity: float, rise: float) -> None:
        super().__init__(model, beta)
        self.capacity, self.rise = capacity, rise

    @property
    def departs(self) -> bool:
        return True

    @property
    def settles(self) -> float:
        return self.rise

    def cost(self, parts: Tensor, progress: float) -> Tensor:
        share = min(progress / self.rise, 1.0) if self.rise else 1.0
        return torch.abs(parts.sum() - self.capacity * share)


FORMER = {"rise": Former("rise", 5_000)}


def recipe(
    spec: DataSpec,
    *,
    latent: Latent = 10,
    beta: NonNegative = 4.0,
    capacity: NonNegative | None = None,
    rise: Fraction = 0.5,
    conditional: Conditional = False,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A beta-VAE.

    Args:
        beta: weight of the KL term, or of its distance from the capacity.
        capacity: nats that the KL is held at; leave it out to press it towards 0.
        rise: share of the budget over which the capacity rises from 0.
    """
    networks = Networks(spec, network, pixel_noise)
    model = build(networks, latent)
    objective = ELBO(model, beta) if capacity is None else Capacity(model, beta, capacity, rise)
    return trained(model, objective, training)
