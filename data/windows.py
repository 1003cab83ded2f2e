"""Windows of consecutive time steps as an index plan: no copies, never across a gap or a border of the split.

A window is the H×W×C×T cube of the literature. The store has it as (time, variable, latitude, longitude); as a
tensor it is (T, C, H, W), and a batch of windows (B, T, C, H, W), which is what every layer takes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import DataError


def runs(times: pd.DatetimeIndex, codes: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Longest stretches [begin, end) of one period without a gap in time; code -1 is in none.

    A gap is a step longer than the record's usual one (half as long again, so that months count as even).
    """
    if not len(times):
        return []
    steps = np.diff(times.values).astype("timedelta64[s]").astype(np.int64)
    breaks = np.diff(codes) != 0
    if steps.size:
        breaks |= steps > 1.5 * np.median(steps)
    edges = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(times)]])
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges) if codes[a] >= 0]


def starts(
    times: pd.DatetimeIndex, codes: NDArray[np.integer], *, period: int, length: int, stride: int = 1
) -> NDArray[np.int64]:
    """First steps of all windows of a period.

    Args:
        times: the record's time steps.
        codes: the period of each, as data.split gives them.
        period: the code asked for.
        length: steps in a window (T).
        stride: steps between the starts of neighbouring windows; the last window of a stretch is always taken, so
            that every step of a stretch as long as a window is covered by some window.

    Returns:
        sorted starts (window,).

    Raises:
        DataError: if no stretch is as long as a window.
    """
    found: list[NDArray[np.int64]] = []
    for begin, end in runs(times, codes):
        if codes[begin] == period and end - begin >= length:
            last = end - length
            found.append(np.unique(np.append(np.arange(begin, last + 1, stride), last)))
    if not found:
        raise DataError(
            f"no stretch of the record without a gap is as long as a window of {length} steps: lower window.length "
            "or fill the gaps."
        )
    return np.concatenate(found)
