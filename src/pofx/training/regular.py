"""regular: the files of a run folder, opened so that nothing outside of it is read or written.

A run folder may come from anybody. A link in it could lead anywhere, a pipe would wait for ever, a
device never end, and a file of a few bytes on the disk claim to be as large as it likes: what is
opened here is a regular file of bounded size, and everything else is refused in a sentence.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from pofx.errors import UserError

JSON_BYTES = 64 << 20
"""Largest JSON: what describes a table of ten thousand columns takes a tenth of it."""
METRICS_BYTES = 1 << 30
"""Largest file of metrics: a line each second for a month."""
_DEPTH = 32
_LOCK_BYTES = 4096
_FILES = {
    "run.json": JSON_BYTES,
    "evaluation.json": JSON_BYTES,
    "ladder.json": JSON_BYTES,
    "metrics.jsonl": METRICS_BYTES,
    ".lock": _LOCK_BYTES,
    "model.safetensors": None,
}
_IN_PLACE = ("metrics.jsonl", ".lock")
"""What is written to where it lies, rather than replaced, and so must have no other name."""
_FOLDERS = ("checkpoints", "samples")


class StrangeFile(UserError):
    """Something in a run folder is no regular file, or larger than it can be."""


def check_run(folder: Path) -> None:
    """Refuses a run folder with a link, a pipe or the like in the place of a file of its own.

    Raises:
        StrangeFile: names it.
    """
    for name, most in _FILES.items():
        path = folder / name
        if (found := _status(path)) is not None:
            _refuse(path, found, most)
            if name in _IN_PLACE and found.st_nlink > 1:
                raise StrangeFile(
                    f"'{path}' must have no second name (it is a hard link): copy the run folder "
                    "file by file, and use the copy."
                )
    for name in _FOLDERS:
        path = folder / name
        if (found := _status(path)) is not None and not stat.S_ISDIR(found.st_mode):
            raise StrangeFile(
                f"'{path}' must be a folder in the run folder (it is {_kind(found.st_mode)}): "
                "restore it, or move it away."
            )


def content(path: Path, most: int) -> bytes:
    """All of a regular file of at most so many bytes.

    Raises:
        StrangeFile: it is a link, a pipe or the like, or larger.
        OSError: it is missing, or cannot be read.
    """
    with os.fdopen(opened(path, os.O_RDONLY, most), "rb") as f:
        return f.read()


def opened(path: Path, flags: int, most: int | None) -> int:
    """The descriptor of a regular file, which `os.O_CREAT` makes where there is none.

    Raises:
        StrangeFile: it is a link, a pipe or the like, or larger than `most` bytes.
        OSError: it is missing, or cannot be opened.
    """
    if (found := _status(path)) is not None:
        _refuse(path, found, most)
    # what took its place since is neither followed nor waited for
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _refuse(path, os.fstat(descriptor), most)
    except StrangeFile:
        os.close(descriptor)
        raise
    return descriptor


def is_folder(path: Path) -> bool:
    """Whether the path is a folder and no link to one."""
    found = _status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def parse(text: bytes) -> Any:
    """JSON that is not nested deeply and names nothing twice.

    Raises:
        ValueError: it is no such JSON.

    >>> parse(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse(b"[" * 5000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [found] if isinstance(found, dict | list) else []
    for _ in range(_DEPTH):
        level = [inner for value in level for inner in _nested(value)]
    if level:
        raise ValueError("it is nested too deeply")
    return found


def _nested(value: dict[str, Any] | list[Any]) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value
    return [v for v in values if isinstance(v, dict | list)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names an entry twice")
    return found


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _refuse(path: Path, found: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StrangeFile(
            f"'{path}' must be a regular file of the run folder (it is {_kind(found.st_mode)}): "
            "restore it, or move it away."
        )
    if most is not None and found.st_size > most:
        raise StrangeFile(
            f"'{path}' must have at most {most:,} bytes (it has {found.st_size:,}): restore it, "
            "or move it away."
        )


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder", stat.S_IFREG: "a file",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "a device")
