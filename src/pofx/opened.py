"""opened: what a run folder holds."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pofx import catalogue
from pofx.capabilities import Completes, Continues, Edits
from pofx.data.builtin import NAMES
from pofx.data.codes import coded_by
from pofx.data.dataset import Dataset
from pofx.data.schema import Schema
from pofx.data.source import IN_MEMORY
from pofx.data.source import load as load_data
from pofx.errors import UserError, did_you_mean
from pofx.evaluation.calls import options_of, wanted
from pofx.functional.random import streams_of
from pofx.signatures import Parameter, of_function
from pofx.spec import DataSpec
from pofx.training import checkpoint
from pofx.training.distributed import local_device
from pofx.training.entries import Rule
from pofx.training.folder import Job, RunError, read
from pofx.training.status import status

Classes = int | str | Sequence[int | str] | Tensor
"""One class by number or name, one for each example, or a tensor of their labels."""

RUN = Rule("a run, as pofx.load opens it", lambda v: isinstance(v, Opened))
_GIVEN = ("n", "x", "known", "cond", "options", "strength")
"""What no option of a user's own is called."""


_GIVEN_SOME = {
    "complete": (
        Completes,
        "an autoregressive model such as made, a diffusion such as ddpm or mdlm, or a Boltzmann "
        "machine such as rbm",
    ),
    "edit": (Edits, "a diffusion of continuous noise such as ddpm or edm"),
}
"""What draws examples from given ones, and which recipes do."""


class Opened:
    """A run folder, opened: its job, its weights, its data, and what its model takes.

    Args:
        path: the folder.
        device: where the model lives: `auto`, `cpu`, `cuda`.

    Raises:
        RunError: there is no such run.
        CheckpointError: its weights are missing or damaged.
    """

    def __init__(self, path: str | Path, *, device: str = "auto") -> None:
        if not isinstance(path, str | Path):
            raise RunError(
                f"a run must be given as a path (got a {type(path).__name__}): give that of its "
                "folder."
            )
        self.path = Path(path)
        try:
            self.job = read(self.path)
            _check_source(self.job)
            self.spec = DataSpec.from_json(self.job.spec)
            self.schema = Schema.from_json(self.job.schema)
            _check_schema(self.schema)
        except UserError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            reason = error if isinstance(error, ValueError) else type(error).__name__
            raise RunError(
                f"'{self.path / 'run.json'}' is damaged: {reason}; restore it or train again."
            ) from error
        self.device = _device(device)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({status(self.path)})"

    def _repr_html_(self) -> str:
        return status(self.path).table()._repr_html_()

    @cached_property
    def _built(self) -> nn.Module:
        """The model as its recipe begins, whose weights say what a file of them may hold."""
        with torch.inference_mode(False):  # it is used outside as well
            with torch.random.fork_rng([]):
                return catalogue.build(self.job.recipe, self.spec, **self.job.settings).model

    @cached_property
    def _weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        path = self.path / "model.safetensors"
        if not os.path.lexists(path):
            raise RunError(
                f"'{self.path}' has no weights yet; train it with `pofx resume {self.path}`."
            )
        like = self._built.state_dict()
        weights, metadata = checkpoint.load_model(path, like)
        wrong = checkpoint.misfit(weights, like)
        if wrong is not None or metadata.get("recipe") != self.job.recipe:
            raise RunError(
                f"the weights of '{self.path}' do not fit recipe '{self.job.recipe}' as this "
                f"version builds it ({wrong or 'they are of another'}); train it again."
            )
        return weights, metadata

    @cached_property
    def model(self) -> nn.Module:
        """The trained model, in evaluation mode."""
        weights, model = self._weights[0], self._built
        with torch.inference_mode(False):
            model.load_state_dict(weights)
            return model.to(self.device).eval()

    @cached_property
    def dataset(self) -> Dataset:
        """The data that the run was trained on.

        Raises:
            RunError: they have changed since.
        """
        source = dict(self.job.source)
        with streams_of(self.job.format):
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

    def labels(self, n: int, cond: Classes | None = None, model: object = None) -> Tensor | None:
        """The label of each of `n` samples; the classes in turn where a conditional model, the
        run's own by default, is told nothing.

        Args:
            n: how many.
            cond: a class, by number or name, or one for each sample.
            model: whose labels they are.

        Raises:
            RunError: the model takes no class, there is no such class, or not one for each sample.
        """
        conditional = bool(getattr(model or self.model, "conditional", False))
        if cond is not None and not conditional:
            raise RunError(f"'{self.path}' was not trained on classes, so it takes no class.")
        if not conditional:
            return None
        if cond is None:
            return torch.arange(n, device=self.device) % self.spec.classes
        if isinstance(cond, Tensor):
            return self._checked(cond, n).to(self.device)
        if isinstance(cond, Iterable) and not isinstance(cond, str):
            each = torch.tensor([self._class(c) for c in cond], dtype=torch.int64)
            return self._checked(each, n).to(self.device)
        return torch.full((n,), self._class(cond), device=self.device)

    def _checked(self, cond: Tensor, n: int) -> Tensor:
        """Labels, if they are one for each of `n` samples, and of classes that there are."""
        if cond.shape != (n,):
            raise RunError(
                f"{n} examples have {n} classes or all the same, and classes of shape "
                f"{tuple(cond.shape)} came; give as many, or one number or name."
            )
        whole = not cond.is_floating_point() and cond.dtype != torch.bool
        known = torch.arange(self.spec.classes, device=cond.device)
        strange = cond[~torch.isin(cond, known)] if whole else cond
        if len(strange):
            raise RunError(
                f"classes are whole numbers from 0 to {self.spec.classes - 1}, and "
                f"{strange[0].item()} came; names may be given in a list."
            )
        return cond.long()

    def _class(self, cond: int | str) -> int:
        names = list(self.spec.class_names) or [str(i) for i in range(self.spec.classes)]
        if str(cond) in names:
            return names.index(str(cond))
        if str(cond).isdecimal() and int(cond) < self.spec.classes:
            return int(cond)
        raise RunError(f"there is no class '{cond}'; {did_you_mean(str(cond), names)}")

    def _tokens(self, prompt: str) -> Tensor:
        if self.schema.tokens is None:
            raise RunError(f"'{self.path}' was not trained on text, so it takes no prompt.")
        if not isinstance(self.model, Continues):
            cure = "train one such as gpt"
            if isinstance(self.model, Completes):
                cure = "draw the rest of a text of the same length with `pofx complete`"
            raise RunError(f"recipe '{self.job.recipe}' goes on from no prompt; {cure}.")
        return torch.from_numpy(self.schema.tokens.encode(prompt))

    def options_of(self, method: str) -> dict[str, str]:
        """What a method of the model that draws examples takes beside examples and classes."""
        found = options_of(self.model, method)
        if "options" in found:  # those of `sample`
            found = options_of(self.model, "sample") | found
        return {k: v for k, v in found.items() if k not in _GIVEN}

    def parameters_of(self, method: str) -> dict[str, Parameter]:
        """Those of `options_of` whose types carry a range and help."""
        methods = [getattr(self.model, m, None) for m in ("sample", method)]
        found = [of_function(m) for m in methods if callable(m)]
        return {k: p for each in found for k, p in each.items()}

    def check(self, options: Mapping[str, Any], method: str = "sample") -> None:
        """Refuses options that a method of the model does not take.

        Args:
            options: by name.
            method: of the model.

        Raises:
            RunError: one is unknown, or of another type.
        """
        known, typed = self.options_of(method), self.parameters_of(method)
        for key, value in options.items():
            if key not in known:
                hint = did_you_mean(key, known) if known else "it takes none."
                raise RunError(
                    f"recipe '{self.job.recipe}' {method}s with no option '{key}'; {hint}"
                )
            if key in typed:
                if (problem := typed[key].problem(value)) is not None:
                    raise RunError(f"{self.job.recipe}: {typed[key].flag} {problem}.")
                continue
            lacking = wanted(known[key], value)
            if lacking:
                name = value.__name__ if isinstance(value, type) else ""
                came = f"the class {name} itself (write {name}())" if name else repr(value)
                raise RunError(
                    f"recipe '{self.job.recipe}' {method}s with --{key.replace('_', '-')} "
                    f"{lacking}, and {came} came."
                )

    def refuse_other_codes(self, prior: Opened) -> None:
        """Refuses a prior that was trained on anything but this run's codes, where that is known.

        Args:
            prior: another run.

        Raises:
            RunError: it was trained on built-in data, or on codes of another model.
        """
        source = prior.job.source["source"]
        of = coded_by(Path(source)) if source not in NAMES else ""
        if of is not None and of != self.model_hash:
            what = f"codes of another model ({source})" if of else f"the data '{source}'"
            raise RunError(
                f"'{prior.path}' must be trained on codes of '{self.path}' (it was on {what}): "
                f"write those with `pofx encode {self.path}`, and train it on them."
            )

    def must(self, method: str) -> None:
        """Refuses a method that draws examples from given ones, where the model has none.

        Args:
            method: `complete` or `edit`.
        """
        capability, kinds = _GIVEN_SOME[method]
        if not isinstance(self.model, capability):
            raise RunError(f"recipe '{self.job.recipe}' {method}s no examples; train {kinds}.")

    def spare(self, path: str | Path, *read: object) -> None:
        """Refuses a path to write to where data lie, the run's own or others.

        Args:
            path: to a file or a folder.
            read: sources of the others, of which those that are paths count.

        Raises:
            RunError: what is there would be overwritten.
        """
        target = Path(os.path.realpath(path))
        for source in (self.job.source["source"], *read):
            if not isinstance(source, str | Path) or source in (*NAMES, IN_MEMORY):
                continue
            data = Path(os.path.realpath(source))
            if target == data or data in target.parents:
                raise RunError(
                    f"'{path}' would be written over data that are read or among them ({source}); "
                    "choose another path, outside of them."
                )


def _device(name: str) -> torch.device:
    try:
        device = local_device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, TypeError, AssertionError, ZeroDivisionError) as error:
        raise RunError(f"--device {name} is not there; use auto or cpu.") from error
    return device


def _check_source(job: Job) -> None:
    unknown = set(job.source) - set(inspect.signature(load_data).parameters)
    if unknown:
        raise ValueError(f"its 'source' has an unknown entry '{min(unknown)}'")


def _check_schema(schema: Schema) -> None:
    """Holds the user's columns and tokens against the support of the model's values."""
    supports = [s for c in schema.columns for s in c.supports]
    if schema.columns and supports != list(schema.spec.columns):
        raise ValueError("its columns and its spec are of different tables")
    levels = None if schema.tokens is None else schema.tokens.levels
    if levels is not None and levels != getattr(schema.spec.support, "levels", None):
        raise ValueError("its tokens and its spec are of different texts")
    if schema.label is not None and not 0 <= schema.label[1] <= len(schema.columns):
        raise ValueError("the column of its labels has no place")
