"""Arguments: refuses what a call from Python should not have given, in one sentence each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.spec import DataSpec


def described(value: Any) -> str:
    """What a value is, for the end of a sentence.

    >>> described(torch.zeros(2, 3)), described([1]), described("x")
    ('a float32 tensor of shape (2, 3)', 'a list', "'x'")
    """
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a {dtype} tensor of shape {tuple(value.shape)}"
    plain = value is None or isinstance(value, str | int | float)
    return repr(value) if plain else f"a {type(value).__name__}"


def check_whole(name: str, value: Any, *, least: int) -> None:
    """Refuses what is not a whole number of at least `least`."""
    whole = hasattr(type(value), "__index__") and not isinstance(value, bool | Tensor)
    if not whole or value < least:
        raise UserError(
            f"{name} must be a whole number of at least {least} (got {described(value)}): give "
            "such a number."
        )


def check_key(value: Any) -> None:
    """Refuses what seeds no random draws."""
    if not hasattr(type(value), "__index__") or isinstance(value, bool | Tensor):
        raise UserError(f"seed must be a whole number (got {described(value)}): give one.")


def check_positive(name: str, value: Any) -> None:
    """Refuses what is not a finite number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise UserError(
            f"{name} must be a finite number above 0 (got {described(value)}): give such a number."
        )


def check_table(name: str, x: Any, *, rows: int = 1, whole: bool = False) -> None:
    """Refuses what is no `(n, d)` tensor of finite real numbers, with at least `rows` rows.

    Args:
        name: what it is, for the sentence.
        x: anything.
        rows: how many are needed.
        whole: whether its numbers are of an integer type.
    """
    kind = "whole numbers" if whole else "real numbers"
    if not isinstance(x, Tensor) or x.ndim != 2 or x.is_complex() or not x.shape[1]:
        raise UserError(
            f"{name} must be a tensor of {kind} of shape (n, d) (got {described(x)}): turn an "
            "array into one by torch.as_tensor, and flatten each example."
        )
    if whole and (x.is_floating_point() or x.dtype == torch.bool):
        raise UserError(
            f"{name} must be whole numbers (got {described(x)}): convert them by .long()."
        )
    if len(x) < rows:
        raise UserError(
            f"{name} must have at least {rows} rows (got {len(x)}): evaluate more examples."
        )
    if x.is_floating_point() and not x.isfinite().all():
        bad = int((~x.isfinite().all(1)).sum())
        raise UserError(
            f"{name} must be finite (got NaN or infinity in {bad} of {len(x)} rows): leave such "
            "rows out."
        )


def check_equal_counts(names: str, a: Tensor, b: Tensor) -> None:
    """Refuses tensors of unequal length."""
    if len(a) != len(b):
        raise UserError(
            f"{names} must have equally many rows (got {len(a)} and {len(b)}): give one of each "
            "for every example."
        )


def check_tables(names: Sequence[str], a: Any, b: Any, *, rows: int = 1) -> None:
    """Refuses two sets of vectors that cannot be held against each other."""
    for name, x in zip(names, (a, b), strict=True):
        check_table(name, x, rows=rows)
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"{names[0]} and {names[1]} must be of equal width (got {tuple(a.shape)} and "
            f"{tuple(b.shape)}): take both by one feature."
        )


def check_spec(spec: Any) -> None:
    """Refuses what does not describe data."""
    if not isinstance(spec, DataSpec):
        raise UserError(
            f"spec must be a DataSpec (got {described(spec)}): write one such as "
            "DataSpec((2,), Real()), or take a data set's own."
        )


def check_examples(x: Any, spec: DataSpec, *, least: int = 1) -> None:
    """Refuses what are no examples of a spec."""
    shape = ", ".join(map(str, ("n", *spec.shape)))
    if not isinstance(x, Tensor) or tuple(x.shape[1:]) != spec.shape or not x.ndim:
        raise UserError(
            f"examples must be a tensor of shape ({shape}) (got {described(x)}): give them as the "
            "spec says."
        )
    if not x.is_floating_point():
        raise UserError(
            f"examples must be floating (got {described(x)}): convert them by .float()."
        )
    if len(x) < least:
        raise UserError(f"examples must be at least {least} (got {len(x)}): give more of them.")


def check_classes(cond: Any, x: Tensor, spec: DataSpec) -> None:
    """Refuses what is no class for each example."""
    if cond is None:
        return
    if not isinstance(cond, Tensor) or cond.ndim != 1 or cond.is_floating_point():
        raise UserError(
            f"classes must be an int64 tensor of shape (n,) (got {described(cond)}): give a whole "
            "number for each example."
        )
    check_equal_counts("examples and classes", x, cond)
    if spec.classes and len(cond) and not 0 <= int(cond.min()) <= int(cond.max()) < spec.classes:
        raise UserError(
            f"classes must be from 0 to {spec.classes - 1} (got {int(cond.min())} to "
            f"{int(cond.max())}): number them as the spec does."
        )
