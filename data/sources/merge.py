"""Fields of many files put together: one grid, one time axis, one array for each variable.

Missing steps are an error, or NaN where they are allowed. Does not regrid.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from data import catalogue
from data.errors import DataError
from data.sources.harmonise import Field
from data.sources.record import Period, Record, check_complete, gather, time_axis
from data.store import steps_per_chunk

log = logging.getLogger(__name__)

GRID_TOLERANCE = 1e-3  # degrees; coordinates in float32 differ by 3e-5


def merge(fields: list[Field], period: Period, *, allow_missing: bool) -> xr.Dataset:
    """One dataset (time, latitude, longitude) of fields on one grid.

    Args:
        fields: of any files, in the files' order.
        period: first and last moment, None for what the files have.
        allow_missing: whether missing steps become NaN.

    Raises:
        DataError: grids or times differ, steps are missing or contradict each other, the period is not
            covered.
    """
    check_grids(fields)
    records = [
        gather([f for f in fields if f.name == name]) for name in dict.fromkeys(f.name for f in fields)
    ]
    axis = time_axis(records, period)
    for record in records:
        check_complete(record, axis, allow_missing=allow_missing)
    _warn_date_line(fields[0])
    arrays = {record.name: _array(record, axis, fields[0]) for record in records}
    return with_axis_attributes(xr.Dataset(arrays), "time")


def _array(record: Record, axis: pd.DatetimeIndex, grid: Field) -> xr.DataArray:
    variable, level = catalogue.parse(record.name)
    at = f" at {level:g} hPa" if level is not None else ""
    attrs = {"long_name": f"{variable.long_name}{at}", "units": variable.units}
    if variable.standard_name:
        attrs["standard_name"] = variable.standard_name
    if notes := "; ".join(dict.fromkeys(field.note for field in record.fields if field.note)):
        attrs["comment"] = notes
    return lazy_array(record.timeline(axis), axis, grid, attrs)


def lazy_array(reader: Any, axis: pd.DatetimeIndex, grid: Field, attrs: Mapping[str, str]) -> xr.DataArray:
    """A field (time, latitude, longitude) as dask chunks of the length that the store has, read when computed.

    Args:
        reader: has the shape and gives float32 fields by slices, as `Timeline` and `Daily` do.
        axis: its time steps.
        grid: a field on its grid.
        attrs: of the array.
    """
    steps = steps_per_chunk(4 * reader.shape[1] * reader.shape[2], len(axis))
    array = da.from_array(
        reader,
        chunks=(steps, -1, -1),
        name=f"fields-{uuid.uuid4().hex}",
        fancy=False,
        meta=np.empty((0, 0, 0), np.float32),
    )
    coords = {"time": axis, "latitude": grid.latitude, "longitude": grid.longitude}
    return xr.DataArray(array, coords, ("time", "latitude", "longitude"), attrs=dict(attrs))


def with_axis_attributes(dataset: xr.Dataset, time: str) -> xr.Dataset:
    """The dataset with CF attributes on its axes; `time` is the time axis's long name."""
    dataset["time"].attrs = {"standard_name": "time", "long_name": time}
    dataset["latitude"].attrs = {"standard_name": "latitude", "units": "degrees_north"}
    dataset["longitude"].attrs = {"standard_name": "longitude", "units": "degrees_east"}
    return dataset


def check_grids(fields: list[Field]) -> None:
    """Whether all fields are on one grid.

    Raises:
        DataError: naming the first two files that differ.
    """
    first = fields[0]
    for other in fields[1:]:
        pairs = ((first.latitude, other.latitude), (first.longitude, other.longitude))
        if not all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=GRID_TOLERANCE) for a, b in pairs):
            raise DataError(
                f"{other.file}: the grid of {other.name} is {_grid(other)}, but {first.name} in "
                f"{first.file} has {_grid(first)}: bring the files to one grid, or choose among them by "
                "dataset.path or dataset.variables."
            )


def _grid(field: Field) -> str:
    north, south = field.latitude[[0, -1]]
    west, east = field.longitude[[0, -1]]
    shape = f"{len(field.latitude)} x {len(field.longitude)}"
    return f"{shape} (latitude {north:.6g} to {south:.6g}, longitude {west:.6g} to {east:.6g})"


def _warn_date_line(field: Field) -> None:
    steps = np.diff(field.longitude)
    if len(steps) > 2 and steps.max() > 1.5 * np.median(steps):
        west, east = field.longitude[steps.argmax() : steps.argmax() + 2]
        log.warning("no longitude lies between %g and %g, yet these columns become neighbours", west, east)


def preliminary_steps(records: Sequence[Field]) -> pd.DatetimeIndex:
    """The times that are preliminary (ERA5T) in any field."""
    marked = [
        r.reader.raw.times[r.reader.raw.preliminary] for r in records if r.reader.raw.preliminary is not None
    ]
    times = pd.DatetimeIndex(np.concatenate([m.values for m in marked])) if marked else pd.DatetimeIndex([])
    return times.unique().sort_values()


def probe(fields: Sequence[Field]) -> None:
    """Reads one step of each variable's first and last file.

    Wrong units and most damage are found before the long work; every block is checked again when it is read.

    Raises:
        DataError: as FieldReader.read.
    """
    firsts = {field.name: field.reader for field in reversed(fields)}
    lasts = {field.name: field.reader for field in fields}
    for reader in dict.fromkeys([*firsts.values(), *lasts.values()]):
        reader.peek()
