"""side_by_side: times ours and a peer's in turn, A B A B, in one process, and prints the ratio pair
by pair.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, of the wall's clock unless another one is given."""
    start = clock()
    work()
    return clock() - start


_missed: list[str] = []


def status() -> int:
    """The exit status of a benchmark: 1 where a bar was missed."""
    return 1 if _missed else 0


def ratio(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    bar: float | None = None,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How many times the peer's time is ours: above 1 we are faster. The median over rounds, after
    one warm-up.
    """
    ours(), peer()
    pairs = [(seconds(ours, clock), seconds(peer, clock)) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    middle = statistics.median(ratios)
    mine = statistics.median(a for a, _ in pairs)
    theirs = statistics.median(b for _, b in pairs)
    if bar is not None and middle < bar:
        _missed.append(name)
    verdict = "" if bar is None else f"  bar {bar:g}: {'met' if middle >= bar else 'MISSED'}"
    print(
        f"{name:58s} ours {mine * 1e3:10.3f} ms  peer {theirs * 1e3:10.3f} ms  "
        f"ratio {middle:5.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]{verdict}",
        flush=True,
    )
    return middle
