"""Interleaved timing: every contestant once a round, so that all see the same machine.

Ratios are taken within a round; the figure is their median, its bounds their 10th and 90th percentile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleave(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds, by a clock, of each contestant in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            started = clock()
            run()
            if turn > 0:
                seconds[name].append(clock() - started)
    return seconds


def fastest(seconds: Mapping[str, list[float]]) -> str:
    """Return the contestant with the smallest median."""
    return min(seconds, key=lambda name: statistics.median(seconds[name]))


def ratio(slow: list[float], fast: list[float]) -> dict[str, Any]:
    """Return median, 10th and 90th percentile of the ratios, round by round."""
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    last = len(ratios) - 1
    return {
        "ratio": round(statistics.median(ratios), 3),
        "low": round(ratios[round(0.1 * last)], 3),
        "high": round(ratios[round(0.9 * last)], 3),
        "rounds": len(ratios),
    }
