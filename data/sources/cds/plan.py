"""From dates, area, variables and levels to requests: a calendar month each, one kind of step in each.

Instantaneous, accumulated and mean-rate variables are never asked for together, since the service answers such a
request now with one file and now with several. The value of an accumulated flux stamped 00:00 belongs to the day
before, so one request more brings 00:00 of the day after the last. Requests are canonical (sorted lists of strings),
because the service answers an identical request from its cache.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from data import catalogue
from data.catalogue import Variable
from data.errors import DataError

GRID = 0.25  # degrees: the grid on which the service gives ERA5
DATASETS = {
    ("hourly", "single"): "reanalysis-era5-single-levels",
    ("hourly", "pressure"): "reanalysis-era5-pressure-levels",
    ("daily_statistics", "single"): "derived-era5-single-levels-daily-statistics",
    ("daily_statistics", "pressure"): "derived-era5-pressure-levels-daily-statistics",
}
# About what one value takes in an answer: compressed float32 in NetCDF, 16 bits in GRIB.
BYTES_PER_VALUE = {"netcdf": 2.5, "grib": 2.0}


@dataclass(frozen=True)
class Wish:
    """What is wanted.

    Attributes:
        variables: field names of the raw store (t2m, z500).
        start: first day.
        end: last day, included.
        area: north, west, south, east in degrees, on the grid.
        product: hourly, or daily_statistics, which the service computes from the hourly fields.
        step_hours: hours between the fields of a day that are averaged: 1, 3 or 6.
        data_format: netcdf or grib.
        grid: degrees of latitude and longitude to which the service interpolates; None for its own.
    """

    variables: tuple[str, ...]
    start: pd.Timestamp
    end: pd.Timestamp
    area: tuple[float, float, float, float]
    product: str = "hourly"
    step_hours: int = 1
    data_format: str = "netcdf"
    grid: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Latitudes and longitudes of the answer."""
        north, west, south, east = self.area
        height, width = self.grid or (GRID, GRID)
        return round((north - south) / height) + 1, round((east - west) / width) + 1

    @property
    def days(self) -> pd.DatetimeIndex:
        """The days of the record."""
        return pd.date_range(self.start, self.end, freq="D", unit="ns")


@dataclass(frozen=True, eq=False)
class Part:
    """One request and what its answer has to hold.

    Attributes:
        dataset: the service's name of the dataset.
        kind: instant, accumulated or mean.
        names: the fields that the answer is read for, as the raw store calls them.
        request: the request's body, in canonical form.
        shape: latitudes and longitudes.
    """

    dataset: str
    kind: str
    names: tuple[str, ...]
    request: Mapping[str, Any]
    shape: tuple[int, int]

    @cached_property
    def id(self) -> str:
        """The sha256 of dataset and request."""
        return hashlib.sha256(f"{self.dataset} {canonical(self.request)}".encode()).hexdigest()

    @property
    def month(self) -> str:
        """Such as 2021-03."""
        year = self.request["year"]
        return f"{year if isinstance(year, str) else year[0]}-{self.request['month'][0]}"

    @property
    def label(self) -> str:
        """What messages call it: the month, the kind and where several requests share these, the fields or days."""
        days = self.request["day"]
        whole = pd.Period(self.month).days_in_month == len(days)
        span = "" if whole else f" days {days[0]}-{days[-1]}" if len(days) > 1 else f" day {days[0]}"
        at = (
            ""
            if "pressure_level" not in self.request
            else f" at {','.join(self.request['pressure_level'])} hPa"
        )
        return f"{self.month} {self.kind}{at}{span}"

    @property
    def file_stem(self) -> str:
        """The name of its file, without the suffix."""
        return f"{self.month}-{self.kind}-{self.id[:12]}"

    @property
    def times(self) -> pd.DatetimeIndex:
        """The times that the answer has to hold."""
        hours = self.request.get("time", ["00:00"])
        return pd.DatetimeIndex(
            [pd.Timestamp(f"{self.month}-{day}T{hour}") for day in self.request["day"] for hour in hours]
        ).as_unit("ns")

    @property
    def n_fields(self) -> int:
        """Fields (one variable, level and time each) of the answer."""
        levels = len(self.request.get("pressure_level", [""]))
        return len(self.request["variable"]) * levels * len(self.times)

    @property
    def values(self) -> int:
        """Grid values of the answer."""
        return self.n_fields * self.shape[0] * self.shape[1]

    @property
    def size(self) -> int:
        """About how many bytes the answer takes."""
        return int(self.values * BYTES_PER_VALUE[str(self.request.get("data_format", "netcdf"))])

    def halves(self) -> list[Part]:
        """Two requests that together ask for the same: by days, or for one day by variables; [] if that cannot be."""
        key = next((key for key in ("day", "variable") if len(self.request[key]) > 1), None)
        if key is None:
            return []
        middle = math.ceil(len(self.request[key]) / 2)
        return [
            self._with(key, chosen) for chosen in (self.request[key][:middle], self.request[key][middle:])
        ]

    def _with(self, key: str, chosen: list[str]) -> Part:
        request = {**self.request, key: chosen}
        names = tuple(n for n in self.names if catalogue.parse(n)[0].cds in request["variable"])
        return Part(self.dataset, self.kind, names, request, self.shape)


def canonical(request: Mapping[str, Any]) -> str:
    """A request as JSON with sorted keys and no spaces."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def line(part: Part, done: bool) -> str:
    """A part on one line of a table: name, fields, bytes."""
    state = "here already" if done else ""
    return f"{part.label:<32} {part.n_fields:>8} fields {part.size / 1e6:>10.1f} MB  {state}".rstrip()


def make(wish: Wish) -> list[Part]:
    """The requests, month after month.

    Raises:
        DataError: a variable cannot be had in this way.
    """
    groups = list(_groups(wish))
    parts = [_part(wish, group, days, _hours(wish)) for days in _months(wish.days) for group in groups]
    after = pd.DatetimeIndex([wish.end + pd.Timedelta(days=1)])
    late = [group for group in groups if group[1] != "instant" and wish.product == "hourly"]
    return parts + [_part(wish, group, after, ["00:00"]) for group in late]


Group = tuple[str, str, tuple[str, ...], tuple[float, ...]]  # dataset, kind, field names, levels


def _groups(wish: Wish) -> Iterator[Group]:
    """Fields that share a request: of one dataset, one kind, and the same levels."""
    found = {name: catalogue.parse(name) for name in wish.variables}
    levels: dict[Variable, list[float]] = {}
    for name, (variable, level) in found.items():
        _check_variable(wish, name, variable, level)
        levels.setdefault(variable, []).extend([] if level is None else [level])
    keys = {v: (v.level, v.kind, tuple(sorted(at))) for v, at in levels.items()}
    for key in sorted(set(keys.values()), key=lambda k: (k[0] != "single", k[1] != "instant", k)):
        names = tuple(name for name, (variable, _) in found.items() if keys[variable] == key)
        yield DATASETS[wish.product, key[0]], key[1], names, key[2]


def _check_variable(wish: Wish, name: str, variable: Variable, level: float | None) -> None:
    if variable.level == "pressure" and level is None:
        raise DataError(f"dataset.variables: {name} needs its level in hPa: write it as {name}500, say.")
    if variable.kind != "instant" and wish.step_hours != 1:
        raise DataError(
            f"dataset.variables: {name} is a sum or mean over each hour, so that a daily value needs every hour: "
            "set dataset.step_hours=1, or leave it out."
        )


def _months(days: pd.DatetimeIndex) -> list[pd.DatetimeIndex]:
    periods = days.to_period("M")
    return [days[periods == month] for month in periods.unique()]


def _hours(wish: Wish) -> list[str]:
    return [f"{hour:02d}:00" for hour in range(0, 24, wish.step_hours)]


def _part(wish: Wish, group: Group, days: pd.DatetimeIndex, hours: list[str]) -> Part:
    dataset, kind, names, levels = group
    request: dict[str, Any] = {
        "variable": sorted({catalogue.parse(name)[0].cds for name in names}),
        "month": [f"{days[0]:%m}"],
        "day": [f"{day:%d}" for day in days],
        "area": [_number(edge) for edge in wish.area],
    }
    if levels:
        request["pressure_level"] = [f"{level:g}" for level in levels]
    request |= (
        _daily_request(days) if wish.product == "daily_statistics" else _hourly_request(wish, days, hours)
    )
    return Part(dataset, kind, names, request, wish.shape)


def _hourly_request(wish: Wish, days: pd.DatetimeIndex, hours: list[str]) -> dict[str, Any]:
    request = {
        "product_type": ["reanalysis"],
        "year": [f"{days[0]:%Y}"],
        "time": hours,
        "data_format": wish.data_format,
        "download_format": "unarchived",
    }
    # Asked for only where it is needed: the service counts it as more fields, and interpolates.
    return request | ({} if wish.grid is None else {"grid": [_number(step) for step in wish.grid]})


def _daily_request(days: pd.DatetimeIndex) -> dict[str, Any]:
    return {
        "product_type": "reanalysis",
        "year": f"{days[0]:%Y}",
        "daily_statistic": "daily_mean",
        "time_zone": "utc+00:00",
        "frequency": "1_hourly",
    }


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
