r"""sparse: k-Sparse autoencoders (Makhzani and Frey, 2014).

Good for: codes whose active numbers each stand for a pattern to look at.

An autoencoder whose code may be longer than the example, because few of its numbers are active for
any one example. Three ways to have it so:

.. math::
    \text{topk:} &\quad z = \text{the } k \text{ largest of } f(x), \text{ the others } 0 \\
    \text{l1:} &\quad L + \lambda \, \mathbb{E} \sum_j |z_j|, \qquad z = \mathrm{relu}(f(x)) \\
    \text{kl:} &\quad L + \lambda \sum_j \mathrm{KL}(\rho \,\|\, \bar z_j), \qquad
        z = \sigma(f(x)), \quad \bar z = \mathbb{E} z

References:
    k-Sparse autoencoders (Makhzani and Frey, 2014), algorithm 1. https://arxiv.org/abs/1312.5663
    Sparse autoencoder, CS294A lecture notes (Ng, 2011), section 3: the Kullback-Leibler penalty.
    https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf
    Scaling and evaluating sparse autoencoders (Gao et al., 2024), section 2. https://arxiv.org/abs/2406.04093

Note:
    The mean of `kl` is one over the training set; here it is a moving average over steps
    (`pofx.ae.activity`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pofx.ae.activity import Activity
from pofx.ae.reconstruction import TRAINING, Autoencoder, Reconstruction, distance, networks
from pofx.batch import Batch
from pofx.functional.dequantize import relax
from pofx.objective import Metrics
from pofx.parameters import Count, EncoderSize, Latent, NonNegative, Sizes, Training, between
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec

Sparsity = Literal["topk", "l1", "kl"]


class SparseAutoencoder(Autoencoder):
    """An autoencoder with few active numbers in a code.

    Args:
        encoder: as for `Autoencoder`.
        decoder: as for `Autoencoder`.
        spec: of the data.
        sparsity: the way to have it so.
        k: active numbers, of `topk`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        spec: DataSpec,
        sparsity: Sparsity = "topk",
        k: int = 8,
    ) -> None:
        super().__init__(encoder, decoder, spec)
        self.sparsity, self.k = sparsity, k

    def code(self, relaxed: Tensor) -> Tensor:
        a = self.encoder(relaxed)
        if self.sparsity == "kl":
            return a.sigmoid()
        a = a.relu()
        if self.sparsity == "l1":
            return a
        return torch.zeros_like(a).scatter(1, *_largest(a, self.k))


def _largest(a: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, places = a.topk(k, 1)
    return places, values


class SparseReconstruction(Reconstruction):
    """Minimises the mean distance, and the penalty of `l1` and `kl`.

    Args:
        model: the autoencoder.
        weight: lambda.
        activity: of the numbers of a code, of `kl`.
    """

    def __init__(self, model: SparseAutoencoder, weight: float, activity: Activity | None) -> None:
        super().__init__(model)
        self.sparsity, self.weight, self.activity = model.sparsity, weight, activity

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x = batch.x
        model, relaxed = self.model, relax(x, self.model.spec)
        z = model.code(relaxed)
        error = distance(model.decoder(z), relaxed, model.spec).mean()
        threshold = 0.5 if self.sparsity == "kl" else 0.0
        active = (z.detach() > threshold).to(z.dtype).sum(1).mean()
        metrics = {"reconstruction": error, "active": active}
        if self.activity is not None and self.training:
            self.activity.see(z)
        return error + self.weight * self.penalty(z), metrics

    def penalty(self, z: Tensor) -> Tensor:
        """What `l1` and `kl` add, before its weight."""
        if self.sparsity == "l1":
            return z.abs().sum(1).mean()
        return z.new_zeros(()) if self.activity is None else self.activity.penalty(z)

    def after_step(self) -> None:
        if self.activity is not None:
            self.activity.step()


def recipe(
    spec: DataSpec,
    *,
    sparsity: Sparsity = "topk",
    k: Count = 8,
    weight: NonNegative = 0.1,
    rate: Annotated[float, between(0, 1, without="()")] = 0.05,
    latent: Latent = 128,
    hidden: Sizes = (),
    training: Training = TRAINING,
) -> Recipe:
    """A sparse autoencoder.

    Args:
        sparsity: topk keeps the k largest, l1 and kl add a penalty.
        k: active numbers of topk.
        weight: of the penalty of l1 and kl.
        rate: of kl, the share of examples for which a number is to be active.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them. With none, what an
            active number stands for is one pattern, the column of the decoder's weights.
    """
    if sparsity == "topk" and k > latent:
        raise RecipeError(f"--k must be at most --latent {latent} (got {k}): give a smaller one.")
    plain = EncoderSize(hidden=hidden, channels=0, network="mlp")
    model = SparseAutoencoder(*networks(spec, latent, plain), spec, sparsity, k)
    activity = Activity(latent, rate) if sparsity == "kl" else None
    return trained(model, SparseReconstruction(model, weight, activity), training)
