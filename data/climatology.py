"""The climatology that is subtracted: annual harmonics or a smoothed mean by calendar day, and a linear trend.

Fitted at every grid cell from moments that are accumulated chunk by chunk (data.moments, data.daymeans), so memory
is bounded by the chunk and the number of terms. Harmonics and trend are one least-squares fit: with C the comoments
of regressors a and field x, slopes = C(a, a)^-1 C(a, x). A trend under a calendar-day mean is fitted with harmonics
beside it, so that seasons that the record holds more often do not bend it. The whole year is fitted even where one
season is used; the level is then that of the season's steps, so that their anomalies have mean 0 at every cell.

Supports any step; does not model the cycle of the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import daymeans, seasonal
from data.daymeans import DayTotals
from data.errors import DataError
from data.moments import Moments
from data.options import Options

MAX_DAYS_APART = 31  # farther from any fitted day of the year, harmonics are extrapolation
TREND_ORIGIN = pd.Timestamp("2000-01-01")

Coefficients = NDArray[np.float64] | xr.DataArray


def years(times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """The regressor of the trend: years of 365.2425 days since 2000."""
    return np.asarray((times - TREND_ORIGIN) / pd.Timedelta(days=seasonal.DAYS_PER_YEAR), np.float64)


def regressors(times: pd.DatetimeIndex, harmonics: int, *, trend: bool) -> NDArray[np.float64]:
    """Annual harmonics, and the trend last, (time, 2 * harmonics + trend)."""
    columns = [seasonal.harmonics(times, harmonics)]
    return np.concatenate([*columns, years(times)[:, None]] if trend else columns, axis=1)


def terms(options: Options) -> tuple[str, ...]:
    """Names of the coefficients that the options ask for."""
    found: tuple[str, ...] = ("mean",)
    if options.deseasonalise and options.climatology == "daily_mean":
        found = daymeans.NAMES
    elif options.deseasonalise:
        found += tuple(f"{f}_{m}" for m in range(1, options.harmonics + 1) for f in ("sin", "cos"))
    return (*found, "trend") if options.detrend else found


def evaluate(
    coefficients: Coefficients, names: Sequence[str], times: pd.DatetimeIndex
) -> NDArray[np.float64]:
    """The climatology of one variable at given times.

    Args:
        coefficients: (term, *shape); of an xarray array just the terms that are needed are read.
        names: of the terms, as `terms` gives them.
        times: the time steps.

    Returns:
        (time, *shape).
    """
    trend = names[-1] == "trend"
    if names[0] == "mean":
        harmonics = (len(names) - 1 - trend) // 2
        design = np.concatenate([np.ones((len(times), 1)), regressors(times, harmonics, trend=trend)], axis=1)
        every = np.asarray(coefficients)
        return np.asarray((design @ every.reshape(len(every), -1)).reshape(len(times), *every.shape[1:]))
    wanted, position = np.unique(daymeans.calendar_day(times), return_inverse=True)
    found = np.asarray(coefficients[wanted])[position]
    if trend:
        found += np.multiply.outer(years(times), np.asarray(coefficients[-1]))
    return found


@dataclass(frozen=True)
class Fit:
    """The climatology of a variable and what it leaves.

    Attributes:
        coefficients: (term, *shape).
        mean: of what is left over the season's fitted steps (*shape): 0 where the cycle is subtracted.
        variance: of what is left about that mean (*shape).
    """

    coefficients: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def fit(options: Options, used: Moments, unused: Moments | None, days: DayTotals | None) -> Fit:
    """Solves for the climatology.

    Args:
        options: which terms are fitted and which are subtracted.
        used: moments of the season's steps.
        unused: moments of the rest of the year, None where the whole year is used.
        days: sums by calendar day of all of them, for a calendar-day mean.

    Raises:
        DataError: if the steps do not determine the terms.
    """
    slopes = _slopes(options, used if unused is None else used.merged(unused))
    if days is not None:
        return _daily(options, used, days, slopes)
    if options.deseasonalise:
        level = used.mean_x - np.einsum("k...,k->...", slopes, used.mean_a)
        variance = used.residual_squares(slopes) / max(used.count, 1)
        return Fit(np.concatenate([level[None], slopes]), np.zeros_like(level), variance)
    slopes[: 2 * options.harmonics] = 0  # fitted beside the trend, and left in
    variance = used.residual_squares(slopes) / max(used.count, 1)
    level = -np.einsum("k...,k->...", slopes, used.mean_a)
    return Fit(np.concatenate([level[None], slopes[2 * options.harmonics :]]), used.mean_x, variance)


def _slopes(options: Options, moments: Moments) -> NDArray[np.float64]:
    if not len(moments.aa):
        if not moments.count:
            raise DataError("no training step has data: give a longer record, or another reference period.")
        return np.zeros_like(moments.ax)
    spread = np.sqrt(np.diag(moments.aa))
    if moments.count <= len(spread) or np.linalg.matrix_rank(moments.aa / np.outer(spread, spread)) < len(
        spread
    ):
        what = f"a climatology of {options.harmonics} harmonics" + (" and a trend" if options.detrend else "")
        raise DataError(
            f"{moments.count} training steps do not determine {what}: lower dataset.harmonics, set "
            f"dataset.{'detrend' if options.detrend else 'deseasonalise'}=false, or give a longer record."
        )
    flat = moments.ax.reshape(len(spread), -1)
    return np.linalg.solve(moments.aa, flat).astype(np.float64).reshape(moments.ax.shape)


def _daily(options: Options, used: Moments, days: DayTotals, slopes: NDArray[np.float64]) -> Fit:
    """Means by calendar day of the record without its trend, smoothed."""
    slopes[: 2 * options.harmonics] = 0
    trend = slopes[-1] if options.detrend else np.zeros_like(used.mean_x)
    origin = float(used.mean_a[-1]) if options.detrend else 0.0
    means = days.means(trend, origin)
    smoothed = daymeans.smooth(means, days.count, options.smoothing_days)
    squares = used.residual_squares(slopes)
    apart = np.zeros_like(used.mean_x)
    in_season = np.flatnonzero((days.count > 0) & options.uses_calendar_days())
    for day in in_season:
        apart += days.count[day] * (means[day] - smoothed[day])
    apart /= max(used.count, 1)
    smoothed += apart  # the season's anomalies have mean 0
    for day in in_season:
        squares += days.count[day] * ((means[day] - smoothed[day]) ** 2 - (means[day] - used.mean_x) ** 2)
    variance = np.maximum(squares, 0) / max(used.count, 1)
    coefficients = np.concatenate([smoothed - trend * origin, trend[None]]) if options.detrend else smoothed
    return Fit(coefficients, np.zeros_like(used.mean_x), variance)


def check_coverage(fitted: pd.DatetimeIndex, wanted: pd.DatetimeIndex) -> None:
    """Checks that every wanted time of the year has a fitted one near it.

    Raises:
        DataError: if the climatology would be extrapolated by more than 31 days.
    """
    days = np.unique(np.floor(seasonal.day_of_year(fitted)))
    around = np.concatenate([days - seasonal.DAYS_PER_YEAR, days, days + seasonal.DAYS_PER_YEAR])
    position = seasonal.day_of_year(wanted)
    after = np.clip(np.searchsorted(around, position), 1, len(around) - 1)
    apart = np.minimum(np.abs(around[after] - position), np.abs(position - around[after - 1]))
    if apart.size and apart.max() > MAX_DAYS_APART:
        worst = wanted[int(apart.argmax())]
        raise DataError(
            f"the training period has no day within {MAX_DAYS_APART} days of {worst:%d %B}, so a climatology fitted "
            "on it says nothing there: set dataset.deseasonalise=false, or give at least a year to train on."
        )


def check_smoothed(fitted: pd.DatetimeIndex, wanted: pd.DatetimeIndex, window: int) -> None:
    """Checks that every wanted calendar day has a fitted step within half a window.

    Raises:
        DataError: naming a day that has none.
    """
    seen = np.zeros(daymeans.DAYS, bool)
    for shift in range(-(window // 2), window // 2 + 1):
        seen[(daymeans.calendar_day(fitted) + shift) % daymeans.DAYS] = True
    lacking = wanted[~seen[daymeans.calendar_day(wanted)]]
    if len(lacking):
        raise DataError(
            f"the training period has no step within {window // 2} days of {lacking[0]:%d %B}: raise "
            "dataset.smoothing_days, or set dataset.climatology=harmonics."
        )
