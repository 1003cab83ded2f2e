"""Files of any form that a producer may choose, right or wrong: what is read is the field, or it is refused.

What is to come out is computed here from the times, latitudes and longitudes that come out, by a formula that needs
nothing of the reader.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import store
from data.errors import DataError
from data.sources.files import FilesSource

FIRST = pd.Timestamp("2000-02-27")
EPOCHS = {
    "hours since 2000-01-01": pd.Timedelta(0),
    "hours since 1999-12-31 22:00:00": pd.Timedelta(hours=2),
    "hours since 2000-01-01 01:00:00+01:00": pd.Timedelta(0),
    "hours since 1999-12-31 19:00:00 -05:00": pd.Timedelta(0),
    "hours since 2000-01-01T00:00:00Z": pd.Timedelta(0),
    "hours since 1970-01-01": pd.Timestamp("2000-01-01") - pd.Timestamp("1970-01-01"),
}


class Quantity(NamedTuple):
    """A variable: its name in the raw store, names in files, and its units as (units, factor, offset) from SI."""

    name: str
    called: tuple[str, ...]
    units: tuple[tuple[str, float, float], ...]
    middle: float
    spread: float


QUANTITIES = (
    Quantity(
        "t2m", ("t2m", "2m_temperature", "VAR_2T", "tas"),
        (("K", 1, 0), ("degC", 1, -273.15), ("Celsius", 1, -273.15)), 280, 15,
    ),
    Quantity(
        "msl", ("msl", "mean_sea_level_pressure", "psl", "prmsl"),
        (("Pa", 1, 0), ("hPa", 0.01, 0), ("millibars", 0.01, 0)), 101000, 2500,
    ),
    Quantity(
        "u10", ("u10", "10m_u_component_of_wind", "uas"),
        (("m s-1", 1, 0), ("m/s", 1, 0), ("m s**-1", 1, 0)), 0, 20,
    ),
)  # fmt: skip


def field(of: Quantity, times: pd.DatetimeIndex, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """The truth in SI units: a number that tells time, latitude and meridian."""
    hours = ((times - FIRST) / pd.Timedelta(hours=1)).to_numpy(np.float64)
    east = np.deg2rad(longitude)
    shape = np.sin(hours / 37)[:, None, None] / 3 + (np.sin(np.deg2rad(latitude)) / 3)[None, :, None]
    return of.middle + of.spread * (shape + ((np.cos(east) + np.sin(east) / 2) / 5)[None, None, :])


@st.composite
def files(draw: st.DrawFn) -> tuple[xr.Dataset, Quantity, dict[str, Any]]:
    """A file with one variable in one of many forms, and how it is stored."""
    of = draw(st.sampled_from(QUANTITIES))
    units, factor, offset = draw(st.sampled_from(of.units))
    step = draw(st.sampled_from((1, 6, 24, 120)))
    times = pd.date_range(FIRST, periods=draw(st.integers(1, 5)), freq=f"{step}h")
    latitude = 60 - 2.5 * np.arange(draw(st.integers(1, 4)))
    west = draw(st.sampled_from((-180, -177.5, -20, 0, 170, 357.5)))
    longitude = west + 2.5 * np.arange(draw(st.integers(1, 5)))
    longitude = longitude % 360 if draw(st.booleans()) else (longitude + 180) % 360 - 180
    rows, columns, steps = (draw(st.permutations(range(len(a)))) for a in (latitude, longitude, times))
    latitude, longitude, times = latitude[rows], longitude[columns], times[list(steps)]
    values = field(of, times, latitude, longitude) * factor + offset
    epoch = draw(st.sampled_from(list(EPOCHS)))
    since = (times - pd.Timestamp("2000-01-01") + EPOCHS[epoch]) / pd.Timedelta(hours=1)
    kind = draw(st.sampled_from(("float64", "float32", "int64", "int32")))
    dims = draw(st.sampled_from((("time", "latitude", "longitude"), ("longitude", "time", "latitude"))))
    dataset = xr.Dataset(
        {draw(st.sampled_from(of.called)): (("time", "latitude", "longitude"), values, {"units": units})},
        {
            "time": (
                "time",
                since.to_numpy().astype(kind),
                {"units": epoch, "calendar": "proleptic_gregorian"},
            ),
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
    ).transpose(*dims)
    names = draw(st.sampled_from(({}, {"latitude": "lat", "longitude": "lon"}, {"time": "valid_time"})))
    return dataset.rename(names), of, draw(stored(values))


@st.composite
def stored(draw: st.DrawFn, values: np.ndarray) -> dict[str, Any]:
    """How values are stored: whole, in half the digits, or packed with a factor of either sign."""
    form = draw(st.sampled_from(("float64", "float32", "int16", "int32", "negative")))
    if form.startswith("float"):
        return {"dtype": form}
    low, high = values.min(), values.max()
    bits = {"int32": 30}.get(form, 14)
    scale = max((high - low) / 2**bits, 1e-6) * (-1 if form == "negative" else 1)
    fill = -32767 if bits == 14 else -(2**31) + 1
    kind = "int32" if form == "int32" else "int16"
    return {"dtype": kind, "scale_factor": scale, "add_offset": (low + high) / 2, "_FillValue": fill}


def write(folder: str, dataset: xr.Dataset, encoding: dict[str, Any]) -> Path:
    path = Path(folder, "a.nc")
    name = next(iter(dataset.data_vars))
    dataset.to_netcdf(path, engine="netcdf4", encoding={name: encoding})
    return path


@given(files())
def test_a_right_file_gives_the_field_whatever_its_form(
    made: tuple[xr.Dataset, Quantity, dict[str, Any]],
) -> None:
    dataset, of, encoding = made
    with tempfile.TemporaryDirectory() as folder:
        found = FilesSource(write(folder, dataset, encoding)).open()
        store.check_raw(found)
        found = found.load()
    assert list(found.data_vars) == [of.name]
    times = pd.DatetimeIndex(found["time"].values)
    assert len(times) == dataset[next(iter(dataset.data_vars))].sizes.get(
        "time", dataset.sizes.get("valid_time")
    )
    assert times[0] == FIRST
    truth = field(of, times, found["latitude"].values, found["longitude"].values)
    precision = abs(encoding.get("scale_factor", 0)) * {"hPa": 100, "millibars": 100}.get(
        next(iter(dataset.data_vars.values())).attrs["units"], 1
    )
    np.testing.assert_allclose(found[of.name].values, truth, rtol=3e-7, atol=0.51 * precision + 1e-5)


def base(**options: Any) -> xr.Dataset:
    """A right file: six days of temperature over a leap day."""
    times = pd.date_range(FIRST, periods=6, freq="D")
    latitude, longitude = np.array([50.0, 45.0, 40.0]), np.array([-10.0, -5.0, 0.0, 5.0])
    of = QUANTITIES[0]
    hours = ((times - pd.Timestamp("2000-01-01")) / pd.Timedelta(hours=1)).to_numpy()
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), field(of, times, latitude, longitude), {"units": "K"})},
        {
            "time": ("time", hours, {"units": "hours since 2000-01-01"} | options),
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
    )


def refusal(dataset: xr.Dataset, encoding: dict[str, Any] | None = None, **options: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, dataset, encoding or {})
        with pytest.raises(DataError) as told:
            FilesSource(path, **options).open().load()
    sentence = str(told.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence


def changed(at: tuple[int, int, int], value: float) -> xr.Dataset:
    dataset = base()
    dataset["t2m"].values[at] = value
    return dataset


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)),
    st.sampled_from((np.inf, -np.inf, 1e30, -1e30, 0.0, -273.15, 1e-300, 20.0, 100.0, 401.0)),
)
@settings(max_examples=25)
def test_one_impossible_value_anywhere_is_found(at: tuple[int, int, int], value: float) -> None:
    assert "outside the" in refusal(changed(at, value))


@given(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)))
@settings(max_examples=10)
def test_one_missing_value_is_missing_and_nothing_else_is(at: tuple[int, int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = FilesSource(write(folder, changed(at, np.nan), {})).open().load()
    assert np.argwhere(np.isnan(found["t2m"].values)).tolist() == [list(at)]


@pytest.mark.parametrize(
    ("units", "factor", "offset", "stated", "name", "says"),
    [
        ("K", 1, -273.15, "degC for K", "t2m", "look like degrees Celsius"),
        ("degC", 1, 0, "K for degC", "t2m", "outside the"),
        ("Pa", 0.01, 0, "hPa for Pa", "msl", "outside the"),
        ("hPa", 1, 0, "Pa for hPa", "msl", "outside the"),
        ("kPa", 1, 0, "Pa for kPa", "msl", "outside the|is expected in"),
        ("m", 1, 0, "not a pressure", "msl", "is expected in 'Pa'"),
        ("", 1, 0, "none", "t2m", "has no units"),
    ],
)
def test_units_that_are_not_what_they_say(
    units: str, factor: float, offset: float, stated: str, name: str, says: str
) -> None:
    of = next(q for q in QUANTITIES if q.name == name)
    dataset = base().rename(t2m=name)
    times = pd.date_range(FIRST, periods=6, freq="D")
    dataset[name].values[:] = field(of, times, dataset["latitude"].values, dataset["longitude"].values)
    dataset[name] = (dataset[name] * factor + offset).assign_attrs(units=units)
    assert re.search(says, refusal(dataset)), stated


@pytest.mark.parametrize(
    "calendar", ["noleap", "365_day", "360_day", "julian", "all_leap", "366_day", "none", "lunar"]
)
def test_no_other_calendar_than_the_real_one_is_read(calendar: str) -> None:
    assert f"the calendar is '{calendar}'" in refusal(base(calendar=calendar))


@pytest.mark.parametrize(
    "units",
    ["months since 2000-01-01", "hours since 2000-01-01 CET", "hours since 2000-02-30", "hours since 0001-01-01",
     "fortnights since 2000-01-01", "hours since yesterday", "hours"],
)  # fmt: skip
def test_times_that_cannot_be_told_are_refused(units: str) -> None:
    refusal(base(units=units))


@given(st.integers(1, 4))
@settings(max_examples=4)
def test_a_gap_is_refused_or_where_allowed_missing(step: int) -> None:
    dataset = base().isel(time=[i for i in range(6) if i != step])
    assert "lacks 1 of the 6 steps" in refusal(dataset)
    with tempfile.TemporaryDirectory() as folder:
        found = FilesSource(write(folder, dataset, {}), allow_missing=True).open().load()
    assert np.isnan(found["t2m"].values).all(axis=(1, 2)).tolist() == [i == step for i in range(6)]


def with_axis(name: str, values: list[float]) -> xr.Dataset:
    attrs = base()[name].attrs
    return base().assign_coords({name: (name, np.array(values, float), attrs)})


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (base().isel(time=[0, 1, 1, 2, 3]), "occur more than once"),
        (base().isel(latitude=[0, 1, 1]), "the latitude 45 occurs twice"),
        (with_axis("longitude", [0, 5, 10, 360]), "the meridian 0 occurs twice in t2m with different values"),
        (with_axis("latitude", [50, np.nan, 40]), "the latitudes are not degrees"),
        (with_axis("latitude", [120, 110, 100]), "the latitudes are not degrees"),
        (with_axis("longitude", [0, np.inf, 10, 15]), "the longitudes are not degrees"),
        (with_axis("latitude", [6e6, 5e6, 4e6]), "the latitudes are not degrees"),
        (with_axis("time", [0, 1, 2, 3, 4, np.nan]), "times are missing|cannot be read"),
        (with_axis("time", [0, 24, 48, 60, 96, 120]), "irregular"),
        (base().drop_vars("time"), "has no values|has no time axis"),
        (base().isel(time=slice(0, 0)), "t2m has nothing along 'time'"),
        (base().isel(longitude=slice(0, 0)), "t2m has nothing along 'longitude'"),
        (base().isel(latitude=slice(0, 0)), "t2m has nothing along 'latitude'"),
        (base().rename(t2m="mystery"), "'mystery' is not in the catalogue"),
    ],
)  # fmt: skip
def test_axes_that_are_wrong(dataset: xr.Dataset, says: str) -> None:
    assert re.search(says, refusal(dataset))


def test_half_precision_is_read_as_it_is_or_refused() -> None:
    """NetCDF has no float16; what overflowed before it was written comes as infinity."""
    half = base()
    half["t2m"] = half["t2m"].astype(np.float16).astype(np.float32).assign_attrs(units="K")
    with tempfile.TemporaryDirectory() as folder:
        found = FilesSource(write(folder, half, {})).open().load()
    np.testing.assert_array_equal(found["t2m"].values, half["t2m"].values)
    pressure = base().rename(t2m="msl")
    with np.errstate(over="ignore"):
        pressure["msl"] = (pressure["msl"] * 360).astype(np.float16).astype(np.float32)
    pressure["msl"].attrs["units"] = "Pa"
    assert "inf" in refusal(pressure)


@pytest.mark.parametrize(
    "packing",
    [
        *({"scale_factor": wrong} for wrong in (np.nan, 0.0, np.inf, "much")),
        *({"add_offset": wrong} for wrong in (np.nan, np.inf, "less")),
    ],
    ids=str,
)
def test_packing_that_cannot_be_undone_is_refused(packing: dict[str, float]) -> None:
    dataset = base()
    attrs = {"units": "K", "scale_factor": 0.01, "add_offset": 280.0} | packing
    dataset["t2m"] = (dataset["t2m"].dims, np.arange(72, dtype="i2").reshape(6, 3, 4), attrs)
    assert "cannot be unpacked" in refusal(dataset)


@given(
    st.lists(st.sampled_from((1, 5)), min_size=6, max_size=6),
    st.booleans(),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_mixed_expver_gives_each_step_the_version_that_has_it(versions: list[int], backwards: bool) -> None:
    dataset = base()
    truth = dataset["t2m"].values
    layers = [np.where((np.array(versions) == v)[:, None, None], truth, np.nan) for v in (1, 5)]
    order = [1, 0] if backwards else [0, 1]
    stacked = np.stack([layers[i] for i in order], axis=1)
    mixed = dataset.drop_vars("t2m").assign_coords(expver=("expver", np.array([1, 5])[order]))
    mixed["t2m"] = (("time", "expver", "latitude", "longitude"), stacked, {"units": "K"})
    with tempfile.TemporaryDirectory() as folder:
        found = FilesSource(write(folder, mixed, {})).open().load()
    np.testing.assert_allclose(found["t2m"].values, truth, rtol=1e-6)
