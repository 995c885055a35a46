"""write: model values to a file of the user's own kind, whole or not at all."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pofx.data import Verb
from pofx.data.limits import DataError
from pofx.data.pictures import displayed, grid, picture, scatter, to_bytes
from pofx.data.pixels import MODES, to_image
from pofx.data.schema import Cell, Schema
from pofx.data.whole import complete, complete_folder, parents

__all__ = ["grid", "scatter", "write"]

_DIGITS = 5
_BETWEEN = f"{'-' * 40}\n"


def write(
    x: Tensor,
    schema: Schema,
    path: str | Path,
    *,
    cond: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
    escape_formulas: bool = False,
) -> Path:
    """Writes examples where the path's suffix says and in the user's own units.

    `.png` is a picture of all of them; a path without a suffix, or ending in `/`, a folder of
    numbered PNGs; `.npz` has the arrays `x` and, where labels are given, `y`; `.npy` is the one
    array; `.csv` and `.tsv` are rows in the user's own columns, with a header if his table had one;
    `.txt` is text, with a line of dashes between examples. A file or folder appears under its name
    when it is complete; a folder that is there already must be empty.

    Args:
        x: model values, `(n, *shape)`.
        schema: from the data set.
        path: what to write.
        cond: labels, `(n,)`.
        metadata: texts to store in every PNG.
        escape_formulas: whether a table's cells are `escaped`.

    Returns:
        The path.

    Raises:
        DataError: when a file of that kind cannot hold these data, or cannot be written.
    """
    target = Path(path)
    try:
        writer = _writer(str(path), target)
        if escape_formulas:
            if writer is not _csv:
                raise DataError(
                    f"{target} must be a .csv or .tsv for --escape-formulas: leave that out."
                )
            writer = partial(_csv, escape=True)
        with parents(target):
            writer(target, x, schema, cond, metadata or {})
    except OSError as e:
        raise DataError(
            f"{target} cannot be written ({e.strerror or e}): choose another path."
        ) from e
    return target


Writer = Callable[[Path, Tensor, Schema, Tensor | None, Mapping[str, str]], None]


def _writer(path: str, target: Path) -> Writer:
    if path.endswith(("/", os.sep)) or target.is_dir() or not target.suffix:
        if target.is_dir() and any(target.iterdir()):
            raise DataError(f"{target} is a folder that is not empty: choose another.")
        return _folder
    if target.suffix.lower() not in _WRITERS:
        raise DataError(
            f"{target} has a suffix that cannot be written: use .png, .npz, .npy, .csv, .tsv, "
            ".txt or a folder."
        )
    return _WRITERS[target.suffix.lower()]


def _save_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
    info = PngInfo()
    for key, value in metadata.items():
        info.add_text(key, value)
    with complete(path) as file:
        image.save(file, "PNG", pnginfo=info)


def _png(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _save_png(picture(x, schema), path, metadata)


def _folder(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    """One PNG an example, in its own size and mode."""
    if not schema.spec.is_image or schema.spec.shape[0] not in MODES:
        raise DataError(
            f"{path} would be a folder of images, which these data are not: write a .npz or .csv."
        )
    with complete_folder(path) as folder:
        for i, pixels in enumerate(to_bytes(displayed(x, schema))):
            _save_png(to_image(pixels), folder / f"{i:0{_DIGITS}d}.png", metadata)


def _npz(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _refuse_categories(path, schema)
    y = {} if cond is None else {"y": cond.detach().cpu().numpy()}
    with complete(path) as file:
        np.savez_compressed(file, allow_pickle=False, x=_array(x, schema), **y)


def _npy(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _refuse_categories(path, schema)
    with complete(path) as file:
        np.save(file, _array(x, schema), allow_pickle=False)


def _refuse_categories(path: Path, schema: Schema) -> None:
    if any(c.kind == "category" for c in schema.columns):
        raise DataError(f"{path} holds numbers only, and this table has categories: write a .csv.")


def _array(x: Tensor, schema: Schema) -> np.ndarray:
    if not schema.columns:
        return schema.native(x)
    rows = [[np.nan if c == "" else c for c in row] for row in schema.rows(x)]
    return np.array(rows, np.float64).reshape(len(x), len(schema.columns))


def _csv(
    path: Path,
    x: Tensor,
    schema: Schema,
    cond: Tensor | None,
    metadata: Mapping[str, str],
    *,
    escape: bool = False,
) -> None:
    if len(schema.spec.shape) != 1:
        what, suffix = ("images", ".png or .npz") if schema.spec.is_image else ("arrays", ".npz")
        raise DataError(f"{path} would be a table, and these data are {what}: write a {suffix}.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else schema.delimiter
    names, rows = schema.table(x, cond)
    with complete(path, "w") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        table: list[Sequence[Cell]] = [names, *rows] if schema.header else [*rows]
        writer.writerows([escaped(c) for c in row] if escape else row for row in table)


def escaped(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: words that begin as one do get an apostrophe.

    >>> [escaped(cell) for cell in ("=1+1", "@x", "-5", -5.0, "a=b")]
    ["'=1+1", "'@x", '-5', -5.0, 'a=b']
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _txt(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    if schema.tokens is None:
        raise DataError(f"{path} would be text, which these data are not: write a .npz or .csv.")
    with complete(path, "w") as file:
        file.write(_BETWEEN.join(f"{text}\n" for text in schema.texts(x)))


_WRITERS: dict[str, Writer] = {
    ".txt": _txt,
    ".png": _png,
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".tsv": _csv,
}

sys.modules[__name__].__class__ = Verb
