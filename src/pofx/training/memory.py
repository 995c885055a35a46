"""memory: what one step frees is kept for the next.

The C library gives large blocks back to the system as soon as they are freed, and the system hands
out pages that it has emptied one by one: the gradients of a small model on a processor then cost a
tenth of its step. Once a large block has been freed glibc expects more of them, and keeps them.

References:
    mallopt(3), M_MMAP_THRESHOLD: the dynamic threshold.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import torch

_LARGEST = 31 * 2**20
"""Bytes: the largest threshold that glibc sets itself is 32 MiB. It keeps up to twice as much."""


def keep_freed() -> None:
    """Has the C library keep what is freed; without effect where it is not glibc."""
    torch.empty(_LARGEST, dtype=torch.uint8)  # freed at once, and never touched
