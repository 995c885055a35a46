"""Metrics over capabilities: what a model's samples and likelihood are worth, and how sure that is.

`evaluate(model, dataset)` measures everything that the model's capabilities allow; `check_model(model, spec)`
tests that they mean what they promise. Every metric is also a function of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Classifier": "classifier",
    "Features": "features",
    "InceptionV3": "inception",
    "Measured": "report",
    "Memorization": "memorization",
    "ModelCheckError": "check",
    "Report": "report",
    "Stopped": "blocks",
    "bits_per_dim": "likelihood",
    "bootstrap": "bootstrap",
    "build_features": "features",
    "check_model": "check",
    "energy_distance": "two_sample",
    "evaluate": "evaluate",
    "frechet_distance": "frechet",
    "frechet_from_moments": "frechet",
    "inception_score": "inception_score",
    "kernel_distance": "kernel",
    "kernel_distance_by_subsets": "kernel",
    "likelihood": "likelihood",
    "load_inception": "inception",
    "memorization": "memorization",
    "mode_coverage": "modes",
    "precision_recall": "precision_recall",
    "sliced_wasserstein": "two_sample",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
