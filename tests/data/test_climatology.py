from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data import climatology, daymeans, seasonal
from data.climatology import Fit, regressors
from data.daymeans import DayTotals
from data.errors import DataError
from data.moments import Moments
from data.options import Options

YEARS = pd.date_range("2001-01-01", "2004-12-31")
RNG = np.random.default_rng(0)


def options(**settings: object) -> Options:
    return Options.of(settings)


def fitted(values: np.ndarray, chosen: Options, chunk: int = 100, times: pd.DatetimeIndex = YEARS) -> Fit:
    """As the first pass does it: chunk by chunk, the season apart from the rest of the year."""
    design = regressors(times, chosen.harmonics, trend=chosen.detrend)
    used = np.ones(len(times), bool) if chosen.season is None else np.isin(times.month, chosen.season)
    sides = [Moments.empty(design.shape[1], values.shape[1:]) for _ in range(2)]
    days = DayTotals.empty(values.shape[1:])
    for first in range(0, len(values), chunk):
        part = np.arange(first, min(first + chunk, len(values)))
        for moments, side in zip(sides, (part[used[part]], part[~used[part]]), strict=True):
            if len(side):
                moments.merge(Moments.of(design[side], values[side]))
        days.add(daymeans.calendar_day(times[part]), climatology.years(times[part]), values[part])
    daily = chosen.deseasonalise and chosen.climatology == "daily_mean"
    return climatology.fit(
        chosen, sides[0], None if chosen.season is None else sides[1], days if daily else None
    )


def anomalies(values: np.ndarray, found: Fit, chosen: Options, times: pd.DatetimeIndex = YEARS) -> np.ndarray:
    return values - climatology.evaluate(found.coefficients, climatology.terms(chosen), times)


def test_a_pure_harmonic_is_its_own_climatology() -> None:
    truth = np.array([[[250.0, 280.0]], [[3, -4]], [[5, 2]], [[1, 0.5]], [[0.2, -2]]])  # (term, 1, 2)
    names = climatology.terms(options(harmonics=2))
    values = climatology.evaluate(truth, names, YEARS)
    found = fitted(values.astype(np.float32), options(harmonics=2))
    np.testing.assert_allclose(found.coefficients, truth, atol=1e-4)
    np.testing.assert_allclose(climatology.evaluate(found.coefficients, names, YEARS), values, atol=1e-4)
    np.testing.assert_allclose(found.variance, 0, atol=1e-8)


@pytest.mark.parametrize("chunk", [1, 97, len(YEARS)])
@pytest.mark.parametrize("detrend", [False, True])
def test_it_equals_least_squares_in_one_piece_whatever_the_chunks(chunk: int, detrend: bool) -> None:
    chosen = options(harmonics=3, detrend=detrend)
    values = 55000 + 900 * RNG.standard_normal((len(YEARS), 2, 3))
    matrix = np.column_stack([np.ones(len(YEARS)), regressors(YEARS, 3, trend=detrend)])
    terms, _, _, _ = np.linalg.lstsq(matrix, values.reshape(len(YEARS), -1), rcond=None)
    found = fitted(values, chosen, chunk)
    np.testing.assert_allclose(found.coefficients.reshape(len(terms), -1), terms, rtol=1e-9, atol=1e-7)
    residuals = (values.reshape(len(YEARS), -1) - matrix @ terms).reshape(values.shape)
    np.testing.assert_allclose(found.variance, (residuals**2).mean(axis=0), rtol=1e-9)


@pytest.mark.parametrize("season", [None, "DJF", [7]])
@pytest.mark.parametrize("climate", ["harmonics", "daily_mean"])
@pytest.mark.parametrize("detrend", [False, True])
def test_anomalies_of_the_steps_used_have_mean_0_and_the_variance_that_is_told(
    season: object, climate: str, detrend: bool
) -> None:
    chosen = options(season=season, climatology=climate, smoothing_days=15, harmonics=2, detrend=detrend)
    cycle = np.abs(np.sin(np.arange(len(YEARS)) / 58))[:, None, None] ** 3
    trend = 0.3 * climatology.years(YEARS)[:, None, None]
    values = 280 + 9 * cycle + trend + RNG.standard_normal((len(YEARS), 2, 2))
    found = fitted(values, chosen)
    used = np.ones(len(YEARS), bool) if chosen.season is None else np.isin(YEARS.month, chosen.season)
    left = anomalies(values, found, chosen)[used]
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found.variance, (left**2).mean(axis=0), rtol=1e-8)
    assert found.variance.max() < 2  # the cycle is gone


def test_the_smoothed_daily_mean_by_hand() -> None:
    chosen = options(climatology="daily_mean", smoothing_days=5)
    values = RNG.standard_normal((len(YEARS), 3))
    found = fitted(values, chosen)
    at = climatology.evaluate(found.coefficients, climatology.terms(chosen), YEARS)
    days = daymeans.calendar_day(YEARS)
    raw = np.stack([values[np.isin(days, (np.arange(d - 2, d + 3)) % 366)].mean(axis=0) for d in range(366)])
    offset = (values - raw[days]).mean(axis=0)
    np.testing.assert_allclose(at, raw[days] + offset, atol=1e-12)


def test_a_daily_mean_needs_no_29_february_in_every_year() -> None:
    times = pd.date_range("2001-01-01", "2003-12-31")  # without a leap day
    chosen = options(climatology="daily_mean", smoothing_days=31)
    found = fitted(RNG.standard_normal((len(times), 2)), chosen, times=times)
    leap = climatology.evaluate(
        found.coefficients, climatology.terms(chosen), pd.DatetimeIndex(["2004-02-29"])
    )
    assert np.isfinite(leap).all()


@pytest.mark.parametrize("climate", ["harmonics", "daily_mean"])
def test_a_planted_trend_is_found_and_nothing_else_taken_for_one(climate: str) -> None:
    chosen = options(climatology=climate, detrend=True)
    season = np.cos(2 * np.pi * seasonal.day_of_year(YEARS) / 365.2425)
    # half a year more of the second half: a trend fitted without the season would be bent
    times = YEARS[: 3 * 365 + 180]
    values = (5 * season + 0.7 * climatology.years(YEARS))[: len(times), None]
    found = fitted(values, chosen, times=times)
    np.testing.assert_allclose(found.coefficients[-1], 0.7, rtol=1e-6)
    np.testing.assert_allclose(
        anomalies(values, found, chosen, times), 0, atol=0.1 if climate == "daily_mean" else 1e-6
    )


def test_a_trend_alone_leaves_cycle_and_mean_in_place() -> None:
    chosen = options(deseasonalise=False, detrend=True)
    season = 5 * np.cos(2 * np.pi * np.arange(len(YEARS)) / 365.2425)[:, None]
    values = 280 + season + 0.7 * climatology.years(YEARS)[:, None]
    found = fitted(values, chosen)
    assert climatology.terms(chosen) == ("mean", "trend")
    left = anomalies(values, found, chosen)
    np.testing.assert_allclose(left, values.mean() + season - season.mean(), atol=1e-6)
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.variance, left.var(axis=0))


def test_with_the_cycle_left_in_nothing_is_subtracted() -> None:
    values = RNG.standard_normal((len(YEARS), 4))
    found = fitted(values, options(deseasonalise=False))
    np.testing.assert_array_equal(found.coefficients, 0)
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.variance, values.var(axis=0))


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(DataError, match="4 training steps do not determine a climatology of 3 harmonics: "):
        fitted(np.ones((4, 1)), options(), times=YEARS[:4])
    with pytest.raises(DataError, match=r"1 training steps do not determine .* and a trend"):
        fitted(np.ones((1, 1)), options(deseasonalise=False, detrend=True), times=YEARS[:1])
    with pytest.raises(DataError, match="no training step has data"):
        fitted(np.ones((0, 1)), options(deseasonalise=False), times=YEARS[:0])


def test_a_season_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(DataError, match=r"no day within 31 days of \d\d (November|December)"):
        climatology.check_coverage(YEARS[:270], YEARS[:365])
    with pytest.raises(
        DataError, match=r"no step within 2 days of 30 September: raise dataset.smoothing_days"
    ):
        climatology.check_smoothed(YEARS[:270], YEARS[:365], 5)


def test_new_year_is_near_december() -> None:
    climatology.check_coverage(YEARS[20:360], YEARS[:365])
    climatology.check_smoothed(YEARS[20:360], YEARS[:365], 51)


def test_calendar_days_go_on_after_a_leap_day() -> None:
    days = pd.DatetimeIndex(["2001-02-28", "2001-03-01", "2004-02-29", "2004-03-01", "2004-12-31"])
    assert daymeans.calendar_day(days).tolist() == [58, 60, 59, 60, 365]
    assert [daymeans.NAMES[day] for day in (58, 59, 60, 365)] == ["02-28", "02-29", "03-01", "12-31"]
