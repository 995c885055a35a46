"""write: model values to a file of the user's own kind, whole or not at all."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pofx.data import Verb
from pofx.data.limits import DataError
from pofx.data.pictures import displayed, grid, picture, scatter, to_bytes
from pofx.data.schema import Schema

__all__ = ["grid", "scatter", "write"]

_DIGITS = 5


def write(
    x: Tensor,
    schema: Schema,
    path: str | Path,
    *,
    cond: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes examples where the path's suffix says and in the user's own units.

    `.png` is a picture of all of them; a path without a suffix, or ending in `/`, a folder of
    numbered PNGs; `.npz` has the arrays `x` and, where labels are given, `y`; `.npy` is the one
    array; `.csv` and `.tsv` are rows in the user's own columns, with a header if his table had one.
    A file appears under its name when it is complete.

    Args:
        x: model values, `(n, *shape)`.
        schema: from the data set.
        path: what to write.
        cond: labels, `(n,)`.
        metadata: texts to store in every PNG.

    Returns:
        The path.

    Raises:
        DataError: when a file of that kind cannot hold these data, or cannot be written.
    """
    target = Path(path)
    folder = str(path).endswith(("/", os.sep)) or target.is_dir() or not target.suffix
    writer = _folder if folder else _WRITERS.get(target.suffix.lower())
    if writer is None:
        raise DataError(
            f"{target} has a suffix that cannot be written: use .png, .npz, .npy, .csv, .tsv or a "
            "folder."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer(target, x, schema, cond, metadata or {})
    except OSError as e:
        raise DataError(f"{target} cannot be written: {e.strerror or e}.") from e
    return target


Writer = Callable[[Path, Tensor, Schema, Tensor | None, Mapping[str, str]], None]


@contextmanager
def _complete(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file beside the path that takes its name when the block ends well, and vanishes when it
    does not.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _save_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
    info = PngInfo()
    for key, value in metadata.items():
        info.add_text(key, value)
    with _complete(path) as file:
        image.save(file, "PNG", pnginfo=info)


def _png(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _save_png(picture(x, schema), path, metadata)


def _folder(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    """One PNG an example, in its own size and mode."""
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    if not schema.spec.is_image or schema.spec.shape[0] not in modes:
        raise DataError(
            f"{path} would be a folder of images, which these data are not: write a .npz or .csv."
        )
    path.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(to_bytes(displayed(x, schema))):
        plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(plane), modes[len(pixels)])
        _save_png(image, path / f"{i:0{_DIGITS}d}.png", metadata)


def _npz(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _refuse_categories(path, schema)
    y = {} if cond is None else {"y": cond.detach().cpu().numpy()}
    with _complete(path) as file:
        np.savez_compressed(file, allow_pickle=False, x=_array(x, schema), **y)


def _npy(
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    _refuse_categories(path, schema)
    with _complete(path) as file:
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
    path: Path, x: Tensor, schema: Schema, cond: Tensor | None, metadata: Mapping[str, str]
) -> None:
    if len(schema.spec.shape) != 1:
        raise DataError(
            f"{path} would be a table, and these data are images: write a .png or .npz."
        )
    delimiter = "\t" if path.suffix.lower() == ".tsv" else schema.delimiter
    with _complete(path, "w") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        if schema.header:
            writer.writerow(schema.names)
        writer.writerows(schema.rows(x))


_WRITERS: dict[str, Writer] = {
    ".png": _png,
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".tsv": _csv,
}

sys.modules[__name__].__class__ = Verb
