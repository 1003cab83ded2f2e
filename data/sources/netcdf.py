"""The fields of a NetCDF file, found by their axes, nothing read yet.

Supports the old Climate Data Store format (packed, `time`, `level`, `expver` as a dimension), the new one
(`valid_time`, `pressure_level`, `number`, `expver` as text along time) and other CF files on latitudes and
longitudes of one dimension each (`lat`, `lon`, `plev`). Does not support curvilinear and reduced grids, model
levels, groups, nor forecasts with two time axes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from data.errors import DataError
from data.sources.axes import Axes, role_of, to_hpa
from data.sources.classic import HeaderError, expected_bytes
from data.sources.discover import DataFile
from data.sources.field import RawField

log = logging.getLogger(__name__)

# (name in the file, its attributes) -> whether to make a field of it
Wanted = Callable[[str, Mapping[str, Any]], bool]

PRELIMINARY = "0005"  # expver of ERA5T
MAX_PIECE_BYTES = 256 * 2**20  # a stored piece larger than this is not kept between reads


def read_fields(
    file: DataFile, form: str, wanted: Wanted, number: int | None = None, keep: Any = None
) -> list[RawField]:
    """The wanted fields of a file, one for each variable and pressure level.

    Args:
        file: the file, which is closed again; reading a field opens it for as long as it takes.
        form: 'netcdf3' or 'netcdf4'.
        wanted: asked for each variable that has a latitude-longitude grid and a time.
        number: the ensemble member, where there are several.
        keep: what has to stay alive for as long as the fields are read.

    Raises:
        DataError: the file is truncated or damaged, has no field, no time axis, or an unusable calendar, grid or
            dimension.
    """
    with _opened(file, form) as opened:
        axes = Axes(file.name, opened.dataset)
        names = [name for name in _timed(axes) if wanted(name, opened.dataset[name].attrs)]
        fields = [raw for name in names for raw in _fields(axes, name, number)]
        return [replace(raw, close=opened.close, keep=keep) for raw in fields]


class _Opened(NamedTuple):
    dataset: xr.Dataset  # as it is stored: nothing decoded, nothing read
    close: Callable[[], None]


@contextmanager
def _opened(file: DataFile, form: str) -> Iterator[_Opened]:
    """Opens a file, and closes it in the end, in such a way that reading its variables opens it again."""
    try:
        if form == "netcdf3" and (size := file.path.stat().st_size) < (whole := expected_bytes(file.path)):
            raise DataError(f"{file.name}: the file is truncated ({size} of {whole} bytes): get it again.")
        store = xr.backends.NetCDF4DataStore.open(str(file.path))
        try:
            yield _Opened(xr.open_dataset(store, decode_cf=False, cache=False), store.close)
        finally:
            store.close()
    except (OSError, RuntimeError, HeaderError, UnicodeDecodeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"{file.name}: the NetCDF file is truncated or damaged ({reason}): get it again."
        ) from error


def _timed(axes: Axes) -> list[str]:
    """The names of what has latitudes, longitudes and times."""
    gridded = {str(n): v for n, v in axes.dataset.variables.items() if axes.is_field(v)}
    if not gridded:
        raise DataError(f"{axes.file}: {_why_no_field(axes.dataset)}")
    timed = [name for name, variable in gridded.items() if axes.has_time(variable)]
    if not timed:
        name, variable = next(iter(gridded.items()))
        shape = ", ".join(map(str, variable.dims))
        raise DataError(
            f"{axes.file}: the file has no time axis ({name} has {shape}): give files with times."
        )
    return timed


def _why_no_field(dataset: xr.Dataset) -> str:
    flat = {str(name): variable for name, variable in dataset.variables.items() if variable.ndim == 2}
    curved = [name for name, variable in flat.items() if role_of(name, variable) == "latitude"]
    if curved:
        return (
            f"the grid is curvilinear ('{curved[0]}' has two dimensions): regrid to regular latitudes and "
            "longitudes."
        )
    held = ", ".join(map(str, list(dataset.variables)[:5])) or "nothing"
    return f"no variable has both latitudes and longitudes (the file holds {held}): give gridded files."


def _fields(axes: Axes, name: str, number: int | None) -> Iterator[RawField]:
    variable = _squeezed(axes, name, number)
    grid = [dim for role in ("latitude", "longitude") for dim in axes.of(variable, role)]
    order = axes.of(variable, "time") + grid
    if len(grid) != 2 or len(order) > 3:
        raise DataError(
            f"{axes.file}: {name} has two axes of one kind ({', '.join(order)}): give a file with one."
        )
    _check_sizes(axes.file, name, variable)
    _check_packing(axes.file, name, variable.attrs)
    for index, level in _levels(axes, name, variable):
        yield RawField(
            file=axes.file,
            label=name,
            layers=tuple(layer.transpose(*order) for layer in _layers(axes, variable.isel(index))),
            times=axes.times(variable),
            latitude=axes.degrees(grid[0]),
            longitude=axes.degrees(grid[1]),
            attrs=dict(variable.attrs),
            level=level,
            preliminary=_preliminary(axes, variable),
            native_steps=_native_steps(axes, name),
            about=axes.dataset.attrs,
        )


def _check_sizes(file: str, name: str, variable: xr.Variable) -> None:
    empty = [str(dim) for dim, size in variable.sizes.items() if size == 0]
    if empty:
        raise DataError(f"{file}: {name} has nothing along '{empty[0]}': give files with data.")


def _check_packing(file: str, name: str, attrs: Mapping[str, Any]) -> None:
    """Whether what packed values are multiplied by and added to are numbers, and the first is not 0."""
    for key, default in (("scale_factor", 1.0), ("add_offset", 0.0)):
        stated = attrs.get(key, default)
        try:
            value = float(stated)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value) or (key == "scale_factor" and value == 0):
            raise DataError(
                f"{file}: {name} cannot be unpacked, since its {key} is {stated}: get the file again, or mend it."
            )


def _squeezed(axes: Axes, name: str, number: int | None) -> xr.Variable:
    """The variable with one ensemble member and without what else it has dimensions of length 1 for."""
    variable = axes.dataset.variables[name]
    for dim in map(str, variable.dims):
        size, role = variable.sizes[dim], axes.role(dim)
        if role == "number" and (size > 1 or number is not None):
            members = axes.values(dim).tolist()
            variable = variable.isel({dim: _member(axes.file, name, members, number)})
        elif role in (None, "number") and size == 1:
            variable = variable.isel({dim: 0})
        elif role is None:
            raise DataError(
                f"{axes.file}: {name} has a dimension '{dim}' of {size}, which is none of time, latitude, "
                "longitude, pressure level and ensemble member: select one of it, or leave the variable "
                "out by dataset.variables."
            )
    return variable


def _member(file: str, name: str, members: list[int], number: int | None) -> int:
    check_member(file, name, members, number)
    return members.index(number) if number is not None else 0


def check_member(file: str, name: str, members: list[int], number: int | None) -> None:
    """Refuses several ensemble members of which none is chosen.

    Raises:
        DataError: `number` is none of the members, or is not given and there are several.
    """
    if number in members or (number is None and len(members) == 1):
        return
    listed = ", ".join(map(str, members[:12])) + (", …" if len(members) > 12 else "")
    asked = "" if number is None else f", not {number}"
    raise DataError(
        f"{file}: {name} has {len(members)} ensemble members ({listed}{asked}): choose one by dataset.number."
    )


def _levels(axes: Axes, name: str, variable: xr.Variable) -> list[tuple[dict[str, int], float | None]]:
    """What to select for each pressure level, and the level in hPa (None where none is stated)."""
    dims = axes.of(variable, "level")
    if not dims:
        return [({}, _stated_level(axes, variable))]
    if (pressures := axes.pressures(dims[0])) is not None:
        return [({dims[0]: i}, pressure) for i, pressure in enumerate(pressures)]
    if variable.sizes[dims[0]] == 1:
        return [({dims[0]: 0}, None)]  # such as the 2 m of a temperature
    raise DataError(
        f"{axes.file}: {name} has {variable.sizes[dims[0]]} levels along '{dims[0]}' that are not pressures: "
        "interpolate to pressure levels, or leave the variable out by dataset.variables."
    )


def _stated_level(axes: Axes, variable: xr.Variable) -> float | None:
    attrs = variable.attrs
    if attrs.get("GRIB_typeOfLevel") == "isobaricInhPa" and "GRIB_level" in attrs:
        return float(attrs["GRIB_level"])
    if "pressure_level_hPa" in attrs:
        return float(attrs["pressure_level_hPa"])
    scalar = axes.single("level")
    pressures = None if scalar is None else to_hpa(scalar)
    return None if pressures is None else pressures[0]


def _layers(axes: Axes, variable: xr.Variable) -> list[xr.Variable]:
    """The array, or its slices along expver: 1 (final) before 5 (preliminary)."""
    dims = axes.of(variable, "expver")
    if not dims:
        return [variable]
    ranks = np.argsort([int(version) for version in axes.values(dims[0])])
    return [variable.isel({dims[0]: int(rank)}) for rank in ranks]


def _preliminary(axes: Axes, variable: xr.Variable) -> NDArray[np.bool_] | None:
    """Which steps are preliminary, where the file has expver as text along time, or for all steps."""
    expver = axes.dataset.variables.get("expver")
    if expver is None or axes.of(variable, "expver"):
        return None
    texts = np.asarray(expver.values)
    if texts.dtype == "S1":  # one character a cell, as NetCDF-3 stores text
        texts = np.apply_along_axis(lambda row: b"".join(row).decode(), -1, texts)
    steps = math.prod(variable.sizes[dim] for dim in axes.of(variable, "time"))
    marks = np.array([str(text).zfill(4) == PRELIMINARY for text in np.ravel(texts)])
    return np.broadcast_to(marks, steps) if marks.size in (1, steps) else None


def _native_steps(axes: Axes, name: str) -> int:
    """Steps that are stored in one compressed piece, where a block of them is not too large to keep."""
    variable = axes.dataset.variables[name]
    sizes = variable.encoding.get("chunksizes")
    dims = axes.of(variable, "time")
    if not sizes or not dims or variable.encoding.get("contiguous"):
        return 1
    steps = int(sizes[variable.dims.index(dims[0])])
    grid = math.prod(variable.sizes[d] for role in ("latitude", "longitude") for d in axes.of(variable, role))
    if steps > 1 and steps * grid * 4 > MAX_PIECE_BYTES:
        log.warning("%s: %s is stored in pieces of %d steps, which is slow to read", axes.file, name, steps)
        return 1
    return steps
