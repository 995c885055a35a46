"""NumPy files and arrays in memory.

A file's header is read and checked before anything is allocated for its numbers. A large `.npy` is
mapped: it is scanned once in blocks, and then only the rows of a batch are ever in memory.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pofx.data import limits
from pofx.data.dataset import Split
from pofx.data.limits import DataError, array_header, listing
from pofx.data.pixels import MODES
from pofx.data.raw import WHOLE, Raw, encode_labels, label_column

X_NAMES = ("x", "X", "data", "images", "arr_0")
Y_NAMES = ("y", "Y", "labels", "label", "target")
PARTS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
FEW_LEVELS = 32
"""A uint8 array with fewer values than this has exactly `max + 1` levels instead of 256."""
BLOCK_BYTES = 32 << 20


def read_npy(path: Path) -> Raw:
    """Reads a `.npy`, or maps it when it is large."""
    limits.check_file(path, cap=1 << 60)
    with path.open("rb") as file:
        shape, _ = array_header(str(path), file, path.stat().st_size)
    if 0 in shape:
        raise DataError(_no_examples(str(path), shape))
    mapped = path.stat().st_size > limits.MAP_BYTES
    x = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    raw = from_arrays(str(path), {WHOLE: x}, {})
    raw.name = path.stem
    if mapped:
        raw.notes.append(f"{path} is mapped from the disk ({limits.size(path.stat().st_size)})")
    return raw


def _no_examples(name: str, shape: tuple[int, ...]) -> str:
    return f"{name} has shape {shape}, which holds no examples: save one example a row."


def read_npz(path: Path) -> Raw:
    """Reads a `.npz` with keys `x` and perhaps `y`, or `train`, `valid` and `test` (also `x_train`,
    `y_train`, ...).
    """
    with limits.open_archive(path) as archive:
        members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
        keys = _choose(path, list(members))
        arrays = {
            key: _member(path, archive, members[key], key)
            for key in keys.values()
            if key in members
        }
    x = {part: arrays[key] for (kind, part), key in keys.items() if kind == "x"}
    y = {part: arrays[key] for (kind, part), key in keys.items() if kind == "y"}
    raw = from_arrays(str(path), x, y)
    raw.name = path.stem
    return raw


def _choose(path: Path, names: list[str]) -> dict[tuple[str, str], str]:
    """The members that hold examples and labels, by ('x' or 'y', part)."""
    found: dict[tuple[str, str], str] = {}
    for part, words in PARTS.items():
        for word in words:
            for kind, stems in (("x", ("x", "X")), ("y", ("y", "Y"))):
                options = [f"{s}_{word}" for s in stems] + [f"{word}_{s}" for s in stems]
                options += [word] if kind == "x" else [f"{word}_labels", f"{word}_y"]
                match = next((o for o in options if o in names), None)
                if match:
                    found[kind, part] = match
    if ("x", "train") in found:
        return found
    y = next((n for n in Y_NAMES if n in names), None)
    rest = [n for n in names if n != y]
    x = next((n for n in X_NAMES if n in names), rest[0] if len(rest) == 1 else None)
    if x is None:
        raise DataError(
            f"{path} has {f'the arrays {listing(names)}' if names else 'no arrays'}: "
            "call the examples 'x' (and their labels 'y'), or 'train' and 'test'."
        )
    return {("x", WHOLE): x, **({("y", WHOLE): y} if y else {})}


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> np.ndarray:
    name = f"{path}['{key}']"
    try:
        with archive.open(info) as file:
            shape, _ = array_header(name, file, info.file_size)  # type: ignore[arg-type]
        if 0 in shape:
            raise DataError(_no_examples(name, shape))
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"{name} is damaged ({str(e)[:80]}): save it again.") from e


def from_arrays(name: str, x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray]) -> Raw:
    """The set that arrays hold: `(n, *event)` for each part, with labels where there are any.

    Three axes of any type are grey images `(n, height, width)`; four axes are images with the
    channels last when the last axis has at most four entries and the second has more, first
    otherwise.
    """
    for part, array in x.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise DataError(
                f"{name} has type {array.dtype}, where real numbers are expected: "
                "save it as float32."
            )
        if array.ndim == 0 or 0 in array.shape:
            raise DataError(_no_examples(name, array.shape))
        if part in y and len(np.atleast_1d(y[part])) != len(array):
            raise DataError(
                f"{name} has {len(array):,} examples but {len(np.atleast_1d(y[part])):,} labels: "
                "save one label for each example."
            )
    _check_parts(name, x)
    views = {part: _events(array) for part, array in x.items()}
    surveys = [survey(name, v) for v in views.values()]
    found = _merge(surveys)
    event = next(iter(views.values())).shape[1:]
    image = len(event) == 3
    raw = Raw(name, {}, found.levels, image, mode=MODES.get(event[0], "") if image else "")
    raw.integer = found.kind in "iu"
    total = sum(len(a) for a in x.values())
    if total < limits.EXAMPLES:
        few = f"{total} example{'s' if total > 1 else ''}"
        raw.unfit = f"{name} has only {few}: give at least {limits.EXAMPLES}."
    labels = _labels(name, x, y, raw)
    for part, v in views.items():
        if found.levels and v.dtype != np.uint8 and not isinstance(v, np.memmap):
            v = v.astype(np.uint8)
        raw.parts[part] = Split(v, labels.get(part))
    _note_levels(raw, found, image)
    return raw


def _check_parts(name: str, x: Mapping[str, np.ndarray]) -> None:
    shapes = {part: array.shape[1:] for part, array in x.items()}
    if len(set(shapes.values())) > 1:
        differing = " and ".join(f"{shape} in '{part}'" for part, shape in shapes.items())
        raise DataError(f"{name}: examples have shape {differing}: give all parts one shape.")
    # bytes mean levels, and any other type numbers, of which single precision is all that is kept
    if len({(a.dtype.kind, a.dtype == np.uint8) for a in x.values()}) > 1:
        differing = " and ".join(f"{a.dtype} in '{part}'" for part, a in x.items())
        raise DataError(f"{name}: examples have type {differing}: save all parts as one type.")


def _labels(
    name: str, x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray], raw: Raw
) -> dict[str, np.ndarray]:
    lost = ", ".join(f"'{part}'" for part in y if part not in x)
    if lost:
        raw.notes.append(f"{name}: the labels of {lost} are ignored, as it has no examples")
    y = {part: label_column(y[part]) for part in x if part in y}
    if len(y) < len(x):
        if y:
            bare = ", ".join(f"'{part}'" for part in x if part not in y)
            raw.notes.append(f"{name}: the labels are ignored, as {bare} has none")
        return {}
    if len({labels.shape[1:] for labels in y.values()}) > 1:
        differing = " and ".join(f"{labels.shape} in '{part}'" for part, labels in y.items())
        raise DataError(f"{name}: labels have shape {differing}: save one label for each example.")
    codes, raw.class_names, note = encode_labels(name, np.concatenate(list(y.values())))
    if codes is None:
        raw.notes.append(note)
        return {}
    ends = np.cumsum([len(v) for v in y.values()])[:-1]
    return dict(zip(y, np.split(codes, ends), strict=True))


def _events(x: np.ndarray) -> np.ndarray:
    if x.ndim == 1:
        return x[:, None]
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] <= 4 < x.shape[1]:
        moved = x.transpose(0, 3, 1, 2)
        return moved if isinstance(x, np.memmap) else np.ascontiguousarray(moved)
    return x


@dataclass(frozen=True)
class Survey:
    """What one scan of an array found.

    Args:
        kind: NumPy's letter for the type: b, u, i or f.
        itemsize: bytes a number.
        low: smallest value.
        high: largest value.
        bits: whether 0 and 1 are the only values.
    """

    kind: str
    itemsize: int
    low: float
    high: float
    bits: bool

    @property
    def levels(self) -> int:
        """2 for bits, `max + 1` or 256 for bytes, 0 for anything else."""
        if self.kind == "b" or (self.bits and self.high > self.low):
            return 2
        if self.kind == "u" and self.itemsize == 1:
            return int(self.high) + 1 if 2 <= self.high < FEW_LEVELS else 256
        return 0


def _merge(surveys: list[Survey]) -> Survey:
    first = surveys[0]
    return Survey(
        first.kind,
        first.itemsize,
        min(s.low for s in surveys),
        max(s.high for s in surveys),
        all(s.bits for s in surveys),
    )


def survey(name: str, x: np.ndarray) -> Survey:
    """Scans an array in blocks.

    Raises:
        DataError: names the row and column of the first number that is not finite in single
            precision.
    """
    low, high, bits = np.inf, -np.inf, True
    for first, block in blocks(x):
        if x.dtype.kind == "f" and not _fits(block).all():
            row, *rest = (int(i) for i in np.argwhere(~_fits(block))[0])
            place = f"column {rest[0]}" if len(rest) == 1 else f"element {tuple(rest)}"
            raise DataError(
                f"{name} holds {block[(row, *rest)]} in row {first + row}, {place} (counted from "
                "0), which is no number of single precision: mend it or leave the row out."
            )
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        bits = bits and low >= 0 and high <= 1 and bool(((block == 0) | (block == 1)).all())
    return Survey(x.dtype.kind, x.dtype.itemsize, low, high, bits)


def _fits(x: np.ndarray) -> np.ndarray:
    """Where numbers are finite and within single precision's range."""
    return np.isfinite(x) if x.dtype.itemsize <= 4 else np.abs(x) <= limits.LARGEST


def blocks(x: np.ndarray, index: np.ndarray | None = None):  # noqa: ANN201, an iterator of pairs
    """Yields `(first, x[first:last])`, or of an index's rows, at most about 32 MB at a time."""
    count = max(1, BLOCK_BYTES // max(1, x[:1].nbytes))
    for first in range(0, len(x) if index is None else len(index), count):
        rows = slice(first, first + count)
        yield first, np.asarray(x[rows] if index is None else x[index[rows]])


def _note_levels(raw: Raw, found: Survey, image: bool) -> None:
    if 2 < found.levels < 256:
        raw.notes.append(
            f"bytes of 0 to {found.levels - 1} are taken to have {found.levels} levels"
        )
    if found.levels == 0 and found.kind in "iu" and image and 0 <= found.low <= found.high <= 255:
        raw.notes.append(
            "whole numbers were taken as real: save images as uint8 to have them as bytes"
        )


def statistics(split: Split, image: bool) -> tuple[np.ndarray, np.ndarray]:
    """`moments` of real examples: of each element of a vector, else one for all."""
    flat = split.x.ndim == 2 and not image
    width = split.x.shape[1] if flat else 1
    return moments(lambda: (b.reshape(-1, width) for _, b in blocks(split.x, split.rows)))


def moments(pieces: Callable[[], Iterable[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of a matrix, float64, of the numbers that are
    present; of none, 0 and 1, and of a constant, its standard deviation is 1.

    Args:
        pieces: gives the matrix's rows, some at a time; called twice, for two passes.

    >>> moments(lambda: [np.array([[1.0, 0.1], [np.nan, 0.1]]), np.array([[3.0, 0.1]])])
    (array([2. , 0.1]), array([1., 1.]))
    """

    def columns() -> Iterator[np.ndarray]:
        # contiguous, as NumPy then sums in pairs, which keeps a constant's mean exact enough
        return (np.ascontiguousarray(p.T, np.float64) for p in pieces())

    sums = [(np.nansum(c, 1), (~np.isnan(c)).sum(1)) for c in columns()]
    total, count = (np.sum(s, 0) for s in zip(*sums, strict=True))
    mean = total / np.maximum(count, 1)
    std = np.hypot.reduce([_length(c - mean[:, None]) for c in columns()])
    std /= np.sqrt(np.maximum(count, 1))
    return mean, np.where(std > 1e-12 * np.abs(mean), std, 1.0)


def _length(x: np.ndarray) -> np.ndarray:
    """Of each row, the root of the sum of squares, which need not be within the numbers' range."""
    unit = np.fmax.reduce(np.abs(x), 1, keepdims=True, initial=0.0)
    unit[unit == 0] = 1.0
    return unit[:, 0] * np.sqrt(np.nansum((x / unit) ** 2, 1))
