"""Features: the spaces in which two sets of examples are compared.

- `raw`: the relaxed values themselves, flattened; for vectors of few elements.
- `pca`: the leading principal components of the training examples, unscaled.
- `classifier`: the last hidden layer of a small classifier that this project trains on the labelled
  training examples.
- `inception`: the pool of Inception-v3, from a file of weights that the user has.

A distance means little without the name of its features, and only distances in the same features
can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError, did_you_mean
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.classifier import Labelled, classifier
from pofx.evaluation.frechet import moments
from pofx.evaluation.inception import load_inception
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.functional.random import seeded
from pofx.spec import DataSpec
from pofx.typing import Data

NAMES = ("raw", "pca", "classifier", "inception")


class Embedding(NamedTuple):
    """Features `(n, d)` and, from what classifies, logits `(n, classes)`."""

    features: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Features:
    """A named space of features.

    Args:
        name: one of `raw`, `pca`, `classifier`, `inception`.
        embed: examples `(n, *shape)` to their embedding, a batch at a time.
        detail: what a reader must know of it.
        accuracy: share of test examples that the classifier behind it classes rightly, if there is
            one.
    """

    name: str
    embed: Callable[[Data], Embedding]
    detail: str = ""
    accuracy: float | None = None

    @torch.no_grad()
    def __call__(self, x: Data, *, batch: int = 500, stop: Stop | None = None) -> Embedding:
        """The embedding of all of `x`, in float32."""
        parts = [self.embed(x[rows].float()) for rows in blocks(len(x), batch, stop)]
        logits = [p.logits for p in parts if p.logits is not None]
        return Embedding(
            torch.cat([p.features for p in parts]), torch.cat(logits) if logits else None
        )


def default_features(spec: DataSpec) -> str:
    """What suits the data: `classifier` for labelled images, `raw` for short vectors, or `pca`."""
    if spec.is_image and spec.classes > 1:
        return "classifier"
    return "raw" if DataSpec(relaxed_shape(spec)).size <= 64 else "pca"


def build_features(
    name: str | None,
    dataset: Labelled,
    *,
    weights: str | Path | None = None,
    cache: bool = True,
    stop: Stop | None = None,
) -> Features:
    """The features of that name for a data set; the default ones for None.

    Raises:
        UserError: there are no such features, or this data or the lack of a weights file rules them
            out.
    """
    name = default_features(dataset.spec) if name is None else name
    if name == "raw":
        return Features("raw", lambda x: Embedding(flat(x, dataset.spec), None))
    if name == "pca":
        return _pca(dataset)
    if name == "classifier":
        trained = classifier(dataset, cache=cache, stop=stop)
        detail = f"a classifier right on {trained.accuracy:.1%} of the test set"
        detail += ", made anew, as the cached one was damaged" if trained.renewed else ""
        return Features(name, lambda x: Embedding(*trained.model(x)), detail, trained.accuracy)
    if name == "inception":
        return _inception(dataset.spec, weights)
    raise UserError(
        f"Features are named by one of {', '.join(NAMES)}, not {name!r}; "
        f"{did_you_mean(name, NAMES)}"
    )


def flat(x: Data, spec: DataSpec) -> Tensor:
    """Relaxed values as vectors, `(n, d)`."""
    return relax(x, spec).flatten(1)


def _pca(dataset: Labelled, most: int = 64, rows: int = 10_000) -> Features:
    index = torch.linspace(0, len(dataset.train) - 1, min(rows, len(dataset.train))).long()
    x, _ = dataset.train.values(index)
    x = flat(x.float(), dataset.spec)
    k = min(most, x.shape[1], len(x) - 1)
    if x.shape[1] <= 2048:
        mean, covariance, _ = moments(x)
        variances, vectors = torch.linalg.eigh(covariance)
        axes, kept, total = vectors[:, -k:].flip(1), variances[-k:].sum(), variances.sum()
    else:
        mean = x.mean(0)
        with seeded(0):
            _, values, axes = torch.svd_lowrank(x - mean, q=k, niter=4)
        kept, total = values.square().sum(), (x - mean).square().sum()
    mean, axes = mean.float(), axes.float()
    share = float(kept / total.clamp(min=1e-12))
    detail = f"{k} principal components, {share:.0%} of the variance"
    return Features("pca", lambda x: Embedding((flat(x, dataset.spec) - mean) @ axes, None), detail)


def _inception(spec: DataSpec, weights: str | Path | None) -> Features:
    if not spec.is_image:
        raise UserError(
            f"Inception features need images, but an example has shape {spec.shape}; choose the "
            f"features pca or raw."
        )
    if weights is None:
        raise UserError(
            "Inception features need a .safetensors file of weights, but none was given; name one "
            "with --weights."
        )
    model = load_inception(weights)
    detail = f"Inception-v3 from {Path(weights).name}"
    # Images of bits or categories are relaxed to [-1, 1] first; a batch of 500 is split for
    # memory's sake.
    return Features("inception", lambda x: _join(model, relax(x, spec)), detail)


def _join(model: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Embedding:
    parts = [model(part) for part in x.split(50)]
    return Embedding(torch.cat([f for f, _ in parts]), torch.cat([logits for _, logits in parts]))
