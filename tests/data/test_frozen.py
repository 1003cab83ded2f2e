"""A preparation applied to new records; the prepared stores are made by hand, with known statistics."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import climatology, seasonal
from data.errors import DataError
from data.frozen import Frozen
from data.options import Options

LATITUDE = np.arange(60.0, 39, -5)
LONGITUDE = np.arange(-20.0, 21, 5)
UNITS = {"z500": "m2 s-2", "si10": "m s-1"}
YEAR = pd.date_range("2001-01-01", periods=400)
DAYS = pd.date_range("2004-02-20", periods=20)


def prepared(times: pd.DatetimeIndex = YEAR, **settings: object) -> xr.Dataset:
    options = Options.of({"harmonics": 1, **settings})
    size = options.coarsen
    latitude = LATITUDE[: len(LATITUDE) // size * size].reshape(-1, size).mean(axis=1)
    longitude = LONGITUDE[: len(LONGITUDE) // size * size].reshape(-1, size).mean(axis=1)
    shape = (2, len(latitude), len(longitude))
    mask = np.ones(shape, bool)
    mask[1, 0, :2] = False
    names = climatology.terms(options)
    coefficients = np.random.default_rng(0).normal(5, 1, (2, len(names), *shape[1:]))
    dims = ("variable", "latitude", "longitude")
    season, features = seasonal.encode(times, 2)
    return xr.Dataset(
        {
            "x": (("time", *dims), np.zeros((len(times), *shape), np.float32)),
            "season": (("time", "season_feature"), season),
            "mask": (dims, mask),
            "mean": ("variable", np.zeros(2)),
            "scale": ("variable", np.array([100.0, 2.0])),
            "climatology_coefficient": (("variable", "term", *dims[1:]), coefficients),
            "fitted_time": ("fitted_step", times[:200]),
        },
        coords={
            "time": times,
            "variable": ["z500", "si10"],
            "term": list(names),
            "latitude": latitude,
            "longitude": longitude,
            "season_feature": features,
        },
        attrs={"units": json.dumps(UNITS), "preparation": json.dumps(options.settings())},
    )


def raw(times: pd.DatetimeIndex = DAYS, longitude: np.ndarray = LONGITUDE) -> xr.Dataset:
    rng = np.random.default_rng(1)
    shape = (len(times), len(LATITUDE), len(longitude))
    units = {"v10": "m s-1", "u10": "m s-1", "z500": "m2 s-2", "msl": "Pa"}
    arrays = {
        name: (("time", "latitude", "longitude"), rng.normal(9, 3, shape).astype(np.float32), {"units": unit})
        for name, unit in units.items()
    }
    return xr.Dataset(arrays, coords={"time": times, "latitude": LATITUDE, "longitude": longitude})


def expected(store: xr.Dataset, fields: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
    names = [str(name) for name in store["term"].values]
    cycle = np.stack(
        [climatology.evaluate(terms, names, times) for terms in store["climatology_coefficient"].values],
        axis=1,
    )
    x = (fields - cycle) / store["scale"].values[:, None, None]
    return np.where(store["mask"], x, 0)


def physical(record: xr.Dataset) -> np.ndarray:
    return np.stack([record["z500"], np.hypot(record["u10"], record["v10"])], axis=1)


def test_new_days_go_through_the_statistics_of_the_store() -> None:
    store = prepared(fields=["z500", "si10"])
    found = Frozen.of(store).apply(raw())
    np.testing.assert_allclose(found["x"].values, expected(store, physical(raw()), DAYS), atol=1e-5)
    assert found["x"].dtype == np.float32
    assert found["present"].values.all()
    assert not found["lacking"].values.any()
    np.testing.assert_array_equal(found["season"].values, seasonal.encode(DAYS, 2)[0])


def test_one_step_is_enough() -> None:
    found = Frozen.of(prepared(fields=["z500", "si10"])).apply(raw(DAYS[:1]))
    assert found["x"].shape == (1, 2, 5, 9)


def test_a_larger_grid_is_cut() -> None:
    wide = raw(longitude=np.arange(-180.0, 180, 5))
    found = Frozen.of(prepared(fields=["z500", "si10"])).apply(wide)
    cut = wide.sel(longitude=slice(-20, 20))
    np.testing.assert_allclose(found["x"].values, expected(prepared(), physical(cut), DAYS), atol=1e-5)


def test_blocks_are_those_of_the_run_also_out_of_a_larger_grid() -> None:
    frozen = Frozen.of(prepared(fields=["z500", "si10"], coarsen=2))
    wide = raw(longitude=np.arange(-180.0, 180, 5))
    same = frozen.apply(wide.sel(longitude=slice(-20, 20)))
    np.testing.assert_allclose(frozen.apply(wide)["x"].values, same["x"].values, atol=1e-6)
    assert same["x"].shape[2:] == (2, 4)


def test_missing_days_stay_in_as_missing() -> None:
    record = raw().isel(time=[0, 1, 2, 4, 5])
    record["u10"][1] = np.nan
    record["z500"][2, 0] = np.nan
    found = Frozen.of(prepared(fields=["z500", "si10"])).apply(record)
    assert found["time"].size == 6
    assert found["present"].values.tolist() == [True, False, True, False, True, True]
    np.testing.assert_allclose(found["lacking"].values, [0, 1, 1 / 5, 1, 0, 0])


def test_steps_out_of_season_are_left_out() -> None:
    found = Frozen.of(prepared(fields=["z500", "si10"], season="DJF")).apply(raw())
    assert found["time"].values[-1] == np.datetime64("2004-02-29")


def test_hours_become_days_as_in_the_run() -> None:
    store = prepared(fields=["z500", "si10"], frequency="daily")
    hourly = raw(pd.date_range("2004-02-27", periods=72, freq="h"))
    means = physical(hourly).astype(np.float64).reshape(3, 24, 2, 5, 9).mean(axis=1)
    found = Frozen.of(store).apply(hourly)
    np.testing.assert_allclose(
        found["x"].values, expected(store, means, pd.date_range("2004-02-27", periods=3)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.drop_vars("z500"), "lack z500"),
        (lambda one: one.drop_vars("u10"), "has no u10"),
        (lambda one: one.assign(z500=one["z500"].assign_attrs(units="m")), "z500 is in 'm'"),
        (lambda one: one.isel(longitude=slice(1, None)), "longitudes of the new data are -15 to 20 by 5"),
        (
            lambda one: one.assign_coords(latitude=one["latitude"] + 1),
            "latitudes of the new data are 61 to 41",
        ),
        (lambda one: one.isel(time=slice(None, None, 5)), "the new data are every 5 days"),
    ],
)
def test_data_of_another_kind_are_refused(change: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Frozen.of(prepared(fields=["z500", "si10"])).apply(change(raw()))  # type: ignore[operator]


def test_a_store_that_does_not_say_how_it_was_prepared_is_refused() -> None:
    store = prepared()
    del store.attrs["preparation"]
    with pytest.raises(DataError, match="does not say how it was prepared: run prepare again"):
        Frozen.of(store)
