"""Prepare on records of any shape and damage: what comes out is finite, and what is turned back is what went in."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from data import frozen, store
from data.errors import DataError
from data.fields import Fields
from data.options import Options
from data.periods import Periods
from pipeline import prepare
from pipeline.compute import Workers

SPLIT = {"validation": 0.15, "test": 0.15, "gap": 2, "validation_start": None, "test_start": None}
WINDOW = 4


def record(values: np.ndarray) -> xr.Dataset:
    """A record of one variable, (time, latitude, longitude), from the first of 2000 on."""
    steps, rows, columns = values.shape
    coords = {
        "time": pd.date_range("2000-01-01", periods=steps, freq="D"),
        "latitude": 60 - 2.5 * np.arange(rows),
        "longitude": -20 + 2.5 * np.arange(columns),
    }
    attrs = {"units": "K", "long_name": "2 metre temperature"}
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), values.astype(np.float32), attrs)}, coords)


def prepared(raw: xr.Dataset, **options: object) -> xr.Dataset:
    """What prepare writes of a record."""
    fields = Fields(raw, Options.of({"deseasonalise": False, **options}))
    periods = Periods(fields, SPLIT, WINDOW)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        fitted = prepare.fit(fields, periods, Path(folder), Workers(pool, 1))
        prepare.write(fields, periods, fitted, Path(folder), Path(folder) / "whole", Workers(pool, 1))
        return store.open_store(Path(folder) / "whole").load()


@st.composite
def values(draw: st.DrawFn) -> np.ndarray:
    """Fields that vary, of any size and level, with cells and days that are missing."""
    shape = (draw(st.integers(40, 60)), draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    level, spread = draw(st.sampled_from((0.0, 250.0, -3.0))), draw(st.sampled_from((1e-2, 1.0, 40.0)))
    found = level + spread * rng.normal(size=shape)
    cells = rng.random(shape[1:]) < draw(st.sampled_from((0.0, 0.4)))
    cells.flat[0] = False
    found[:, cells] = np.nan
    found[rng.random(shape[0]) < draw(st.sampled_from((0.0, 0.1)))] = np.nan
    return found


@given(values(), st.sampled_from(("variable", "cell")), st.booleans())
@settings(max_examples=15)
def test_what_is_prepared_is_finite_and_can_be_turned_back(
    raw: np.ndarray, standardise: str, detrend: bool
) -> None:
    there = ~np.isnan(raw).all(axis=(1, 2))
    try:
        found = prepared(record(raw), standardise=standardise, detrend=detrend, harmonics=0)
    except DataError:
        if there.all():
            raise
        return  # so many days are missing that no window is left
    x, mask = found["x"].values[:, 0], found["mask"].values[0]
    np.testing.assert_array_equal(mask, ~np.isnan(raw[there]).any(axis=0))
    assert np.isfinite(x).all()
    assert (x[:, ~mask] == 0).all()
    assert (found["split"].values[~there] == -1).all()
    back = frozen.statistics_of(found).restore(found["x"].values, pd.DatetimeIndex(found["time"].values))[
        :, 0
    ]
    size = np.nanmax(np.abs(raw))
    np.testing.assert_allclose(back[there][:, mask], raw[there][:, mask], rtol=1e-5, atol=2e-6 * size)
    assert np.isnan(back[:, ~mask]).all()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (np.full((60, 2, 2), 280.0), "t2m does not vary over the training period"),
        (np.full((60, 2, 2), np.nan), "missing|never missing|no "),
        (np.random.default_rng(0).normal(size=(1, 2, 2)), "too short for dataset.split and window.length"),
        (np.random.default_rng(0).normal(size=(11, 2, 2)), "too short for dataset.split and window.length"),
    ],
    ids=["constant", "missing", "one step", "a few steps"],
)
def test_a_record_that_tells_nothing_is_refused(raw: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says) as told:
        prepared(record(raw))
    assert "\n" not in str(told.value)
