"""Walks rows in blocks, so that memory stays bounded and a long evaluation can be stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

from pofx.errors import UserError

Stop = Callable[[], bool]
"""Says whether the user asked to stop; polled between blocks of work."""


class Stopped(UserError):
    """The user asked the evaluation to stop before it was done.

    Args:
        signal: number of the signal that asked, where one did.
    """

    def __init__(self, signal: int) -> None:
        super().__init__("The evaluation was stopped before it was done; start it again.")
        self.signal = signal


def poll(stop: Stop | None) -> None:
    """Raises `Stopped` if the user asked to stop."""
    if stop is not None and stop():
        raise Stopped(getattr(stop, "signal", None) or signal.SIGINT)


def blocks(n: int, size: int, stop: Stop | None = None) -> Iterator[slice]:
    """Slices that cover `range(n)`, each of `size` rows but the last; polls `stop` before each.

    >>> [(s.start, s.stop) for s in blocks(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, n, size):
        poll(stop)
        yield slice(start, min(start + size, n))
