"""Means by calendar day, 1 January to 31 December with 29 February between, and their running mean round the year.

A smoothed mean is that of all steps that fall within half a window of the calendar day, in whatever year, so every
step counts once and 29 February weighs as much as it was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAYS = 366
NAMES = tuple(f"{day:%m-%d}" for day in pd.date_range("2000-01-01", "2000-12-31"))  # of a leap year
_BEFORE = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])  # days before each month


def calendar_day(times: pd.DatetimeIndex) -> NDArray[np.intp]:
    """The calendar day of each time step, 0 to 365; 1 March is 60 in every year."""
    return np.asarray(_BEFORE[times.month.to_numpy() - 1] + times.day.to_numpy() - 1, np.intp)


@dataclass
class DayTotals:
    """Sums over the steps of each calendar day.

    Attributes:
        count: steps (366,).
        trend: sum of their regressor of the trend (366,).
        total: sum of their fields (366, *shape).
    """

    count: NDArray[np.float64]
    trend: NDArray[np.float64]
    total: NDArray[np.float64]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> DayTotals:
        """Of no step."""
        return cls(np.zeros(DAYS), np.zeros(DAYS), np.zeros((DAYS, *shape)))

    def add(self, days: NDArray[np.intp], trend: NDArray[np.float64], fields: NDArray[np.floating]) -> None:
        """Takes in time steps: their calendar days (time,), trend regressor (time,) and fields (time, *shape)."""
        for day, position, field in zip(days, trend, fields, strict=True):
            self.count[day] += 1
            self.trend[day] += position
            self.total[day] += field

    def merge(self, other: DayTotals) -> None:
        """Takes in the steps of another part of the record."""
        self.count += other.count
        self.trend += other.trend
        for day in np.flatnonzero(other.count):
            self.total[day] += other.total[day]

    def means(self, trend: NDArray[np.float64] | float = 0.0, origin: float = 0.0) -> NDArray[np.float64]:
        """Mean field of each calendar day less trend * (regressor - origin), NaN for days without a step."""
        count = np.where(self.count > 0, self.count, np.nan).reshape(-1, *[1] * (self.total.ndim - 1))
        found = self.total / count
        if np.any(trend):
            found -= trend * (self.trend.reshape(count.shape) / count - origin)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What can be saved, by name."""
        return {"day_count": self.count, "day_trend": self.trend, "day_total": self.total}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> DayTotals:
        """What `arrays` gave."""
        return cls(arrays["day_count"], arrays["day_trend"], arrays["day_total"])


def smooth(means: NDArray[np.float64], count: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Running mean round the year.

    Args:
        means: of each calendar day (366, *shape), NaN where it has no step.
        count: steps of each (366,).
        window: calendar days of the running mean, odd.

    Returns:
        (366, *shape); NaN where a whole window has no step.
    """
    half = window // 2
    weight = count.reshape(-1, *[1] * (means.ndim - 1))
    totals = np.where(weight > 0, means, 0) * weight
    around = np.empty_like(means)
    for day in range(DAYS):
        days = np.arange(day - half, day + half + 1) % DAYS
        steps = count[days].sum()
        around[day] = totals[days].sum(axis=0) / steps if steps else np.nan
    return around
