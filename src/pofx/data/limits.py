"""What a file may ask of the machine before anything is allocated for it.

Every number is a cap that the file itself cannot lift. The checks read headers only: a picture of
169 megapixels, an archive that unpacks to a thousand times its size and an array whose header lies
are refused before they cost memory.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pofx.errors import UserError

FILE_BYTES = 2 << 30
"""Largest file that is read into memory; a larger `.npy` is mapped."""
MAP_BYTES = 1 << 30
"""Size from which a `.npy` is mapped instead of read."""
MEMORY_BYTES = 4 << 30
"""Largest set of examples that is held in memory."""
IMAGE_PIXELS = 50_000_000
IMAGE_SIDE = 16_384
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are ever let loose on a file; of an animation, the first frame counts."""
ARCHIVE_RATIO = 100
"""Largest ratio of unpacked to packed size."""
ARCHIVE_FREE_BYTES = 16 << 20
"""Unpacked size up to which the ratio does not matter."""
ARCHIVE_MEMBERS = 2_000_000
FIELD_BYTES = 1 << 20
"""Largest field of a CSV."""
COLUMNS = 10_000
CATEGORIES = 1_000
"""Most distinct values of one categorical column."""
CLASSES = 1_000
EXAMPLES = 3
"""Fewest examples, so that each of training, validation and test has one."""
DAMAGED = 0.1
"""Largest share of a folder's images that may be skipped because they are damaged."""
NAMED = 3
"""How many files, rows or classes an error names before it counts the rest."""


class DataError(UserError):
    """The data cannot be read as they are: one sentence that names the file, the place and what to
    do.
    """


def size(count: int) -> str:
    """A number of bytes for people.

    >>> size(3 << 20)
    '3.0 MB'
    """
    value, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB", "PB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def listing(items: list[str]) -> str:
    """The first few of a list, and how many more there are.

    >>> listing(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(items) - NAMED
    return ", ".join(items[:NAMED]) + (f" and {more} more" if more > 0 else "")


def check_file(path: Path, cap: int | None = None) -> None:
    """Refuses an empty file and one larger than the cap."""
    cap = FILE_BYTES if cap is None else cap
    try:
        count = path.stat().st_size
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}.") from e
    if count == 0:
        raise DataError(f"{path} is empty (0 bytes).")
    if count > cap:
        raise DataError(f"{path} has {size(count)}, more than the {size(cap)} that are read.")


def check_memory(name: str, count: int) -> None:
    """Refuses a set that would not fit the memory that one set may take."""
    if count > MEMORY_BYTES:
        raise DataError(
            f"{name} needs {size(count)} of memory, more than {size(MEMORY_BYTES)}: "
            "give --limit or --resize, or save it as a .npy file, which is mapped."
        )


def image_problem(width: int, height: int) -> str | None:
    """Why an image of this size is not decoded, if it is not."""
    if width * height > IMAGE_PIXELS:
        return f"{width}x{height} is more than {IMAGE_PIXELS // 10**6} megapixels"
    if max(width, height) > IMAGE_SIDE:
        return f"{width}x{height} has a side of more than {IMAGE_SIDE:,} pixels"
    return None


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip whose members are safe to stream: nothing is ever unpacked to the disk."""
    check_file(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise DataError(f"{path} is not a readable zip archive ({e}).") from e
    try:
        _check_members(path, archive.infolist())
    except DataError:
        archive.close()
        raise
    return archive


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > ARCHIVE_MEMBERS:
        raise DataError(f"{path} has {len(members):,} members, more than {ARCHIVE_MEMBERS:,}.")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise DataError(f"{path} has a member that points outside it: '{member.filename}'.")
        if member.flag_bits & 1:
            raise DataError(f"{path}: member '{member.filename}' is encrypted.")
    unpacked = sum(m.file_size for m in members)
    packed = max(sum(m.compress_size for m in members), 1)
    if unpacked > ARCHIVE_FREE_BYTES and unpacked > ARCHIVE_RATIO * packed:
        raise DataError(
            f"{path} unpacks from {size(packed)} to {size(unpacked)}, "
            f"more than {ARCHIVE_RATIO} times its size."
        )
    check_memory(str(path), unpacked)


def array_header(name: str, file: BinaryIO, available: int) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the header of a `.npy` stream and checks it against the bytes that are there.

    Args:
        name: how to name the array to the user.
        file: positioned at the array's first byte; left at the first byte after its header.
        available: bytes from there to the end.

    Returns:
        The shape and the type, which is a number's or a string's.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file)
    except (
        Exception
    ) as e:  # the parser meets hostile bytes: anything may come, all of it means the same
        raise DataError(f"{name} is not a readable NumPy array.") from e
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which are never loaded: save it as a plain numeric "
            "array."
        )
    if dtype.kind not in "biufUS":
        raise DataError(f"{name} has type {dtype}; real numbers are expected.")
    if not shape:
        raise DataError(
            f"{name} is a single number (0-dimensional); an array of examples is expected."
        )
    needed = math.prod(shape) * dtype.itemsize
    if any(s < 0 for s in shape) or needed > available - file.tell():
        raise DataError(
            f"{name} claims shape {shape} ({size(max(needed, 0))}) but holds only "
            f"{size(available)}."
        )
    return shape, dtype
