"""The forms in which the service answers, each read into the same days; and what is preliminary."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data.errors import DataError
from data.sources.cds import CdsSource
from data.sources.cds.check import WrongAnswerError, check
from data.sources.cds.plan import Part
from tests import cds_weather
from tests.cds_server import page
from tests.data.cds.conftest import SHORT, Make, answer

Answer = Callable[[str, dict[str, Any]], bytes]


def truth(name: str, cds_name: str, days: pd.DatetimeIndex, level: float | None = None) -> np.ndarray:
    """Daily values by another road: every stamp of each day from the made-up weather, summed by pandas."""
    lat, lon = cds_weather.grid_of({"area": SHORT["area"]})
    hours = pd.date_range(days[0], days[-1] + pd.Timedelta(days=1), freq="h")
    values = cds_weather.values(cds_name, level, hours, lat, lon).astype(np.float64)
    frame = pd.DataFrame(values.reshape(len(hours), -1), index=hours)
    if name in ("sshf", "tp"):
        ended = frame.iloc[1:].set_axis(hours[1:] - pd.Timedelta(minutes=1))
        found = ended.groupby(ended.index.date).sum() / (86400 if name == "sshf" else 1)
    else:
        found = frame.iloc[:-1].groupby(hours[:-1].date).mean()
    return found.to_numpy().reshape(len(days), len(lat), len(lon))


def old_names(dataset: xr.Dataset) -> xr.Dataset:
    """As the service sent it before September 2024: `time`, expver as a dimension with gaps, packed integers."""
    old = dataset.drop_vars(["expver", "number"]).rename(valid_time="time")
    if len(old.time) == 1:
        return old
    final = old.time < old.time[len(old.time) // 2]
    return xr.concat([old.where(final), old.where(~final)], pd.Index([1, 5], name="expver")).transpose(
        "time", ...
    )


def packed(dataset: xr.Dataset, folder: Path) -> bytes:
    encoding: dict[str, Any] = {
        str(name): {
            "dtype": "int16",
            "scale_factor": float(array.max() - array.min()) / 60000 or 1.0,
            "add_offset": float(array.max() + array.min()) / 2,
            "_FillValue": -32767,
        }
        for name, array in dataset.data_vars.items()
    }
    encoding["time"] = {"units": "hours since 1900-01-01 00:00:00.0", "dtype": "int32"}
    dataset.to_netcdf(folder / "old.nc", format="NETCDF3_64BIT", encoding=encoding)
    return (folder / "old.nc").read_bytes()


def by_step(dataset: str, request: dict[str, Any]) -> bytes:
    """A zip of members by kind of step, though one kind was asked for: the accumulated member is foreign."""
    extra = {**request, "variable": ["total_precipitation"]}
    return cds_weather.zipped(
        {
            "data_stream-oper_stepType-instant.nc": answer(dataset, request),
            "data_stream-oper_stepType-accum.nc": answer(dataset, extra),
        }
    )


def each_variable(dataset: str, request: dict[str, Any]) -> bytes:
    single = {name: answer(dataset, {**request, "variable": [name]}) for name in request["variable"]}
    return cds_weather.zipped({f"{name}.nc": content for name, content in single.items()})


CDS_NAMES = {"t2m": "2m_temperature", "sst": "sea_surface_temperature", "sshf": "surface_sensible_heat_flux"}
TOLERANCE = {"t2m": 1e-3, "sst": 1e-3, "sshf": 1e-2}


@pytest.mark.parametrize("form", ["bare", "zip by step", "zip by variable", "old", "grib", "mixed expver"])
def test_each_form_gives_the_same_days(cds: Make, tmp_path: Path, form: str) -> None:
    answers: dict[str, Answer] = {
        "bare": answer,
        "zip by step": by_step,
        "zip by variable": each_variable,
        "old": lambda _, r: packed(old_names(cds_weather.dataset_of(r)), tmp_path),
        "grib": answer,
        "mixed expver": lambda _, r: cds_weather.netcdf(cds_weather.dataset_of(r, preliminary="2021-02-01")),
    }
    case = cds(answer=answers[form], data_format="grib" if form == "grib" else "netcdf", **SHORT)
    found = case.source().open()
    assert list(found.data_vars) == ["t2m", "sst", "sshf"]
    days = pd.date_range(SHORT["start"], SHORT["end"])
    assert pd.DatetimeIndex(found.time.values).equals(days.as_unit("ns"))
    for name, cds_name in CDS_NAMES.items():
        expected = truth(name, cds_name, days)
        tolerance = TOLERANCE[name] * (50 if form == "old" else 1)
        np.testing.assert_allclose(found[name].values, expected, rtol=0, atol=tolerance)
    assert np.isnan(found.sst.values).any()
    assert (found.sshf.attrs["units"], found.t2m.attrs["units"]) == ("W m-2", "K")


def test_pressure_levels_and_water(cds: Make) -> None:
    case = cds(**{**SHORT, "variables": ["z500", "t850", "tp"]})
    found = case.source().open()
    days = pd.date_range(SHORT["start"], SHORT["end"])
    np.testing.assert_allclose(found.z500, truth("z500", "geopotential", days, 500), rtol=1e-6)
    np.testing.assert_allclose(found.t850, truth("t850", "temperature", days, 850), rtol=1e-6)
    np.testing.assert_allclose(found.tp, truth("tp", "total_precipitation", days), rtol=1e-5)
    assert (found.tp.attrs["units"], found.tp.attrs["cell_methods"]) == ("m", "time: sum")


def test_pressure_levels_as_grib(cds: Make) -> None:
    case = cds(**{**SHORT, "variables": ["z500", "t850"], "data_format": "grib"})
    found = case.source().open()
    days = pd.date_range(SHORT["start"], SHORT["end"])
    np.testing.assert_allclose(found.z500, truth("z500", "geopotential", days, 500), rtol=1e-5)


def test_daily_statistics_give_the_days_that_hours_give(cds: Make) -> None:
    wanted = {**SHORT, "variables": ["t2m", "sst", "sshf", "tp"]}
    hourly = cds(**wanted).source().open().load()
    daily = cds(**wanted, product="daily_statistics").source().open().load()
    assert daily.sshf.attrs == hourly.sshf.attrs
    xr.testing.assert_allclose(daily, hourly, rtol=1e-5)


def test_six_hourly_steps_and_a_coarser_grid(cds: Make) -> None:
    case = cds(
        variables=["t2m"],
        start="2021-01-30",
        end="2021-02-02",
        area=[40, -30, 38, -28],
        grid=[1.0, 1.0],
        step_hours=6,
    )
    found = case.source().open()
    assert found.t2m.shape == (4, 3, 3)
    lat, lon = np.array([40, 39, 38.0]), np.array([-30, -29, -28.0])
    hours = pd.date_range("2021-01-30", periods=4, freq="6h")
    expected = cds_weather.values("2m_temperature", None, hours, lat, lon).mean(axis=0)
    np.testing.assert_allclose(found.t2m.values[0], expected, rtol=1e-6)


# What is preliminary


def at(source: CdsSource, moment: str) -> CdsSource:
    source.now = lambda: datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return source


def test_only_what_was_preliminary_and_should_be_final_is_fetched_again(cds: Make) -> None:
    preliminary: str | None = "2021-02-01"

    def answering(dataset: str, request: dict[str, Any]) -> bytes:
        found = cds_weather.dataset_of(request, preliminary=preliminary)
        return cds_weather.netcdf(found + 0.5 * (found.valid_time >= pd.Timestamp(preliminary or "2200")))

    case = cds(answer=answering, variables=["t2m"], start="2021-01-25", end="2021-02-25", area=SHORT["area"])
    first = at(case.source(), "2021-03-02")
    opened = first.open().load()
    before = first.fingerprint()
    noted = json.loads(opened.attrs["preliminary"])
    assert noted == {"2021-02 instant days 01-25": ["2021-02-01T00:00:00", "2021-02-25T23:00:00"]}

    posts = case.server.posts
    early = at(case.source(), "2021-05-20")
    assert early.fingerprint() == before
    early.open()
    assert case.server.posts == posts

    preliminary = None
    late = at(case.source(), "2021-06-01")
    assert None in late.fingerprint()["answers"].values()
    final = late.open().load()
    assert case.server.posts == posts + 1
    assert case.server.submitted()[-1][1].count('"02"') > 0
    assert late.fingerprint() != before
    assert "preliminary" not in final.attrs
    np.testing.assert_allclose(
        (opened.t2m - final.t2m).values[[0, -1]].mean(axis=(1, 2)), [0, 0.5], atol=1e-4
    )

    again = at(case.source(), "2021-06-02")
    again.open()
    assert case.server.posts == posts + 1


def test_a_download_that_is_killed_while_it_renews_keeps_the_older_answer(cds: Make) -> None:
    case = cds(
        answer=lambda _, r: cds_weather.netcdf(cds_weather.dataset_of(r, preliminary="2021-01-01")),
        **{**SHORT, "variables": ["t2m"], "start": "2021-02-01"},
    )
    at(case.source(), "2021-03-02").open()
    files = sorted((case.folder / "parts").glob("*.nc"))
    case.server.fault("GET", r"/cache/", page(503))
    with pytest.raises(DataError):
        at(case.source(), "2021-06-01").open()
    assert sorted((case.folder / "parts").glob("*.nc")) == files


# Real answers of the service


def test_a_real_hourly_answer_passes_and_a_month_that_was_not_asked_for_does_not(real_data: Path) -> None:
    path = real_data / "cds_new_format/era5_hourly_germany_2025-11-04/data_stream-oper_stepType-instant.nc"
    request = {
        "year": ["2025"],
        "month": ["11"],
        "day": ["04"],
        "time": [f"{hour:02d}:00" for hour in range(24)],
        "variable": ["10m_u_component_of_wind", "10m_v_component_of_wind"],
        "area": [55.05, 5.9, 47.3, 14.9],
    }
    part = Part("reanalysis-era5-single-levels", "instant", ("u10", "v10"), request, (32, 37))
    assert check(part, path).preliminary == ["2025-11-04T00:00:00", "2025-11-04T23:00:00", 24]
    other = Part(part.dataset, "instant", part.names, {**request, "day": ["05"]}, part.shape)
    with pytest.raises(WrongAnswerError, match="which was not asked for"):
        check(other, path)


def test_real_daily_statistics_pass_in_a_zip(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "cds_new_format/era5_daily_statistics_nw_france_2024-10"
    members = {path.name: path.read_bytes() for path in sorted(folder.glob("*.nc"))}
    path = tmp_path / "answer.part"
    path.write_bytes(cds_weather.zipped(members))
    request = {
        "year": "2024",
        "month": ["10"],
        "day": [f"{day:02d}" for day in range(1, 32)],
        "daily_statistic": "daily_mean",
        "variable": ["10m_u_component_of_wind", "10m_v_component_of_wind", "2m_temperature"],
        "area": [50.61, -1.46, 48.36, 3.29],
    }
    part = Part(
        "derived-era5-single-levels-daily-statistics", "instant", ("t2m", "u10", "v10"), request, (10, 20)
    )
    assert check(part, path).size == path.stat().st_size


def test_a_real_grib_month_passes(real_data: Path) -> None:
    request = {
        "year": ["2019"],
        "month": ["03"],
        "day": [f"{day:02d}" for day in range(1, 32)],
        "data_format": "grib",
        "time": [f"{hour:02d}:00" for hour in range(24)],
        "variable": ["2m_temperature"],
        "area": [58, -10, 50, 2],
    }
    part = Part("reanalysis-era5-single-levels", "instant", ("t2m",), request, (33, 49))
    assert check(part, real_data / "grib/era5-2mt-2019-03-uk.grib").preliminary is None
