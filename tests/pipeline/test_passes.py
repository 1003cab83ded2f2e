"""The first pass against a computation in one piece, whatever is missing and however the record is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import climatology, fields, passes
from data.errors import DataError
from data.fields import Fields
from data.options import Options
from data.passes import Account
from pipeline.accounts import Accounts, Fitted

DAYS = pd.date_range("2003-12-20", periods=500)  # over a leap day
SHAPE = (4, 5)
CELL = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))


def record(missing_days: set[int], coast: set[tuple[int, int]], stray: set[tuple[int, int]]) -> xr.Dataset:
    """Two variables; the second misses whole days, a coast on all days, and some cells on one day."""
    rng = np.random.default_rng(0)
    cycle = 8 * np.cos(2 * np.pi * np.arange(len(DAYS)) / 365.2425)[:, None, None]
    values = (280 + cycle + rng.standard_normal((2, len(DAYS), *SHAPE))).astype(np.float32)
    values[1, sorted(missing_days)] = np.nan
    for row, column in coast:
        values[1, :, row, column] = np.nan
    for row, column in stray:
        values[1, 77, row, column] = np.nan
    coords = {"time": DAYS, "latitude": [60.0, 50, 40, 30], "longitude": [0.0, 10, 20, 30, 40]}
    dims = ("time", "latitude", "longitude")
    return xr.Dataset({"t2m": (dims, values[0]), "sst": (dims, values[1])}, coords=coords)


def fit(raw: xr.Dataset, folder: Path, fitted: np.ndarray, **options: object) -> Fitted:
    """Both variables, task by task."""
    found = Fields(raw, Options.of(options))
    accounts = Accounts(found, folder)
    for task in passes.tasks(found):
        accounts.take(task, passes.account(found, fitted, task))
    result = accounts.fitted()
    for path in folder.iterdir():
        path.unlink()
    return result


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    missing_days=st.sets(st.integers(0, len(DAYS) - 1), max_size=4),
    coast=st.sets(CELL, max_size=6),
    stray=st.sets(CELL, max_size=3),
    block=st.integers(1, 600),
    span=st.integers(1, 4),
    climate=st.sampled_from(["harmonics", "daily_mean"]),
    season=st.sampled_from([None, "NDJFM"]),
    first=st.integers(0, 60),
)
def test_it_equals_a_naive_computation_in_float64(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing_days: set[int],
    coast: set[tuple[int, int]],
    stray: set[tuple[int, int]],
    block: int,
    span: int,
    climate: str,
    season: str | None,
    first: int,
) -> None:
    raw = record(missing_days, coast, stray)
    monkeypatch.setattr(fields, "BLOCK_BYTES", 4 * 20 * block)
    monkeypatch.setattr(passes, "SPAN_BYTES", 4 * 20 * block * span)
    monkeypatch.setattr(passes, "DAYS_BYTES", 8 * 366 * 5 * 2)  # two bands of rows
    fitted = np.arange(len(DAYS)) >= first
    chosen = {"climatology": climate, "harmonics": 2, "smoothing_days": 61, "season": season}
    found = fit(raw, tmp_path, fitted, **chosen)
    values = raw["sst"].values.astype(np.float64)
    whole = np.isfinite(values).any(axis=(1, 2))
    mask = np.isfinite(values[whole]).all(axis=0)
    np.testing.assert_array_equal(found.present, whole)
    np.testing.assert_array_equal(found.mask, [np.ones(SHAPE, bool), mask])
    steps = (
        fitted
        & whole
        & (np.ones(len(DAYS), bool) if season is None else np.isin(DAYS.month, (11, 12, 1, 2, 3)))
    )
    names = climatology.terms(Options.of(chosen))
    left = values[steps] - climatology.evaluate(np.asarray(found.coefficients[1]), names, DAYS[steps])
    weight = np.where(mask, area(raw)[:, None], 0)
    weight /= weight.sum()
    np.testing.assert_allclose(left[:, mask].mean(axis=0), 0, atol=1e-9)
    variance = np.where(mask, (left**2).mean(axis=0), 0)
    np.testing.assert_allclose(found.scale[1], np.sqrt((weight * variance).sum()), rtol=1e-9)
    if climate == "harmonics" and season is None:
        matrix = np.column_stack([np.ones(steps.sum()), climatology.regressors(DAYS[steps], 2, trend=False)])
        terms = np.linalg.lstsq(matrix, values[steps][:, mask], rcond=None)[0]
        np.testing.assert_allclose(np.asarray(found.coefficients[1])[:, mask], terms, rtol=1e-8, atol=1e-8)


def area(raw: xr.Dataset) -> np.ndarray:
    return Fields(raw, Options()).area_weight


def test_bands_of_the_grid_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = record({3}, {(0, 0), (0, 1)}, {(2, 2)})
    every = np.ones(len(DAYS), bool)
    options = {"climatology": "daily_mean", "smoothing_days": 31, "detrend": True}
    whole = fit(raw, tmp_path, every, **options)
    monkeypatch.setattr(passes, "DAYS_BYTES", 1)
    assert len(passes.bands(Fields(raw, Options.of(options)))) == SHAPE[0]
    cut = fit(raw, tmp_path, every, **options)
    np.testing.assert_allclose(whole.coefficients, cut.coefficients, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whole.scale, cut.scale, rtol=1e-12)


@pytest.mark.parametrize("climate", ["harmonics", "daily_mean"])
def test_a_variable_that_is_missing_everywhere_is_refused(tmp_path: Path, climate: str) -> None:
    raw = record(set(range(len(DAYS))), set(), set())
    with pytest.raises(DataError, match="sst has no grid cell where it is never missing"):
        fit(raw, tmp_path, np.ones(len(DAYS), bool), climatology=climate)


def test_a_variable_that_is_missing_in_training_alone_is_refused(tmp_path: Path) -> None:
    raw = record(set(range(400)), set(), set())
    with pytest.raises(DataError, match="0 training steps do not determine"):
        fit(raw, tmp_path, np.arange(len(DAYS)) < 400)


def test_an_account_survives_being_saved() -> None:
    found = Fields(record({3}, {(1, 1)}, set()), Options.of({"season": "DJF", "climatology": "daily_mean"}))
    account = passes.account(found, np.ones(len(DAYS), bool), passes.tasks(found)[-1])
    again = Account.from_arrays(account.arrays())
    for name, values in account.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], values)
    assert again.unused is not None
    assert again.days is not None
