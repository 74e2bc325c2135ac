"""Clocks for two sides that share a machine with other work."""

from __future__ import annotations

import time
from collections.abc import Callable


def in_turn(
    *sides: Callable[[], object],
    repetitions: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Run the sides one after the other, again and again; return the seconds of each.

    Whatever else the machine does then slows all of them. The order is turned each time, because
    the first may find a colder cache.

    Examples
    --------
    >>> quick, slow = in_turn(lambda: None, lambda: time.sleep(0.01), repetitions=3)
    >>> len(quick), max(quick) < min(slow)
    (3, True)
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for repetition in range(repetitions):
        order = range(len(sides)) if repetition % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            start = clock()
            sides[i]()
            seconds[i].append(clock() - start)
    return seconds


def ratios(slow: list[float], fast: list[float]) -> list[float]:
    """Divide repetition by repetition."""
    return [a / b for a, b in zip(slow, fast, strict=True)]
