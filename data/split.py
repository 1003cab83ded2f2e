"""Training, validation and test periods, one after another in time, with a gap between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import DataError

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, -1
NAMES = ("train", "validation", "test")


def split_by_date(
    times: pd.DatetimeIndex,
    *,
    validation: float,
    test: float,
    gap: int,
    window: int,
    validation_start: str | None = None,
    test_start: str | None = None,
) -> NDArray[np.int8]:
    """Assigns every time step to a period.

    Args:
        times: the record's time steps.
        validation: share of the record for validation, unless validation_start is given.
        test: share of the record for test, unless test_start is given.
        gap: steps before validation and before test that belong to no period.
        window: steps that a period needs at least.
        validation_start: first date of validation.
        test_start: first date of test.

    Returns:
        codes (time,): 0 train, 1 validation, 2 test, -1 unused.

    Raises:
        DataError: if a period would be shorter than a window.
    """
    n_times = len(times)
    second = _start(times, test_start, n_times - round(test * n_times))
    first = _start(times, validation_start, second - round(validation * n_times))
    codes = np.full(n_times, UNUSED, np.int8)
    periods = [(TRAIN, 0, first - gap), (VALIDATION, first, second - gap), (TEST, second, n_times)]
    for code, begin, end in periods:
        if end - begin < window:
            raise DataError(
                f"the {NAMES[code]} period would have {max(end - begin, 0)} time steps, and a window has {window}: "
                f"the record ({_span(times)}) is too short for dataset.split and window.length."
            )
        codes[begin:end] = code
    return codes


def _start(times: pd.DatetimeIndex, date: str | None, default: int) -> int:
    return default if date is None else int(times.searchsorted(pd.Timestamp(date)))


def _span(times: pd.DatetimeIndex) -> str:
    return f"{times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, {len(times)} steps" if len(times) else "no steps"
