"""From the dataset's settings to a wish, every mistake of the user told in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from data.errors import DataError
from data.sources.cds.plan import GRID, Wish
from data.sources.selection import field_name
from data.timeaxis import period


def from_options(options: Mapping[str, Any]) -> Wish:
    """The wish that dataset settings state: variables, start, end, area and, where given, how it is asked for.

    Raises:
        DataError: a setting is missing or cannot be understood.
    """
    variables = options["variables"]
    if not variables:
        raise DataError("dataset.variables is empty: name at least one, as dataset.variables=[t2m,z500].")
    start, end = _days(options["start"], options["end"])
    grid = _grid(options.get("grid"))
    return Wish(
        variables=tuple(dict.fromkeys(field_name("variables", name) for name in variables)),
        start=start,
        end=end,
        area=box(options["area"], grid or (GRID, GRID)),
        product=options.get("product", "hourly"),
        step_hours=_step_hours(options),
        data_format=options.get("data_format", "netcdf"),
        grid=grid,
    )


def _days(start: str | None, end: str | None) -> tuple[pd.Timestamp, pd.Timestamp]:
    for name, value in (("start", start), ("end", end)):
        if value is None:
            raise DataError(f"dataset.{name} is not set: add dataset.{name}=… as a date such as 2021-12-31.")
    first, last = period(start, end)
    if first is None or last is None:  # not with two dates
        raise DataError("dataset.start and dataset.end have to be dates.")
    if first.year < 1940:
        raise DataError(f"dataset.start {start} lies before 1940, where ERA5 begins: choose a later one.")
    return first.normalize(), last.normalize()


def box(area: Sequence[float], grid: tuple[float, float]) -> tuple[float, float, float, float]:
    """North, west, south, east, moved outwards to the grid.

    Raises:
        DataError: these are not the edges of a box.
    """
    if len(area) != 4:
        raise DataError(f"dataset.area is north, west, south, east in degrees. Received: {list(area)}.")
    north, west, south, east = map(float, area)
    if not (-90 <= south < north <= 90):
        raise DataError(
            f"dataset.area is north, west, south, east with south below north. Received: {list(area)}."
        )
    if not (-180 <= west < east <= 180):
        raise DataError(
            "dataset.area is north, west, south, east with west before east, from -180 to 180; a box over the date "
            f"line is not supported. Received: {list(area)}."
        )
    high, wide = grid
    # 180 degrees east is -180 in the raw store, at its other end.
    return _up(north, high), _down(west, wide), _down(south, high), min(_up(east, wide), 180 - wide)


def _up(value: float, step: float) -> float:
    return round(math.ceil(round(value / step, 6)) * step, 6)


def _down(value: float, step: float) -> float:
    return round(math.floor(round(value / step, 6)) * step, 6)


def _grid(grid: Sequence[float] | None) -> tuple[float, float] | None:
    if grid is None:
        return None
    if len(grid) != 2 or not all(0 < step <= 10 for step in grid):
        raise DataError(
            f"dataset.grid is two steps in degrees, as [1.0,1.0], or null. Received: {list(grid)}."
        )
    return float(grid[0]), float(grid[1])


def _step_hours(options: Mapping[str, Any]) -> int:
    hours = int(options.get("step_hours", 1))
    if hours not in (1, 3, 6):
        raise DataError(f"dataset.step_hours must be 1, 3 or 6. Received: {hours}.")
    if options.get("product", "hourly") == "daily_statistics":
        if options.get("data_format", "netcdf") == "grib" or options.get("grid") is not None:
            raise DataError(
                "dataset.product=daily_statistics comes as NetCDF on the service's own grid only: set "
                "dataset.data_format=netcdf and dataset.grid=null."
            )
        return 1
    return hours
