"""Makers of small files in the forms that the files source reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import store
from data.errors import DataError
from data.sources.files import FilesSource

LATITUDE = np.array([50.0, 45.0, 40.0])
LONGITUDE = np.array([-10.0, -5.0, 0.0, 5.0])
DAYS = pd.date_range("2000-02-26", periods=6, freq="D")  # over a leap day

Write = Callable[..., Path]


def known(base: float, times: pd.DatetimeIndex, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """A field that tells time, latitude and longitude (with its meridian) of every value."""
    day = (times - pd.Timestamp("2000-01-01")) / pd.Timedelta(days=1)
    phase = np.cos(np.deg2rad(longitude)) + np.sin(np.deg2rad(longitude)) / 2
    rows = np.asarray(latitude)[:, None] / 100 + phase[None, :]
    return base + np.asarray(day)[:, None, None] / 10 + rows


def make(
    variables: Mapping[str, tuple[str, float]],
    times: pd.DatetimeIndex = DAYS,
    latitude: np.ndarray = LATITUDE,
    longitude: np.ndarray = LONGITUDE,
) -> xr.Dataset:
    """A dataset in the old Climate Data Store layout: variables by name with units and about their value."""
    dims = ("time", "latitude", "longitude")
    coords = {"time": times, "latitude": latitude, "longitude": longitude}
    arrays = {
        name: xr.DataArray(known(base, times, latitude, longitude), coords, dims, attrs={"units": units})
        for name, (units, base) in variables.items()
    }
    dataset = xr.Dataset(arrays)
    dataset["latitude"].attrs = {"units": "degrees_north"}
    dataset["longitude"].attrs = {"units": "degrees_east"}
    return dataset


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a dataset, or variables given as for `make`, to a file below tmp_path / data; returns its path."""

    def write(name: str, dataset: xr.Dataset | Mapping[str, tuple[str, float]], **options: Any) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(dataset, xr.Dataset):
            keys = {"times", "latitude", "longitude"} & set(options)
            dataset = make(dataset, **{key: options.pop(key) for key in keys})
        dataset.to_netcdf(path, engine="netcdf4", **options)
        return path

    return write


def opened(path: object, **options: Any) -> xr.Dataset:
    """The dataset, its contract checked."""
    dataset = FilesSource(path, **options).open()
    store.check_raw(dataset)
    assert dataset["time"].dtype == np.dtype("datetime64[ns]")
    assert all(not variable.encoding for variable in dataset.variables.values())
    return dataset.load()


def expected(base: float, dataset: xr.Dataset) -> np.ndarray:
    """What `make` puts at the dataset's times, latitudes and longitudes."""
    times = pd.DatetimeIndex(dataset["time"].values)
    return known(base, times, dataset["latitude"].values, dataset["longitude"].values)


def assert_known(dataset: xr.Dataset, name: str, base: float, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(dataset[name].values, expected(base, dataset), rtol=1e-6, atol=atol)


def refused(path: object, words: str, **options: Any) -> str:
    """The message of the refusal, which has to match and to be one sentence."""
    with pytest.raises(DataError, match=words) as caught:
        FilesSource(path, **options).open().load()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 500
    return message
