"""New data against what a run was trained on: put right where it does not matter, refused where it does."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import timeaxis
from data.errors import DataError
from data.matching import Kind, match

LATITUDE = np.array([60.0, 57.5, 55.0])
LONGITUDE = np.array([-10.0, -7.5, -5.0, -2.5])
UNITS = {"z500": "m2 s-2", "sst": "K"}


def kind(**changes: object) -> Kind:
    parts = {"variables": ("z500", "sst"), "units": UNITS, "latitude": LATITUDE, "longitude": LONGITUDE}
    return Kind(**(parts | {"step": timeaxis.Step(pd.Timedelta(days=1))} | changes))  # type: ignore[arg-type]


def make_raw(
    variables: tuple[str, ...] = ("z500", "sst"),
    times: pd.DatetimeIndex | None = None,
    latitude: np.ndarray = LATITUDE,
    longitude: np.ndarray = LONGITUDE,
) -> xr.Dataset:
    """A record whose every value is another one."""
    times = pd.date_range("2020-02-27", periods=5, freq="D") if times is None else times
    shape = (len(times), len(latitude), len(longitude))
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    dims = ("time", "latitude", "longitude")
    arrays = {
        name: (dims, values + 1000 * i, {"units": UNITS.get(name, "m s-1")})
        for i, name in enumerate(variables)
    }
    return xr.Dataset(arrays, coords={"time": times, "latitude": latitude, "longitude": longitude})


def test_what_matches_comes_back_as_it_is() -> None:
    xr.testing.assert_identical(match(make_raw(), kind()), make_raw())


def test_the_order_of_variables_is_put_right_and_others_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = make_raw(("u10", "sst", "z500"))
    found = match(raw, kind())
    assert list(found) == ["z500", "sst"]
    xr.testing.assert_identical(found["sst"], raw["sst"])
    assert "does not know u10" in caplog.text


def test_a_larger_area_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = make_raw(latitude=np.arange(65, 49, -2.5), longitude=np.arange(-20, 21, 2.5))
    found = match(raw, kind())
    xr.testing.assert_identical(found, raw.sel(latitude=LATITUDE, longitude=LONGITUDE))
    assert "cut to it: latitudes 60 to 55 by 2.5, longitudes -10 to -2.5 by 2.5" in caplog.text


def test_coordinates_in_single_precision_are_the_same_grid() -> None:
    raw = make_raw(latitude=LATITUDE + 3e-5, longitude=LONGITUDE - 3e-5)
    assert match(raw, kind()).sizes == make_raw().sizes


def test_missing_steps_stay_in_the_record_as_missing() -> None:
    times = pd.date_range("2020-02-27", periods=6, freq="D")
    raw = make_raw(times=times).isel(time=[0, 1, 4, 5])
    found = match(raw, kind())
    assert found["time"].values.tolist() == times.as_unit("ns").values.tolist()
    assert np.isnan(found["z500"][2:4]).all()
    np.testing.assert_array_equal(found["sst"][[0, 1, 4, 5]], raw["sst"])
    assert found["z500"].dtype == np.float32


def test_a_single_step_has_no_step_to_differ() -> None:
    raw = make_raw().isel(time=[0])
    xr.testing.assert_identical(match(raw, kind()), raw)


def test_a_single_point_is_a_grid() -> None:
    raw = make_raw(latitude=LATITUDE[:1], longitude=LONGITUDE[1:2])
    xr.testing.assert_identical(match(raw, kind(latitude=LATITUDE[:1], longitude=LONGITUDE[1:2])), raw)


def spelled(raw: xr.Dataset, units: str) -> xr.Dataset:
    raw["z500"].attrs["units"] = units
    return raw


def test_another_spelling_of_the_units_is_the_same_units() -> None:
    assert "z500" in match(spelled(make_raw(), "m**2 s**-2"), kind())


DAYS = pd.date_range("2020-02-27", periods=5, freq="D")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (make_raw(("z500",)), "the new data lack sst: the run was trained on z500, sst, and they hold z500;"),
        (make_raw(("t2m", "u10")), "the new data lack z500, sst"),
        (
            spelled(make_raw(), "m"),
            "z500 is in 'm' in the new data, and the run was trained on 'm2 s-2': convert",
        ),
        (spelled(make_raw(), ""), "z500 is in '' in the new data"),
        (
            make_raw(latitude=LATITUDE - 1),
            "the latitudes of the new data are 59 to 54 by 2.5, and the run was trained on 60 to 55 by 2.5",
        ),
        (
            make_raw(longitude=LONGITUDE[:2]),
            "the longitudes of the new data are -10 to -7.5 by 2.5, and the run",
        ),
        (make_raw(latitude=np.arange(60, 54, -1.25)), "the latitudes of the new data are 60 to 55 by 1.25"),
        (make_raw(latitude=LATITUDE[:1]), "the latitudes of the new data are 60 alone"),
        (
            make_raw(times=pd.date_range("2020-02-27", periods=5, freq="6h")),
            "the new data are every 6 hours, and the run was trained on daily fields: bring them to",
        ),
        (make_raw(times=pd.date_range("2020-02-01", periods=5, freq="MS")), "the new data are monthly"),
        (
            make_raw(times=DAYS + pd.to_timedelta([0, 0, 5, 0, 0], "h")),
            "the new data cannot be used: the time steps",
        ),
    ],
)
def test_what_differs_is_said_in_one_sentence(raw: xr.Dataset, words: str) -> None:
    with pytest.raises(DataError) as error:
        match(raw, kind())
    assert words in str(error.value)
    assert "\n" not in str(error.value)
