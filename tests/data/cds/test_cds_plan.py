"""What is asked for, from what is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data.errors import DataError
from data.sources.cds import from_options
from data.sources.cds.plan import Part, canonical, make
from data.sources.cds.wish import from_options as wish
from tests.data.cds.conftest import OPTIONS, SHORT


def plan(**options: Any) -> list[Part]:
    return make(wish({**OPTIONS, **options}))


def test_a_month_and_a_kind_of_step_make_a_request_and_the_last_midnight_one_more() -> None:
    parts = plan(**SHORT)
    assert [part.label for part in parts] == [
        "2021-01 instant days 30-31",
        "2021-01 accumulated days 30-31",
        "2021-02 instant days 01-02",
        "2021-02 accumulated days 01-02",
        "2021-02 accumulated day 03",
    ]
    assert parts[0].request == {
        "product_type": ["reanalysis"],
        "variable": ["2m_temperature", "sea_surface_temperature"],
        "year": ["2021"],
        "month": ["01"],
        "day": ["30", "31"],
        "time": [f"{hour:02d}:00" for hour in range(24)],
        "area": [39, -29, 38.5, -28],
        "data_format": "netcdf",
        "download_format": "unarchived",
    }
    assert (parts[-1].request["day"], parts[-1].request["time"]) == (["03"], ["00:00"])


def test_every_stamp_that_a_day_needs_is_asked_for_once() -> None:
    parts = [part for part in plan(**SHORT) if part.kind == "accumulated"]
    stamps = pd.DatetimeIndex(sorted(time for part in parts for time in part.times))
    assert stamps.equals(pd.date_range("2021-01-30", "2021-02-03T00", freq="h", unit="ns"))


def test_the_authors_year_is_two_requests_a_month_and_a_midnight() -> None:
    variables = ["sst", "t2m", "u10", "v10", "sp", "sshf", "slhf"]
    parts = plan(variables=variables, start="2021", end="2021", area=[43, -33, 33, -23])
    assert len(parts) == 25
    assert sum(part.n_fields for part in parts) == 7 * 8760 + 2
    assert parts[0].shape == (41, 41)


def test_levels_are_asked_for_with_the_variables_that_are_wanted_at_them_only() -> None:
    parts = plan(
        variables=["z500", "t850", "msl", "z850", "t500", "u300"], start="2020-02-01", end="2020-02-29"
    )
    asked = [
        (p.dataset, tuple(p.request["variable"]), p.request.get("pressure_level"), p.names) for p in parts
    ]
    single, levels = "reanalysis-era5-single-levels", "reanalysis-era5-pressure-levels"
    assert asked == [
        (single, ("mean_sea_level_pressure",), None, ("msl",)),
        (levels, ("u_component_of_wind",), ["300"], ("u300",)),
        (levels, ("geopotential", "temperature"), ["500", "850"], ("z500", "t850", "z850", "t500")),
    ]
    assert parts[0].n_fields == 29 * 24


def test_daily_statistics_are_asked_for_as_that_dataset_wants_it() -> None:
    (part,) = plan(product="daily_statistics", variables=["msl"], start="2021-03-01", end="2021-03-31")
    assert part.dataset == "derived-era5-single-levels-daily-statistics"
    assert (part.request["product_type"], part.request["year"]) == ("reanalysis", "2021")
    assert "data_format" not in part.request
    assert len(part.times) == 31


def test_the_same_wish_in_another_order_is_the_same_request() -> None:
    one, other = plan(variables=["t2m", "sst"]), plan(variables=["sst", "t2m"])
    assert one[0].id == other[0].id
    assert " " not in canonical(one[0].request)


def test_the_area_is_moved_outwards_to_the_grid() -> None:
    assert plan(area=[38.9, -28.9, 38.6, -28.1])[0].request["area"] == [39, -29, 38.5, -28]
    assert plan(area=[90, -180, -90, 180])[0].request["area"] == [90, -180, -90, 179.75]


def test_halves_ask_for_the_same_together() -> None:
    (part,) = plan()
    first, second = part.halves()
    assert list(first.times) + list(second.times) == list(part.times)
    single = plan(start="2021-03-01", end="2021-03-01", variables=["t2m", "sst"])[0]
    assert [half.names for half in single.halves()] == [("t2m",), ("sst",)]
    assert single.halves()[0].halves() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variables": None}, "dataset.variables is empty"),
        ({"variables": ["t2n"]}, "did you mean"),
        ({"variables": ["z"]}, "write it as z500"),
        ({"start": None}, "dataset.start is not set"),
        ({"end": None}, "dataset.end is not set"),
        ({"start": "1930-01-01"}, "where ERA5 begins"),
        ({"start": "2021-04-01"}, "lies before dataset.start"),
        ({"area": [33, -33, 43, -23]}, "south below north"),
        ({"area": [43, 170, 33, -170]}, "date line is not supported"),
        ({"area": [43, -33, 33]}, "north, west, south, east"),
        ({"grid": [1.0]}, "two steps in degrees"),
        ({"step_hours": 5}, "must be 1, 3 or 6"),
        ({"step_hours": 6, "variables": ["sshf"]}, "set dataset.step_hours=1"),
        ({"product": "daily_statistics", "data_format": "grib"}, "comes as NetCDF"),
    ],
)
def test_a_mistake_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as refused:
        plan(**options)
    assert words in str(refused.value)
    assert str(refused.value).endswith(".")


def test_the_plan_is_shown_without_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CDSAPI_URL", "CDSAPI_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "none"))
    lines = from_options({**OPTIONS, **SHORT}, tmp_path / "parts").plan_lines()
    text = "\n".join(lines)
    assert '"day":["30","31"]' in text
    assert "5 requests, 289 fields" in text
    assert "Disk space needed" in lines[-1]
