"""side_by_side: times ours and a peer's in turn, A B A B, in one process, and prints the ratio pair
by pair; where the work is matrix products, those alone take their turn too.

The clock is the wall's; with PROCESSOR_TIME in the environment, for a busy machine, the process's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence

CLOCK = time.process_time if "PROCESSOR_TIME" in os.environ else time.perf_counter


def seconds(work: Callable[[], object], clock: Callable[[], float] = CLOCK) -> float:
    """Seconds of one call."""
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
    clock: Callable[[], float] = CLOCK,
    products: Callable[[], object] | None = None,
    most: float | None = None,
) -> float:
    """How many times the peer's time is ours: above 1 we are faster. The median over rounds, after
    one warm-up.

    Args:
        name: of the work.
        ours: does it.
        peer: does the same.
        bar: the least ratio.
        rounds: how many.
        clock: seconds.
        products: the matrix products of the work alone.
        most: the largest number of times that those may go into ours.
    """
    works = [ours, peer, *([products] if products else [])]
    for work in works:
        work()
    times = [[seconds(work, clock) for work in works] for _ in range(rounds)]
    mine, theirs = (statistics.median(each) * 1e3 for each in list(zip(*times, strict=True))[:2])
    middle, spread = _middle([t[1] / t[0] for t in times])
    line = f"{name:58s} ours {mine:10.3f} ms  peer {theirs:10.3f} ms  ratio {middle:5.2f} {spread}"
    line += _verdict(name, middle, bar, met=bar is None or middle >= bar)
    if products:
        alone = statistics.median(t[2] for t in times) * 1e3
        share, spread = _middle([t[0] / t[2] for t in times])
        line += f"  products {alone:10.3f} ms, ours {share:.2f} times {spread}"
        line += _verdict(f"{name}, products", share, most, met=most is None or share <= most)
    print(line, flush=True)
    return middle


def _middle(ratios: Sequence[float]) -> tuple[float, str]:
    return statistics.median(ratios), f"[{min(ratios):.2f}, {max(ratios):.2f}]"


def _verdict(name: str, value: float, bar: float | None, *, met: bool) -> str:
    if not met:
        _missed.append(name)
    return "" if bar is None else f"  bar {bar:g}: {'met' if met else 'MISSED'}"
