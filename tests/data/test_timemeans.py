from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data import timemeans
from data.errors import DataError

HOURLY = pd.date_range("2004-02-28", "2004-03-02T23:00", freq="h")  # over a leap day


def values(times: pd.DatetimeIndex) -> np.ndarray:
    hours = ((times - times[0].normalize()) / pd.Timedelta(hours=1)).to_numpy()
    return (hours[:, None, None] * np.ones((1, 2, 2))).astype(np.float32)


def daily(times: pd.DatetimeIndex, name: str) -> tuple[pd.DatetimeIndex, np.ndarray]:
    found = timemeans.days(times, (name,))
    assert found is not None
    return found.times, timemeans.reduce(values(times), found.steps[name], found.rules[name])[:, 0, 0]


def test_a_state_is_the_mean_of_hours_0_to_23() -> None:
    days, means = daily(HOURLY, "t2m")
    assert days.equals(pd.date_range("2004-02-28", "2004-03-02"))
    assert means.tolist() == [11.5, 35.5, 59.5, 83.5]


def test_what_is_accumulated_counts_from_1_to_24() -> None:
    days, sums = daily(HOURLY, "tp")
    assert days.equals(pd.date_range("2004-02-28", "2004-03-01"))  # the last day's last hour is not there
    assert sums.tolist() == [sum(range(1, 25)), sum(range(25, 49)), sum(range(49, 73))]


def test_a_flux_becomes_watts() -> None:
    _, means = daily(HOURLY, "sshf")
    assert means[0] == pytest.approx(sum(range(1, 25)) / 86400)


def test_a_mean_rate_counts_from_1_to_24_and_is_averaged() -> None:
    _, means = daily(HOURLY, "avg_ishf")
    assert means[0] == 12.5


@pytest.mark.parametrize("hours", [3, 6, 12])
def test_coarser_steps(hours: int) -> None:
    times = HOURLY[::hours]
    found = timemeans.days(times, ("t2m", "avg_ishf"))
    assert found is not None
    states = timemeans.reduce(values(times), found.steps["t2m"], found.rules["t2m"])
    rates = timemeans.reduce(values(times), found.steps["avg_ishf"], found.rules["avg_ishf"])
    assert states[0, 0, 0] == np.arange(0, 24, hours).mean()
    assert rates[0, 0, 0] == (np.arange(0, 24, hours) + hours).mean()
    assert len(found.times) == 3  # the last day lacks its last rate


def test_a_day_of_which_a_step_is_missing_is_missing() -> None:
    times = HOURLY.delete(30)
    days, means = daily(times, "t2m")
    assert len(days) == 4
    assert np.isnan(means).tolist() == [False, True, False, False]


def test_a_day_of_which_a_value_is_missing_is_missing_in_that_cell() -> None:
    found = timemeans.days(HOURLY, ("t2m",))
    assert found is not None
    fields = values(HOURLY)
    fields[5, 0, 1] = np.nan
    means = timemeans.reduce(fields, found.steps["t2m"], found.rules["t2m"])
    assert np.isnan(means).sum() == 1
    assert np.isnan(means[0, 0, 1])


def test_days_at_the_ends_that_are_not_whole_are_left_out() -> None:
    days, _ = daily(HOURLY[7:-3], "t2m")
    assert days.equals(pd.date_range("2004-02-29", "2004-03-01"))


def test_days_stay_days() -> None:
    assert timemeans.days(pd.date_range("2001-01-01T12:00", periods=9), ("t2m",)) is None


@pytest.mark.parametrize(
    ("times", "name", "words"),
    [
        (pd.date_range("2001-01-01", periods=9, freq="MS"), "t2m", "its steps are monthly, at 00:00"),
        (
            pd.date_range("2001-01-01", periods=9, freq="30min"),
            "t2m",
            "cannot be made daily: its steps are every 30 minutes",
        ),
        (pd.date_range("2001-01-01T00:30", periods=99, freq="h"), "t2m", "its steps are hourly, at 00:30"),
        (pd.date_range("2001-01-01", periods=1), "t2m", "it has one step"),
        (
            pd.date_range("2001-01-01", periods=99, freq="6h"),
            "tp",
            "tp is accumulated and its steps are 6 hours apart",
        ),
        (
            pd.date_range("2001-01-01T05:00", periods=20, freq="h"),
            "t2m",
            "no day between .* has all of its steps",
        ),
        (
            pd.DatetimeIndex(["2001-01-01", "2001-01-01T01", "2001-01-01T02:30"]),
            "t2m",
            "the time steps are irregular",
        ),
    ],
)
def test_records_that_make_no_days_are_refused(times: pd.DatetimeIndex, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        timemeans.days(times, (name,))


def test_a_running_mean_is_centred_and_stops_at_gaps() -> None:
    times = pd.date_range("2001-01-01", periods=12).delete(7)
    centres = timemeans.middles(times, 3)
    assert times[centres].day.tolist() == [2, 3, 4, 5, 6, 10, 11]
    fields = np.asarray(times.day, np.float32)[:, None, None] ** 2
    found = timemeans.running_mean(fields, centres, 3)[:, 0, 0]
    np.testing.assert_allclose(found, times[centres].day.to_numpy() ** 2 + 2 / 3, rtol=1e-6)


def test_a_running_mean_over_a_missing_day_is_missing() -> None:
    fields = np.ones((9, 1, 1), np.float32)
    fields[4] = np.nan
    found = timemeans.running_mean(fields, timemeans.middles(pd.date_range("2001-01-01", periods=9), 3), 3)
    assert np.isnan(found[:, 0, 0]).tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (HOURLY, "needs daily steps, and the record has them hourly"),
        (pd.date_range("2001-01-01", periods=1), "needs daily steps, and the record has one"),
        (pd.date_range("2001-01-01", periods=4), "has no 5 days in a row"),
    ],
)
def test_records_without_a_running_mean_are_refused(times: pd.DatetimeIndex, words: str) -> None:
    with pytest.raises(DataError, match=words):
        timemeans.middles(times, 5)
