"""Tokens: text as whole numbers and back.

A token is a character of the text, a byte of its UTF-8, or a piece that byte-pair encoding found.
Whatever it is, it stands for a few bytes, so that one way leads back to text: the bytes are joined
and read as UTF-8, with a replacement character where a model wrote what is none.

References:
    Neural machine translation of rare words with subword units (Sennrich et al., 2016), section
    3.2: byte-pair encoding. https://arxiv.org/abs/1508.07909
    Language models are unsupervised multitask learners (Radford et al., 2019), section 2.2: of
    bytes.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from pofx.data.limits import DataError, printable

Kind = Literal["characters", "bytes", "bpe"]
KINDS: tuple[Kind, ...] = ("characters", "bytes", "bpe")
NAMES = {"characters": "characters", "bytes": "bytes", "bpe": "pieces"}
"""What the tokens of each kind are called."""
PIECES = 1024
"""How many tokens byte-pair encoding makes."""
_CODES = 0x110000
_BLOCK = 1 << 22
_BLOCK_LINES = 10_000


@dataclass(frozen=True)
class Tokens:
    """How a text is cut.

    Args:
        kind: `characters`, `bytes` or `bpe`.
        characters: the vocabulary of `characters`, in the order of their codes; else empty.
        tokenizer: what `bpe` learned, as JSON; else empty.

    >>> tokens = Tokens("characters", "abn")
    >>> tokens.encode("banana").tolist(), tokens.decode(np.array([1, 0, 2]))
    ([1, 0, 2, 0, 2, 0], 'ban')
    """

    kind: Kind
    characters: str = ""
    tokenizer: str = ""

    def __repr__(self) -> str:
        return f"Tokens({self.levels:,} {NAMES[self.kind]})"

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes of every token."""
        if self.kind == "characters":
            return tuple(c.encode() for c in self.characters)
        if self.kind == "bytes":
            return tuple(bytes([b]) for b in range(256))
        vocabulary = json.loads(self.tokenizer)["model"]["vocab"]
        byte = {c: b for b, c in enumerate(_alphabet())}
        words = sorted(vocabulary, key=lambda word: vocabulary[word])
        return tuple(bytes(byte[c] for c in word) for word in words)

    @property
    def levels(self) -> int:
        """How many tokens there are."""
        return len(self.pieces)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, int64 `(n,)`.

        Raises:
            DataError: it holds a character that is not in the vocabulary.
        """
        if self.kind == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        if self.kind == "bpe":
            return _encode_pieces(self.tokenizer, text)
        index = np.full(_CODES, -1, np.int64)
        index[codes(self.characters)] = np.arange(len(self.characters))
        found = index[codes(text)]
        if (found < 0).any():
            unknown = text[int(np.flatnonzero(found < 0)[0])]
            raise DataError(
                f"The character '{printable(unknown)}' (U+{ord(unknown):04X}) is not among the "
                f"{len(self.characters):,} that the model knows: leave it out."
            )
        return found

    def decode(self, tokens: np.ndarray) -> str:
        """The text of some tokens."""
        return b"".join(self.pieces[k] for k in tokens.tolist()).decode("utf-8", "replace")

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of each token as it comes; a character whose bytes are not all there waits for
        them.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for k in tokens:
            yield decoder.decode(self.pieces[k])
        yield decoder.decode(b"", final=True)

    def count(self, tokens: np.ndarray) -> int:
        """How many characters some tokens begin: continuation bytes of UTF-8 begin none."""
        begun = np.array([sum(b & 0xC0 != 0x80 for b in piece) for piece in self.pieces])
        return int(begun[tokens].sum())

    def to_json(self) -> dict[str, str]:
        """The cut as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Tokens:
        """The cut that `to_json` described."""
        if d["kind"] not in KINDS:
            raise ValueError(f"there are no tokens of kind '{d['kind']}'")
        return cls(d["kind"], d["characters"], d["tokenizer"])


def codes(text: str) -> np.ndarray:
    """The code of every character, uint32.

    >>> codes("aé").tolist()
    [97, 233]
    """
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def blocks(text: str) -> Iterator[str]:
    """A text in parts, as its codes take four bytes each."""
    yield from (text[i : i + _BLOCK] for i in range(0, len(text), _BLOCK))


def cut(text: str, kind: Kind) -> Tokens:
    """Tokens of a kind for a text: its characters, all bytes, or the pieces that it is made of.

    >>> cut("banana", "characters").characters
    'abn'
    """
    if kind == "bytes":
        return Tokens("bytes")
    if kind == "bpe":
        return Tokens("bpe", tokenizer=_learn_pieces(text))
    seen = np.zeros(_CODES, bool)
    for block in blocks(text):
        seen[codes(block)] = True
    return Tokens("characters", "".join(map(chr, np.flatnonzero(seen))))


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as e:
        raise DataError(
            "--tokens bpe needs the package tokenizers: pip install 'pofx[text]', or choose "
            "characters or bytes."
        ) from e
    return tokenizers


def _learn_pieces(text: str) -> str:
    from_bytes = _tokenizers().pre_tokenizers.ByteLevel
    tokenizer = _tokenizers().Tokenizer(_tokenizers().models.BPE())
    tokenizer.pre_tokenizer = from_bytes(add_prefix_space=False)
    trainer = _tokenizers().trainers.BpeTrainer(
        vocab_size=PIECES, initial_alphabet=sorted(from_bytes.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer.to_str()


def _encode_pieces(tokenizer: str, text: str) -> np.ndarray:
    encoder, lines = _tokenizers().Tokenizer.from_str(tokenizer), text.splitlines(keepends=True)
    parts = [np.empty(0, np.int64)]
    for first in range(0, len(lines), _BLOCK_LINES):
        found = encoder.encode_batch(lines[first : first + _BLOCK_LINES])
        parts.append(np.array([k for encoding in found for k in encoding.ids], np.int64))
    return np.concatenate(parts)


def _alphabet() -> list[str]:
    """The character that stands for each byte in a tokenizer's JSON: itself where it is printable,
    and otherwise the next one from U+0100.
    """
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(0x100 + hidden.index(b)) for b in range(256)]
