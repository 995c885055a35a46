"""arguments: what the methods of a run are called with, held against rules."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from torch import Tensor

from pofx.errors import did_you_mean
from pofx.evaluation.arguments import described
from pofx.evaluation.report import Report
from pofx.training.entries import Rule, shown, whole
from pofx.training.folder import RunError

P = ParamSpec("P")
R = TypeVar("R")

WHOLE = whole(-(1 << 63))
CALLED = Rule("a function", callable)
PATH = Rule("a path", lambda v: isinstance(v, str | Path))
LABELS = Rule("a tensor of labels", lambda v: isinstance(v, Tensor))
CODES = Rule(
    "a tensor of finite codes, one or more",
    lambda v: (
        isinstance(v, Tensor)
        and v.is_floating_point()
        and v.ndim > 1
        and len(v) > 0
        and bool(v.isfinite().all())
    ),
)


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Holds the arguments of a method against rules, those among its options too."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)

        @wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            for name, value in {**given, **given.get("options", {})}.items():
                if name in rules and not rules[name].holds(value):
                    raise RunError(
                        f"{name} must be {rules[name].words} (got {shown(value)}): give another."
                    )
            return method(*args, **kwargs)

        return called

    return decorate


def must_be_options(function: Callable[..., object], options: Iterable[str]) -> None:
    """Refuses names of options that a function does not take."""
    known = [
        n for n, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY
    ]
    for name in options:
        if name not in known:
            raise RunError(
                f"a run is evaluated with no option '{name}'; {did_you_mean(name, known)}"
            )


def must_be_examples(x: object, shape: tuple[int, ...]) -> None:
    """Refuses what is no tensor of examples of a shape."""
    if not isinstance(x, Tensor) or x.shape[1:] != shape or x.ndim < 1:
        words = ", ".join(map(str, ("n", *shape)))
        raise RunError(
            f"examples are a tensor of shape ({words}), and {described(x)} came; a single one is "
            "x[None]."
        )


def whole_numbers(**values: object) -> Iterator[int]:
    """Numbers that must be whole, as Python's own."""
    for name, value in values.items():
        if not WHOLE.holds(value):
            cure = "give one of 64 bits" if isinstance(value, int) else "round it"
            raise RunError(f"{name} is a whole number, and {value!r} came; {cure}.")
        yield operator.index(value)  # type: ignore[arg-type]


class Unwritten(RunError):
    """A report could not be written to the disk; the error carries it."""

    def __init__(self, message: str, report: Report) -> None:
        self.report = report
        super().__init__(message)
