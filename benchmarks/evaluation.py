"""Frechet distance, precision and recall against torch-fidelity and prdc, on one thread.

The cost of the classifier behind the default features is printed too.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import time
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from side_by_side import ratio, status

from pofx.data.source import load
from pofx.evaluation.classifier import classifier
from pofx.evaluation.frechet import frechet_distance
from pofx.evaluation.precision_recall import precision_recall


def peer(package: str, module: str) -> ModuleType | None:
    """A peer's module, or None and a line that says so.

    torch-fidelity imports torchvision, of which few builds fit a torch for the CPU, for feature
    extractors that are not used here: an empty stand-in lets the metrics themselves be imported.
    """
    if importlib.util.find_spec(package) is None:
        print(f"{package} is not installed: skipped")
        return None
    parts = ("", ".datasets", ".models", ".transforms", ".transforms.functional")
    absent = [n for n in ("requests", "tqdm") if importlib.util.find_spec(n) is None]
    absent += [f"torchvision{part}" for part in parts]
    sys.modules.update({n: mock.MagicMock() for n in absent})
    try:
        return importlib.import_module(f"{package}.{module}")
    finally:
        for n in absent:
            del sys.modules[n]


def frechet(rounds: int = 3) -> None:
    a, b = torch.randn(10_000, 2048), torch.randn(10_000, 2048) * 1.1 + 0.1
    fidelity = peer("torch_fidelity", "metric_fid")
    if fidelity is None:
        return

    def theirs() -> float:
        first, second = (fidelity.fid_features_to_statistics(t) for t in (a, b))
        return fidelity.fid_statistics_to_metric(first, second, False)["frechet_inception_distance"]

    print(f"agreement: ours {frechet_distance(a, b):.8g}, torch-fidelity {theirs():.8g}")
    name = "Frechet 2 x 10,000 x 2,048, torch-fidelity"
    ratio(name, lambda: frechet_distance(a, b), theirs, bar=1.0, rounds=rounds)


def neighbours(rounds: int = 3) -> None:
    real, fake = torch.randn(10_000, 512), torch.randn(10_000, 512) * 0.9
    x, y = real.numpy(), fake.numpy()

    def ours() -> tuple[float, ...]:
        return precision_recall(real, fake, k=3)

    prdc = peer("prdc", "prdc")
    if prdc is not None:

        def all_four() -> dict[str, float]:
            with contextlib.redirect_stdout(io.StringIO()):
                return prdc.compute_prdc(x, y, 3)

        found = list(all_four().values())
        print(f"agreement: ours {np.round(ours(), 4)}, prdc {np.round(found, 4)}")
        name = "precision, recall, density, coverage, 2 x 10,000 x 512, prdc"
        ratio(name, ours, all_four, bar=1.5, rounds=rounds)
    fidelity = peer("torch_fidelity", "metric_prc")
    if fidelity is not None:

        def theirs() -> object:
            return fidelity.calculate_precision_recall_full(fake, real, 3)

        ratio("precision and recall k=3, torch-fidelity", ours, theirs, bar=1.5, rounds=rounds)


def feature_classifier() -> None:
    for name in ("digits", "fashion-mnist"):
        if name != "digits" and not os.environ.get("POFX_DATA"):
            print(f"{name}: POFX_DATA names no folder of data sets: skipped")
            continue
        data = load(name)
        start = time.process_time()
        trained = classifier(data, cache=False)
        spent = time.process_time() - start
        print(f"classifier of {name}: test accuracy {trained.accuracy:.4f}, {spent:.1f} CPU-s")


if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # prdc starts threads of its own
    torch.set_num_threads(1)
    torch.manual_seed(0)
    frechet()
    neighbours()
    feature_classifier()
    sys.exit(status())
