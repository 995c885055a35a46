"""captions.csv: a table beside images with one row for each, which names its class and describes
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from pofx.data import limits
from pofx.data.delimited import read_records
from pofx.data.limits import DataError, listing

NAME = "captions.csv"
FILE_COLUMNS = ("file", "file_name", "filename", "image", "path")
CLASS_COLUMNS = ("class", "label", "category", "group")
TEXT_COLUMNS = ("caption", "text", "description", "name")
NONE = "(none)"


class Files(Protocol):
    """Where images come from."""

    path: Path
    names: list[str]

    def read(self, name: str) -> bytes:
        """The content of one file."""
        ...


@dataclass(frozen=True)
class Captions:
    """Classes and texts by image; either may be empty when the table has no column for it."""

    classes: dict[str, str]
    described: dict[str, str]

    def labels(self, names: list[str]) -> list[str]:
        """The class of each image; `(none)` where the table has none."""
        return [self.classes.get(n) or NONE for n in names] if self.classes else []

    def texts(self, names: list[str]) -> tuple[str, ...]:
        """The text of each image; empty where the table has none."""
        return tuple(self.described.get(n, "") for n in names) if self.described else ()


def find_captions(files: Files, images: list[str]) -> tuple[Captions | None, list[str]]:
    """Reads the `captions.csv` among the files, or beside their archive, and says what did not
    match.
    """
    inside = [n for n in files.names if PurePosixPath(n).name.lower() == NAME]
    if inside:
        name = min(inside, key=lambda n: n.count("/"))
        folder = name[: -len(NAME)]
        return _read(f"{files.path}/{name}", files.read(name), folder, images)
    beside = files.path.parent / NAME
    if files.path.is_dir() or not beside.is_file():
        return None, []
    limits.check_file(beside, limits.IMAGE_BYTES)
    captions, notes = _read(str(beside), beside.read_bytes(), "", images, beside=True)
    unrelated = not (captions and (captions.classes or captions.described))
    return (None, []) if unrelated else (captions, notes)


def _read(
    name: str, content: bytes, folder: str, images: list[str], *, beside: bool = False
) -> tuple[Captions | None, list[str]]:
    records = read_records(name, content)
    (_, header), rows = next(records, (0, [])), records
    columns = {title.strip().lower(): i for i, title in enumerate(header)}
    file = _first(columns, FILE_COLUMNS)
    if file is None and beside:  # a table of something else
        return None, []
    if file is None:
        raise DataError(
            f"{name} has no column that names the images: call it 'file' (found {listing(header)})."
        )
    paths = [(PurePosixPath(folder, row[file]).as_posix(), row) for _, row in rows]
    known = set(images)
    table = {path: row for path, row in paths if path in known}
    absent = [path for path, _ in paths if path not in known]
    notes = [f"{name}: {len(absent):,} rows name no image ({listing(absent)})"] if absent else []
    bare = [n for n in images if n not in table]
    if bare and table:
        notes.append(f"{name}: {len(bare):,} images have no row ({listing(bare)})")
    by_class, text = _first(columns, CLASS_COLUMNS), _first(columns, TEXT_COLUMNS)
    return Captions(_column(table, by_class), _column(table, text)), notes


def _first(columns: dict[str, int], names: tuple[str, ...]) -> int | None:
    return next((columns[n] for n in names if n in columns), None)


def _column(table: dict[str, list[str]], index: int | None) -> dict[str, str]:
    return {} if index is None else {path: row[index] for path, row in table.items()}
