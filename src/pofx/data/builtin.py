"""Data sets that are known by name: from the folder in `POFX_DATA`, else downloaded once and
checked.

What is checked is the SHA-256 of the *unpacked* content, so that a file that was packed again
passes and one whose pixels were changed does not. CIFAR-10 is the exception: its archive is checked
as it is packed, and files that the user has unpacked by their length and labels only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np

from pofx.data import limits, toy
from pofx.data.arrays import read_npz
from pofx.data.dataset import Split
from pofx.data.limits import DataError
from pofx.data.raw import WHOLE, Raw
from pofx.data.whole import complete

_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_URLS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
    "tinyshakespeare": "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
    "tinyshakespeare/",
}
_SHA256 = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_CIFAR_FOLDER = "cifar-10-batches-bin"
_CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_CIFAR_BYTES = 10_000 * 3_073
_IDX_BYTES = 64 << 20
_DIGITS = tuple("0123456789")
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_THINGS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def digits() -> Raw:
    """1,797 grey images of handwritten digits, 8x8 with 17 levels, that come with scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = found.images.astype(np.uint8)[:, None]
    split = Split(np.ascontiguousarray(x), found.target.astype(np.int64))
    return Raw("digits", {WHOLE: split}, 17, True, _DIGITS, "L")


def idx(name: str, class_names: tuple[str, ...]) -> Raw:
    """A set in MNIST's format: 60,000 grey images of 28x28 to train on, of which 5,000 validate,
    and 10,000 to test.
    """
    arrays = [
        _parse_idx(f, _idx_content(name, f, s))
        for f, s in zip(_MNIST_FILES, _SHA256[name], strict=True)
    ]
    parts = {
        "train": Split(arrays[0][:, None], arrays[1].astype(np.int64)),
        "test": Split(arrays[2][:, None], arrays[3].astype(np.int64)),
    }
    return Raw(name, parts, 256, True, class_names, "L", valid=5_000)


def _idx_content(name: str, file: str, sha256: str) -> bytes:
    path = locate(name, f"{file}.gz") or _download(name, f"{file}.gz", partial(_checked, sha256))
    return _checked(sha256, path.read_bytes(), str(path))


def _checked(sha256: str, packed: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(packed)) as f:
            content = f.read(_IDX_BYTES)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(
            f"{name} is damaged ({e}): remove it, if it is yours, and it is downloaded again."
        ) from e
    _check_sha256(name, content, sha256)
    return content


def _check_sha256(name: str, content: bytes, sha256: str) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            f"{name} is not the published file (its SHA-256 differs): remove it, if it is yours, "
            "and it is downloaded again."
        )


def _parse_idx(name: str, content: bytes) -> np.ndarray:
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def cifar10() -> Raw:
    """50,000 + 10,000 colour images of 32x32 in ten classes, from the binary version."""
    contents = _cifar_contents()
    records = [np.frombuffer(c, np.uint8).reshape(10_000, 3_073) for c in contents]
    train, test = np.concatenate(records[:5]), records[5]
    parts = {
        part: Split(np.ascontiguousarray(r[:, 1:]).reshape(-1, 3, 32, 32), r[:, 0].astype(np.int64))
        for part, r in (("train", train), ("test", test))
    }
    if max(int(p.y.max()) for p in parts.values() if p.y is not None) > 9:
        raise DataError("cifar10 holds labels above 9: these are not the files of CIFAR-10.")
    return Raw("cifar10", parts, 256, True, _THINGS, "RGB", valid=5_000)


def _cifar_contents() -> list[bytes]:
    paths = [
        locate("cifar10", f) or locate("cifar10", f"{_CIFAR_FOLDER}/{f}") for f in _CIFAR_FILES
    ]
    if all(paths):
        contents = [p.read_bytes() for p in paths if p]
    else:
        packed = locate("cifar10", _CIFAR_ARCHIVE) or _download(
            "cifar10", _CIFAR_ARCHIVE, lambda c, n: _check_sha256(n, c, _CIFAR_SHA256)
        )
        _check_sha256(str(packed), packed.read_bytes(), _CIFAR_SHA256)
        contents = _tar_members(packed)
    for file, content in zip(_CIFAR_FILES, contents, strict=True):
        if len(content) != _CIFAR_BYTES:
            raise DataError(
                f"cifar10: {file} has {len(content):,} bytes where {_CIFAR_BYTES:,} are expected."
            )
    return contents


def _tar_members(path: Path) -> list[bytes]:
    """The members that are needed, streamed by name; nothing is unpacked to the disk."""
    contents = []
    with tarfile.open(path, "r:gz") as archive:
        for file in _CIFAR_FILES:
            member = archive.extractfile(f"{_CIFAR_FOLDER}/{file}")
            contents.append(member.read(_CIFAR_BYTES + 1) if member else b"")
    return contents


def dna() -> Raw:
    """180 binary columns of the UCI set of DNA splice junctions, in the split of the density
    literature.
    """
    path = locate("binary-uci", "dna.npz") or locate("dna", "dna.npz")
    if path is None:
        raise DataError("dna is read from binary-uci/dna.npz in the folder that POFX_DATA names.")
    raw = read_npz(path)
    raw.name = "dna"
    return raw


def toy_examples(name: str, seed: int) -> Raw:
    """100,000 draws of a toy density, in its own units."""
    x = toy.examples(name, seed).numpy()
    return Raw(name, {WHOLE: Split(x)}, scaled=False)


SETS: dict[str, Callable[[], Raw]] = {
    "digits": digits,
    "mnist": partial(idx, "mnist", _DIGITS),
    "fashion-mnist": partial(idx, "fashion-mnist", _GARMENTS),
    "cifar10": cifar10,
    "dna": dna,
}
TEXTS = {
    "tinyshakespeare": (
        "input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}
"""File and SHA-256 of each text."""
NAMES = (*SETS, *TEXTS, *toy.DENSITIES)


def text_content(name: str) -> bytes:
    """The text of this name, as bytes."""
    file, sha256 = TEXTS[name]
    path = locate(name, file) or _download(name, file, lambda c, n: _check_sha256(n, c, sha256))
    content = path.read_bytes()
    _check_sha256(str(path), content, sha256)
    return content


def builtin(name: str, seed: int) -> Raw:
    """The data set of this name; the seed draws a toy's examples."""
    return SETS[name]() if name in SETS else toy_examples(name, seed)


def locate(folder: str, file: str) -> Path | None:
    """A file in the user's data folder or, from an earlier download, in the cache; None if in
    neither.
    """
    own = os.environ.get("POFX_DATA")
    if own and (path := Path(own) / folder / file).is_file():
        return path
    path = _cache() / folder / file
    return path if path.is_file() else None


def _cache() -> Path:
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as e:
        raise DataError(
            "There is no home folder to keep downloads in: name a folder for them in "
            "XDG_CACHE_HOME."
        ) from e
    return root / "pofx" / "data"


def _download(name: str, file: str, check: Callable[[bytes, str], object]) -> Path:
    """Downloads one file of a set into the cache; it appears there whole and checked, or not at
    all.
    """
    url = _URLS[name] + file
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            content = response.read(limits.FILE_BYTES)
    except (OSError, HTTPException) as e:
        reason = getattr(e, "reason", None) or e
        raise DataError(
            f"{name} is not in POFX_DATA and {url} cannot be reached ({reason}): "
            f"put {file} into a folder '{name}' there, or connect to the network."
        ) from e
    check(content, url)
    target = _cache() / name / file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with complete(target) as f:
            f.write(content)
    except OSError as e:
        raise DataError(
            f"{target} cannot be written ({e.strerror or e}): name a folder for downloads in "
            "XDG_CACHE_HOME."
        ) from e
    return target
