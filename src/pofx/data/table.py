"""CSV tables: numbers, whole numbers, categories, and cells that are missing.

Two passes over the file, so that no more than one row of text is ever in memory: the first finds
out what every column is, the second fills one float64 matrix with numbers (NaN where missing) and
codes of categories. `scale` then turns the matrix into what a model sees, with the means and
standard deviations of the training rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pofx.data import limits
from pofx.data.arrays import blocks, moments
from pofx.data.dataset import Split, keyed_uniform
from pofx.data.delimited import DECIMAL_COMMA, NUMBER, find_delimiter, read_records
from pofx.data.limits import DataError, listing
from pofx.data.raw import WHOLE, Raw, encode_labels
from pofx.data.schema import Column
from pofx.functional.random import content, former, stream

MISSING = frozenset(
    ("", "?", "NA", "N/A", "n/a", "na", "nan", "NaN", "NAN", "null", "NULL", "<NA>", "#N/A")
)
"""Cells that stand for nothing."""
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMALS = 6
_EXACT = 1 << 23
"""Widest span of whole numbers that single precision tells apart, wherever their mean is."""
_LARGEST = 1 << 53
"""Largest whole number that double precision tells from its neighbours."""
_MANY_ROWS = 20


@dataclass
class _Scan:
    """What a column is, as far as its cells have been seen."""

    number: bool = True
    whole: bool = True
    cells: int = 0
    numbers: int = 0
    missing: int = 0
    low: float = math.inf
    high: float = -math.inf
    decimals: int | None = 0
    values: set[str] = field(default_factory=set)
    many: bool = False
    word: tuple[int, str] = (0, "")
    endless: tuple[int, str] = (0, "")

    def see(self, line: int, cell: str) -> None:
        """Takes one more cell into account."""
        if cell in MISSING:
            self.missing += 1
            return
        if not self.many:
            self.values.add(cell)
            self.many = len(self.values) > limits.CATEGORIES
        self.cells += 1
        match = NUMBER.fullmatch(cell)
        if match is None and not _INFINITE.fullmatch(cell):
            if self.number:
                self.number, self.word = False, (line, cell)
            return
        self.numbers += 1
        if self.number:
            self._see_number(line, cell, match)

    def _see_number(self, line: int, cell: str, match: re.Match[str] | None) -> None:
        value = float(cell)
        if not abs(value) <= limits.LARGEST:
            self.endless = self.endless if self.endless[0] else (line, cell)
            return
        self.low, self.high = min(self.low, value), max(self.high, value)
        if self.whole and not _WHOLE.fullmatch(cell):
            self.whole = False
        if self.decimals is not None:
            exponent = match is None or match.group(2)
            places = len(cell.partition(".")[2])
            small = not exponent and places <= _DECIMALS
            self.decimals = max(self.decimals, places) if small else None

    def column(self, path: Path, name: str, title: str) -> Column:
        """The column that the cells turned out to be; without any value, one of numbers."""
        if not self.values:
            return Column(name, "float", missing=True)
        if self.number:
            return self._numbers(path, name, title)
        if self.many:
            line, word = self.word
            raise DataError(
                f"{path}: column {title} has more than {limits.CATEGORIES:,} distinct values that "
                f"are not all numbers (the first is '{word[:40]}' in line {line}): remove the "
                "column or mend the cell."
            )
        names = sorted(self.values) + ([""] if self.missing else [])
        return Column(name, "category", categories=tuple(names), missing=self.missing > 0)

    def doubt(self, title: str) -> str:
        """A note on a category that was meant for numbers, as one mistyped cell makes it."""
        line, word = self.word
        if DECIMAL_COMMA.fullmatch(word):
            return (
                f"column {title} is taken for categories, as '{word[:40]}' in line {line} has a "
                "decimal comma: write a point"
            )
        if 2 * self.numbers < self.cells:
            return ""
        return (
            f"column {title} is taken for categories, as '{word[:40]}' in line {line} is no number "
            f"({self.numbers:,} of {self.cells:,} cells are)"
        )

    def _numbers(self, path: Path, name: str, title: str) -> Column:
        if self.endless[0]:
            line, cell = self.endless
            raise DataError(
                f"{path}: line {line}, column {title}: '{cell[:40]}' is no finite number of single "
                "precision: mend the cell, or leave it empty."
            )
        missing = self.missing > 0
        if self.whole and not missing and (self.low, self.high) == (0.0, 1.0):
            return Column(name, "binary", low=0.0, high=1.0)
        kind = "int" if self.whole else "float"
        decimals = None if self.whole else self.decimals
        return Column(name, kind, low=self.low, high=self.high, decimals=decimals, missing=missing)  # type: ignore[arg-type]


def read_table(path: Path) -> Raw:
    """Reads a CSV, its delimiter and whether it has a header found out.

    Raises:
        DataError: names the line and the column that cannot be read, and why.
    """
    limits.check_file(path)
    delimiter = find_delimiter(str(path), path)
    first, scans, rows = _scan(path, delimiter)
    header = _is_header(first, scans)
    if not header:
        for scan, cell in zip(scans, first[1], strict=True):
            scan.see(first[0], cell)
    if not rows and header:
        raise DataError(f"{path} holds a header and no rows: give one row for each example.")
    names = _names(path, first[1], header)
    titles = [f"'{n}'" if header and n else str(i + 1) for i, n in enumerate(names)]
    columns = tuple(s.column(path, n, t) for s, n, t in zip(scans, names, titles, strict=True))
    x = _fill(path, delimiter, columns, rows + (not header), header)
    pairs = list(zip(scans, titles, strict=True))
    doubtful = [s.doubt(t) for s, t in pairs if not s.number]
    return Raw(
        path.stem,
        {WHOLE: Split(x)},
        columns=columns,
        header=header,
        delimiter=delimiter,
        unfit=_unfit(path, rows + (not header), header, [t for s, t in pairs if not s.values]),
        notes=[*filter(None, doubtful), *_notes(columns, x)],
    )


def take_label(raw: Raw, name: str) -> None:
    """Takes a column out of a table: its values are the examples' classes.

    Raises:
        DataError: there is no such column, it is the only one, or has too many values.
    """
    names = [c.name for c in raw.columns]
    if name not in names or len(names) < 2:
        has = f"has {listing(names)}" if names else "is no table"
        raise DataError(f"--label is '{name}', and {raw.name} {has}: name one column of several.")
    place = names.index(name)
    column = raw.columns[place]
    for part, split in raw.parts.items():
        cells = split.x[:, place]
        labels = words(column, cells) if column.kind == "category" else cells
        y, raw.class_names, note = encode_labels(raw.name, labels)
        if y is None:
            raise DataError(f"{note}: choose another column.")
        raw.parts[part] = replace(split, x=np.delete(split.x, place, 1), y=y)
    raw.columns = raw.columns[:place] + raw.columns[place + 1 :]
    raw.label = (name, place)


def words(column: Column, x: np.ndarray) -> list[str]:
    """The user's words for a column's codes, or his numbers as text; nothing where one is missing.

    >>> words(Column("a", "int"), np.array([2.0, 0.5]))
    ['2', '0.5']
    """
    if column.kind == "category":
        return [column.categories[int(k)] for k in x]
    return ["" if np.isnan(v) else f"{v:.15g}" for v in x]


def _scan(path: Path, delimiter: str) -> tuple[tuple[int, list[str]], list[_Scan], int]:
    records = read_records(str(path), path, delimiter)
    first = next(records, None)
    if first is None:
        raise DataError(f"{path} holds no rows: give one row for each example.")
    scans, rows = [_Scan() for _ in first[1]], 0
    for line, row in records:
        rows += 1
        for scan, cell in zip(scans, row, strict=True):
            scan.see(line, cell)
    return first, scans, rows


def _is_header(first: tuple[int, list[str]], scans: list[_Scan]) -> bool:
    """Whether the first row names the columns: a word over numbers, or words that never occur
    below.
    """
    numbers = [c in MISSING or NUMBER.fullmatch(c) or DECIMAL_COMMA.fullmatch(c) for c in first[1]]
    words = [not n for n in numbers]
    if any(w and s.number and s.values for w, s in zip(words, scans, strict=True)):
        return True
    new = [not s.many and c not in s.values for c, s in zip(first[1], scans, strict=True)]
    return all(words) and all(new)


def _unfit(path: Path, rows: int, header: bool, empty: list[str]) -> str:
    """Why no model can be trained on the table, which has columns without any value."""
    if rows < limits.EXAMPLES:
        under = " under its header" if header else ""
        return (
            f"{path} has only {rows} row{'s' if rows > 1 else ''}{under}: give at least "
            f"{limits.EXAMPLES}, one each to train, validate and test on."
        )
    return f"{path}: column {empty[0]} has no value in any row: remove it." if empty else ""


def _names(path: Path, first: list[str], header: bool) -> list[str]:
    if not header:
        return [f"column {i + 1}" for i in range(len(first))]
    twice = [n for i, n in enumerate(first) if n in first[:i]]
    if twice:
        raise DataError(f"{path}: the header names column '{twice[0]}' twice: rename one of them.")
    return first


def _fill(
    path: Path, delimiter: str, columns: tuple[Column, ...], rows: int, header: bool
) -> np.ndarray:
    limits.check_memory(str(path), rows * len(columns) * 8)
    x = np.empty((rows, len(columns)))
    codes = [{c: k for k, c in enumerate(column.categories)} for column in columns]
    records = read_records(str(path), path, delimiter)
    if header:
        next(records)
    for i, (_, row) in enumerate(records):
        x[i] = [
            code["" if cell in MISSING else cell] if code else _number(cell)
            for cell, code in zip(row, codes, strict=True)
        ]
    return x


def _number(cell: str) -> float:
    return math.nan if cell in MISSING else float(cell)


def _notes(columns: tuple[Column, ...], x: np.ndarray) -> list[str]:
    constant = [
        c.name
        for c, v in zip(columns, x.T, strict=True)
        if len(c.categories) == 1 or (not c.missing and v.min() == v.max())
    ]
    notes = [f"constant columns: {listing(constant)}"] if constant else []
    wide = [c.name for c in columns if c.kind == "int" and _is_rounded(c)]
    if wide:
        notes.append(
            f"whole numbers of columns {listing(wide)} are too large or too far apart for single "
            "precision, and come back rounded"
        )
    names = [c.name for c in columns if 2 * len(c.categories) > len(x) >= _MANY_ROWS]
    if names:
        notes.append(
            f"columns that hold another word in most rows name rows and teach nothing: "
            f"{listing(names)}"
        )
    return notes


def _is_rounded(column: Column) -> bool:
    far = column.high - column.low > _EXACT
    return far or max(abs(column.low), abs(column.high)) > _LARGEST


def scale(
    columns: tuple[Column, ...], x: np.ndarray, train: np.ndarray, standardize: bool
) -> tuple[tuple[Column, ...], np.ndarray]:
    """The columns with the training rows' means and standard deviations, and the model's values.

    Where a number is missing, there is a draw from N(0, 1) that the row keeps: a constant would be
    a point mass, on which a density could gain without limit.

    Args:
        columns: as `read_table` found them.
        x: their numbers and codes, `(n, len(columns))`, float64.
        train: the rows that the statistics come from.
        standardize: whether numbers are centred and scaled at all.

    Returns:
        The completed columns, and float32 values with one column for each of their `supports`.
    """
    means, stds = np.zeros(len(columns)), np.ones(len(columns))
    if standardize:
        means, stds = moments(lambda: (block for _, block in blocks(x, train)))
    done = tuple(
        c if c.kind in ("category", "binary") else replace(c, mean=float(m), std=float(s))
        for c, m, s in zip(columns, means, stds, strict=True)
    )
    return done, model_values(done, x, learned=len(train))


def model_values(columns: tuple[Column, ...], x: np.ndarray, *, learned: int = 0) -> np.ndarray:
    """Float32 values, with one column for each of the columns' `supports`, of numbers and codes.

    What stands for a missing number belongs to the row's content, so that equal rows have equal
    values and equal scores.

    Args:
        columns: those of the schema.
        x: numbers and codes, `(n, len(columns))`, float64.
        learned: how many of the first rows are learned from. Equal ones among them have draws of
            their own, or a model would learn a draw that is repeated.
    """
    values: list[np.ndarray] = []
    rows = np.arange(len(x)) if former() else _keys(x, learned)
    for i, (column, v) in enumerate(zip(columns, x.T, strict=True)):
        if column.kind in ("category", "binary"):
            values.append(v)
            continue
        values.append((v - column.mean) / column.std)
        if column.missing:
            gap = np.isnan(v)
            values[-1] = np.where(gap, _draws(i, rows), values[-1])
            values.append(gap)
    with np.errstate(over="ignore"):
        return np.stack(values, 1).astype(np.float32)


def _keys(x: np.ndarray, learned: int) -> np.ndarray:
    """A key for each row, int64: its content, and its number among equal ones to learn from."""
    keys = content(torch.from_numpy(x)).numpy().copy()
    _, kind = np.unique(keys[:learned], return_inverse=True)
    order = np.argsort(kind, kind="stable")
    first = np.searchsorted(kind[order], np.arange(kind.max(initial=-1) + 1))
    before = np.empty(learned, np.int64)
    before[order] = np.arange(learned) - first[kind[order]]
    keys[:learned] += before
    return keys


def _draws(column: int, rows: np.ndarray) -> np.ndarray:
    """Draws a number from N(0, 1) for each row, float64, the same in every process."""
    seed = column if former() else stream("gap", column)
    return torch.special.ndtri(keyed_uniform(seed, rows, ()).double()).numpy()
