"""Published regime patterns from NetCDF files of any make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from data.errors import DataError
from data.patterns import read_pattern, read_patterns

LATITUDE, LONGITUDE = np.array([30.0, 40.0, 50.0]), np.array([0.0, 100.0, 200.0, 300.0])
VALUES = np.arange(24.0).reshape(2, 3, 4)


def make(
    path: Path,
    *,
    name: str = "z500",
    dims: tuple[str, str, str] = ("regime", "lat", "lon"),
    regime: object = None,
) -> Path:
    """A file with two patterns."""
    coords = {dims[1]: LATITUDE, dims[2]: LONGITUDE} | ({} if regime is None else {dims[0]: regime})
    xr.Dataset({name: (dims, VALUES)}, coords=coords).to_netcdf(path, engine="netcdf4")
    return path


def test_patterns_are_put_in_order(tmp_path: Path) -> None:
    pattern = read_pattern(make(tmp_path / "p.nc", regime=["NAO+", "AR"]))
    assert pattern.dims == ("regime", "latitude", "longitude")
    assert pattern.name == "z500"
    assert pattern["regime"].values.tolist() == ["NAO+", "AR"]
    assert pattern["latitude"].values.tolist() == [50, 40, 30]
    assert pattern["longitude"].values.tolist() == [-160, -60, 0, 100]
    assert pattern.sel(regime="AR", latitude=40, longitude=-60) == VALUES[1, 1, 3]


@pytest.mark.parametrize(
    ("regime", "expected"),
    [(None, ["0", "1"]), ([1, 0], ["0", "1"]), ([1, 2], ["1", "2"]), ([0.0, 1.0], ["0", "1"])],
)
def test_numbers_that_do_not_ascend_are_ignored(tmp_path: Path, regime: object, expected: list[str]) -> None:
    assert read_pattern(make(tmp_path / "p.nc", regime=regime))["regime"].values.tolist() == expected


def test_the_field_may_stand_in_an_attribute_or_in_the_files_name(tmp_path: Path) -> None:
    assert read_pattern(make(tmp_path / "Z500_composites.nc", name="unknown")).name == "z500"
    path = make(tmp_path / "p.nc", name="unknown")
    with xr.open_dataset(path) as dataset:
        changed = dataset.load()
    changed["unknown"].attrs["description"] = "10-day lowpass t850 anomalies, ERA5 1979-2015"
    changed.to_netcdf(tmp_path / "q.nc", engine="netcdf4")
    assert read_pattern(tmp_path / "q.nc").name == "t850"


def test_a_meridian_given_twice_is_taken_once(tmp_path: Path) -> None:
    coords = {"lat": LATITUDE, "lon": [-180.0, 0.0, 90.0, 180.0]}
    xr.Dataset({"z500": (("regime", "lat", "lon"), VALUES)}, coords=coords).to_netcdf(tmp_path / "p.nc")
    pattern = read_pattern(tmp_path / "p.nc")
    assert pattern["longitude"].values.tolist() == [-180, 0, 90]
    assert pattern.sel(latitude=30, longitude=-180).values.tolist() == [0, 12]


def test_files_by_title(tmp_path: Path) -> None:
    path = str(make(tmp_path / "p.nc"))
    assert list(read_patterns(path)) == ["p"]
    assert list(read_patterns({"grams": path, "mine": path})) == ["grams", "mine"]
    assert read_patterns(None) == {}


def test_what_is_not_clear_is_refused(tmp_path: Path) -> None:
    def refused(path: object, words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            read_patterns(path)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")

    refused(str(tmp_path / "none.nc"), r"none\.nc cannot be read .*No such file")
    (tmp_path / "text.nc").write_text("no netcdf")
    refused(str(tmp_path / "text.nc"), r"text\.nc cannot be read")
    refused(
        str(make(tmp_path / "p.nc", name="unknown")), "does not say which field unknown is: name the variable"
    )
    refused(str(make(tmp_path / "q.nc", dims=("regime", "y", "x"))), r"has 0 variables .*\(none\), not one")
    both = xr.Dataset(dict.fromkeys(("z500", "t850"), (("regime", "lat", "lon"), VALUES)))
    both.assign_coords(lat=LATITUDE, lon=LONGITUDE).to_netcdf(tmp_path / "r.nc")
    refused(str(tmp_path / "r.nc"), r"has 2 variables .*\(z500, t850\), not one")
    empty = xr.Dataset({"z500": (("regime", "lat", "lon"), VALUES * np.nan)})
    empty.assign_coords(lat=LATITUDE, lon=LONGITUDE).to_netcdf(tmp_path / "s.nc")
    refused(str(tmp_path / "s.nc"), "too few or none known")
    refused(5, r"must be a file, or files by title as \{grams: a\.nc\}\. Received: 5")
    refused({"a": 3}, "must be a file, or files by title")


def test_the_published_patterns(real_data: Path) -> None:
    labels = real_data / "regime_labels"
    grams = read_pattern(labels / "grams_seven_regimes/cluster_means_weather_regimes_7915.nc")
    assert (grams.name, grams.shape) == ("z500", (7, 60, 121))
    assert set(grams["regime"].values) == {"AT", "ZO", "ScTr", "AR", "EuBL", "ScBL", "GL"}
    with xr.open_dataset(labels / "dorrington_era5_extended/CCR_K7/Z500_regime_composites.nc") as stored:
        assert stored["dim0"].values.tolist() != list(range(7))  # the leftover that has to be ignored
        first = stored["unknown"].values[0]
    dorrington = read_pattern(labels / "dorrington_era5_extended/CCR_K7/Z500_regime_composites.nc")
    assert dorrington["regime"].values.tolist() == [str(state) for state in range(7)]
    np.testing.assert_array_equal(dorrington.sel(regime="0").values, first[::-1])
