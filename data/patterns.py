"""Published regime patterns from NetCDF files, to compare clusters with; never seen in training.

Supports files with one variable of regimes on a latitude-longitude grid, in any order of axes and of either sign of
longitude. The variable may be called anything: which field it is of is read from its name, its attributes or the
file's name. Does not support several fields a file, nor curvilinear grids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from data import catalogue
from data.errors import DataError
from data.sources.axes import role_of

_WANTED = "give a NetCDF file with one variable on regime, latitude and longitude"
_FIELD = re.compile(r"[A-Za-z]{1,4}\d{2,4}(?![A-Za-z0-9])")  # z500, GH500, t850


def read_patterns(patterns: str | Mapping[str, str] | None) -> dict[str, xr.DataArray]:
    """Each file's patterns by title; see read_pattern.

    Args:
        patterns: a file, or files by title; None for none. A single file is titled by its name.

    Raises:
        DataError: a file cannot be read or is not what is wanted.
    """
    if patterns is None:
        return {}
    if isinstance(patterns, str):
        patterns = {Path(patterns).stem: patterns}
    if not isinstance(patterns, Mapping) or not all(isinstance(path, str) for path in patterns.values()):
        raise DataError(
            f"dataset.patterns must be a file, or files by title as {{grams: a.nc}}. Received: {patterns}."
        )
    return {str(title): read_pattern(path) for title, path in patterns.items()}


def read_pattern(path: str | Path) -> xr.DataArray:
    """The patterns of one file.

    Regimes are called by the words along their axis. Numbers there are taken where they ascend; otherwise they are a
    leftover of sorting, and regimes are called by their position, from 0.

    Returns:
        float64 (regime, latitude, longitude), called by the field's short name (z500); regime holds the names,
        latitude descends, longitude ascends in [-180, 180).

    Raises:
        DataError: the file cannot be read, or does not hold patterns of one known field.
    """
    file = Path(path).expanduser()
    try:
        with xr.open_dataset(file, engine="netcdf4", decode_times=False) as opened:
            dataset = opened.load()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"dataset.patterns: {file} cannot be read ({reason}): {_WANTED}.") from error
    found, dims = _only_pattern(file, dataset)
    pattern = found.transpose(*dims).astype(np.float64)
    names = _names(pattern[dims[0]] if dims[0] in pattern.coords else None, len(pattern))
    latitude, longitude = (pattern[dim].values.astype(np.float64) for dim in dims[1:])
    return _ordered(
        xr.DataArray(
            pattern.values,
            dims=("regime", "latitude", "longitude"),
            coords={"regime": names, "latitude": latitude, "longitude": (longitude + 180) % 360 - 180},
            name=_field(file, found),
        )
    )


def _only_pattern(file: Path, dataset: xr.Dataset) -> tuple[xr.DataArray, tuple[str, str, str]]:
    """The one variable with patterns, and its dimensions: regime, latitude, longitude."""
    having = {name: dims for name in map(str, dataset.data_vars) if (dims := _dims(dataset, name))}
    if len(having) != 1:
        stated = ", ".join(having) or "none"
        raise DataError(
            f"dataset.patterns: {file} has {len(having)} variables on regime, latitude and longitude "
            f"({stated}), not one: {_WANTED}."
        )
    ((name, dims),) = having.items()
    array = dataset[name]
    if min(array.sizes[dim] for dim in dims[1:]) < 2 or not np.isfinite(array.values).any(axis=None):
        raise DataError(
            f"dataset.patterns: {file}: {name} has {dict(array.sizes)} values, too few or none known: {_WANTED}."
        )
    return array, dims


def _dims(dataset: xr.Dataset, name: str) -> tuple[str, str, str] | None:
    """Regime, latitude and longitude of a variable; None where it has others."""
    array = dataset[name]
    roles = {
        role_of(str(dim), dataset[dim].variable if dim in dataset.coords else None): str(dim)
        for dim in array.dims
    }
    places = [roles.get(role) for role in ("latitude", "longitude")]
    rest = [str(dim) for dim in array.dims if dim not in places]
    if array.ndim != 3 or None in places or len(rest) != 1 or not set(places) <= set(dataset.coords):
        return None
    return rest[0], str(places[0]), str(places[1])


def _names(coordinate: xr.DataArray | None, count: int) -> list[str]:
    """What the regimes are called."""
    if coordinate is not None and coordinate.dtype.kind in "UOS":
        return [value.decode() if isinstance(value, bytes) else str(value) for value in coordinate.values]
    if coordinate is not None and coordinate.dtype.kind in "iuf" and (np.diff(coordinate.values) > 0).all():
        return [f"{value:g}" for value in coordinate.values]
    return [str(position) for position in range(count)]


def _field(file: Path, array: xr.DataArray) -> str:
    """The short name of the field that the patterns are of."""
    for name in _candidates(file, array):
        if found := catalogue.find_field(name):
            return catalogue.field_name(*found)
    raise DataError(
        f"dataset.patterns: {file} does not say which field {array.name} is: name the variable or the file "
        "after it, as z500."
    )


def _candidates(file: Path, array: xr.DataArray) -> Iterator[str]:
    """The variable's name, then what looks like a field and level in its attributes and in the file's name."""
    yield str(array.name)
    for text in (*map(str, array.attrs.values()), file.stem.replace("_", " ")):
        yield from _FIELD.findall(text)


def _ordered(pattern: xr.DataArray) -> xr.DataArray:
    """North first, longitudes ascending; of a meridian that is there twice the first."""
    pattern = pattern.sortby("latitude", ascending=False)
    _, columns = np.unique(np.round(pattern["longitude"].values, 9), return_index=True)
    return pattern.isel(longitude=columns)
