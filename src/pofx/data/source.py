"""load: whatever the user has, as a `Dataset`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pofx.data import arrays, limits, table, text
from pofx.data.builtin import NAMES, TEXTS, builtin, text_content
from pofx.data.dataset import (
    Dataset,
    Split,
    Transform,
    fingerprint,
    keyed_uniform,
    shuffled,
    uniform_of,
)
from pofx.data.images import is_image, read_images
from pofx.data.limits import DataError
from pofx.data.pixels import resized
from pofx.data.raw import WHOLE, Raw, listed, take
from pofx.data.schema import Schema, table_spec
from pofx.data.tokens import Kind
from pofx.errors import did_you_mean
from pofx.functional.random import former, stream
from pofx.spec import Binary, Bytes, DataSpec, Interval, Mixed, Real, Support, class_spec

Source = str | Path | np.ndarray | Tensor | Dataset
Binarize = Literal["threshold", "sample", "dynamic"]
IN_MEMORY = "array"
"""The source that a data set from an array in memory names, which cannot be loaded again."""


@dataclass(frozen=True)
class Options:
    """The keyword arguments of `load`."""

    seed: int = 0
    binarize: Binarize | None = None
    dequantize: bool = False
    resize: int | tuple[int, int] | None = None
    classes: tuple[str, ...] | str | None = None
    standardize: bool = True
    limit: int | None = None
    length: int | None = None
    tokens: Kind | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.binarize not in (None, "threshold", "sample", "dynamic"):
            raise DataError(f"binarize is threshold, sample or dynamic, not '{self.binarize}'.")
        if self.binarize and self.dequantize:
            raise DataError("Data are binarised or dequantised, not both: give one of the two.")
        if self.limit is not None and self.limit < limits.EXAMPLES:
            raise DataError(
                f"limit is {self.limit}: give at least {limits.EXAMPLES}, one example each to "
                "train, validate and test on."
            )
        if self.size is not None and not _is_size(self.size):
            raise DataError(
                f"resize to {self.resize} is out of range: give a side of 1 to "
                f"{limits.IMAGE_SIDE:,}, or height and width, and at most "
                f"{limits.IMAGE_PIXELS // 10**6} megapixels."
            )

    @property
    def cut(self) -> text.Cut:
        """How to make sequences of a text."""
        return text.Cut(self.length, self.tokens, self.limit)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width to resize to."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize


def _is_size(size: tuple[Any, ...]) -> bool:
    whole = isinstance(size, tuple) and all(isinstance(s, int) for s in size)
    return whole and len(size) == 2 and min(size) >= 1 and not limits.image_problem(*size)


def load(
    source: Source,
    *,
    seed: int = 0,
    binarize: Binarize | None = None,
    dequantize: bool = False,
    resize: int | tuple[int, int] | None = None,
    classes: Sequence[str | int] | str | None = None,
    standardize: bool = True,
    limit: int | None = None,
    length: int | None = None,
    tokens: Kind | None = None,
    label: str | None = None,
) -> Dataset:
    """Loads data and describes them.

    A set that has test examples of its own keeps them; otherwise training, validation and test get
    80, 10 and 10 percent, by the seed.

    Args:
        source: a built-in name (which goes before a file of the same name; write `./digits` for the
            file), a folder or zip of images, a `.npy`, `.npz`, `.csv` or `.tsv`, a text in
            UTF-8 (`.txt`), an array of examples, or a `Dataset`, which is returned as it is.
        seed: fixes the split, the limit's choice and whatever is drawn once and for all.
        binarize: bytes to bits: `threshold` at half of the range, `sample` once with the pixel as
            the probability, or `dynamic`: drawn anew at every presentation in training, once for
            validation and test.
        dequantize: bytes to real numbers in [-1, 1], with uniform noise at every presentation.
        resize: crop about the centre and scale images to a square, or to `(height, width)`.
        classes: keep the examples of these classes only, by name or number, labelled in this order;
            a text is one name, or several between commas.
        standardize: give numbers mean 0 and standard deviation 1 (each column of a table or of an
            array of vectors; all elements together otherwise).
        limit: keep at most this many examples over all, by the seed; of a text, as many sequences'
            worth from its beginning.
        length: tokens in a sequence of a text; 64 by default.
        tokens: what a text is cut into: `characters` by default, `bytes`, or `bpe` for pieces that
            byte-pair encoding finds in the training text.
        label: the column of a table whose values are the examples' classes.

    Raises:
        DataError: one sentence that names the file, the place and what to do.

    >>> load("digits").spec.shape
    (1, 8, 8)
    """
    names = classes if classes is None or isinstance(classes, str) else tuple(map(str, classes))
    size = tuple(resize) if isinstance(resize, Sequence) else resize
    options = Options(
        seed, binarize, dequantize, size, names, standardize, limit, length, tokens, label,  # type: ignore[arg-type]
    )  # fmt: skip
    if isinstance(source, Dataset):
        return _unchanged(source, options)
    raw = read(source, options)
    _refuse_cut(raw, options)
    if raw.unfit:
        raise DataError(raw.unfit)
    if options.label is not None:
        table.take_label(raw, options.label)
    if isinstance(options.classes, str):
        options = replace(options, classes=listed(options.classes, raw.class_names))
    _keep_classes(raw, options)
    if raw.tokens is None:
        _keep_some(raw, options)
    _split(raw, options)
    resize_parts(raw, options)
    if raw.tokens is not None:
        _refuse(raw, options)
        schema, splits = text.described(raw)
    elif raw.columns:
        schema, splits = _table(raw, options)
    elif raw.levels:
        schema, splits = _discrete(raw, options)
    else:
        schema, splits = _real(raw, options)
    described = {"source": _name(source), **vars(options)}
    described["classes"] = None if options.classes is None else list(options.classes)
    described["resize"] = list(size) if isinstance(size, tuple) else size
    return Dataset(
        name=raw.name,
        spec=replace(schema.spec, count=len(splits["train"])),
        schema=schema,
        **splits,
        source=described,
        fingerprint=fingerprint(schema, splits),
        notes=tuple(map(limits.printable, raw.notes)),
    )


def _unchanged(dataset: Dataset, options: Options) -> Dataset:
    if replace(options, seed=0) != Options():
        raise DataError(f"{dataset.name} is loaded already: give these options to load() instead.")
    return dataset


def _name(source: Source) -> str:
    if isinstance(source, str) and source in NAMES:
        return source
    return str(Path(source).resolve()) if isinstance(source, str | Path) else IN_MEMORY


def read(source: Source, options: Options) -> Raw:
    """What is found at a source, before it is filtered, split or scaled."""
    if isinstance(source, Tensor):
        reals = source.is_floating_point() and source.dtype != torch.float64
        source = (source.float() if reals else source).detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return arrays.from_arrays(IN_MEMORY, {WHOLE: source}, {})
    if not isinstance(source, str | Path):
        raise DataError(f"Data are a name, a path or an array, not a {type(source).__name__}.")
    if isinstance(source, str) and source in TEXTS:
        return text.from_bytes(source, text_content(source), options.cut)
    if isinstance(source, str) and source in NAMES:
        return builtin(source, options.seed)
    if source == "":
        raise DataError(f"The data have no name: give a path, or one of {', '.join(NAMES)}.")
    try:
        return _read_path(Path(source), options)
    except OSError as e:
        raise DataError(
            f"{e.filename or source} cannot be read ({e.strerror or e}): see that it is there and "
            "that you may read it."
        ) from e


def _read_path(path: Path, options: Options) -> Raw:
    if not path.exists():
        raise DataError(_unknown(str(path)))
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".zip":
        # a limit counts the examples of the classes that are kept, so all must be read to know them
        limit = options.limit if options.classes is None else None
        return read_images(path, resize=options.size, limit=limit, seed=options.seed)
    if suffix in (".csv", ".tsv"):
        return table.read_table(path)
    if suffix == ".npy":
        return arrays.read_npy(path)
    if suffix == ".npz":
        return arrays.read_npz(path)
    if suffix == ".txt":
        return text.read_text(path, options.cut)
    if is_image(path.name):
        raise DataError(f"{path} is one image: give the folder that holds it and the others.")
    raise DataError(
        f"{path} is of no kind that is read: give a folder or .zip of images, a .npy, .npz, .csv, "
        ".tsv or .txt."
    )


def _unknown(name: str) -> str:
    if name == IN_MEMORY:
        return "These data came from an array in memory: pass the array again."
    if "/" in name or "\\" in name or "." in name:
        return (
            f"There is no file or folder {name}: give one that there is, or a built-in name; data "
            "that a run was trained on are looked for where they were."
        )
    return f"No data set, file or folder is called '{name}': {did_you_mean(name, NAMES)}"


def _refuse_cut(raw: Raw, options: Options) -> None:
    if raw.tokens is None and (options.length is not None or options.tokens is not None):
        raise DataError(f"{raw.name} is no text: leave out --length and --tokens.")


def _keep_classes(raw: Raw, options: Options) -> None:
    if options.classes is None:
        return
    if not raw.class_names:
        raise DataError(
            f"{raw.name} has no classes to choose from: say by --label which column of a table "
            "holds them, or choose none."
        )
    chosen = [_class(raw, c) for c in options.classes]
    if not chosen or len(set(chosen)) < len(chosen):
        given = ",".join(options.classes)
        raise DataError(f"--classes is '{given}': name one or more distinct classes.")
    code = np.full(len(raw.class_names), -1, np.int64)
    code[chosen] = np.arange(len(chosen))
    for part, split in raw.parts.items():
        labels = code[split.y]
        kept = take(split, np.flatnonzero(labels >= 0))
        raw.parts[part] = replace(kept, y=labels[labels >= 0])
    if not len(raw.parts.get("train", raw.parts.get(WHOLE, ()))):
        raise DataError(
            f"{raw.name} has no training examples of --classes {','.join(options.classes)}, only "
            "others: choose a class that it can learn from."
        )
    raw.class_names = tuple(raw.class_names[k] for k in chosen)


def _class(raw: Raw, name: str) -> int:
    if name in raw.class_names:
        return raw.class_names.index(name)
    if name.isdecimal() and int(name) < len(raw.class_names):
        return int(name)
    raise DataError(f"{raw.name} has no class '{name}': {did_you_mean(name, raw.class_names)}")


def _keep_some(raw: Raw, options: Options) -> None:
    total = sum(len(s) for s in raw.parts.values())
    if total < limits.EXAMPLES:
        raise DataError(f"{raw.name} has only {total} examples: give at least {limits.EXAMPLES}.")
    if options.limit is None or options.limit >= total:
        return
    sizes = {p: max(1, len(s) * options.limit // total) for p, s in raw.parts.items() if len(s)}
    sizes[max(sizes, key=lambda p: sizes[p])] += options.limit - sum(sizes.values())
    for part, n in sizes.items():
        split = raw.parts[part]
        raw.parts[part] = take(split, np.sort(shuffled(options.seed, len(split), "limit")[:n]))


def _split(raw: Raw, options: Options) -> None:
    """Gives the set all three parts; what has one of validation and test keeps it as the test."""
    parts = {k: v for k, v in raw.parts.items() if len(v)}
    if set(parts) == {"train", "valid", "test"}:
        return
    test = parts.get("test", parts.get("valid"))
    whole = parts.get("train", parts.get(WHOLE))
    if whole is None or (test is not None and len(whole) < 2):
        raise DataError(f"{raw.name} has only one example to train and validate on: give more.")
    n = len(whole)
    order = shuffled(options.seed, n, "split")
    tenth = max(1, round(n / 10))
    held = tenth if test is None else 0
    valid = tenth if raw.valid is None else max(1, min(raw.valid, n // 10))
    raw.parts = {
        "train": take(whole, np.sort(order[held + valid :])),
        "valid": take(whole, np.sort(order[held : held + valid])),
        "test": take(whole, np.sort(order[:held])) if held else test,  # type: ignore[dict-item]
    }


def resize_parts(raw: Raw, options: Options) -> None:
    """Brings images to the size that the options ask for."""
    size = options.size
    if size is None:
        return
    if not raw.image or not raw.levels:
        raise DataError(f"{raw.name} holds no images of bytes: leave out --resize.")
    for part, split in raw.parts.items():
        if split.x.shape[2:] != size:
            raw.parts[part] = replace(split, x=_resized(raw, split, size), rows=None)


def _resized(raw: Raw, split: Split, size: tuple[int, int]) -> np.ndarray:
    shape = (len(split), split.x.shape[1], *size)
    limits.check_memory(raw.name, math.prod(shape))
    out = np.empty(shape, np.uint8)
    for first, block in _blocks(split):
        for i, pixels in enumerate(block, first):
            out[i] = resized(pixels.astype(np.uint8, copy=False), size, raw.levels)
    return out


def _table(raw: Raw, options: Options) -> tuple[Schema, dict[str, Split]]:
    x = np.concatenate([s.x for s in raw.parts.values()])
    train = np.arange(len(raw.parts["train"]))
    columns, values = table.scale(raw.columns, x, train, options.standardize)
    _refuse(raw, options)
    supports, log_scale = table_spec(columns)
    _check_finite(raw.name, values, [c.name for c in columns for _ in c.supports])
    real = all(s == Real() for s in supports)
    support: Support = Real() if real else Mixed(supports)
    spec = DataSpec((len(supports),), support, **_classes(raw), log_scale=log_scale)
    schema = Schema(spec, columns, raw.header, raw.delimiter, label=raw.label)
    ends = np.cumsum([len(s) for s in raw.parts.values()])[:-1]
    parts = zip(raw.parts.items(), np.split(values, ends), strict=True)
    return schema, {k: Split(np.ascontiguousarray(v), s.y) for (k, s), v in parts}


def _refuse(raw: Raw, options: Options) -> None:
    if options.binarize or options.dequantize:
        word = "binarised" if options.binarize else "dequantised"
        raise DataError(f"{raw.name} holds no bytes that could be {word}: leave out the option.")


def _check_finite(name: str, x: np.ndarray, columns: Sequence[str] | None = None) -> None:
    if not np.isfinite(x).all():
        element = int(np.argwhere(~np.isfinite(x.reshape(len(x), -1)))[0, 1])
        place = f"column '{columns[element]}'" if columns else f"element {element} of an example"
        raise DataError(
            f"{name}: a number in {place} is too large for single precision beside the others: "
            "leave it out, or give its logarithm."
        )


def _real(raw: Raw, options: Options) -> tuple[Schema, dict[str, Split]]:
    _refuse(raw, options)
    shape = raw.parts["train"].x.shape[1:]
    standardize = options.standardize and raw.scaled
    mean, std = np.zeros(1), np.ones(1)
    if standardize:
        mean, std = arrays.statistics(raw.parts["train"], raw.image)
    log_scale = float(np.log(std).sum()) * (1 if std.size > 1 else int(np.prod(shape)))
    spec = DataSpec(shape, Real(), **_classes(raw), log_scale=log_scale)
    seen = [(b.min(), b.max()) for _, b in _blocks(raw.parts["train"])]
    schema = Schema(
        spec,
        mode=raw.mode,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        integer=raw.integer,
        low=float(min(s[0] for s in seen)),
        high=float(max(s[1] for s in seen)),
    )
    return schema, {p: scaled(raw.name, s, mean, std) for p, s in raw.parts.items()}


def _blocks(split: Split) -> Any:
    return arrays.blocks(split.x, split.rows)


def scaled(name: str, split: Split, mean: np.ndarray, std: np.ndarray) -> Split:
    """Numbers scaled once and for all; mapped ones at every presentation."""
    if split.rows is not None or isinstance(split.x, np.memmap):
        if mean.size == 1:
            return replace(split, transform=Transform(float(1 / std[0]), float(-mean[0] / std[0])))
        return replace(split, transform=Transform(1 / std, -mean / std))
    limits.check_memory(name, split.x.size * 4)
    x = np.empty(split.x.shape, np.float32)
    with np.errstate(over="ignore"):
        for first, block in arrays.blocks(split.x):
            x[first : first + len(block)] = (block - mean) / std
    _check_finite(name, x)
    return replace(split, x=x)


def _classes(raw: Raw) -> dict[str, Any]:
    return {"cond": class_spec(len(raw.class_names), raw.class_names)}


def _discrete(raw: Raw, options: Options) -> tuple[Schema, dict[str, Split]]:
    shape, levels = raw.parts["train"].x.shape[1:], raw.levels
    support: Support = Bytes(levels) if levels > 2 else Binary()
    if options.binarize:
        support = Binary()
    if options.dequantize:
        support = Interval(levels)
    spec = DataSpec(shape, support, **_classes(raw))
    top = 1.0 if support == Binary() else float(levels - 1)
    dequantized = levels if options.dequantize else 0
    schema = Schema(spec, mode=raw.mode, levels=dequantized, high=top)
    splits = {
        part: presented(raw, split, part, number, options)
        for number, (part, split) in enumerate(raw.parts.items())
    }
    return schema, splits


def presented(raw: Raw, split: Split, part: str, number: int, options: Options) -> Split:
    """A split of bytes with the transform that the options ask for."""
    levels, seed = raw.levels, stream("binarize", options.seed)
    split = replace(split, seed=options.seed * 3 + number if former() else seed)
    if options.dequantize:
        return replace(split, transform=Transform(2 / levels, -1.0, "uniform"))
    if options.binarize == "dynamic" and part == "train" and levels > 2:
        return replace(split, transform=Transform(1 / (levels - 1), 0.0, "bernoulli"))
    if options.binarize and levels > 2:
        bits = _bits(raw.name, split, levels, options.binarize, part)
        return replace(split, x=bits, rows=None)
    if levels == 2:
        return split
    return replace(split, transform=Transform(2 / (levels - 1), -1.0))


def _bits(name: str, split: Split, levels: int, how: Binarize, part: str) -> np.ndarray:
    limits.check_memory(name, len(split) * int(np.prod(split.x.shape[1:])))
    x = np.empty((len(split), *split.x.shape[1:]), np.uint8)
    for first, block in _blocks(split):
        rows = slice(first, first + len(block))
        if how == "threshold":
            x[rows] = block >= levels // 2
        else:
            u = _sampled(split.seed, block, first, part)
            x[rows] = u.numpy() < block * np.float32(1 / (levels - 1))
    return x


def _sampled(seed: int, block: np.ndarray, first: int, part: str) -> Tensor:
    """What decides bits: of examples to learn from by their place, of others by their content."""
    if part == "train" or former():
        rows = np.arange(first, first + len(block))
        return keyed_uniform(seed, rows, block.shape[1:])
    return uniform_of(seed, torch.from_numpy(np.ascontiguousarray(block)))
