"""The step of a time axis, its gaps, and periods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.timeaxis import Step, complete, infer_step, period

STEPS = ["h", "6h", "D", "5D", "MS", "3MS", "YS"]


@pytest.mark.parametrize(
    ("freq", "words"),
    [("15min", "every 15 minutes"), ("h", "hourly"), ("6h", "every 6 hours"), ("D", "daily"), ("5D", "every 5 days"),
     ("MS", "monthly"), ("3MS", "every 3 months"), ("YS", "yearly")],
)  # fmt: skip
def test_a_regular_axis_has_its_step(freq, words):
    times = pd.date_range("1999-01-01", periods=40, freq=freq)
    step = infer_step(times)
    assert str(step) == words
    assert complete(times, step).equals(times)
    assert step is not None
    assert step.after(times[0], 39) == times[-1]
    assert step.after(times[-1], -39) == times[0]


@given(
    st.sampled_from(STEPS),
    st.datetimes(min_value=pd.Timestamp("1900-01-01"), max_value=pd.Timestamp("2020-01-01")),
    st.sets(st.integers(1, 58), max_size=15),
)
def test_a_complete_axis_is_restored_where_steps_are_missing(freq, start, dropped):
    # months are counted from their first day, so that pandas' axis keeps the time of day
    whole = pd.date_range(pd.Timestamp(start).floor("h"), periods=60, freq=freq).as_unit("ns")
    kept = whole.delete(sorted(dropped))
    assert complete(kept, infer_step(kept)).equals(whole)


def test_months_may_stand_at_their_middle():
    times = pd.DatetimeIndex(
        ["2001-01-16 12:00", "2001-02-15", "2001-03-16 12:00", "2001-04-16", "2001-06-16"]
    )
    step = infer_step(times)
    assert str(step) == "monthly"
    axis = complete(times, step)
    assert len(axis) == 6
    assert axis[4] == pd.Timestamp("2001-05-16 12:00")
    assert times.isin(axis).all()


def test_one_time_has_no_step():
    times = pd.DatetimeIndex(["2001-01-01"])
    assert infer_step(times) is None
    assert complete(times, None).equals(times)


def test_a_missing_leap_day_is_seen():
    times = pd.date_range("2000-02-01", "2000-03-31", freq="D")
    without = times[~((times.month == 2) & (times.day == 29))]
    assert complete(without, infer_step(without)).difference(without).tolist() == [pd.Timestamp("2000-02-29")]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["2000-01-01", "2000-01-02", "2000-01-03", "2000-01-04 12:00"], "daily mostly, but 2000-01-03 00:00"),
        (["2000-01-01", "2000-02-01", "2000-03-01", "2000-03-31"], r"two in March 2000"),
        (["2000-01-01", "2000-03-01", "2000-05-01", "2000-08-01"], r"every 2 or 3 months"),
    ],
)  # fmt: skip
def test_irregular_times_are_refused(times, words):
    with pytest.raises(DataError, match=f"irregular .*{words}"):
        infer_step(pd.DatetimeIndex(times))


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2000-01-01", "2000-12-31", "2000-01-01", "2000-12-31 23:59:59.999999999"),
        ("2000", "2001-02", "2000-01-01", "2001-02-28 23:59:59.999999999"),
        (None, "2000-01-01 12:00", None, "2000-01-01 12:00:59.999999999"),
    ],
)
def test_the_end_of_a_period_is_included(start, end, first, last):
    assert period(start, end) == (None if first is None else pd.Timestamp(first), pd.Timestamp(last))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("yesterday-ish", None, r"dataset\.start 'yesterday-ish' is not a date: write it as 2006-12-31"),
        (None, "2001-02-30", r"dataset\.end '2001-02-30' is not a date"),
        (None, "", r"dataset\.end '' is not a date"),
        ("2001-01-02", "2001-01-01", r"dataset\.end 2001-01-01 lies before dataset\.start 2001-01-02"),
    ],
)
def test_dates_that_cannot_be_are_refused(start, end, words):
    with pytest.raises(DataError, match=words):
        period(start, end)


def test_a_step_counts_months_as_the_calendar_has_them():
    assert Step(months=1).after(pd.Timestamp("2000-01-31")) == pd.Timestamp("2000-02-29")
    assert np.diff([Step(months=1).after(pd.Timestamp("2000-01-01"), n) for n in range(3)]).tolist() == [
        pd.Timedelta(days=31), pd.Timedelta(days=29)
    ]  # fmt: skip
