"""distributed: several processes that train one model, started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def mean_(self, x: Tensor) -> Tensor:
        """Averages a tensor over the processes, in place."""
        if self.size > 1:
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
        dist.all_reduce(x, op=dist.ReduceOp.MAX)
        return float(x)

    def barrier(self) -> None:
        """Waits for every process."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Joins the processes that `torchrun` started, if it did; gloo on a CPU, nccl on a GPU."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        if joined:
            dist.destroy_process_group()


def local_device(name: str = "auto") -> torch.device:
    """The device of this process: `auto` takes a GPU when there is one, each process its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return torch.device(name)
