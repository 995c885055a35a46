"""Under: new data in the terms of a trained model: its columns, its scale, its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.data import limits
from pofx.data.builtin import TEXTS, text_content
from pofx.data.dataset import Split
from pofx.data.delimited import NUMBER
from pofx.data.limits import DataError, listing
from pofx.data.raw import Raw
from pofx.data.schema import Column, Schema
from pofx.data.source import Options, Source, presented, read, resize_parts, scaled
from pofx.data.table import model_values, take_label, words
from pofx.data.text import apart, content_of, decoded
from pofx.spec import Binary, Bytes, Interval


@dataclass(frozen=True)
class Examples:
    """Examples of a data set that a model was not trained on.

    Args:
        name: of the set.
        x: model values, float32 `(n, *event)`, in the order of the source.
        labels: the name of each example's class, or None.
    """

    name: str
    x: Tensor
    labels: tuple[str, ...] | None

    def __repr__(self) -> str:
        labels = "" if self.labels is None else ", with labels"
        shape = tuple(self.x.shape[1:])
        return f"Examples({self.name!r}: {len(self.x):,} of shape {shape}{labels})"


def under(source: Source, schema: Schema, settings: Mapping[str, Any]) -> Examples:
    """Reads all of a source as a model with this schema sees it.

    Args:
        source: whatever `load` takes.
        schema: of the data that the model was trained on.
        settings: the arguments of `load` that these were loaded with; a table may lack the column
            of labels.

    Raises:
        DataError: the source is of another kind, has other columns, or values that the model cannot
            know.
    """
    if schema.tokens is not None:
        return _text(source, schema)
    options = _options(settings)
    raw = read(source, options)
    if raw.tokens is not None:
        raise DataError(f"{raw.name} is text, and the model was not trained on any.")
    if raw.columns:
        return _table(raw, schema, options)
    if schema.columns:
        raise DataError(f"{raw.name} is no table, and the model was trained on one: give a .csv.")
    resize_parts(raw, options)
    whole = _whole(raw)
    _check_shape(raw, whole, schema)
    discrete = isinstance(schema.spec.support, Bytes | Binary | Interval)
    split = _discrete(raw, whole, schema, options) if discrete else _real(raw, whole, schema)
    limits.check_memory(raw.name, 4 * len(split) * schema.spec.size)
    return Examples(raw.name, split.values()[0], _names(raw, split))


def _text(source: Source, schema: Schema) -> Examples:
    """Windows that share nothing, cut as the model's text was."""
    assert schema.tokens is not None
    if isinstance(source, str) and source in TEXTS:
        content = text_content(source)
    elif isinstance(source, str | Path) and Path(source).suffix.lower() == ".txt":
        content = content_of(Path(source))
    else:
        raise DataError("The model was trained on text: give a .txt.")
    name, (length,) = str(source), schema.spec.shape
    x = apart(schema.tokens.encode(decoded(name, content)), length)
    if not len(x):
        raise DataError(f"{name} has fewer than the {length:,} tokens of an example: give more.")
    return Examples(name, torch.from_numpy(x).float(), None)


def _options(settings: Mapping[str, Any]) -> Options:
    kept = {
        k: settings[k]
        for k in ("seed", "binarize", "dequantize", "resize", "label")
        if k in settings
    }
    if isinstance(kept.get("resize"), list):
        kept["resize"] = tuple(kept["resize"])
    return Options(**kept)


def _whole(raw: Raw) -> Split:
    """Every part, one after the other."""
    parts = [s for s in raw.parts.values() if len(s)]
    if len(parts) == 1:
        return parts[0]
    x = np.concatenate([s.gather(s.positions()) for s in parts])
    known = all(s.y is not None for s in parts)
    return Split(x, np.concatenate([s.y for s in parts]) if known else None)


def _check_shape(raw: Raw, whole: Split, schema: Schema) -> None:
    if whole.x.shape[1:] != schema.spec.shape:
        raise DataError(
            f"{raw.name} has examples of shape {whole.x.shape[1:]}, and the model was trained on "
            f"{schema.spec.shape}: give data of that shape."
        )


def _discrete(raw: Raw, whole: Split, schema: Schema, options: Options) -> Split:
    if not raw.levels and (options.binarize or not _bits(whole, schema)):
        raise DataError(
            f"{raw.name} holds numbers, and the model was trained on bytes: give whole numbers "
            "from 0 as uint8."
        )
    levels = _levels(raw, schema, options)
    highest = max((int(s.max()) for s in np.array_split(whole.x, 64) if s.size), default=0)
    if highest >= levels:
        raise DataError(
            f"{raw.name} has the value {highest}, and the model knows 0 to {levels - 1}: give data "
            "of the same range."
        )
    return presented(replace(raw, levels=levels), whole, "test", 2, options)


def _bits(whole: Split, schema: Schema) -> bool:
    """Whether numbers are a model's bits, which a few rows need not have both of."""
    pieces = np.array_split(whole.x, 64)
    return schema.spec.support == Binary() and all(np.isin(p, (0, 1)).all() for p in pieces)


def _levels(raw: Raw, schema: Schema, options: Options) -> int:
    support = schema.spec.support
    if isinstance(support, Bytes):
        return support.levels
    if isinstance(support, Interval):
        return schema.levels
    return raw.levels if options.binarize else 2


def _real(raw: Raw, whole: Split, schema: Schema) -> Split:
    mean, std = np.asarray(schema.mean), np.asarray(schema.std)
    if mean.size > 1:
        mean, std = mean.reshape(schema.spec.shape), std.reshape(schema.spec.shape)
    return scaled(raw.name, whole, mean, std)


def _table(raw: Raw, schema: Schema, options: Options) -> Examples:
    if not schema.columns:
        raise DataError(f"{raw.name} is a table, and the model was not trained on one.")
    if options.label is not None and any(c.name == options.label for c in raw.columns):
        take_label(raw, options.label)
    whole = _whole(raw)
    found = {c.name: i for i, c in enumerate(raw.columns)}
    absent = [c.name for c in schema.columns if c.name not in found]
    if absent:
        raise DataError(
            f"{raw.name} lacks columns that the model was trained on: {listing(absent)}."
        )
    places = [found[c.name] for c in schema.columns]
    cells = [
        _cells(raw, raw.columns[i], c, whole.x[:, i])
        for i, c in zip(places, schema.columns, strict=True)
    ]
    values = torch.from_numpy(model_values(schema.columns, np.stack(cells, 1)))
    return Examples(raw.name, values, _names(raw, whole))


def _names(raw: Raw, whole: Split) -> tuple[str, ...] | None:
    if whole.y is None or not raw.class_names:
        return None
    return tuple(raw.class_names[k] for k in whole.y)


def _cells(raw: Raw, found: Column, known: Column, x: np.ndarray) -> np.ndarray:
    """A column's numbers, or its codes as the model numbers them."""
    if known.kind == "category":
        return _codes(raw, found, known, x)
    if found.kind == "category":
        cells = enumerate(words(found, x), 1)
        row, word = next((i, w) for i, w in cells if w and not NUMBER.fullmatch(w))
        raise DataError(
            f"{raw.name}: column '{known.name}' holds '{word[:40]}' in example {row}, where the "
            "model knows numbers: mend it, or leave the row out."
        )
    if np.isnan(x).any() and not known.missing:
        row = int(np.flatnonzero(np.isnan(x))[0]) + 1
        raise DataError(
            f"{raw.name}: column '{known.name}' has no value in example {row}, and the model was "
            "trained where it always had one: fill it, or leave the row out."
        )
    if known.kind == "binary" and not np.isin(x, (0, 1)).all():
        raise DataError(f"{raw.name}: column '{known.name}' is 0 or 1 for the model, and not here.")
    return x


def _codes(raw: Raw, found: Column, known: Column, x: np.ndarray) -> np.ndarray:
    code = {word: k for k, word in enumerate(known.categories)}
    seen = words(found, x) if found.kind != "category" else list(found.categories)
    unknown = sorted({w for w in seen if w not in code})
    if unknown:
        raise DataError(
            f"{raw.name}: column '{known.name}' holds '{unknown[0][:40]}', which the model never "
            "saw: leave such rows out."
        )
    codes = np.array([code[w] for w in seen], np.float64)
    return codes if found.kind != "category" else codes[x.astype(np.int64)]
