"""asked: what a training is asked for, checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from pofx.data.source import load
from pofx.errors import did_you_mean
from pofx.training import entries
from pofx.training.folder import RunError
from pofx.training.loop import Options


def a_path(path: object) -> Path:
    """The path of a run, if it is one."""
    if not isinstance(path, str | Path):
        raise RunError(f"a run must be given as a path (got a {type(path).__name__}): give that.")
    return Path(path)


def plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def checked_options(options: object) -> Options:
    """The options of the loop, if that is what they are."""
    if not isinstance(options, Options):
        raise RunError(
            f"options must be pofx.Options (got {entries.shown(options)}): make them by "
            "pofx.Options(...)."
        )
    return options


def options_of_data(options: object) -> Mapping[str, Any]:
    """What data are loaded with, if it may be given."""
    if options is not None and not isinstance(options, Mapping):
        raise RunError(
            f"data_options must be named values (got {entries.shown(options)}): give a dict such "
            "as {'limit': 100}."
        )
    given = dict(options or {})
    known = signature(load).parameters
    if unknown := [k for k in given if k not in known or k == "source"]:
        raise RunError(
            f"data_options must be of pofx.load_data (got {entries.shown(unknown[0])}): "
            f"{did_you_mean(str(unknown[0]), known)}"
        )
    entries.check_given(given, entries.LOADING)
    return given


def check_budget(steps: int | None, minutes: float | None) -> None:
    """Refuses a budget that is none, or two."""
    if steps is not None and minutes is not None:
        raise RunError("--steps and --minutes exclude each other; give one of them.")
    check_counts(steps=steps)
    if minutes is not None and not entries.POSITIVE.holds(minutes):
        raise RunError(f"--minutes is a positive number, and {minutes!r} came.")


def check_counts(**counts: int | None) -> None:
    """Refuses what must be a whole number from 1, and is not."""
    for name, count in counts.items():
        if count is not None and not entries.COUNT.holds(count):
            flag = name.replace("_", "-")
            raise RunError(f"--{flag} is a whole number from 1, and {count!r} came.")
