"""Dataset: examples as they are stored, and the values that a model sees of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pofx.data import limits
from pofx.data.schema import Schema
from pofx.functional.random import content, former, stream
from pofx.spec import DataSpec
from pofx.tables import Table

Index = slice | np.ndarray | Tensor | None
_BLOCK_BYTES = 1 << 16
_BLOCKS = 1024
_READ_BYTES = 32 << 20


@dataclass(frozen=True)
class Transform:
    """From a stored value k to a model value.

    Without noise `k scale + shift`; with `uniform` noise `(k + u) scale + shift`; with `bernoulli`
    noise a draw that is 1 with probability `k scale`; u is uniform on (0, 1).

    Args:
        scale: one number, or one for each element, of the event's shape.
        shift: likewise.
        noise: what is drawn at every presentation.
    """

    scale: float | np.ndarray = 1.0
    shift: float | np.ndarray = 0.0
    noise: Literal["uniform", "bernoulli"] | None = None

    def __call__(self, stored: Tensor, u: Tensor | None = None) -> Tensor:
        """Model values, float32, of stored ones, on the device where these are."""
        if self.noise == "bernoulli" and u is not None:
            return (u < stored.to(torch.float32) * self._constant(self.scale, u)).to(torch.float32)
        if stored.dtype == torch.float32 and self._is_identity:
            return stored
        narrow = stored.dtype in (torch.uint8, torch.bool)
        x = stored.to(torch.float32 if narrow else torch.float64)
        if self.noise == "uniform" and u is not None:
            x = u.add_(x)
        if not self._is_identity:
            x = x.clone() if x is stored else x  # float64 as it is stored
            # in place: a fresh buffer of this size costs more than the arithmetic
            x.mul_(self._constant(self.scale, x)).add_(self._constant(self.shift, x))
        return x.to(torch.float32)

    @property
    def _is_identity(self) -> bool:
        return isinstance(self.scale, float) and self.scale == 1.0 and self._unshifted

    @property
    def _unshifted(self) -> bool:
        return isinstance(self.shift, float) and self.shift == 0.0

    @staticmethod
    def _constant(value: float | np.ndarray, like: Tensor) -> float | Tensor:
        return value if isinstance(value, float) else torch.as_tensor(value).to(like)


@dataclass(frozen=True)
class Split:
    """Some of a data set's examples.

    Args:
        x: as stored, `(n, *shape)`: uint8 for bytes and bits, float32 for numbers; possibly mapped
        from a file.
        y: labels, int64, `(n,)`, or None.
        transform: from stored to model values.
        seed: keys what the transform draws, beside the content, when no generator is given.
        captions: one text for each example, or none at all.
        rows: where `x` is mapped and shared between splits, the rows of it that belong to this one
            (`y` and `captions` are this split's own all the same); None when `x` holds exactly this
            split.

    >>> split = Split(np.array([[0, 255]], np.uint8), transform=Transform(2 / 255, -1.0))
    >>> split.values()[0]
    tensor([[-1.,  1.]])
    """

    x: np.ndarray
    y: np.ndarray | None = None
    transform: Transform = field(default_factory=Transform)
    seed: int = 0
    captions: tuple[str, ...] = ()
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x if self.rows is None else self.rows)

    def __repr__(self) -> str:
        kept = [str(self.x.dtype), *(["labels"] if self.y is not None else [])]
        kept += ["captions"] if self.captions else []
        shape = self.x.shape[1:]
        return f"Split({len(self):,} examples of shape {shape}: {', '.join(kept)})"

    def values(
        self, index: Index = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Model values and labels of the examples at `index`: float32 `(m, *shape)` and int64
        `(m,)` or None.

        What is drawn at random comes from the generator; without one, it belongs to the example's
        content, so that an evaluation repeats and equal examples have equal values.
        """
        index = self.positions(index)
        stored = torch.from_numpy(self.gather(index))
        u = None
        if self.transform.noise:
            u = (
                torch.rand(stored.shape, generator=generator)
                if generator is not None
                else uniform_of(self.seed, stored)
            )
        return self.transform(stored, u), self.labels(index)

    def whole(self, name: str) -> tuple[Tensor, Tensor | None]:
        """All values and labels, for what learns from all examples at once; a block at a time is
        read into one float32 array. Windows of a running text share its memory.

        Raises:
            DataError: when that would not fit the memory that one set may take.
        """
        n, event = len(self), self.x.shape[1:]
        cure = "or a recipe that learns in steps, as this one takes all examples at once"
        if (stored := running(self.x)) is not None:
            x = self.transform(torch.from_numpy(stored))
            return x.unfold(0, event[0], 1), self.labels(np.arange(n))
        limits.check_memory(name, 4 * n * math.prod(event), cure)
        x = torch.empty((n, *event))
        count = max(1, _READ_BYTES // max(1, self.x[:1].nbytes))
        for first in range(0, n, count):
            rows = np.arange(first, min(first + count, n))
            block, u = torch.from_numpy(self.gather(rows)), None
            if self.transform.noise:  # equal examples are spread out, as a model learns from them
                u = keyed_uniform(stream("whole", self.seed), rows, event)
            x[first : first + count] = self.transform(block, u)
        return x, self.labels(np.arange(n))

    def positions(self, index: Index = None) -> np.ndarray:
        """The examples that an index names, as int64 positions in this split."""
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        if isinstance(index, np.ndarray):
            return np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return np.arange(len(self))[index if index is not None else slice(None)]

    def gather(self, index: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Stored examples at int64 positions, `(m, *shape)`, contiguous and in the machine's byte
        order.
        """
        rows = index if self.rows is None else self.rows[index]
        if self.plain:
            # 'wrap' spares the copy that 'raise' needs to leave `out` whole; positions are ours, or
            # checked here
            if len(rows) and (rows.min() < -len(self.x) or rows.max() >= len(self.x)):
                raise IndexError(f"an index is outside the split's {len(self)} examples")
            return np.take(self.x, rows, axis=0, out=out, mode="wrap")
        block = np.asarray(self.x[rows])
        return np.ascontiguousarray(block, block.dtype.newbyteorder("="))

    @property
    def plain(self) -> bool:
        """Whether the store can be gathered from without a copy of the whole."""
        return self.x.flags.c_contiguous and self.x.dtype.isnative

    def labels(self, index: np.ndarray) -> Tensor | None:
        """Labels at int64 positions, if there are any."""
        return None if self.y is None else torch.from_numpy(self.y[index])


@dataclass(frozen=True)
class Dataset:
    """A data set in three parts.

    Args:
        name: how to call it.
        spec: what one example looks like.
        schema: how to say a model's values in the user's own.
        train: the examples to learn from.
        valid: those to choose by.
        test: those to report on.
        source: the arguments of `load` that load it again, as plain JSON values.
        fingerprint: SHA-256 of the content, in hex.
        notes: what the user should know: files that were skipped, choices that were made for him.
    """

    name: str
    spec: DataSpec
    schema: Schema
    train: Split
    valid: Split
    test: Split
    source: dict[str, Any]
    fingerprint: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        classes = f"; {self.spec.classes:,} classes" if self.spec.classes else ""
        return f"Dataset({self.name!r}: {self.schema.what}; {self.counts}{classes})"

    def _repr_html_(self) -> str:
        return Table(list(self.facts().items()), notes=self._notes())._repr_html_()

    @property
    def counts(self) -> str:
        """How many examples each split has, in words."""
        return ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())

    def facts(self) -> dict[str, str]:
        """Name and value of what there is to say without a look at the examples."""
        spec = self.spec
        total = sum(map(len, self.splits.values()))
        found = {
            "name": self.name,
            "what": self.schema.what,
            "examples": f"{total:,} ({self.counts})",
            "spec": f"shape {spec.shape}, {spec.support}, log scale {spec.log_scale:.4f}",
        }
        if spec.classes:
            found["classes"] = f"{spec.classes:,}: {listed(spec.class_names)}"
        return found | {"fingerprint": self.fingerprint[:16]}

    def _notes(self) -> tuple[str, ...]:
        return tuple(f"note: {note}" for note in self.notes)

    @property
    def splits(self) -> dict[str, Split]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def listed(names: Sequence[str], most: int = 20) -> str:
    """The first of many names.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _described(schema: Schema) -> dict[str, Any]:
    """The schema as fingerprints describe it: a class by their number and names, as ever."""
    content = schema.to_json()
    spec = dict(content["spec"])
    if schema.spec.cond is None or schema.spec.classes:
        del spec["cond"]
        spec |= {"classes": schema.spec.classes, "class_names": list(schema.spec.class_names)}
    return {**content, "spec": spec}


def fingerprint(schema: Schema, splits: dict[str, Split]) -> str:
    """SHA-256 of the schema and of all stored examples.

    A mapped file is too long to read for this: 1,024 blocks of 64 KB, evenly spaced, stand for it.
    """
    digest = hashlib.sha256(json.dumps(_described(schema), sort_keys=True).encode())
    mapped: set[int] = set()
    for split in splits.values():
        for array in (split.rows, split.y):
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        if (stored := running(split.x)) is not None:
            digest.update(stored.data)
        elif split.rows is None:
            digest.update(np.ascontiguousarray(split.x).data)
        elif id(split.x) not in mapped:
            mapped.add(id(split.x))
            _hash_some(digest, split.x)
        digest.update("\0".join(split.captions).encode())
    return digest.hexdigest()


def running(x: np.ndarray) -> np.ndarray | None:
    """The running text whose windows, one at every place, are the rows of `x`; None where they
    share no memory.

    >>> running(np.lib.stride_tricks.sliding_window_view(np.arange(4), 3)).tolist()
    [0, 1, 2, 3]
    """
    if x.ndim != 2 or min(x.shape) < 2 or x.strides[0] != x.strides[1]:
        return None
    return np.concatenate([x[:, 0], x[-1, 1:]])


def _hash_some(digest: Any, x: np.ndarray) -> None:
    count = max(1, _BLOCK_BYTES // max(1, x[:1].nbytes))
    for first in np.unique(np.linspace(0, max(0, len(x) - count), _BLOCKS).astype(np.int64)):
        digest.update(np.ascontiguousarray(x[first : first + count]).data)


def uniform_of(seed: int, x: Tensor) -> Tensor:
    """Draws uniform numbers on (0, 1), float32, for each element of stored examples, fixed by the
    seed and each example's content.

    >>> u = uniform_of(0, torch.tensor([[1, 2], [3, 4], [1, 2]]))
    >>> torch.equal(u[0], u[2]), torch.equal(u[0], u[1])
    (True, False)
    """
    return keyed_uniform(stream("stored", seed), content(x).cpu().numpy(), tuple(x.shape[1:]))


def keyed_uniform(seed: int, rows: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers on (0, 1), float32 `(m, *shape)`, that depend on the seed and each row's own
    number alone.

    The SplitMix64 finaliser of a key and a counter, as in `functional.random`, for rows that need
    not be consecutive.

    >>> a = keyed_uniform(0, np.array([7, 8]), (3,))
    >>> torch.equal(a[1:], keyed_uniform(0, np.array([8]), (3,)))
    True
    """
    width = int(np.prod(shape))
    key = np.array([seed % (1 << 64)], np.uint64)
    row = _mix(_mix(rows.astype(np.uint64) * _GOLDEN + _mix(key)))
    bits = _mix(row[:, None] + np.arange(1, width + 1, dtype=np.uint64) * _GOLDEN)
    bits >>= np.uint64(41)
    u = bits.astype(np.float32)
    u += np.float32(0.5)
    u *= np.float32(2.0**-23)
    return torch.from_numpy(u.reshape(-1, *shape))


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FINALISER = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _mix(z: np.ndarray) -> np.ndarray:
    """The SplitMix64 finaliser, in place but for one buffer."""
    buffer = np.empty_like(z)
    for bits, factor in _FINALISER:
        z ^= np.right_shift(z, np.uint64(bits), out=buffer)
        z *= np.uint64(factor)
    z ^= np.right_shift(z, np.uint64(31), out=buffer)
    return z


def shuffled(seed: int, n: int, use: str) -> np.ndarray:
    """Permutes `0 .. n - 1` by the seed, for good, whatever the version of any library.

    Args:
        seed: fixes the permutation.
        n: how many.
        use: what it is for; two uses of one seed have permutations of their own.

    >>> shuffled(0, 4, "split").tolist() == shuffled(0, 4, "split").tolist()
    True
    """
    key = _mix(np.array([(seed if former() else stream(use, seed)) % (1 << 64)], np.uint64))
    return np.argsort(_mix(np.arange(n, dtype=np.uint64) * _GOLDEN + key), kind="stable")
