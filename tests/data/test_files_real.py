"""The files source on genuine files, against values read independently with netCDF4 and ecCodes."""

from __future__ import annotations

from pathlib import Path

import eccodes
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data.errors import DataError
from tests.data.conftest import opened

ERAI = "erai_euroatlantic_daily"


def unpacked(path: Path, name: str) -> np.ndarray:
    """A variable as it lies in the file, unpacked in double precision from the raw integers; missing is NaN."""
    with netCDF4.Dataset(path) as file:
        variable = file[name]
        variable.set_auto_maskandscale(False)
        raw = variable[:]
        if raw.dtype.kind == "f":
            return raw.astype(np.float64)
        values = raw.astype(np.float64) * variable.scale_factor + variable.add_offset
        return np.where(raw == variable._FillValue, np.nan, values)


def days(path: Path, name: str = "time") -> pd.DatetimeIndex:
    with netCDF4.Dataset(path) as file:
        times = netCDF4.num2date(file[name][:], file[name].units, only_use_cftime_datetimes=False)
    return pd.DatetimeIndex([pd.Timestamp(str(time)) for time in np.atleast_1d(times)])


@pytest.fixture(scope="module")
def interim(real_data) -> xr.Dataset:
    return opened(f"{real_data}/{ERAI}/*_ei_*.nc")


@pytest.mark.parametrize(
    ("name", "file", "label"), [("z500", "z500", "z"), ("t850", "t850", "t"), ("msl", "mslp", "msl")]
)
def test_interim_values_are_those_of_the_packed_integers(real_data, interim, name, file, label):
    path = real_data / ERAI / f"{file}_ei_2000-2006.nc"
    np.testing.assert_array_equal(interim[name].values, unpacked(path, label).astype(np.float32))
    assert pd.DatetimeIndex(interim["time"].values).equals(days(path).as_unit("ns"))
    np.testing.assert_array_equal(interim["latitude"], 60 - 1.5 * np.arange(21))
    np.testing.assert_array_equal(interim["longitude"], -20 + 1.5 * np.arange(24))


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (f"{ERAI}/erai_z500_t850_msl_daily_2000-2006.nc", {}),
        (ERAI, {}),  # the one file and the three, which agree
        (f"{ERAI}/*_ei_*.nc", {"levels": {"z": 500, "t": 850}}),
    ],
)
def test_one_file_and_three_are_the_same_record(real_data, interim, path, options):
    other = opened(real_data / path, **options)
    assert other.drop_attrs().identical(interim.drop_attrs())
    assert all(other[name].attrs == interim[name].attrs for name in interim)


def test_a_period_of_interim(real_data, interim):
    part = opened(
        f"{real_data}/{ERAI}/*_ei_*.nc", variables=["msl", "z"], start="2003-12-01", end="2004-02-29"
    )
    assert list(part.data_vars) == ["msl", "z500"]
    assert part.sizes["time"] == 31 + 31 + 29
    xr.testing.assert_equal(part, interim[["msl", "z500"]].sel(time=slice("2003-12-01", "2004-02-29")))


@pytest.mark.parametrize(
    ("short", "file", "label"),
    [
        ("u10", "10m_u_component_of_wind_stream-oper_daily-mean.nc", "u10"),
        ("v10", "10m_v_component_of_wind_0_daily-mean.nc", "v10"),
        ("t2m", "2m_temperature_0_daily-mean.nc", "t2m"),
        ("tp", "total_precipitation_0_daily-mean.nc", "tp"),
    ],
)
def test_daily_statistics_in_the_new_format(real_data, short, file, label):
    folder = real_data / "cds_new_format/era5_daily_statistics_nw_france_2024-10"
    dataset = opened(folder)
    assert list(dataset.data_vars) == ["t2m", "u10", "v10", "tp"]
    np.testing.assert_array_equal(dataset[short].values, unpacked(folder / file, label).astype(np.float32))
    assert pd.DatetimeIndex(dataset["time"].values).equals(days(folder / file, "valid_time").as_unit("ns"))
    assert "preliminary" not in dataset.attrs


def test_hourly_preliminary_data_in_the_new_format(real_data, caplog):
    path = real_data / "cds_new_format/era5_hourly_germany_2025-11-04/data_stream-oper_stepType-instant.nc"
    dataset = opened(path)
    for name in ("u10", "v10"):
        np.testing.assert_array_equal(dataset[name].values, unpacked(path, name).astype(np.float32))
    assert dataset.attrs["preliminary"].startswith("24 steps of ERA5T, 2025-11-04T00:00:00")
    assert "24 steps are preliminary" in caplog.text


def test_monthly_means_in_the_old_format_with_missing_values(real_data):
    path = real_data / "cds_old_format/era5_msl_lsm_sst_monthly_2005/era5_mslp.nc"
    dataset = opened(path)
    for name in ("msl", "lsm", "sst"):
        np.testing.assert_array_equal(dataset[name].values, unpacked(path, name).astype(np.float32))
    assert 0.05 < float(dataset["sst"].isnull().mean()) < 0.9
    assert dataset["lsm"].attrs["units"] == "1"


def test_a_global_field_from_0_to_360_is_turned(real_data):
    path = real_data / "cds_old_format/era5_global_0p25_single_field/test.nc"
    dataset = opened(path, levels={"t": 850})
    values = np.roll(unpacked(path, "t"), 720, axis=2).astype(np.float32)
    np.testing.assert_array_equal(dataset["t850"].values, values)
    assert dataset["longitude"].values[[0, -1]].tolist() == [-180, 179.75]
    assert dataset["time"].values.tolist() == [pd.Timestamp("2020-05-01 12:00").value]


def test_heights_with_a_repeated_meridian(real_data):
    path = real_data / "monthly/ncep_hgt500_nh_monthly_1981-2010.nc"
    dataset = opened(path)
    values = unpacked(path, "hgt500")[:, :, :-1]
    with netCDF4.Dataset(path) as file:
        south_first = file["lat"][0] < file["lat"][-1]
    values = values[:, ::-1] if south_first else values
    np.testing.assert_array_equal(dataset["z500"].values, (values * 9.80665).astype(np.float32))
    assert dataset.sizes == {"time": 360, "latitude": 29, "longitude": 144}


def test_a_monthly_series_of_sea_surface_temperature(real_data):
    path = real_data / "monthly/erai_sst_nino34_monthly_1981-2010.nc"
    dataset = opened(path)
    values = unpacked(path, "sst")
    with netCDF4.Dataset(path) as file:
        values = values[:, ::-1] if file["lat"][0] < file["lat"][-1] else values
    np.testing.assert_array_equal(dataset["sst"].values, values.astype(np.float32))


@pytest.mark.parametrize("folder", ["monthly", "cds_new_format", "cds_old_format"])
def test_files_of_different_grids_are_refused(real_data, folder):
    with pytest.raises(DataError, match=r"\.nc: the grid of .* but .* has .*: bring the files to one grid"):
        opened(real_data / folder)


def test_composites_without_times_are_refused(real_data):
    with pytest.raises(
        DataError, match=r"Z500_regime_composites\.nc: the file has no time axis \(unknown has dim0, lat"
    ):
        opened(real_data / "regime_labels")


def messages(path: Path, **chosen) -> list[tuple[pd.Timestamp, np.ndarray]]:
    """Valid time and values (latitude, longitude) of all messages with the chosen keys."""
    found = []
    with path.open("rb") as stream:
        while (handle := eccodes.codes_grib_new_from_file(stream)) is not None:
            get = eccodes.codes_get
            if all(get(handle, key) == value for key, value in chosen.items()):
                stamp = f"{get(handle, 'validityDate')}{get(handle, 'validityTime'):04d}"
                values = eccodes.codes_get_values(handle).reshape(get(handle, "Nj"), get(handle, "Ni"))
                found.append((pd.to_datetime(stamp, format="%Y%m%d%H%M"), values))
            eccodes.codes_release(handle)
    return sorted(found, key=lambda pair: pair[0])


def test_a_month_of_hourly_grib(real_data):
    path = real_data / "grib/era5-2mt-2019-03-uk.grib"
    dataset = opened(path, start="2019-03-30", end="2019-03-31")
    found = messages(path)[-48:]
    assert pd.DatetimeIndex(dataset["time"].values).equals(
        pd.DatetimeIndex([t for t, _ in found]).as_unit("ns")
    )
    values = np.stack([values for _, values in found])
    np.testing.assert_allclose(dataset["t2m"].values, values, rtol=1e-7, atol=0)
    assert dataset["latitude"].values[[0, -1]].tolist() == [58, 50]
    assert dataset["longitude"].values[[0, -1]].tolist() == [-10, 2]


@pytest.mark.parametrize(("name", "short", "level"), [("z500", "z", 500), ("t850", "t", 850)])
def test_a_member_of_an_ensemble_on_levels_in_grib(real_data, name, short, level):
    path = real_data / "grib/era5-levels-members.grib"
    with pytest.raises(
        DataError, match=r"z has 10 ensemble members \(0, 1, .*: choose one by dataset\.number"
    ):
        opened(path)
    dataset = opened(path, number=7)
    assert list(dataset.data_vars) == ["z850", "z500", "t850", "t500"]
    values = np.stack([values for _, values in messages(path, shortName=short, level=level, number=7)])
    np.testing.assert_allclose(dataset[name].values, np.roll(values, 60, axis=2), rtol=1e-7, atol=0)
