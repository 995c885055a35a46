"""signals: a request to stop that every long loop polls."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Becomes true when SIGTERM or Ctrl-C arrives; a second Ctrl-C interrupts at once.

    `at_once` makes the first signal interrupt too, for work that cannot poll.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at_once = False

    def __call__(self) -> bool:
        return self.signal is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: sets the flag, and interrupts where that is asked for."""
        again = self.signal is not None and number == signal.SIGINT
        self.signal = number
        if again or self.at_once:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Catches SIGTERM and SIGINT for the time of a `with` block; a thread other than the main one
    catches nothing.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, stop.handle) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
