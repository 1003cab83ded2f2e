"""The files source on one NetCDF file in every form: what it reads is what was written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import DAYS, LATITUDE, assert_known, expected, make, opened

T2M = {"t2m": ("K", 280.0)}


def test_the_old_layout(write):
    dataset = opened(write("a.nc", {**T2M, "msl": ("Pa", 1e5)}, format="NETCDF3_64BIT"))
    assert list(dataset.data_vars) == ["t2m", "msl"]
    assert_known(dataset, "t2m", 280)
    assert_known(dataset, "msl", 1e5)
    assert dataset["t2m"].attrs == {
        "long_name": "2 metre temperature", "units": "K", "standard_name": "air_temperature"
    }  # fmt: skip
    assert dataset["latitude"].attrs == {"standard_name": "latitude", "units": "degrees_north"}
    assert dataset["longitude"].attrs == {"standard_name": "longitude", "units": "degrees_east"}


def test_the_new_layout(write):
    new = make(T2M).rename(time="valid_time").expand_dims(number=[0]).assign_coords(
        expver=("valid_time", np.array(["0001"] * 4 + ["0005"] * 2, dtype=object))
    )  # fmt: skip
    dataset = opened(write("a.nc", new.squeeze("number")))
    assert_known(dataset, "t2m", 280)
    assert set(dataset.coords) == {"time", "latitude", "longitude"}
    assert dataset.attrs["preliminary"] == "2 steps of ERA5T, 2000-03-01T00:00:00 to 2000-03-02T00:00:00"
    assert "preliminary" not in opened(write("b.nc", make(T2M).rename(time="valid_time"))).attrs


def test_packed_integers_are_unpacked_in_double_precision(write):
    raw = make({"z": ("m**2 s**-2", 55000.0)})
    packing = {
        "dtype": "int16",
        "scale_factor": 0.18180314450353258,
        "add_offset": 55003.3,
        "_FillValue": -32767,
    }
    raw["z"][0, 0, 0] = np.nan
    path = write("z500.nc", raw, format="NETCDF3_64BIT", encoding={"z": packing})
    with xr.open_dataset(path, mask_and_scale=False) as file:
        stored = file["z"].values
    exact = (stored.astype(np.float64) * packing["scale_factor"] + packing["add_offset"]).astype(np.float32)
    exact[stored == -32767] = np.nan
    np.testing.assert_array_equal(opened(path)["z500"].values, exact)
    assert np.isnan(exact[0, 0, 0])


@pytest.mark.parametrize("dims", [("longitude", "latitude", "time"), ("latitude", "time", "longitude")])
def test_any_order_of_dimensions(write, dims):
    assert_known(opened(write("a.nc", make(T2M).transpose(*dims))), "t2m", 280)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-36, 36), st.integers(1, 72), st.booleans(), st.booleans())
def test_any_longitudes_and_latitudes_come_out_in_one_order(write, first, count, ascending, backwards):
    longitude = 5.0 * np.arange(first, first + count)
    latitude = LATITUDE[::-1] if ascending else LATITUDE
    path = write(
        "a.nc", T2M, times=DAYS[:2], latitude=latitude, longitude=longitude[:: -1 if backwards else 1]
    )
    dataset = opened(path)
    assert_known(dataset, "t2m", 280)
    assert dataset.sizes["longitude"] == count
    assert set(dataset["longitude"].values) == {(x + 180) % 360 - 180 for x in longitude}


def test_a_box_across_the_date_line_is_told(write, caplog):
    dataset = opened(write("a.nc", T2M, longitude=np.arange(170.0, 191.0, 5)))
    assert dataset["longitude"].values.tolist() == [-180, -175, -170, 170, 175]
    assert_known(dataset, "t2m", 280)
    assert "no longitude lies between -170 and 170" in caplog.text


@pytest.mark.parametrize("longitude", [np.arange(-180.0, 181, 45), np.arange(0.0, 361, 45)])
def test_a_meridian_that_occurs_twice_is_dropped_once(write, longitude):
    dataset = opened(write("a.nc", T2M, longitude=longitude))
    assert dataset["longitude"].values.tolist() == list(range(-180, 180, 45))
    assert_known(dataset, "t2m", 280)


@pytest.mark.parametrize(
    "rename",
    [
        {"latitude": "lat", "longitude": "lon"},
        {"latitude": "y", "longitude": "x"},  # known by their units
        {"time": "valid_time", "latitude": "LAT", "longitude": "LON"},
    ],
)
def test_other_names_of_axes(write, rename):
    assert_known(opened(write("a.nc", make(T2M).rename(rename))), "t2m", 280)


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("2t", {}), ("T2M", {}), ("tas", {}), ("2m_temperature", {}), ("unknown", {"GRIB_paramId": 167}),
        ("var", {"long_name": "2 metre temperature"}), ("air", {"long_name": "Air temperature at 2 m"}),
    ],
)  # fmt: skip
def test_a_variable_is_recognised(write, name, attrs):
    raw = make(T2M).rename(t2m=name)
    raw[name].attrs |= attrs
    assert_known(opened(write("a.nc", raw)), "t2m", 280)


def test_a_variable_is_recognised_by_a_standard_name_of_its_own(write):
    raw = make({"field": ("Pa", 1e5)})
    raw["field"].attrs["standard_name"] = "air_pressure_at_mean_sea_level"
    assert list(opened(write("a.nc", raw)).data_vars) == ["msl"]


@pytest.mark.parametrize(("units", "base", "converted"), [("degC", 10.0, 283.15), ("K", 283.15, 283.15)])
def test_temperatures_are_converted(write, units, base, converted):
    dataset = opened(write("a.nc", {"t2m": (units, base)}))
    assert_known(dataset, "t2m", converted)
    assert dataset["t2m"].attrs["units"] == "K"
    assert dataset["t2m"].attrs.get("comment") == (
        "converted from t2m in degC: times 1 + 273.15" if units == "degC" else None
    )


def test_heights_become_geopotential(write):
    dataset = opened(write("a.nc", {"hgt500": ("m", 5500.0)}))
    np.testing.assert_allclose(dataset["z500"], expected(5500, dataset) * 9.80665, rtol=1e-6)
    assert dataset["z500"].attrs["comment"] == "converted from hgt500 in m: times 9.80665"
    assert dataset["z500"].attrs["long_name"] == "Geopotential at 500 hPa"


@pytest.mark.parametrize(
    ("units", "values"), [("hPa", [850, 500]), ("millibars", [850, 500]), ("Pa", [85000, 50000])]
)
def test_levels_become_fields(write, units, values):
    high, low = make({"t": ("K", 250.0)}), make({"t": ("K", 280.0)})
    raw = xr.concat([low, high], pd.Index(values, name="level"))
    raw["level"].attrs["units"] = units
    path = write("a.nc", raw)
    dataset = opened(path)
    assert list(dataset.data_vars) == ["t850", "t500"]
    assert_known(dataset, "t500", 250)
    assert_known(dataset, "t850", 280)
    assert list(opened(path, variables=["t500"]).data_vars) == ["t500"]
    assert list(opened(path, variables=["t"]).data_vars) == ["t850", "t500"]


@pytest.mark.parametrize(
    ("file", "attrs", "levels", "name"),
    [
        ("a.nc", {}, None, "t"),
        ("a.nc", {}, {"t": 700}, "t700"),
        ("a.nc", {}, {"temperature": 700}, "t700"),
        ("t850_2000.nc", {}, None, "t850"),
        ("t850_2000.nc", {}, {"t": 700}, "t700"),
        ("t850_t500.nc", {}, None, "t"),
        ("z500.nc", {}, None, "t"),
        ("t850.nc", {"pressure_level_hPa": 925}, {"t": 700}, "t925"),
        ("a.nc", {"GRIB_typeOfLevel": "isobaricInhPa", "GRIB_level": 300}, None, "t300"),
    ],
)
def test_a_level_is_what_the_file_states_then_the_setting_then_the_name(write, file, attrs, levels, name):
    raw = make({"t": ("K", 250.0)})
    raw["t"].attrs |= attrs
    dataset = opened(write(file, raw), levels=levels)
    assert list(dataset.data_vars) == [name]
    assert_known(dataset, name, 250)


def test_a_single_level_coordinate_is_a_level(write):
    raw = make({"t": ("K", 250.0)}).assign_coords(pressure_level=((), 850, {"units": "hPa"}))
    assert list(opened(write("a.nc", raw)).data_vars) == ["t850"]


def test_a_height_of_two_metres_is_no_level(write):
    raw = make(T2M).expand_dims(height=[2.0])
    assert_known(opened(write("a.nc", raw)), "t2m", 280)


def test_expver_as_a_dimension_is_filled_up(write):
    whole = make(T2M)
    final = whole.where(whole["time"] < DAYS[4])
    preliminary = whole.where(whole["time"] >= DAYS[2]) + 1
    raw = xr.concat([preliminary, final], pd.Index([5, 1], name="expver")).transpose("time", "expver", ...)
    raw["t2m"].attrs["units"] = "K"
    dataset = opened(write("a.nc", raw))
    np.testing.assert_allclose(dataset["t2m"][:4], expected(280, dataset)[:4], rtol=1e-6)
    np.testing.assert_allclose(dataset["t2m"][4:], expected(281, dataset)[4:], rtol=1e-6)


def test_one_ensemble_member_is_chosen(write):
    raw = xr.concat([make({"t2m": ("K", 280.0 + n)}) for n in range(3)], pd.Index([0, 1, 2], name="number"))
    assert_known(opened(write("a.nc", raw), number=2), "t2m", 282)


def test_a_single_time_without_a_dimension(write):
    assert_known(opened(write("a.nc", make(T2M).isel(time=0))), "t2m", 280)


@pytest.mark.parametrize("steps_a_day", [24, 96, 1000])
def test_fractions_of_days_are_steps_of_one_length(write, steps_a_day):
    raw = make(T2M)
    days = np.arange(raw.sizes["time"]) / steps_a_day
    raw = raw.assign_coords(time=("time", 36525 + days, {"units": "days since 1900-01-01"}))
    times = pd.DatetimeIndex(opened(write("a.nc", raw))["time"].values)
    assert times[0] == pd.Timestamp("2000-01-02")
    assert set(np.diff(times)) == {np.timedelta64(86400 * 10**9 // steps_a_day, "ns")}


def test_dates_as_numbers(write):
    raw = make(T2M).rename(time="date")
    raw = raw.assign_coords(date=[int(day.strftime("%Y%m%d")) for day in DAYS])
    assert_known(opened(write("a.nc", raw)), "t2m", 280)


def test_a_constant_field_with_times_is_read_and_one_without_is_passed_over(write):
    raw = make({"lsm": ("(0 - 1)", 0.0), **T2M})
    raw["lsm"][:] = [[0, 0.25, 0.5, 1]] * 3
    raw["slt"] = (("latitude", "longitude"), np.ones((3, 4)))
    dataset = opened(write("a.nc", raw))
    assert list(dataset.data_vars) == ["t2m", "lsm"]
    np.testing.assert_array_equal(dataset["lsm"][:, 0], np.tile(np.float32([0, 0.25, 0.5, 1]), (6, 1)))


def test_missing_values_of_every_kind_become_nan(write):
    raw = make({"sst": ("K", 290.0), "siconc": ("%", 50.0), "tcc": ("1", 0.1)})
    for position, mark in enumerate([np.nan, -999.0, 1e20]):
        raw["sst"][position, 0, 0] = mark
    raw["siconc"][0, 0, 1] = 9.969209968386869e36  # what nobody wrote, where no other mark is declared
    raw["sst"].attrs["missing_value"] = np.float32(-999)
    raw["tcc"].attrs["valid_range"] = np.float32([0, 1])
    raw["tcc"][:] = 0.5
    raw["tcc"][0, 0, 2] = 77.0
    encoding = {
        "sst": {"_FillValue": np.float32(1e20)},
        "siconc": {"_FillValue": None},
        "tcc": {"_FillValue": None},
    }
    dataset = opened(write("a.nc", raw.astype("float32"), encoding=encoding))
    assert np.argwhere(np.isnan(dataset["sst"].values)).tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert np.argwhere(np.isnan(dataset["siconc"].values)).tolist() == [[0, 0, 1]]
    assert np.argwhere(np.isnan(dataset["tcc"].values)).tolist() == [[0, 0, 2]]
