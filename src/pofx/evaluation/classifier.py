"""A small classifier of the labelled training examples, whose last hidden layer gives features.

It is trained once for each data set and kept in the cache folder (`$XDG_CACHE_HOME/pofx`, else
`~/.cache/pofx`) under a hash of the data and of its own architecture. A damaged or unwritable cache
costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pofx.errors import UserError
from pofx.evaluation.blocks import Stop, blocks, poll
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.functional.random import seeded
from pofx.nn.mlp import MLP
from pofx.spec import DataSpec
from pofx.training.checkpoint import load_model, misfit, save_model

_ARCHITECTURE = (
    "conv 16 32 64 / mlp 256 64, batch norm, 40 epochs or 200 to 1,000 steps of 128, version 2"
)
_BATCH, _RATE = 128, 5e-3
_ACCURACY = "accuracy"
"""Kept among the weights, so that their hash is of it too."""


class Examples(Protocol):
    """A split of a data set."""

    def __len__(self) -> int: ...

    def values(
        self, index: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The examples at `index`, all without one, and their classes."""
        ...


class Labelled(Protocol):
    """What a classifier is trained from."""

    @property
    def spec(self) -> DataSpec: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def train(self) -> Examples: ...
    @property
    def test(self) -> Examples: ...


class Classifier(nn.Module):
    """Examples `(n, *spec.shape)` to features `(n, 64)` and logits `(n, classes)`."""

    def __init__(self, spec: DataSpec, width: int = 64) -> None:
        super().__init__()
        self.spec = spec
        body = _convolutions(spec.shape, width) if spec.is_image else _dense(spec, width)
        self.body = nn.Sequential(*body, nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(relax(x, self.spec))
        return features, self.head(features)


def _convolutions(shape: tuple[int, ...], outputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs, height, width = shape
    for i in range(8):
        if i > 1 and max(height, width) <= 8:
            break
        wider = min(16 * 2**i, 64)
        kernel = 5 if i == 0 else 3
        layers.append(nn.Conv2d(inputs, wider, kernel, stride=2, padding=kernel // 2, bias=False))
        layers += [nn.BatchNorm2d(wider), nn.ReLU()]
        inputs, height, width = wider, (height + 1) // 2, (width + 1) // 2
    return [*layers, nn.Flatten(), nn.Linear(inputs * height * width, outputs, bias=False)]


def _dense(spec: DataSpec, outputs: int) -> list[nn.Module]:
    size = DataSpec(relaxed_shape(spec)).size
    return [nn.Flatten(), nn.BatchNorm1d(size), MLP([size, 256, outputs])]


@dataclass(frozen=True)
class Trained:
    """A classifier, the share of test examples that it classes rightly, and whether a damaged one
    was found in its place in the cache.
    """

    model: Classifier
    accuracy: float
    renewed: bool = False


def classifier(dataset: Labelled, *, cache: bool = True, stop: Stop | None = None) -> Trained:
    """The classifier of a labelled data set, from the cache or trained now.

    Raises:
        UserError: the data has no labels.
    """
    if dataset.spec.classes < 2:
        raise UserError(
            "Classifier features need data with at least two classes, but this data has none; "
            "choose the features "
            "pca or raw."
        )
    path = _cache_path(dataset) if cache else None
    kept = _load(path, dataset.spec) if path is not None else None
    if kept is not None:
        return kept
    model = _train(dataset, stop)
    renewed = path is not None and os.path.lexists(path)
    trained = Trained(model, _accuracy(model, dataset.test, stop), renewed)
    if path is not None:
        _save(path, trained)
    return trained


def _train(dataset: Labelled, stop: Stop | None) -> Classifier:
    generator = torch.Generator().manual_seed(0)
    steps = min(max(40 * len(dataset.train) // _BATCH, 200), 1000)
    with seeded(0), torch.enable_grad():
        model = Classifier(dataset.spec)
        optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=0.05, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _RATE, total_steps=steps, pct_start=0.2
        )
        for rows in _batches(len(dataset.train), steps, generator):
            poll(stop)
            x, labels = dataset.train.values(rows, generator)
            assert labels is not None
            loss = nn.functional.cross_entropy(model(x)[1], labels, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def _batches(n: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of `steps` whole batches, each epoch in an order of its own."""
    size, done = min(_BATCH, n), 0
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1, size):
            if done == steps:
                return
            yield order[start : start + size]
            done += 1


def _accuracy(model: Classifier, test: Examples, stop: Stop | None) -> float:
    right = 0
    for rows in blocks(len(test), 1000, stop):
        x, labels = test.values(torch.arange(rows.start, rows.stop))
        right += int((model(x)[1].argmax(1) == labels).sum())
    return right / max(len(test), 1)


def _cache_path(dataset: Labelled) -> Path | None:
    key = json.dumps([_ARCHITECTURE, dataset.fingerprint, dataset.spec.to_json()], sort_keys=True)
    name = f"classifier-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "pofx" / name
    except RuntimeError:  # no home folder
        return None


def _load(path: Path, spec: DataSpec) -> Trained | None:
    """The classifier of a file whose hash, names, shapes and numbers are sound; else None."""
    model = Classifier(spec)
    like = {**model.state_dict(), _ACCURACY: torch.zeros((), dtype=torch.float64)}
    try:
        tensors, _ = load_model(path, like)
    except UserError:
        return None
    if misfit(tensors, like) is not None:
        return None
    accuracy = float(tensors.pop(_ACCURACY))
    model.load_state_dict(tensors)
    return Trained(model.eval().requires_grad_(False), accuracy)


def _save(path: Path, trained: Trained) -> None:
    """Writes whole or not at all; a cache that cannot be written is no error."""
    accuracy = torch.tensor(trained.accuracy, dtype=torch.float64)
    with contextlib.suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, {**trained.model.state_dict(), _ACCURACY: accuracy}, {"step": "0"})
