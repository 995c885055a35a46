"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pofx.data.limits import DataError


@contextmanager
def written(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file as `complete` makes it, with the folders above it.

    Raises:
        DataError: the disk is full, or the path cannot be written to.
    """
    try:
        with parents(path), complete(path, mode) as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): choose another path, or free "
            "some space."
        ) from error


@contextmanager
def complete(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file beside the path that takes its name when the block ends well, and vanishes when it
    does not.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        hold(descriptor)
        with os.fdopen(descriptor, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """A folder that takes the path's name likewise; the path is free or an empty folder."""
    name = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=path.parent))
    descriptor = os.open(name, os.O_RDONLY)
    try:
        hold(descriptor)
        yield name
        name.chmod(0o777 & ~_umask())
        name.replace(path)
    except BaseException:
        shutil.rmtree(name, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def hold(descriptor: int) -> bool:
    """Marks what is being written as this process's own for as long as it lives and has it open;
    whether nobody else had.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def sweep(folder: Path, *patterns: str) -> None:
    """Removes from a folder what processes that have ended left half written.

    Args:
        folder: is not searched below.
        patterns: of the names.
    """
    for path in (p for pattern in patterns for p in folder.glob(pattern)):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not hold(descriptor):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def parents(path: Path) -> Iterator[None]:
    """Makes the folders above the path, and removes what it made when the block ends badly."""
    missing = [p for p in path.parents if not p.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
