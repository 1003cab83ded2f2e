"""What a store holds, in figures: mean, spread, range and missing share of every cell, and the year at one point.

One pass in whole chunks of time, with moments merged in float64 (Chan et al. 1983, equation 2.1): memory is bounded
by a chunk and a few fields of each variable. Supports raw stores (missing values are NaN) and prepared ones (a
mask says where data exist). Values that are infinite count as missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import grid, seasonal, store
from data.errors import DataError

PENTAD = 5  # days
PENTADS = 73  # of a year; the last has six days in a leap year
FIELD = ("variable", "latitude", "longitude")
YEAR = ("variable", "pentad")

Track = Callable[[Sequence[tuple[int, slice]]], Iterable[tuple[int, slice]]]


class Moments:
    """Count, mean, sum of squared departures and range of every cell, fed chunk by chunk.

    Args:
        shape: of a field.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.steps = 0
        self.count = np.zeros(shape, np.int64)
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)
        self.low = np.full(shape, np.nan)
        self.high = np.full(shape, np.nan)

    def update(self, values: NDArray[np.floating]) -> None:
        """Adds time steps: values (time, *shape), NaN where missing."""
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        some = np.maximum(count, 1)
        mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / some
        squares = (np.where(known, values - mean, 0) ** 2).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        apart = np.where(count > 0, mean - self.mean, 0)
        self.squares += squares + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count += count
        self.steps += len(values)
        self.low = np.fmin(self.low, np.fmin.reduce(values, axis=0))
        self.high = np.fmax(self.high, np.fmax.reduce(values, axis=0))

    def fields(self) -> dict[str, NDArray[np.float64]]:
        """mean, sd, low, high (NaN where nothing is known) and missing, the share of the steps, of every cell."""
        known = self.count > 0
        return {
            "mean": np.where(known, self.mean, np.nan),
            "sd": np.where(known, np.sqrt(self.squares / np.maximum(self.count, 1)), np.nan),
            "low": self.low,
            "high": self.high,
            "missing": 1 - self.count / max(self.steps, 1),
        }


class Year:
    """Mean and range of every five days of the year at one point, fed chunk by chunk.

    Args:
        variables: how many.
    """

    def __init__(self, variables: int) -> None:
        shape = (variables, PENTADS)
        self.count, self.total = np.zeros(shape), np.zeros(shape)
        self.low, self.high = np.full(shape, np.nan), np.full(shape, np.nan)

    def update(self, times: pd.DatetimeIndex, values: NDArray[np.floating]) -> None:
        """Adds values (time, variable) at their times."""
        pentad = np.minimum(seasonal.day_of_year(times) // PENTAD, PENTADS - 1).astype(int)
        known = ~np.isnan(values)
        np.add.at(self.count.T, pentad, known)
        np.add.at(self.total.T, pentad, np.where(known, values, 0))
        np.fmin.at(self.low.T, pentad, values)
        np.fmax.at(self.high.T, pentad, values)

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """year_mean, year_low, year_high (variable, pentad), NaN where the record has no such days."""
        mean = np.divide(self.total, self.count, out=np.full_like(self.total, np.nan), where=self.count > 0)
        return {"year_mean": mean, "year_low": self.low, "year_high": self.high}


@dataclass(frozen=True)
class Totals:
    """One variable over all cells and steps: means weighted by cell area, the range, the missing share."""

    mean: float
    sd: float
    low: float
    high: float
    missing: float


@dataclass(frozen=True)
class Layout:
    """How an array lies in the store.

    Attributes:
        name: of the array.
        shape: its length along each axis.
        chunks: of what is compressed at one time.
        shards: of what lies in one file, where several chunks do; else None.
        size: bytes uncompressed.
        stored: bytes in the store.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    size: int
    stored: int


def layout(path: Path) -> list[Layout]:
    """How every array of a store lies on the disk, the largest first."""
    arrays = store.open_group(path, "r").arrays()
    found = [
        Layout(name, array.shape, array.chunks, array.shards, array.nbytes, array.nbytes_stored())
        for name, array in arrays
    ]
    return sorted(found, key=lambda held: (-held.size, held.name))


def nearest(dataset: xr.Dataset, point: Sequence[float] | None) -> tuple[int, int]:
    """Row and column of the cell nearest to a point, or of the cell in the middle.

    Args:
        dataset: with latitude and longitude.
        point: degrees north and degrees east (−180 to 360), or None for the middle.

    Raises:
        DataError: if the point lies outside the grid.
    """
    latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
    if point is None:
        return len(latitude) // 2, len(longitude) // 2
    if len(point) != 2:
        raise DataError(f"dataset.point must be [latitude, longitude]. Received: {list(point)}.")
    north, apart = np.abs(latitude - point[0]), np.abs((longitude - point[1] + 180) % 360 - 180)
    if north.min() > _spacing(latitude) or apart.min() > _spacing(longitude):
        raise DataError(
            f"dataset.point {list(point)} lies outside the grid (latitude {latitude.min():g} to "
            f"{latitude.max():g}, longitude {longitude.min():g} to {longitude.max():g}): give one inside."
        )
    return int(north.argmin()), int(apart.argmin())


def _spacing(axis: NDArray[np.floating]) -> float:
    return float(np.abs(np.diff(axis)).max()) / 2 + 1e-6 if len(axis) > 1 else 0.5


def raw(dataset: xr.Dataset, row: int, column: int, track: Track = iter) -> xr.Dataset:
    """The survey of a raw store.

    Args:
        dataset: variables (time, latitude, longitude), opened lazily.
        row: of the point whose year is followed.
        column: of that point.
        track: goes through (variable, part of the time axis) and may show how far it is.

    Returns:
        mean, sd, low, high, missing (variable, latitude, longitude) and year_mean, year_low, year_high
        (variable, pentad), in the variables' units; missing is a share.

    Raises:
        DataError: if a chunk is damaged.
    """
    return _survey(
        [dataset[name] for name in names(dataset)], np.ones((), bool), names(dataset), (row, column), track
    )


def prepared(dataset: xr.Dataset, row: int, column: int, track: Track = iter) -> xr.Dataset:
    """The survey of a prepared store's x, in normalised units; arguments and result as of `raw`."""
    return _survey([dataset["x"]], dataset["mask"].values, names(dataset), (row, column), track)


def totals(surveyed: xr.Dataset) -> dict[str, Totals]:
    """Each variable over all cells and steps, from what `raw` or `prepared` found."""
    weight = np.broadcast_to(
        grid.area_weights(surveyed["latitude"].values)[:, None], surveyed["mean"].shape[1:]
    )
    return {str(name): _total(surveyed.sel(variable=name), weight) for name in surveyed["variable"].values}


def _total(held: xr.Dataset, weight: NDArray[np.float64]) -> Totals:
    missing, mean, sd = (held[name].values for name in ("missing", "mean", "sd"))
    known = ~np.isnan(mean)
    if not known.any():
        return Totals(np.nan, np.nan, np.nan, np.nan, 1.0)
    share = np.where(known, weight * (1 - missing), 0)[known]
    middle = float(np.average(mean[known], weights=share))
    spread = float(np.average(sd[known] ** 2 + (mean[known] - middle) ** 2, weights=share))
    low, high = float(np.nanmin(held["low"])), float(np.nanmax(held["high"]))
    return Totals(middle, spread**0.5, low, high, float(missing.mean()))


def _survey(
    arrays: Sequence[xr.DataArray],
    mask: NDArray[np.bool_],
    variables: Sequence[str],
    point: tuple[int, int],
    track: Track,
) -> xr.Dataset:
    """Goes once through arrays (time, latitude, longitude), one a variable, or one with a variable axis."""
    times = pd.DatetimeIndex(arrays[0]["time"].values)
    fields = [(array.sizes.get("variable", 1), *array.shape[-2:]) for array in arrays]
    moments = [Moments(shape) for shape in fields]
    years = [Year(shape[0]) for shape in fields]
    for index, part in track(list(_parts(arrays))):
        values = np.where(mask, _read(arrays[index], part), np.nan)
        moments[index].update(values)
        years[index].update(times[part], values[:, :, *point])
    found = {
        name: (FIELD, np.concatenate([held.fields()[name] for held in moments]))
        for name in ("mean", "sd", "low", "high", "missing")
    }
    curves = {
        name: (YEAR, np.concatenate([held.curves()[name] for held in years]))
        for name in ("year_mean", "year_low", "year_high")
    }
    axes = {name: arrays[0][name].values for name in ("latitude", "longitude")}
    return xr.Dataset({**found, **curves}, coords={"variable": list(variables), **axes})


def _parts(arrays: Sequence[xr.DataArray]) -> Iterator[tuple[int, slice]]:
    """Whole chunks of time of each array, or what a store of our own would have as a chunk."""
    for index, array in enumerate(arrays):
        per_step = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        usual = store.steps_per_chunk(per_step, len(array))
        chunk = dict(zip(array.dims, array.encoding.get("chunks") or (), strict=False)).get("time", usual)
        step = chunk * max(usual // chunk, 1)
        for part in store.time_slices(len(array), step):
            yield index, part


def _read(array: xr.DataArray, part: slice) -> NDArray[np.floating]:
    """Values (time, variable, latitude, longitude) of a part of the record, NaN where missing or infinite."""
    try:
        values = array.isel(time=part).values
    except (OSError, RuntimeError, ValueError) as error:
        first, last = pd.DatetimeIndex(array["time"].values)[part][[0, -1]]
        raise DataError(
            f"the store cannot be read between {first:%Y-%m-%d} and {last:%Y-%m-%d} "
            f"({' '.join(str(error).split())[:120]}): make it again."
        ) from error
    values = values.reshape(len(values), -1, *values.shape[-2:])
    return np.where(np.isfinite(values), values, np.nan)


def names(dataset: xr.Dataset) -> list[str]:
    """The variables of a raw store or a prepared one, in their order."""
    held = dataset["variable"].values if "variable" in dataset.coords else dataset.data_vars
    return [str(name) for name in held]


def by_variable(dataset: xr.Dataset, key: str) -> dict[str, str]:
    """An attribute (units, long_name) of every variable of a raw store or a prepared one; '' where it is absent."""
    if "variable" in dataset.coords:
        stated = json.loads(dataset.attrs.get(key, "{}"))
        return {name: stated.get(name, "") for name in names(dataset)}
    return {name: str(dataset[name].attrs.get(key, "")) for name in names(dataset)}
