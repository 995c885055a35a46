"""What a file may ask of the machine before anything is allocated for it.

Every number is a cap that the file itself cannot lift. The checks read headers only: a picture of
169 megapixels, an archive that unpacks to a thousand times its size and an array whose header lies
are refused before they cost memory.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pofx.errors import UserError
from pofx.errors import printable as printable

FILE_BYTES = 2 << 30
"""Largest file that is read into memory; a larger `.npy` is mapped."""
MAP_BYTES = 1 << 30
"""Size from which a `.npy` is mapped instead of read."""
MEMORY_BYTES = 4 << 30
"""Largest set of examples that is held in memory."""
IMAGE_BYTES = 512 << 20
"""Largest packed image, or file beside images."""
IMAGE_PIXELS = 50_000_000
IMAGE_SIDE = 16_384
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are ever let loose on a file; of an animation, the first frame counts."""
ARCHIVE_RATIO = 100
"""Largest ratio of unpacked to packed size."""
ARCHIVE_FREE_BYTES = 16 << 20
"""Unpacked size up to which the ratio does not matter."""
ARCHIVE_MEMBERS = 2_000_000
ARCHIVE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The only ways of packing whose unpacking can be stopped in the middle."""
FIELD_BYTES = 1 << 20
"""Largest field of a CSV."""
COLUMNS = 10_000
CATEGORIES = 1_000
"""Most distinct values of one categorical column."""
CLASSES = 1_000
TEXT_BYTES = 256 << 20
"""Largest text."""
SYMBOLS = 20_000
"""Most distinct characters of a text."""
LARGEST = float(np.finfo(np.float32).max)
"""Largest number, as models compute in single precision."""
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
    return ", ".join(printable(i) for i in items[:NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )


def check_file(path: Path, cap: int | None = None) -> None:
    """Refuses an empty file and one larger than the cap."""
    cap = FILE_BYTES if cap is None else cap
    try:
        count = path.stat().st_size
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}.") from e
    if count == 0:
        raise DataError(f"{path} is empty (0 bytes): restore it or give another.")
    if count > cap:
        raise DataError(
            f"{path} has {size(count)}, more than the {size(cap)} that are read: "
            "split it, or save it as a .npy file, which is mapped."
        )


def check_memory(
    name: str, count: int, cure: str = "or --resize, or save it as a .npy file, which is mapped"
) -> None:
    """Refuses a set that would not fit the memory that one set may take."""
    if count > MEMORY_BYTES:
        raise DataError(
            f"{name} needs {size(count)} of memory, more than {size(MEMORY_BYTES)}: give --limit "
            f"{cure}."
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
        reason = str(e).removeprefix("File is ") or type(e).__name__
        raise DataError(
            f"{path} is not a readable zip archive ({reason}): pack the files again."
        ) from e
    try:
        _check_members(path, archive.infolist())
    except DataError:
        archive.close()
        raise
    return archive


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > ARCHIVE_MEMBERS:
        raise DataError(
            f"{path} has {len(members):,} members, more than {ARCHIVE_MEMBERS:,}: "
            "unpack it and give the folder."
        )
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise DataError(
                f"{path} has a member that points outside it, '{member.filename}': "
                "pack the files again without it."
            )
        if member.flag_bits & 1:
            raise DataError(
                f"{path}: member '{member.filename}' is encrypted: pack the files without a "
                "password."
            )
        if member.compress_type not in ARCHIVE_METHODS:
            raise DataError(
                f"{path}: member '{member.filename}' is packed by method {member.compress_type}, "
                "which is not read: pack the files with deflate."
            )
    unpacked = sum(m.file_size for m in members)
    # members may overlap, and then claim more packed bytes than the file has
    packed = max(min(sum(m.compress_size for m in members), path.stat().st_size), 1)
    if unpacked > ARCHIVE_FREE_BYTES and unpacked > ARCHIVE_RATIO * packed:
        raise DataError(
            f"{path} unpacks from {size(packed)} to {size(unpacked)}, "
            f"more than {ARCHIVE_RATIO} times its size: if you trust it, unpack it and give what "
            "it holds."
        )
    check_memory(str(path), unpacked)


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of an archive's member, of the size that its entry claims.

    Unpacking stops there: an entry that claims less than the member holds costs no more memory.
    """
    info = archive.getinfo(name)
    if info.file_size > IMAGE_BYTES:
        raise DataError(
            f"{archive.filename}: member '{name}' has {size(info.file_size)}, more than "
            f"{size(IMAGE_BYTES)}: leave it out."
        )
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise DataError(
            f"{archive.filename}: member '{name}' is damaged ({e}): pack the files again."
        ) from e


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
        raise DataError(
            f"{name} is not a readable NumPy array: save it again with numpy.save."
        ) from e
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which are never loaded: save it as a plain numeric "
            "array."
        )
    if dtype.kind not in "biufUS":
        raise DataError(
            f"{name} has type {dtype}, where real numbers are expected: save it as float32."
        )
    if not shape:
        raise DataError(
            f"{name} is a single number (0-dimensional), where an array of examples is expected: "
            "save one example a row."
        )
    needed = math.prod(shape) * dtype.itemsize
    if any(type(s) is not int or s < 0 for s in shape) or needed > available - file.tell():
        raise DataError(
            f"{name} claims shape {shape} ({size(max(needed, 0))}) but holds only "
            f"{size(available)}: it is damaged or cut short, so save it again."
        )
    return shape, dtype
