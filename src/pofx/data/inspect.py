"""inspect: what is in a data set, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pofx.data.arrays import BLOCK_BYTES, blocks
from pofx.data.dataset import Dataset, Split, listed
from pofx.data.limits import DataError
from pofx.data.schema import Column
from pofx.data.source import Source, load
from pofx.data.text import running_text
from pofx.data.write import write
from pofx.tables import Table

SHEET = 64
"""How many examples a contact sheet shows."""
SHEET_POINTS = 10_000
_SHOWN = 8


@dataclass(frozen=True)
class ColumnReport:
    """One column of the user's table.

    Args:
        name: in the header.
        kind: `float`, `int`, `binary` or `category`.
        missing: how many cells are missing.
        values: the range of a number, or how many categories there are and the most frequent ones.
    """

    name: str
    kind: str
    missing: int
    values: str


@dataclass(frozen=True)
class TextReport:
    """A text.

    Args:
        characters: how many it has.
        lines: likewise.
        symbols: its distinct tokens.
        vocabulary: all tokens that there are.
        common: the most frequent ones, each with its count.
        rare: the rarest of those that occur.
    """

    characters: int
    lines: int
    symbols: int
    vocabulary: int
    common: str
    rare: str

    def facts(self) -> dict[str, str]:
        """Name and value of each, for a table."""
        return {
            "characters": f"{self.characters:,} in {self.lines:,} lines",
            "vocabulary": f"{self.vocabulary:,} tokens, of which {self.symbols:,} occur",
            "frequent": self.common,
            "rarest": self.rare,
        }


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        dataset: the set itself.
        what: a few words for what an example is.
        counts: examples in each split.
        low: smallest value, in the user's units.
        high: largest value.
        classes: examples of each class, over all splits.
        duplicates: examples equal to an earlier one; None where the set is too large to be held in
        memory.
        leaked: test examples that are also training examples; None likewise.
        captions: how many examples have a text.
        columns: a table's columns.
        text: what is to be said of a text.
    """

    dataset: Dataset
    what: str
    counts: dict[str, int]
    low: float
    high: float
    classes: dict[str, int]
    duplicates: int | None
    leaked: int | None
    captions: int
    columns: tuple[ColumnReport, ...]
    text: TextReport | None = None

    def __repr__(self) -> str:
        return "\n".join(map(str, self.tables()))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())

    def tables(self) -> list[Table]:
        """What there is to say of the set, and of each column of a table."""
        found = [Table(list(self._facts().items()))]
        if self.columns:
            rows = [(c.name, c.kind, f"{c.missing:,}", c.values) for c in self.columns]
            found.append(Table(rows, ("column", "type", "missing", "values")))
        return found

    def _facts(self) -> dict[str, str]:
        known = self.dataset.facts()
        facts = {name: known[name] for name in ("name", "what", "examples")}
        facts |= {"values": self._range()} if self.text is None else self.text.facts()
        facts["spec"] = known["spec"]
        if self.classes:
            counts = [f"{name} {count:,}" for name, count in self.classes.items()]
            facts["classes"] = f"{len(counts)}: {listed(counts)}"
        if self.captions:
            facts["captions"] = f"{self.captions:,}"
        if self.text is None:
            facts["duplicates"] = self._duplicates()
        return facts | {"fingerprint": known["fingerprint"]}

    def _range(self) -> str:
        if self.low != self.low:
            return "categories only"
        return f"{self.low:.6g} to {self.high:.6g}"

    def _duplicates(self) -> str:
        if self.duplicates is None:
            return "not counted (the set is mapped from the disk)"
        return f"{self.duplicates:,} exact; {self.leaked:,} test examples are also in train"


def inspect(source: Source, **options: Any) -> Report:
    """Loads a source with the options of `load` and describes it.

    >>> inspect("digits").counts
    {'train': 1437, 'valid': 180, 'test': 180}
    """
    dataset = load(source, **options)
    low, high = _range(dataset)
    duplicates, leaked = _duplicates(dataset)
    return Report(
        dataset=dataset,
        what=dataset.schema.what,
        counts={name: len(s) for name, s in dataset.splits.items()},
        low=low,
        high=high,
        classes=_classes(dataset),
        duplicates=duplicates,
        leaked=leaked,
        captions=sum(1 for s in dataset.splits.values() for c in s.captions if c),
        columns=_columns(dataset),
        text=_text(dataset),
    )


def sheet(dataset: Dataset, path: str | Path) -> Path:
    """Writes a contact sheet: examples of the training set, evenly spaced, as a picture.

    Raises:
        DataError: the path does not end in `.png`, or a table has no picture.
    """
    if Path(path).suffix.lower() != ".png" or Path(path).is_dir():
        raise DataError(f"A contact sheet is a picture, and '{path}' came: give a path to a .png.")
    most = SHEET_POINTS if dataset.spec.shape == (2,) else SHEET
    n = len(dataset.train)
    index = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
    x, _ = dataset.train.values(index)
    return write(x, dataset.schema, path)


def _range(dataset: Dataset) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    if dataset.schema.tokens is not None:
        return np.nan, np.nan
    if dataset.schema.columns:
        numbers = [c for c in dataset.schema.columns if c.kind != "category"]
        ends = [(c.low, c.high) for c in numbers] or [(np.nan, np.nan)]
        return min(e[0] for e in ends), max(e[1] for e in ends)
    for split in dataset.splits.values():
        count = max(1, BLOCK_BYTES // (4 * dataset.spec.size))
        for first in range(0, len(split), count):
            x = dataset.schema.native(split.values(slice(first, first + count))[0])
            low, high = min(low, float(x.min())), max(high, float(x.max()))
    return low, high


def _duplicates(dataset: Dataset) -> tuple[int | None, int | None]:
    if dataset.schema.tokens is not None or any(
        s.rows is not None for s in dataset.splits.values()
    ):
        return None, None
    columns = dataset.schema.columns
    hashes = {name: _hashes(s, columns) for name, s in dataset.splits.items()}
    everything = [h for hs in hashes.values() for h in hs]
    trained = set(hashes["train"])
    return len(everything) - len(set(everything)), sum(h in trained for h in hashes["test"])


def _hashes(split: Split, columns: tuple[Column, ...]) -> list[bytes]:
    return [
        blake2b(np.ascontiguousarray(row).data, digest_size=16).digest()
        for _, block in blocks(split.x)
        for row in _without_draws(block, columns)
    ]


def _without_draws(x: np.ndarray, columns: tuple[Column, ...]) -> np.ndarray:
    """Rows whose missing numbers are all 0, as the draws that stand for them tell rows apart."""
    x, first = x.copy() if columns else x, 0
    for column in columns:
        width = len(column.supports)
        if width == 2:
            x[x[:, first + 1] == 1, first] = 0
        first += width
    return x


def spelled(piece: bytes) -> str:
    r"""A token as text in quotes, or as bytes where it is a part of a character.

    >>> print(spelled("é".encode()), spelled("é".encode()[:1]))
    'é' b'\xc3'
    """
    try:
        return repr(piece.decode())
    except UnicodeDecodeError:
        return repr(piece)


def _text(dataset: Dataset) -> TextReport | None:
    tokens = dataset.schema.tokens
    if tokens is None:
        return None
    index = np.concatenate([running_text(s) for s in dataset.splits.values()])
    counts = np.bincount(index, minlength=tokens.levels)
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    newlines = np.array([piece.count(b"\n") for piece in tokens.pieces])

    def listed(some: np.ndarray) -> str:
        return ", ".join(f"{spelled(tokens.pieces[k])} {counts[k]:,}" for k in some)

    return TextReport(
        characters=tokens.count(index),
        lines=int(newlines[index].sum()) + 1,
        symbols=len(order),
        vocabulary=tokens.levels,
        common=listed(order[:_SHOWN]),
        rare=listed(order[::-1][:_SHOWN]),
    )


def _classes(dataset: Dataset) -> dict[str, int]:
    counts = np.zeros(dataset.spec.classes, np.int64)
    for split in dataset.splits.values():
        if split.y is not None:
            counts += np.bincount(split.y, minlength=len(counts))
    return dict(zip(dataset.spec.class_names, counts.tolist(), strict=True))


def _columns(dataset: Dataset) -> tuple[ColumnReport, ...]:
    if not dataset.schema.columns:
        return ()
    x, first, reports = np.concatenate([s.x for s in dataset.splits.values()]), 0, []
    for column in dataset.schema.columns:
        width = len(column.supports)
        reports.append(_column(column, x[:, first : first + width]))
        first += width
    return tuple(reports)


def _column(column: Column, x: np.ndarray) -> ColumnReport:
    if column.kind != "category":
        missing = int(x[:, 1].sum()) if column.missing else 0
        return ColumnReport(
            column.name, column.kind, missing, f"{column.low:.6g} to {column.high:.6g}"
        )
    counts = np.bincount(x[:, 0].astype(np.int64), minlength=len(column.categories))
    present = [(int(n), c) for n, c in zip(counts, column.categories, strict=True) if c]
    common = ", ".join(f"{c} ({n})" for n, c in sorted(present, key=lambda p: -p[0])[:3])
    missing = int(counts[-1]) if column.missing else 0
    return ColumnReport(column.name, column.kind, missing, f"{len(present)}: {common}")
