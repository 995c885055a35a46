"""Raw: what a reader of one kind of file hands to `load`, before anything is split, filtered or
scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pofx.data import limits
from pofx.data.dataset import Split
from pofx.data.schema import Column
from pofx.data.tokens import Tokens

WHOLE = "all"
"""The name of the only part of a set that has no split of its own."""
_LARGEST = 1 << 53
"""Largest whole number that a label in double precision tells from its neighbours."""


@dataclass
class Raw:
    """Examples as they were found.

    Args:
        name: how to call the set.
        parts: `all`, or the set's own `train`, `valid` and `test`; the splits' transforms are still
        to be chosen.
        levels: 2 for bits, more for bytes, 0 for real numbers.
        image: whether an example is an image, `(channels, height, width)`.
        class_names: what the labels mean.
        mode: the images' mode.
        integer: whether real numbers are whole.
        columns: a table's columns; its `x` then has one column for each of them: numbers with NaN
            where missing, and codes of categories.
        header: whether the table began with their names.
        delimiter: what separated its fields.
        label: the name and the place of the column that held the labels.
        scaled: whether real values may be standardised.
        valid: how many examples to set aside for validation where the set has only its own test
            examples; None for a tenth.
        tokens: how a text was cut, where these are sequences of one.
        unfit: why no model can be trained on it, though one that is trained may take it.
        notes: what the user should know.
    """

    name: str
    parts: dict[str, Split]
    levels: int = 0
    image: bool = False
    class_names: tuple[str, ...] = ()
    mode: str = ""
    integer: bool = False
    columns: tuple[Column, ...] = ()
    header: bool = False
    delimiter: str = ","
    label: tuple[str, int] | None = None
    scaled: bool = True
    valid: int | None = None
    tokens: Tokens | None = None
    unfit: str = ""
    notes: list[str] = field(default_factory=list)


def take(split: Split, index: np.ndarray) -> Split:
    """The examples at sorted positions; a mapped store is shared, never copied."""
    y = None if split.y is None else split.y[index]
    captions = tuple(split.captions[i] for i in index) if split.captions else ()
    if isinstance(split.x, np.memmap):
        rows = index if split.rows is None else split.rows[index]
        return replace(split, y=y, captions=captions, rows=rows)
    return replace(split, x=split.x[index], y=y, captions=captions)


def listed(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """What a text names: all of it is one name where there is such, else commas separate them.

    >>> listed("cat, small", ["cat, small", "dog"]), listed("cat, dog", ["cat", "dog"])
    (('cat, small',), ('cat', 'dog'))
    """
    if text in names:
        return (text,)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def label_column(labels: np.ndarray) -> np.ndarray:
    """Labels of shape `(n, 1)` as `(n,)`, and byte strings as text.

    >>> label_column(np.array([[b"cat"], [b"dog"]])).tolist()
    ['cat', 'dog']
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "backslashreplace")
    return labels


def encode_labels(
    name: str, labels: Sequence[Any] | np.ndarray
) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Labels as int64 codes, the classes' names, and a note where they cannot serve as classes."""
    values = label_column(np.asarray(labels))
    if values.ndim != 1:
        return None, (), f"{name}: labels of shape {values.shape} are ignored; one each is expected"
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise limits.DataError(
                f"{name}: the label in row {row} is {values[row]}: give it a class."
            )
        if (values != np.rint(values)).any():
            return None, (), f"{name}: labels are ignored, as they are not whole numbers"
        if (np.abs(values) > _LARGEST).any():
            row = int(np.flatnonzero(np.abs(values) > _LARGEST)[0])
            raise limits.DataError(
                f"{name}: the label in row {row} is {values[row]}, too large for a class: number "
                "the classes from 0."
            )
        values = values.astype(np.int64)
    names, codes = np.unique(values, return_inverse=True)
    if len(names) > limits.CLASSES:
        distinct = f"{len(names):,} distinct ones (at most {limits.CLASSES:,})"
        return None, (), f"{name}: labels are ignored, as there are {distinct}"
    return codes.astype(np.int64), tuple(limits.printable(str(n)) for n in names), ""
