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

from pofx.ae.reconstruction import Autoencoder, Reconstruction, distance, networks, trained
from pofx.batch import Batch
from pofx.functional.dequantize import relax
from pofx.objective import Metrics
from pofx.recipe import Recipe, RecipeError
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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    noise: Noise = "gaussian",
    level: float = 0.3,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 16,
    lr: float = 1e-3,
    batch_size: int = 128,
    steps: int = 5_000,
) -> Recipe:
    """A denoising autoencoder.

    Args:
        spec: what the data is.
        noise: gaussian, or masking.
        level: the noise's standard deviation, where data span about [-1, 1], or the share of
            elements that is masked.
        latent: numbers in a code.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 uses fully connected networks.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if not 0 < level < (1 if noise == "masking" else float("inf")):
        wanted = "a share between 0 and 1" if noise == "masking" else "a positive number"
        raise RecipeError(f"denoising: --level of {noise} noise is {wanted}, and {level} came.")
    model = Autoencoder(*networks(spec, latent, hidden, channels), spec)
    return trained(model, Denoising(model, noise, level), lr, batch_size, steps)
