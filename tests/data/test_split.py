from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from data.split import split_by_date

DAYS = pd.date_range("2001-01-01", periods=100)


def test_periods_follow_each_other_with_a_gap() -> None:
    codes = split_by_date(DAYS, validation=0.2, test=0.1, gap=5, window=3)
    assert np.flatnonzero(np.diff(codes)).tolist() == [64, 69, 84, 89]
    assert [codes[i] for i in (0, 64, 65, 70, 84, 85, 90, 99)] == [0, 0, -1, 1, 1, -1, 2, 2]


def test_no_two_windows_of_different_periods_share_a_day() -> None:
    window = 7
    codes = split_by_date(DAYS, validation=0.2, test=0.2, gap=window, window=window)
    last_of_train, first_of_validation = np.flatnonzero(codes == 0)[-1], np.flatnonzero(codes == 1)[0]
    assert first_of_validation - last_of_train > window


def test_dates_take_the_place_of_shares() -> None:
    codes = split_by_date(
        DAYS,
        validation=0.2,
        test=0.1,
        gap=0,
        window=3,
        validation_start="2001-02-10",
        test_start="2001-03-01",
    )
    assert DAYS[codes == 1][0] == pd.Timestamp("2001-02-10")
    assert DAYS[codes == 2][0] == pd.Timestamp("2001-03-01")


def test_a_record_too_short_for_its_windows_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"the validation period would have 15 time steps, and a window has 20.*2001"
    ):
        split_by_date(DAYS, validation=0.2, test=0.2, gap=5, window=20)
