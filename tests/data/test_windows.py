from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import windows
from data.errors import DataError

DAYS = pd.date_range("2001-01-01", periods=60)


def test_starts_by_hand() -> None:
    codes = np.zeros(60, np.int8)
    codes[20:] = 1
    assert windows.starts(DAYS, codes, period=0, length=12, stride=5).tolist() == [0, 5, 8]
    assert windows.starts(DAYS, codes, period=1, length=38, stride=1).tolist() == [20, 21, 22]


def test_a_missing_day_is_in_no_window() -> None:
    codes = np.zeros(60, np.int8)
    codes[30] = -1
    starts = windows.starts(DAYS, codes, period=0, length=12)
    assert not ((starts <= 30) & (starts + 12 > 30)).any()
    assert len(starts) == 19 + 18


def test_no_window_crosses_a_gap_in_time() -> None:
    days = DAYS.delete([25, 26])
    starts = windows.starts(days, np.zeros(58, np.int8), period=0, length=12)
    assert all(days[s + 11] - days[s] == pd.Timedelta(days=11) for s in starts)


def test_months_are_even_steps() -> None:
    months = pd.date_range("2001-01-01", periods=48, freq="MS")
    assert len(windows.starts(months, np.zeros(48, np.int8), period=0, length=12)) == 37


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 15), st.integers(1, 20), st.lists(st.integers(-1, 2), min_size=60, max_size=60))
def test_every_step_of_a_long_enough_stretch_is_covered_and_no_border_crossed(
    length: int, stride: int, blocks: list[int]
) -> None:
    codes = np.repeat(blocks[:10], 6).astype(np.int8)
    for period in set(codes[codes >= 0].tolist()):
        long_enough = [
            r for r in windows.runs(DAYS, codes) if codes[r[0]] == period and r[1] - r[0] >= length
        ]
        if not long_enough:
            with pytest.raises(DataError, match=f"as long as a window of {length} steps"):
                windows.starts(DAYS, codes, period=period, length=length, stride=stride)
            continue
        starts = windows.starts(DAYS, codes, period=period, length=length, stride=stride)
        covered = {int(step) for s in starts for step in range(s, s + length)}
        assert all(codes[step] == period for step in covered)
        if stride <= length:
            assert covered == {step for begin, end in long_enough for step in range(begin, end)}
