"""Walks rows in blocks, so that memory stays bounded and a long evaluation can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Stop = Callable[[], bool]
"""Says whether the user asked to stop; polled between blocks of work."""


class Stopped(Exception):
    """The user asked the evaluation to stop before it was done."""


def poll(stop: Stop | None) -> None:
    """Raises `Stopped` if the user asked to stop."""
    if stop is not None and stop():
        raise Stopped("The evaluation was stopped before it was done.")


def blocks(n: int, size: int, stop: Stop | None = None) -> Iterator[slice]:
    """Slices that cover `range(n)`, each of `size` rows but the last; polls `stop` before each.

    >>> [(s.start, s.stop) for s in blocks(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, n, size):
        poll(stop)
        yield slice(start, min(start + size, n))
