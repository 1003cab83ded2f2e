from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data import seasonal


def test_day_of_year_counts_from_new_year_in_leap_years_too() -> None:
    times = pd.DatetimeIndex(["2003-01-01", "2004-01-01", "2004-03-01", "2003-03-01", "2004-12-31T12"])
    assert seasonal.day_of_year(times).tolist() == [0, 0, 60, 59, 365.5]


def test_first_harmonic_by_hand() -> None:
    times = pd.DatetimeIndex(["2003-01-01", "2003-04-02T07:27"])  # a quarter of 365.2425 days on
    features, names = seasonal.encode(times, count=1)
    assert names == ["sin_year_1", "cos_year_1"]
    np.testing.assert_allclose(features, [[0, 1], [1, 0]], atol=1e-5)


def test_harmonics_come_as_they_are_named() -> None:
    times = pd.date_range("2003-02-01", periods=4, freq="6h")
    features, names = seasonal.encode(times, count=2)
    assert names == ["sin_year_1", "cos_year_1", "sin_year_2", "cos_year_2", "sin_day", "cos_day"]
    assert features.shape == (4, 6)
    phase = 2 * np.pi * seasonal.day_of_year(times) / 365.2425
    expected = np.stack([np.sin(phase), np.cos(phase), np.sin(2 * phase), np.cos(2 * phase)], axis=1)
    np.testing.assert_allclose(features[:, :4], expected, atol=1e-6)


def test_one_step_is_no_series_of_hours() -> None:
    assert seasonal.encode(pd.DatetimeIndex(["2003-01-01T06"]))[0].shape == (1, 8)


def test_the_encoding_is_continuous_over_new_year_and_leap_day() -> None:
    times = pd.date_range("2003-01-01", "2005-12-31", freq="D")
    features, _ = seasonal.encode(times, count=4)
    assert np.abs(np.diff(features, axis=0)).max() < 4 * 2 * np.pi / 365 * 1.3


def test_it_takes_dates_and_not_positions() -> None:
    whole = pd.date_range("2003-01-01", periods=400)
    gap = whole.delete(slice(10, 100))
    np.testing.assert_array_equal(
        seasonal.encode(gap)[0], np.delete(seasonal.encode(whole)[0], slice(10, 100), 0)
    )


def test_hours_are_encoded_where_steps_are_shorter_than_a_day() -> None:
    times = pd.date_range("2003-01-01", periods=9, freq="6h")
    features, names = seasonal.encode(times)
    assert names[-2:] == ["sin_day", "cos_day"]
    np.testing.assert_allclose(features[:5, -2:], [[0, 1], [1, 0], [0, -1], [-1, 0], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("freq", ["D", "MS"])
def test_no_hours_for_days_and_months(freq: str) -> None:
    assert seasonal.encode(pd.date_range("2003-01-01", periods=5, freq=freq))[0].shape == (5, 8)
