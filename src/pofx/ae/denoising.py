r"""denoising: Extracting and composing robust features with denoising autoencoders (Vincent et al., 2008).

Good for: codes that noise does not upset, and anomalies by reconstruction.

An autoencoder that sees a damaged example and is scored against the clean one,

.. math:: L = \mathbb{E}_x \, \mathbb{E}_{\tilde x \sim q(\tilde x | x)}\, d(x, g(f(\tilde x))),

so that it cannot learn to copy. With Gaussian noise of variance :math:`\sigma^2` the best
reconstruction is the posterior mean, and :math:`(g(f(\tilde x)) - \tilde x) / \sigma^2` the score
of the noisy data (Tweedie's formula).

References:
    Extracting and composing robust features with denoising autoencoders (Vincent et al., 2008),
    section 2.3: masking noise. https://www.cs.toronto.edu/~larocheh/publications/icml-2008-denoising-autoencoders.pdf
    Stacked denoising autoencoders (Vincent et al., 2010), section 3.3: Gaussian noise.
    A connection between score matching and denoising autoencoders (Vincent, 2011), eq. 11.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pofx.ae.reconstruction import (
    NETWORK,
    TRAINING,
    Autoencoder,
    Reconstruction,
    distance,
    networks,
)
from pofx.batch import Batch
from pofx.functional.dequantize import relax
from pofx.objective import Metrics
from pofx.parameters import EncoderSize, Latent, Positive, Training
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec

Noise = Literal["gaussian", "masking"]


class Denoising(Reconstruction):
    """Minimises the mean distance between clean examples and what is made of damaged ones.

    Args:
        model: the autoencoder.
        noise: `gaussian` adds to relaxed examples; `masking` sets elements to 0, which is no value
            of a relaxed bit or category.
        level: the noise's standard deviation, or the share of elements that is masked.
    """

    def __init__(self, model: Autoencoder, noise: Noise, level: float) -> None:
        super().__init__(model)
        self.noise, self.level = noise, level

    def damage(self, relaxed: Tensor) -> Tensor:
        """A draw of q."""
        if self.noise == "gaussian":
            return relaxed + self.level * torch.randn_like(relaxed)
        return relaxed * (torch.rand_like(relaxed) >= self.level)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x = batch.x
        model, clean = self.model, relax(x, self.model.spec)
        rebuilt = model.decoder(model.code(self.damage(clean)))
        return distance(rebuilt, clean, model.spec).mean(), {}


def recipe(
    spec: DataSpec,
    *,
    noise: Noise = "gaussian",
    level: Positive = 0.3,
    latent: Latent = 32,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A denoising autoencoder.

    Args:
        noise: gaussian, or masking.
        level: the noise's standard deviation, where data span about [-1, 1], or the share of
            elements that is masked.
    """
    if noise == "masking" and level >= 1:
        raise RecipeError(f"--level of masking noise must be below 1 (got {level}): lower it.")
    model = Autoencoder(*networks(spec, latent, network), spec)
    return trained(model, Denoising(model, noise, level), training)
