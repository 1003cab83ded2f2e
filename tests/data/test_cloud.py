"""A public Zarr store's layout, local and over HTTP on this machine: ERA5 without a credential."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from data import sources, store
from data.errors import DataError
from data.sources.cloud import CloudSource, from_options
from tests import cds_weather
from tests.data.cds.conftest import OPTIONS, digest

LATITUDE = np.arange(41, 36.9, -0.5)
LONGITUDE = np.arange(0, 360, 0.5)
FIRST, LAST = pd.Timestamp("2021-01-28"), pd.Timestamp("2021-02-04T23:00")
NAMES = ["2m_temperature", "sea_surface_temperature", "surface_sensible_heat_flux", "geopotential"]
WANTED = {
    **OPTIONS,
    "source": "cloud",
    "variables": ["t2m", "sst", "sshf", "z500"],
    "start": "2021-01-30",
    "end": "2021-02-02",
    "area": [40, -30, 38, 2],
}


def lay_out(path: Path, **changes: Any) -> Path:
    """A store as ARCO-ERA5 has it: Zarr format 2, a globe a chunk, a time axis that is longer than its data."""
    axis = pd.date_range("2021-01-26", "2021-02-08T23:00", freq=changes.get("freq", "h"))
    held = (axis >= FIRST) & (axis <= LAST)
    wrapped = (LONGITUDE + 180) % 360 - 180
    arrays: dict[str, Any] = {}
    for name in NAMES:
        levels = [500.0, 850.0] if name == "geopotential" else [None]
        fields = np.stack(
            [cds_weather.values(name, level, axis, LATITUDE, wrapped) for level in levels], axis=1
        )
        fields[~held] = np.nan
        dims = ("time", "level", "latitude", "longitude")
        arrays[name] = (
            (dims, fields) if len(levels) > 1 else (tuple(d for d in dims if d != "level"), fields[:, 0])
        )
    coords = {"time": axis, "latitude": LATITUDE, "longitude": LONGITUDE, "level": [500, 850]}
    attrs = {"valid_time_start": "2021-01-28", "valid_time_stop": "2021-02-04"}
    dataset = xr.Dataset(arrays, coords, attrs)
    if changes.get("turned"):
        dataset = dataset.transpose("time", "level", "longitude", "latitude").isel(
            latitude=slice(None, None, -1)
        )
    chunks = {name: {"chunks": (1, *dataset[name].shape[1:])} for name in NAMES}
    dataset.to_zarr(path, zarr_format=2, consolidated=True, encoding=chunks)
    return path


@pytest.fixture(scope="module")
def arco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("arco") / "era5.zarr-v3")


def source(where: Path | str, folder: Path, **options: Any) -> CloudSource:
    return from_options({**WANTED, "store": str(where), **options}, folder / "parts")


def expected(name: str, cds_name: str, level: float | None = None) -> np.ndarray:
    rows = LATITUDE[(LATITUDE <= 40) & (LATITUDE >= 38)]
    columns = np.arange(-30, 2.1, 0.5)
    first = 1 if name == "sshf" else 0
    hours = pd.date_range(pd.Timestamp(WANTED["start"]) + pd.Timedelta(hours=first), periods=96, freq="h")
    days = (
        cds_weather.values(cds_name, level, hours, rows, columns).reshape(4, 24, len(rows), -1).astype(float)
    )
    return days.sum(axis=1) / 86400 if name == "sshf" else days.mean(axis=1)


@pytest.mark.parametrize("turned", [False, True])
def test_days_are_what_the_hours_say(arco: Path, tmp_path: Path, turned: bool) -> None:
    where = lay_out(tmp_path / "turned.zarr", turned=True) if turned else arco
    assert zarr.open_group(where, mode="r").metadata.zarr_format == 2
    found = source(where, tmp_path).open()
    store.check_raw(found)
    assert (found.longitude.values[0], found.longitude.values[-1]) == (-30.0, 2.0)
    names = {"t2m": "2m_temperature", "sst": "sea_surface_temperature", "sshf": "surface_sensible_heat_flux"}
    for name, cds_name in names.items():
        np.testing.assert_allclose(found[name], expected(name, cds_name), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.z500, expected("z500", "geopotential", 500), rtol=1e-6)
    assert found.sshf.attrs["units"] == "W m-2"
    assert found.attrs["source"].endswith(str(where))


def test_months_are_kept_and_not_read_again(arco: Path, tmp_path: Path) -> None:
    first = source(arco, tmp_path)
    store.write(first.open(), tmp_path / "one.zarr")
    (tmp_path / "gone.zarr").symlink_to(tmp_path / "nowhere")
    again = source(arco, tmp_path)
    assert again.fingerprint() == first.fingerprint()
    assert None not in again.fingerprint()["months"].values()
    month = again.months()[0]
    (tmp_path / "parts" / month.file).write_bytes(b"x")
    store.write(source(arco, tmp_path).open(), tmp_path / "two.zarr")
    assert digest(tmp_path / "one.zarr") == digest(tmp_path / "two.zarr")


def test_a_damaged_month_is_named_and_brought_again(arco: Path, tmp_path: Path) -> None:
    whole = source(arco, tmp_path)
    whole.open()
    path = tmp_path / "parts" / whole.months()[1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert isinstance(whole, sources.InParts)
    assert source(arco, tmp_path).damaged() == ["2021-02"]
    assert list(source(arco, tmp_path).fingerprint()["months"].values()).count(None) == 1
    assert source(arco, tmp_path).open().sizes["time"] == 4
    assert source(arco, tmp_path).damaged() == []


@pytest.fixture
def web(arco: Path) -> Iterator[tuple[str, list[str]]]:
    """The store over HTTP, and what was asked of it."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(arco.parent)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{arco.name}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_over_http_only_the_chunks_that_are_needed_are_asked_for_and_without_a_credential(
    web: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = web
    found = source(address, tmp_path, variables=["t2m", "sshf"]).open()
    np.testing.assert_allclose(found.t2m, expected("t2m", "2m_temperature"), rtol=1e-5)
    first = int((pd.Timestamp("2021-01-30") - pd.Timestamp("2021-01-26")) / pd.Timedelta(hours=1))
    for name, begin in (("2m_temperature", first), ("surface_sensible_heat_flux", first + 1)):
        chunks = {
            line.split()[0].rpartition("/")[2].split(".")[0]
            for line in asked
            if f"/{name}/" in line and ".0.0" in line
        }
        assert chunks == {str(begin + hour) for hour in range(96)}
    assert not [line for line in asked if "/sea_surface_temperature/" in line and ".0.0" in line]
    assert all(line.endswith(" None") for line in asked)


def test_weatherbench_is_read_every_six_hours(tmp_path: Path) -> None:
    where = lay_out(tmp_path / "six.zarr", freq="6h")
    found = source(where, tmp_path, variables=["t2m"], step_hours=6).open()
    rows = LATITUDE[(LATITUDE <= 40) & (LATITUDE >= 38)]
    hours = pd.date_range("2021-01-30", periods=4, freq="6h")
    wanted = cds_weather.values("2m_temperature", None, hours, rows, np.arange(-30, 2.1, 0.5)).mean(axis=0)
    np.testing.assert_allclose(found.t2m[0], wanted, rtol=1e-6)
    with pytest.raises(DataError, match=r"set dataset\.step_hours to the step that it has"):
        source(where, tmp_path / "hourly", variables=["t2m"]).open()
    assert (
        from_options({**WANTED, "variables": ["t2m"], "store": "weatherbench2"}, tmp_path).wish.step_hours
        == 6
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "2021-01-27"}, "has final data from 2021-01-28 to 2021-02-04 23:00"),
        ({"end": "2021-02-04"}, "has final data from"),  # the fluxes need the midnight after
        ({"variables": ["v10"]}, "does not hold 10m_v_component_of_wind (v10)"),
        ({"variables": ["z300"]}, "at 300 hPa (z300); it has 500, 850 hPa"),
        ({"area": [60, -30, 50, 2]}, "has 0 latitudes in dataset.area"),
        ({"grid": [1.0, 1.0]}, "dataset.grid=null"),
        ({"store": "/nowhere.zarr"}, "dataset.store /nowhere.zarr is not a Zarr store"),
        (
            {"store": "http://127.0.0.1:9/era5.zarr", "transfer": {**OPTIONS["transfer"], "tries": 2}},
            "cannot be read",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence(
    arco: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as refused:
        source(arco, tmp_path, **options).open()
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_last_day_is_there_for_what_needs_no_midnight(arco: Path, tmp_path: Path) -> None:
    found = source(arco, tmp_path, variables=["t2m"], end="2021-02-04").open()
    assert found.sizes["time"] == 6


def test_a_chunk_that_is_not_there_is_a_missing_day_only_where_that_is_allowed(tmp_path: Path) -> None:
    where = lay_out(tmp_path / "gap.zarr")
    position = int((pd.Timestamp("2021-01-31T05:00") - pd.Timestamp("2021-01-26")) / pd.Timedelta(hours=1))
    (where / "2m_temperature" / f"{position}.0.0").unlink()
    with pytest.raises(DataError, match="t2m lacks hours on 1 days, the first 2021-01-31"):
        source(where, tmp_path, variables=["t2m"]).open()
    found = source(where, tmp_path, variables=["t2m"], allow_missing=True).open()
    assert found.t2m.isnull().all(("latitude", "longitude")).values.tolist() == [False, True, False, False]


def test_the_plan_says_what_moves(tmp_path: Path) -> None:
    lines = source("arco", tmp_path, variables=["t2m"], start="2021-01-01", end="2021-12-31").plan_lines()
    assert "12 months, 8760 times each" in lines[0]
    assert "up to 36 GB" in lines[1]
