"""The step of a time axis and what is missing on it.

Supports steps of constant length (hourly, 6-hourly, daily, every five days) and of whole calendar months
(monthly, seasonal, yearly), also where steps are missing, as long as most are there. Does not support
calendars without leap days, nor several steps in one axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.errors import DataError

_NAMED = {pd.Timedelta(hours=1): "hourly", pd.Timedelta(days=1): "daily"}
_NAMED_MONTHS = {1: "monthly", 12: "yearly"}
_SHORTEST_MONTH = pd.Timedelta(days=28)


@dataclass(frozen=True)
class Step:
    """The step of an axis: a length of time, or a number of calendar months."""

    length: pd.Timedelta | None = None
    months: int | None = None

    def __str__(self) -> str:
        if self.months is not None:
            return _NAMED_MONTHS.get(self.months, f"every {self.months} months")
        length = self.length or pd.Timedelta(0)
        hours = length / pd.Timedelta(hours=1)
        if hours < 1:
            return f"every {60 * hours:g} minutes"
        return _NAMED.get(length, f"every {hours:g} hours" if hours <= 48 else f"every {hours / 24:g} days")

    def after(self, time: pd.Timestamp, steps: int = 1) -> pd.Timestamp:
        """The time so many steps later."""
        if self.months is not None:
            return time + pd.DateOffset(months=self.months * steps)
        return time + (self.length or pd.Timedelta(0)) * steps


def infer_step(times: pd.DatetimeIndex) -> Step | None:
    """The step of increasing, distinct times, some of which may be missing; None for fewer than two.

    Months are recognised by one time a month, wherever in the month it stands (first day, middle).

    Raises:
        DataError: the times keep to no step.
    """
    if len(times) < 2:
        return None
    gaps = pd.TimedeltaIndex(np.diff(times.values))
    values, counts = np.unique(gaps, return_counts=True)
    length = pd.Timedelta(values[counts.argmax()])
    if len(values) > 1 and gaps.min() >= _SHORTEST_MONTH:
        return Step(months=_month_step(times))
    if (gaps % length != pd.Timedelta(0)).any():
        odd = int(np.flatnonzero(gaps % length != pd.Timedelta(0))[0])
        raise DataError(
            f"the time steps are irregular ({Step(length)} mostly, but {times[odd]:%Y-%m-%d %H:%M} is "
            f"followed by {times[odd + 1]:%Y-%m-%d %H:%M})."
        )
    return Step(length)


def _months(times: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray(times.year * 12 + times.month - 1)


def _month_step(times: pd.DatetimeIndex) -> int:
    gaps = np.diff(_months(times))
    if (gaps == 0).any():
        raise DataError(f"the time steps are irregular (two in {times[int(np.argmin(gaps))]:%B %Y}).")
    values, counts = np.unique(gaps, return_counts=True)
    step = int(values[counts.argmax()])
    if (gaps % step).any():
        raise DataError(f"the time steps are irregular (every {' or '.join(map(str, values))} months).")
    return step


def complete(times: pd.DatetimeIndex, step: Step | None) -> pd.DatetimeIndex:
    """The axis from the first to the last of `times` with every step on it, the given times among them."""
    if step is None:
        return times
    if step.months is None:
        return pd.date_range(times[0], times[-1], freq=step.length, unit="ns")
    wanted = np.arange(_months(times)[0], _months(times)[-1] + 1, step.months)
    stamps = pd.Series(times, index=_months(times)).reindex(wanted)
    starts = pd.DatetimeIndex([pd.Timestamp(year=m // 12, month=m % 12 + 1, day=1) for m in wanted])
    # A missing month stands where the first of the record stands in its month.
    offset = times[0] - times[0].to_period("M").start_time
    return pd.DatetimeIndex(stamps.fillna(pd.Series(starts + offset, index=wanted))).as_unit("ns")


def period(start: str | None, end: str | None) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    """First and last moment of a period; '2006', '2006-12' and '2006-12-31' as an end include all of it.

    Raises:
        DataError: a date cannot be read, or the end lies before the start.
    """
    first = _date(start, "dataset.start")
    last = _date(end, "dataset.end")
    if first is not None and last is not None and last.end_time < first.start_time:
        raise DataError(f"dataset.end {end} lies before dataset.start {start}: swap them.")
    return (
        None if first is None else first.start_time.as_unit("ns"),
        None if last is None else (last + 1).start_time.as_unit("ns") - pd.Timedelta(1, "ns"),
    )


def _date(text: str | None, option: str) -> pd.Period | None:
    if text is None:
        return None
    try:
        date = pd.Period(str(text))
    except ValueError as error:
        raise DataError(f"{option} '{text}' is not a date: write it as 2006-12-31.") from error
    if pd.isna(date):
        raise DataError(f"{option} '{text}' is not a date: write it as 2006-12-31.")
    return date
