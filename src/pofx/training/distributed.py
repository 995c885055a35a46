"""distributed: several processes that train one model, started by `torchrun`."""

from __future__ import annotations

import os
import platform
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from pofx.errors import UserError

_LOST = re.compile("gloo|NCCL|closed by peer|reset by peer")
_PATIENCE = 2.0
"""Seconds to wait for a process that is dying to be dead."""


class LostProcess(UserError):
    """Another process of the same training has ended, or cannot be reached."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this is.

    Args:
        rank: this one's number, from 0.
        size: how many there are.
        members: the machine, as a number, and the process number of each.
    """

    rank: int = 0
    size: int = 1
    members: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def mean_(self, x: Tensor) -> Tensor:
        """Averages a tensor over the processes, in place."""
        if self.size > 1:
            with self._together():
                dist.all_reduce(x)
            x /= self.size
        return x

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.max(float(flag)) > 0

    def max(self, value: float) -> float:
        """The largest value in any process."""
        if self.size == 1:
            return value
        x = torch.tensor(value, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            x = x.float().cuda()
        with self._together():
            dist.all_reduce(x, op=dist.ReduceOp.MAX)
        return float(x)

    def text(self, value: str) -> str:
        """What the process that leads says, in each."""
        if self.size == 1:
            return value
        content = value.encode("utf-8", "surrogateescape") if self.leads else b""
        size = int(self.max(float(len(content))))
        x = torch.zeros(size, dtype=torch.uint8)
        x[: len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        x = x.cuda() if dist.get_backend() == "nccl" else x
        with self._together():
            dist.broadcast(x, 0)
        return bytes(x.tolist()).decode("utf-8", "surrogateescape")

    def barrier(self) -> None:
        """Waits for every process."""
        if self.size > 1:
            with self._together():
                dist.barrier()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Says who is gone where processes cannot reach each other any more."""
        try:
            yield
        except RuntimeError as error:
            raise self.lost() from error

    def lost(self) -> LostProcess:
        """Names the processes that have ended, as far as this machine knows."""
        end = time.monotonic() + _PATIENCE
        while not (gone := self._gone()) and time.monotonic() < end:
            time.sleep(0.05)
        who = " and ".join(f"{rank} (process {pid})" for rank, pid in gone)
        said = f"rank {who} has ended" if gone else "another rank cannot be reached"
        return LostProcess(
            f"all {self.size} processes must live to train together ({said}): start them again "
            "with `torchrun ... -m pofx resume RUN`, which goes on from the last checkpoint."
        )

    def _gone(self) -> list[tuple[int, int]]:
        machine = _machine()
        return [
            (rank, pid)
            for rank, (place, pid) in enumerate(self.members)
            if place == machine and rank != self.rank and _ended(pid)
        ]


def _machine() -> int:
    return zlib.crc32(platform.node().encode())


def _ended(pid: int) -> bool:
    """Whether a process of this machine is gone, or waits for nothing but its burial."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    with suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX"
    return False


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Joins the processes that `torchrun` started, if it did; gloo on a CPU, nccl on a GPU.

    Raises:
        LostProcess: they do not come together.
    """
    size = _count("WORLD_SIZE", 1)
    if size == 1:
        yield World()
        return
    joined = not dist.is_initialized()
    if joined:
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            raise LostProcess(
                f"all {size} processes must find each other ({error}): start them together with "
                "torchrun."
            ) from error
    try:
        here = World(dist.get_rank(), dist.get_world_size())
        here = World(here.rank, here.size, _members(here, device))
        yield here
    except RuntimeError as error:
        if joined and _LOST.search(str(error)):  # in a sum of the model's own
            raise here.lost() from error
        raise
    finally:
        if joined:
            with suppress(RuntimeError):  # of processes that are gone there is none to leave
                dist.destroy_process_group()


def _members(here: World, device: torch.device) -> tuple[tuple[int, int], ...]:
    x = torch.zeros(here.size, 2, dtype=torch.int64, device=device)
    x[here.rank] = torch.tensor([_machine(), os.getpid()])
    with here._together():
        dist.all_reduce(x)
    return tuple((int(place), int(pid)) for place, pid in x.tolist())


def _count(name: str, default: int) -> int:
    """A number that `torchrun` sets."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdecimal():
        raise LostProcess(f"{name} must be a whole number (got '{text}'): leave it to torchrun.")
    return int(text)


def local_device(name: str = "auto") -> torch.device:
    """The device of this process: `auto` takes a GPU when there is one, each process its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{_count('LOCAL_RANK', 0) % torch.cuda.device_count()}"
    return torch.device(name)
