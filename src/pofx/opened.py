"""opened: what a run folder holds."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from pofx import catalogue
from pofx.data.dataset import Dataset
from pofx.data.schema import Schema
from pofx.data.source import load as load_data
from pofx.errors import UserError
from pofx.spec import DataSpec
from pofx.training import checkpoint
from pofx.training.distributed import local_device
from pofx.training.folder import Job, RunError, read


class Opened:
    """A run folder, opened: its job, its weights, its data.

    Args:
        path: the folder.
        device: where the model lives: `auto`, `cpu`, `cuda`.

    Raises:
        RunError: there is no such run.
        CheckpointError: its weights are missing or damaged.
    """

    def __init__(self, path: str | Path, *, device: str = "auto") -> None:
        self.path = Path(path)
        try:
            self.job = read(self.path)
            _check_types(self.job)
            self.spec = DataSpec.from_json(self.job.spec)
            self.schema = Schema.from_json(self.job.schema)
        except UserError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else type(error).__name__
            raise RunError(
                f"'{self.path / 'run.json'}' is damaged ({reason}); restore it or train again."
            ) from error
        self.device = _device(device)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.path}', recipe '{self.job.recipe}')"

    @cached_property
    def _weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        path = self.path / "model.safetensors"
        if not path.exists():
            raise RunError(
                f"'{self.path}' has no weights yet; train it with `pofx resume {self.path}`."
            )
        return checkpoint.load_model(path)

    @cached_property
    def model(self) -> nn.Module:
        """The trained model, in evaluation mode."""
        with torch.random.fork_rng([]):
            recipe = catalogue.build(self.job.recipe, self.spec, **self.job.arguments)
        try:
            recipe.model.load_state_dict(self._weights[0])
        except RuntimeError as error:
            raise RunError(
                f"the weights of '{self.path}' do not fit recipe '{self.job.recipe}' as this "
                "version builds it; "
                "train it again."
            ) from error
        return recipe.model.to(self.device).eval()

    @cached_property
    def dataset(self) -> Dataset:
        """The data that the run was trained on.

        Raises:
            RunError: they have changed since.
        """
        source = dict(self.job.source)
        dataset = load_data(source.pop("source"), **source)
        if dataset.fingerprint != self.job.fingerprint:
            raise RunError(
                f"the data of '{self.path}' have changed since it was trained "
                f"({self.job.source['source']}); restore them, or train a new run."
            )
        return dataset

    @property
    def model_hash(self) -> str:
        """SHA-256 of the weights."""
        return self._weights[1]["sha256"]

    @property
    def step(self) -> int:
        """How many steps the weights were trained for."""
        return int(self._weights[1]["step"])


def _device(name: str) -> torch.device:
    try:
        device = local_device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise RunError(f"--device {name} is not there; use auto or cpu.") from error
    return device


_TYPES: dict[str, type] = {
    "recipe": str,
    "arguments": dict,
    "source": dict,
    "spec": dict,
    "schema": dict,
    "fingerprint": str,
    "options": dict,
}


def _check_types(job: Job) -> None:
    for name, kind in _TYPES.items():
        if not isinstance(getattr(job, name), kind):
            raise ValueError(f"its '{name}' is of type {type(getattr(job, name)).__name__}")
    if not isinstance(job.source.get("source"), str):
        raise ValueError("its 'source' names no data")
    unknown = set(job.source) - set(inspect.signature(load_data).parameters)
    if unknown:
        raise ValueError(f"its 'source' has an unknown entry '{min(unknown)}'")
