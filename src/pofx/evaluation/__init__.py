"""Metrics over capabilities: what a model's samples and likelihood are worth, and how sure that is.

`evaluate.evaluate(model, dataset)` measures all that the model's capabilities allow;
`check_model(model, spec)` tests that they mean what they promise. Every metric is a function of its
own as well. One that has its module's name (`evaluate`, `likelihood`, `precision_recall`, ...) is
imported from that module, because in the package the name is the module.
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
    "build_features": "features",
    "check_model": "check",
    "energy_distance": "two_sample",
    "frechet_distance": "frechet",
    "frechet_from_moments": "frechet",
    "kernel_distance": "kernel",
    "kernel_distance_by_subsets": "kernel",
    "load_inception": "inception",
    "mode_coverage": "modes",
    "mutual_information_gap": "disentanglement",
    "sliced_wasserstein": "two_sample",
    "total_correlation": "disentanglement",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
