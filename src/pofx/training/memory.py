"""memory: how much of it is free, and what one step frees is kept for the next.

The C library gives large blocks back to the system as soon as they are freed, and the system hands
out pages that it has emptied one by one: the gradients of a small model on a processor then cost a
tenth of its step. Once a large block has been freed glibc expects more of them, and keeps them.

References:
    mallopt(3), M_MMAP_THRESHOLD: the dynamic threshold.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

_LARGEST = 31 * 2**20
"""Bytes: the largest threshold that glibc sets itself is 32 MiB. It keeps up to twice as much."""


def keep_freed() -> None:
    """Has the C library keep what is freed; without effect where it is not glibc."""
    torch.empty(_LARGEST, dtype=torch.uint8)  # freed at once, and never touched


_SYSTEM = Path("/")
"""What `proc` and `sys` are below."""


def free_bytes(device: torch.device) -> int:
    """Bytes that this process could still take on a device: of a CPU what the system calls
    available, or what a container's limit leaves, if that is less.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_available(), *_left_by_limits()])


def _available() -> int:
    try:
        lines = (_SYSTEM / "proc/meminfo").read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_by_limits() -> Iterator[int]:
    """What control groups leave, of version 2 and of version 1: pages of files that were read are
    given back when they are needed, so they do not count as used.
    """
    root = _SYSTEM / "sys/fs/cgroup"
    for folder, most, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit, taken = (int((folder / name).read_text()) for name in (most, used))
            files = dict(map(str.split, (folder / "memory.stat").read_text().splitlines()))
        except (OSError, ValueError):  # no such group, or no limit ("max")
            continue
        yield max(0, limit - taken + int(files.get("inactive_file", 0)))
