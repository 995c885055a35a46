"""text: a running text as sequences of one length.

The text is cut by position, never shuffled: the first nine tenths train, and what follows validates
and tests, half each. A training example is a window that may start at any token, so that `batches`
visits every window once an epoch; held-out examples are consecutive windows that share none, so
that each token counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pofx.data import limits
from pofx.data.dataset import Split, running
from pofx.data.limits import DataError
from pofx.data.raw import Raw
from pofx.data.schema import Schema
from pofx.data.tokens import KINDS, Kind, Tokens, blocks, cut
from pofx.errors import did_you_mean
from pofx.spec import Categorical, DataSpec

LENGTH = 64
"""Tokens in an example, by default."""
_LONGEST = 1 << 16
_TRAIN, _VALID = 0.9, 0.95
"""Where in the text training ends, and where validation does."""


@dataclass(frozen=True)
class Cut:
    """How to make sequences of a text.

    Args:
        length: tokens in each; None for 64.
        tokens: `characters`, `bytes` or `bpe`; None for characters.
        limit: use only so many examples' worth of text, from its beginning.
    """

    length: int | None = None
    tokens: Kind | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.length is not None and not 2 <= self.length <= _LONGEST:
            raise DataError(
                f"length is {self.length}: give tokens in an example, from 2 to {_LONGEST:,}."
            )
        if self.tokens is not None and self.tokens not in KINDS:
            raise DataError(
                f"There are no tokens called '{self.tokens}': {did_you_mean(self.tokens, KINDS)}"
            )

    @property
    def size(self) -> int:
        """Tokens in an example."""
        return self.length or LENGTH


def read_text(path: Path, how: Cut) -> Raw:
    """A file of UTF-8 as sequences."""
    return from_bytes(str(path), content_of(path), how)


def content_of(path: Path) -> bytes:
    """What a file holds, if it is not too long.

    Raises:
        DataError: it is, or it cannot be read.
    """
    limits.check_file(path, limits.TEXT_BYTES)
    try:
        return path.read_bytes()
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}.") from e


def from_bytes(name: str, content: bytes, how: Cut) -> Raw:
    """The bytes of a UTF-8 text as sequences.

    >>> raw = from_bytes("rows", b"row, row, row your boat. " * 20, Cut(length=8))
    >>> {part: len(split) for part, split in raw.parts.items()}
    {'train': 443, 'valid': 3, 'test': 3}
    """
    text = decoded(name, content)
    train, valid, test = parted(text)
    kind = how.tokens or "characters"
    tokens = cut(train if kind == "bpe" else text, kind)
    _check_vocabulary(name, text, tokens)
    width = np.uint8 if tokens.levels <= 256 else np.int32
    parts = [[tokens.encode(b).astype(width) for b in blocks(p)] for p in (train, valid, test)]
    running = [np.concatenate([np.empty(0, width), *part]) for part in parts]
    if how.limit is not None:
        running = _beginning(running, how)
    _check_length(name, running, how.size)
    held_out = (Split(apart(part, how.size)) for part in running[1:])
    splits = [Split(windows(running[0], how.size)), *held_out]
    return Raw(name, dict(zip(("train", "valid", "test"), splits, strict=True)), tokens=tokens)


def decoded(name: str, content: bytes) -> str:
    """The text that bytes of UTF-8 are, without a byte-order mark.

    Raises:
        DataError: they are none.
    """
    if b"\0" in content:
        place = content.index(b"\0")
        raise DataError(f"{name} is no text, as byte {place:,} is 0: save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise DataError(
            f"{name} is not UTF-8, as byte {e.start:,} in line {line:,} shows: save it as UTF-8."
        ) from e


def parted(text: str) -> tuple[str, str, str]:
    """What trains, validates and tests, by position.

    >>> parted("0123456789" * 2)
    ('012345678901234567', '8', '9')
    """
    first, second = int(_TRAIN * len(text)), int(_VALID * len(text))
    return text[:first], text[first:second], text[second:]


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """Every window, `(n - length + 1, length)`, without a copy.

    >>> windows(np.arange(4), 3).tolist()
    [[0, 1, 2], [1, 2, 3]]
    """
    return sliding_window_view(tokens, length)


def apart(tokens: np.ndarray, length: int) -> np.ndarray:
    """Consecutive windows that share nothing; what is left over at the end is left out."""
    count = len(tokens) // length
    return tokens[: count * length].reshape(count, length)


def running_text(split: Split) -> np.ndarray:
    """The tokens that a part's windows are made of, in order, int64."""
    stored = running(split.x)
    return (split.x.reshape(-1) if stored is None else stored).astype(np.int64)


def described(raw: Raw) -> tuple[Schema, dict[str, Split]]:
    """The schema and the parts of a text."""
    assert raw.tokens is not None
    shape = raw.parts["train"].x.shape[1:]
    spec = DataSpec(shape, Categorical(raw.tokens.levels))
    schema = Schema(spec, integer=True, high=raw.tokens.levels - 1.0, tokens=raw.tokens)
    return schema, raw.parts


def _beginning(running: list[np.ndarray], how: Cut) -> list[np.ndarray]:
    assert how.limit is not None
    share = min(1.0, how.limit * how.size / sum(map(len, running)))
    return [part[: max(how.size, int(share * len(part)))] for part in running]


def _check_vocabulary(name: str, text: str, tokens: Tokens) -> None:
    if len(set(text[:1000])) < 2 and len(set(text)) < 2:
        raise DataError(f"{name} holds only one symbol: there is nothing to learn from it.")
    if tokens.levels > limits.SYMBOLS:
        raise DataError(
            f"{name} has {tokens.levels:,} distinct characters, more than {limits.SYMBOLS:,}: "
            "give --tokens bytes or bpe."
        )


def _check_length(name: str, running: list[np.ndarray], length: int) -> None:
    fewest, total = min(map(len, running)), sum(map(len, running))
    if fewest < length:
        raise DataError(
            f"{name} has only {total:,} tokens, of which {fewest:,} test, and an example has "
            f"{length:,}: give a longer text, or a smaller --length."
        )
