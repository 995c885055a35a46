"""DataSpec: what one example looks like, which is all that a recipe may know of the data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Real:
    """Any real number; `log_prob` is a density."""

    discrete: ClassVar[bool] = False
    levels: ClassVar[int] = 0


@dataclass(frozen=True)
class Interval:
    """A real number in [-1, 1]; `log_prob` is a density.

    Where it is one of `levels` values with noise, these are cells of width `2 / levels`.
    """

    levels: int = 256
    discrete: ClassVar[bool] = False


@dataclass(frozen=True)
class Bytes:
    """One of `levels` evenly spaced values of [-1, 1], `2 k / (levels - 1) - 1`: a mass."""

    levels: int = 256
    discrete: ClassVar[bool] = True


@dataclass(frozen=True)
class Binary:
    """0 or 1; `log_prob` is a mass."""

    discrete: ClassVar[bool] = True
    levels: ClassVar[int] = 2


@dataclass(frozen=True)
class Categorical:
    """One of the indices `0 .. levels - 1`, kept as a float; `log_prob` is a mass.

    Args:
        levels: how many.
        names: what the user calls each, if they have names.
    """

    levels: int
    names: tuple[str, ...] = field(default=(), repr=False)
    discrete: ClassVar[bool] = True


Simple = Real | Interval | Bytes | Binary | Categorical
"""What one element may be."""


COUNTED = 256
"""Levels of a category up to which each can have a frequency of its own."""


def is_counted(support: Simple) -> bool:
    """Whether an element is a bit, or a category of few levels.

    >>> is_counted(Binary()), is_counted(Categorical(50_000))
    (True, False)
    """
    return isinstance(support, Binary | Categorical) and support.levels <= COUNTED


@dataclass(frozen=True)
class Mixed:
    """A table's row: one support for each column."""

    columns: tuple[Simple, ...]

    def __repr__(self) -> str:
        """How many columns of each kind there are.

        >>> Mixed((Real(), Real(), Binary()))
        Mixed(2 x Real, 1 x Binary)
        """
        counts = Counter(type(c).__name__ for c in self.columns)
        return f"Mixed({', '.join(f'{n} x {name}' for name, n in counts.items())})"

    @property
    def discrete(self) -> bool:
        """Whether every column is discrete."""
        return all(c.discrete for c in self.columns)


Support = Simple | Mixed
_SIMPLE: dict[str, type[Simple]] = {
    c.__name__.lower(): c for c in (Real, Interval, Bytes, Binary, Categorical)
}


@dataclass(frozen=True)
class DataSpec:
    """The shape and support of one example, and what it may be conditioned on.

    Args:
        shape: event shape: `(d,)` for a vector or a table's row, `(channels, height, width)` for an
            image, `()` for a single value, such as a class.
        support: the values that an element may take.
        cond: the spec of what an example may be conditioned on; None if the data carry no
            conditions. A condition has no condition of its own.
        log_scale: nats to subtract from a density of x to get it in the user's own units
            (the sum of the log standard deviations that the loader divided by).
        count: how many examples there are to train on, for defaults to follow; None where that is
            not known. Two specs that differ in it alone are equal.

    >>> DataSpec((1, 28, 28), Binary()).size
    784
    """

    shape: tuple[int, ...]
    support: Support = field(default_factory=Real)
    cond: DataSpec | None = None
    log_scale: float = 0.0
    count: int | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """The number of elements in one example."""
        return math.prod(self.shape)

    @property
    def categories(self) -> int:
        """How many values there are of a single category, such as a class; 0 for anything else."""
        single = not self.shape and isinstance(self.support, Categorical)
        return self.support.levels if single else 0  # type: ignore[union-attr]

    @property
    def classes(self) -> int:
        """The number of classes, if the condition is a class; 0 otherwise.

        >>> DataSpec((2,), cond=class_spec(3)).classes
        3
        """
        return 0 if self.cond is None else self.cond.categories

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, as the user knows them."""
        return self.cond.support.names if self.classes else ()  # type: ignore[union-attr]

    @property
    def is_image(self) -> bool:
        """Whether an example has channels, height and width."""
        return len(self.shape) == 3

    @property
    def columns(self) -> tuple[Simple, ...]:
        """The support of each element of a vector, whether or not they all share one."""
        if isinstance(self.support, Mixed):
            return self.support.columns
        return (self.support,) * self.size

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {
            "shape": list(self.shape),
            "support": _support_to_json(self.support),
            "cond": None if self.cond is None else self.cond.to_json(),
            "log_scale": self.log_scale,
            **({} if self.count is None else {"count": self.count}),
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> DataSpec:
        """The spec that `to_json` described, or did until conditions were more than classes."""
        if "classes" in d:
            cond = class_spec(d["classes"], d["class_names"])
        else:
            cond = None if d["cond"] is None else cls.from_json(d["cond"])
        return cls(
            shape=tuple(d["shape"]),
            support=_support_from_json(d["support"]),
            cond=cond,
            log_scale=d["log_scale"],
            count=d.get("count"),
        )


def class_spec(count: int, names: Iterable[str] = ()) -> DataSpec | None:
    """Returns the spec of a class, one of `count`; None if there are none.

    >>> class_spec(3)
    DataSpec(shape=(), support=Categorical(levels=3), cond=None, log_scale=0.0, count=None)
    """
    return DataSpec((), Categorical(count, tuple(names))) if count else None


def _support_to_json(s: Support) -> dict[str, Any]:
    name = type(s).__name__.lower()
    if isinstance(s, Mixed):
        return {"name": name, "columns": [_support_to_json(c) for c in s.columns]}
    return {"name": name, **{k: v for k, v in vars(s).items() if v != ()}}


def _support_from_json(d: dict[str, Any]) -> Support:
    if d["name"] == "mixed":
        return Mixed(tuple(_simple_from_json(c) for c in d["columns"]))
    return _simple_from_json(d)


def _simple_from_json(d: dict[str, Any]) -> Simple:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
    del values["name"]
    return _SIMPLE[d["name"]](**values)
