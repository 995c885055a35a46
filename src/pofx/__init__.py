"""pofx, "p of x": one library and one command for every family of deep generative model.

>>> import pofx
>>> run = pofx.fit("vae", data="digits")  # doctest: +SKIP
>>> run.sample(64), run.evaluate()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "pofx.data.dataset",
    "DataSpec": "pofx.spec",
    "Likelihood": "pofx.capabilities",
    "LossObjective": "pofx.objective",
    "Objective": "pofx.objective",
    "Options": "pofx.training.loop",
    "Recipe": "pofx.recipe",
    "Run": "pofx.run",
    "Update": "pofx.objective",
    "UserError": "pofx.errors",
    "build": "pofx.catalogue",
    "check_model": "pofx.evaluation.check",
    "evaluate": "pofx.evaluation.evaluate",
    "fit": "pofx.run",
    "load": "pofx.run",
    "load_data": "pofx.data.source",
    "resume": "pofx.run",
}

__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:
    from pofx.capabilities import Likelihood as Likelihood
    from pofx.catalogue import build as build
    from pofx.data.dataset import Dataset as Dataset
    from pofx.errors import UserError as UserError
    from pofx.evaluation.check import check_model as check_model
    from pofx.evaluation.evaluate import evaluate as evaluate
    from pofx.objective import LossObjective as LossObjective
    from pofx.objective import Objective as Objective
    from pofx.objective import Update as Update
    from pofx.recipe import Recipe as Recipe
    from pofx.run import Run as Run
    from pofx.run import fit as fit
    from pofx.run import load as load
    from pofx.run import resume as resume
    from pofx.spec import DataSpec as DataSpec
    from pofx.training.loop import Options as Options


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `pofx --help` never waits for torch."""
    if name == "load_data":
        return importlib.import_module(_HOMES[name]).load
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pofx' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
