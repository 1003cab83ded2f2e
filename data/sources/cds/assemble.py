"""Checked parts put together: a common grid and time axis, hours reduced to days, the raw store's attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from data import daily
from data.daily import Daily
from data.sources.cds.check import read
from data.sources.cds.plan import Part, Wish
from data.sources.harmonise import Field
from data.sources.merge import check_grids, lazy_array, with_axis_attributes
from data.sources.record import gather

SOURCE = "ERA5 hourly data, Copernicus Climate Change Service (C3S), Climate Data Store"
LICENCE = (
    "CC-BY-4.0; contains modified Copernicus Climate Change Service information; neither the European Commission nor "
    "ECMWF is responsible for any use that may be made of it"
)
CITATION = (
    "Hersbach, H., et al. (2020): The ERA5 global reanalysis, Q. J. R. Meteorol. Soc. 146, 1999-2049, "
    "doi:10.1002/qj.3803"
)


def assemble(wish: Wish, files: Sequence[tuple[Part, Path]]) -> xr.Dataset:
    """The daily record (time, latitude, longitude) of checked files, computed as it is read.

    Raises:
        DataError: a file cannot be read, or the grids differ.
    """
    fields = [field for part, path in files for field in read(part, path)]
    check_grids(fields)
    arrays = {name: _variable(wish, name, [f for f in fields if f.name == name]) for name in wish.variables}
    return finish(xr.Dataset(arrays))


def _variable(wish: Wish, name: str, fields: list[Field]) -> xr.DataArray:
    record = gather(fields)
    days, per_day = wish.days, 24 // wish.step_hours
    if wish.product == "daily_statistics":
        rule, axis, per_day = daily.from_daily_mean(name), days, 1
    else:
        rule = daily.reduction(name, wish.step_hours)
        # With the midnight that ends the last day: the sum of that day needs it.
        axis = pd.date_range(days[0], days[-1] + pd.Timedelta(days=1), freq=f"{wish.step_hours}h", unit="ns")
    timeline = record.timeline(axis)
    reduced = Daily(timeline.read, (len(days), *timeline.shape[1:]), rule, per_day)
    return lazy_array(reduced, days, fields[0], rule.attributes())


def finish(dataset: xr.Dataset) -> xr.Dataset:
    """Adds the attributes of the axes of daily fields."""
    return with_axis_attributes(dataset, "day (UTC)")


def attributes(options: Mapping[str, Any], source: str = SOURCE) -> dict[str, str]:
    """The attributes of the dataset."""
    return {
        "Conventions": "CF-1.8",
        "source": source,
        "licence": LICENCE,
        "citation": CITATION,
        "request": json.dumps(options, sort_keys=True),
    }
