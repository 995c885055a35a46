"""Folders and zip archives of images.

Two passes, with one file in memory at a time: the first reads every file's header, which decides
size and mode; the second decodes every image straight into one uint8 array. An image that cannot be
decoded is skipped and named, unless so many are that something else is wrong.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pofx.data import limits
from pofx.data.captions import Captions, find_captions
from pofx.data.dataset import Split, shuffled
from pofx.data.limits import DataError, listing
from pofx.data.pixels import fitted, from_image
from pofx.data.raw import WHOLE, Raw, encode_labels

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)

Size = tuple[int, int]


class Tree:
    """The files of a folder or of a zip archive, by their path within it, without what systems
    leave behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        if path.is_dir():
            names = _walk(path)
        else:
            self.archive = limits.open_archive(path)
            names = [i.filename for i in self.archive.infolist() if not i.is_dir()]
        self.names = sorted({n for n in names if not _is_junk(n)})

    def read(self, name: str) -> bytes:
        """The content of one file."""
        if self.archive is None:
            limits.check_file(self.path / name, limits.IMAGE_BYTES)
            return (self.path / name).read_bytes()
        return limits.member(self.archive, name)

    def close(self) -> None:
        """Closes the archive."""
        if self.archive is not None:
            self.archive.close()


def _walk(folder: Path) -> list[str]:
    """The files in a folder and in those that links lead to; each folder counts once, under its own
    name if that is inside, as links may lead in a circle.
    """
    names: list[str] = []
    left, seen = [str(folder)], set()
    while left:
        for root, folders, files in os.walk(left.pop(0), onerror=_refuse):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            paths = [os.path.join(root, f) for f in folders]
            left += [p for p in paths if os.path.islink(p)]
            names += [(Path(root) / f).relative_to(folder).as_posix() for f in files]
    return names


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be read ({error.strerror}): give yourself the right to, or leave "
        "it out."
    )


def _is_junk(name: str) -> bool:
    return any(p.startswith(".") or p in JUNK for p in PurePosixPath(name).parts)


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image of a kind that is read."""
    return name.lower().endswith(SUFFIXES)


@dataclass
class _Survey:
    """What the headers say: by name the size of every readable image, and the reason for every
    other.
    """

    sizes: dict[str, Size] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    colour: bool = False
    alpha: bool = False
    bits: bool = True
    deep: list[str] = field(default_factory=list)

    @property
    def mode(self) -> str:
        if self.bits and not (self.colour or self.alpha):
            return "1"
        return ("RGB" if self.colour else "L") + ("A" if self.alpha else "")


def read_images(
    path: Path, *, resize: Size | None = None, limit: int | None = None, seed: int = 0
) -> Raw:
    """Reads a folder or a zip archive of images, with classes from a `captions.csv` or from its
    subfolders.

    Args:
        path: the folder or the archive.
        resize: height and width to crop and scale every image to; needed when they differ in size.
        limit: read at most this many images, chosen by the seed.
        seed: chooses them.

    Raises:
        DataError: when there are no images, they differ in size, or too many are damaged.
    """
    tree = Tree(path)
    try:
        names = [n for n in tree.names if is_image(n)]
        if not names:
            return _inner_archive(tree, resize=resize, limit=limit, seed=seed)
        captions, notes = find_captions(tree, names)
        if limit is not None and limit < len(names):
            names = [names[i] for i in np.sort(shuffled(seed, len(names), "limit")[:limit])]
        survey = _survey(tree, names)
        _check_damage(path, survey, len(names))
        height, width = resize or _common_size(path, survey)
        x = _decode(tree, survey, (height, width))
        _check_damage(path, survey, len(names))
    finally:
        tree.close()
    return _raw(path, x, survey, captions, notes)


def _inner_archive(tree: Tree, *, resize: Size | None, limit: int | None, seed: int) -> Raw:
    archives = [n for n in tree.names if n.lower().endswith(".zip")]
    if tree.archive is None and len(archives) == 1:
        return read_images(tree.path / archives[0], resize=resize, limit=limit, seed=seed)
    if not tree.names:
        raise DataError(f"{tree.path} holds no files: give a folder or zip archive of images.")
    found = sorted({PurePosixPath(n).suffix.lower() or "no suffix" for n in tree.names})
    raise DataError(
        f"{tree.path} holds no images, only {len(tree.names):,} files with {listing(found)}: give "
        f"a folder of {', '.join(s[1:] for s in SUFFIXES)}."
    )


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own cap on pixels is looser than ours
        with Image.open(io.BytesIO(content), formats=limits.IMAGE_FORMATS) as image:
            yield image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is no {', '.join(limits.IMAGE_FORMATS)} image"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {limits.IMAGE_PIXELS // 10**6} megapixels"
    if isinstance(error, DataError) and "(0 bytes)" in str(error):
        return "it is empty (0 bytes)"
    return " ".join(str(error).split()).rstrip(".")[:120] or type(error).__name__


def _survey(tree: Tree, names: list[str]) -> _Survey:
    survey = _Survey()
    for name in names:
        try:
            content = tree.read(name)
            with _opened(content) as image:
                _note_header(survey, name, image, content)
        except (
            Exception
        ) as e:  # a decoder meets hostile bytes: anything may come, and the file is named
            survey.damaged[name] = _reason(e)
    return survey


def _note_header(survey: _Survey, name: str, image: Image.Image, content: bytes) -> None:
    problem = limits.image_problem(*image.size)
    if image.mode == "F":
        problem = "its pixels are floating-point numbers; save it with 8 bits a channel"
    if problem:
        survey.damaged[name] = problem
        return
    if image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE:
        survey.sizes[name] = _upright(image).size[::-1]
    else:
        survey.sizes[name] = image.size[::-1]
    survey.colour |= image.mode not in _GREY and not _has_grey_palette(image)
    survey.alpha |= image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    survey.alpha |= "transparency" in image.info
    survey.bits &= image.mode == "1"
    if image.mode in _DEEP or (image.format == "PNG" and content[24] == 16):
        survey.deep.append(name)


def _has_grey_palette(image: Image.Image) -> bool:
    palette = image.getpalette() if image.mode == "P" else None
    return palette is not None and palette[0::3] == palette[1::3] == palette[2::3]


def _check_damage(path: Path, survey: _Survey, count: int) -> None:
    damaged = survey.damaged
    if len(damaged) <= limits.DAMAGED * count and len(damaged) < count:
        return
    named = listing([f"{name} ({reason})" for name, reason in damaged.items()])
    if len(damaged) == count == 1:
        raise DataError(f"{path}: the only image cannot be read, {named}: replace it.")
    raise DataError(
        f"{path}: {len(damaged):,} of {count:,} images cannot be read, {named}: replace or remove "
        "them."
    )


def _common_size(path: Path, survey: _Survey) -> Size:
    counts = Counter(survey.sizes.values())
    (size, _), *others = counts.most_common()
    if not others:
        return size
    a = next(n for n, s in survey.sizes.items() if s == size)
    b = next(n for n, s in survey.sizes.items() if s != size)
    raise DataError(
        f"{path}: images differ in size ({a} is {_by(size)} but {b} is {_by(survey.sizes[b])}): "
        f"give all one size, such as --resize {_by(size)}."
    )


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _decode(tree: Tree, survey: _Survey, size: Size) -> np.ndarray:
    names, mode = list(survey.sizes), survey.mode
    shape = (len(names), Image.getmodebands(mode), *size)
    limits.check_memory(str(tree.path), int(np.prod(shape, dtype=np.int64)))
    x = np.empty(shape, np.uint8)
    good = 0
    for name in names:
        try:
            with _opened(tree.read(name)) as image:
                x[good] = _pixels(image, mode, size)
            good += 1
        except Exception as e:  # as above
            survey.damaged[name] = _reason(e)
            del survey.sizes[name]
    return x[:good]


def _upright(image: Image.Image) -> Image.Image:
    """The image as its camera meant it; decoding turns some kinds by itself."""
    image.load()
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _pixels(image: Image.Image, mode: str, size: Size) -> np.ndarray:
    """One image as uint8 `(channels, height, width)`."""
    image = _upright(image)
    if image.mode in _DEEP:
        # 16 bits a pixel: the upper eight are kept
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if mode == "LA" and image.mode == "L" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != size[::-1]:
        scaled = fitted(image.convert("L") if mode == "1" else image, size)
        image = scaled.convert(mode, dither=Image.Dither.NONE)
    return from_image(image)


def _raw(
    path: Path, x: np.ndarray, survey: _Survey, captions: Captions | None, notes: list[str]
) -> Raw:
    names, mode = list(survey.sizes), survey.mode
    labels = captions.labels(names) if captions else _folders(names)
    y, classes, note = encode_labels(str(path), labels) if labels else (None, (), "")
    texts = captions.texts(names) if captions else ()
    notes = [*notes, note] if note else list(notes)
    notes += [f"skipped {name}: {reason}" for name, reason in survey.damaged.items()]
    if survey.deep:
        notes.append(
            f"{len(survey.deep):,} images with 16 bits a channel were reduced to 8 "
            f"({listing(survey.deep)})"
        )
    if mode.endswith("A") and x[:, -1].min() == 255:
        x, mode = np.ascontiguousarray(x[:, :-1]), mode[:-1]
        notes.append("the alpha channel is opaque everywhere and was left out")
    levels = 2 if mode == "1" else 256
    split = Split(x, y, captions=texts)
    name = path.resolve().name if path.is_dir() else path.stem
    return Raw(name, {WHOLE: split}, levels, True, classes, mode, notes=notes)


def _common(parts: list[tuple[str, ...]]) -> list[str]:
    """The folders that every path begins with."""
    levels = zip(*parts, strict=False)
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]


def _folders(names: list[str]) -> list[str]:
    """The class of each image: the first folder in which they differ, if every image is in one."""
    parts = [PurePosixPath(n).parts[:-1] for n in names]
    shared = len(_common(parts))
    if any(len(p) <= shared for p in parts):
        return []
    return [p[shared] for p in parts]
