"""Batches without end, whose position is the step.

The examples' order is the concatenation, over the epochs, of permutations that the pair (seed,
epoch) fixes; batch s is the entries `[s size, (s + 1) size)` of it. So a resumed training needs no
iterator state: it asks for batch s. What a transform draws at random is keyed by the seed and the
entry's number in that order, hence the same for any number of processes. One background thread
prepares the next batches.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.data import Verb, limits
from pofx.data.dataset import Split, keyed_uniform, shuffled
from pofx.errors import UserError
from pofx.functional.random import former, stream

AHEAD = 2
"""How many jobs of the background thread are prepared while the batches of one are in use."""
_JOB_BYTES = 2 << 20
_JOB_BATCHES = 8


def batches(
    split: Split,
    size: int,
    *,
    seed: int = 0,
    step: int = 0,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Yields batches without end: x float32 `(size // world, *shape)`, cond int64
    `(size // world,)` or None.

    Args:
        split: the examples.
        size: examples in a step, over all processes.
        seed: fixes the order and the transforms' draws.
        step: the first batch's number.
        rank: which contiguous share of every batch this process takes.
        world: how many processes share it.
        device: where the batch is to be.

    Raises:
        UserError: when `size` cannot be shared out evenly or the split is empty.

    >>> split = Split(np.arange(6, dtype=np.float32)[:, None])
    >>> stream = batches(split, 4, step=1)
    >>> next(stream).x.shape
    torch.Size([4, 1])
    >>> stream.close()
    """
    if size < 1 or size % world:
        raise UserError(
            f"A batch of {size} cannot be shared evenly by {world} processes: "
            f"choose a batch size that is a multiple of {world}."
        )
    needed = size // world * int(np.prod(split.x.shape[1:])) * 4
    if needed > limits.MEMORY_BYTES:
        raise UserError(
            f"A batch of {size:,} needs {limits.size(needed)} of memory, more than "
            f"{limits.size(limits.MEMORY_BYTES)}: choose a smaller batch size."
        )
    if len(split) == 0:
        raise UserError("There are no examples to make batches of: choose another split.")
    return _prefetched(_Maker(split, size, seed, rank, world, torch.device(device)), step)


def _prefetched(make: _Maker, step: int) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    count = max(1, min(_JOB_BATCHES, _JOB_BYTES // max(1, 4 * make.staging.size)))
    try:
        jobs: deque[Future[list[Batch]]] = deque()
        while True:
            while len(jobs) < AHEAD:
                jobs.append(pool.submit(make.several, step, count))
                step += count
            yield from jobs.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Maker:
    """Makes one process's share of any batch; only ever called by one thread at a time."""

    def __init__(
        self, split: Split, size: int, seed: int, rank: int, world: int, device: torch.device
    ) -> None:
        self.split, self.seed, self.device, self.former = split, seed, device, former()
        self.presented = seed if self.former else stream("presented", seed)
        self.size, self.share = size, size // world
        self.offset = rank * self.share
        self.epoch, self.permutation = -1, np.empty(0, np.int64)
        self.staging = np.empty((self.share, *split.x.shape[1:]), split.x.dtype)

    def several(self, step: int, count: int) -> list[Batch]:
        """The batches `step .. step + count - 1`: small ones by the handful, as waking a thread
        costs more.
        """
        return [self(step + i) for i in range(count)]

    def __call__(self, step: int) -> Batch:
        first = step * self.size + self.offset
        index = self.indices(first, first + self.share)
        u = None
        if self.split.transform.noise:
            entries = np.arange(first, first + self.share)
            u = keyed_uniform(self.presented, entries, self.split.x.shape[1:]).to(self.device)
        x = self.split.transform(self.stored(index), u)
        y = self.split.labels(index)
        return Batch(x, None if y is None else y.to(self.device))

    def indices(self, first: int, last: int) -> np.ndarray:
        """Entries `[first, last)` of the endless order of examples."""
        n, parts = len(self.split), []
        while first < last:
            epoch, start = divmod(first, n)
            stop = min(n, start + last - first)
            parts.append(self.order(epoch)[start:stop])
            first += stop - start
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of one epoch; the last one asked for is kept."""
        if epoch != self.epoch:
            self.permutation = self.ordered(epoch)
            self.epoch = epoch
        return self.permutation

    def ordered(self, epoch: int) -> np.ndarray:
        """A permutation of all examples."""
        if not self.former:
            return shuffled(self.seed, len(self.split), f"epoch {epoch}")
        generator = torch.Generator().manual_seed(_former_key(self.seed, epoch))
        return torch.randperm(len(self.split), generator=generator).numpy()

    def stored(self, index: np.ndarray) -> Tensor:
        """Stored examples, on the device; the store's type is what travels there."""
        # a transform makes new memory of anything but float32, so the staging buffer may serve
        # again
        if self.split.plain and self.split.x.dtype != np.float32 and self.device.type == "cpu":
            return torch.from_numpy(self.split.gather(index, out=self.staging))
        stored = torch.from_numpy(self.split.gather(index))
        if self.device.type == "cuda":
            return stored.pin_memory().to(self.device, non_blocking=True)
        return stored.to(self.device)


def _former_key(seed: int, epoch: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + epoch * 0xD1342543DE82EF95 + 0x5851F42D) % (1 << 63)


sys.modules[__name__].__class__ = Verb
