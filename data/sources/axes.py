"""What the dimensions of a NetCDF file stand for, and the values along them.

Axes are recognised by their CF attributes (standard_name, units), else by the names in common use. Supports
times in the real calendar, latitudes and longitudes in one dimension each, and pressure levels in Pa or hPa.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data.errors import DataError

CALENDARS = {"standard", "gregorian", "proleptic_gregorian"}

_NAMES = {
    "latitude": {"latitude", "lat", "nav_lat"},
    "longitude": {"longitude", "lon", "nav_lon"},
    "time": {"time", "valid_time", "date", "datetime"},
    "level": {
        "level",
        "pressure_level",
        "isobaricinhpa",
        "plev",
        "lev",
        "pressure",
        "isobaric",
        "isobaricinpa",
    },
    "number": {"number", "realization", "member", "ensemble", "ens"},
    "expver": {"expver"},
}
_STANDARD_NAMES = {
    "latitude": "latitude", "longitude": "longitude", "time": "time", "air_pressure": "level",
    "realization": "number",
}  # fmt: skip
_DEGREES = re.compile(r"degrees?_?(north|n|east|e)")
_HPA = {"hpa": 1.0, "millibar": 1.0, "millibars": 1.0, "mbar": 1.0, "mb": 1.0, "pa": 0.01, "pascal": 0.01}


class Axes:
    """The axes of one opened, undecoded dataset; messages call it by `file`."""

    def __init__(self, file: str, dataset: xr.Dataset) -> None:
        self.file = file
        self.dataset = dataset
        self._along: dict[str, tuple[str, xr.Variable | None]] = dict(self._find())

    def _find(self) -> Iterator[tuple[str, tuple[str, xr.Variable | None]]]:
        for dim in map(str, self.dataset.dims):
            along = {str(name): v for name, v in self.dataset.variables.items() if v.dims == (dim,)}
            # Of several time coordinates along a dimension the valid time counts.
            for name in sorted(along, key=lambda n: (n != "valid_time", n != dim)):
                if role := role_of(name, along[name], named=name in (dim, "valid_time")):
                    yield dim, (role, along[name])
                    break
            else:
                if role := role_of(dim, None):
                    yield dim, (role, None)

    def role(self, dim: str) -> str | None:
        """latitude, longitude, time, level, number, expver, or None."""
        return self._along[dim][0] if dim in self._along else None

    def of(self, variable: xr.Variable, role: str) -> list[str]:
        """The dimensions of a variable that play a role."""
        return [dim for dim in map(str, variable.dims) if self.role(dim) == role]

    def single(self, role: str) -> xr.Variable | None:
        """The file's single-valued coordinate of a role; the valid time before others."""
        scalars = {str(name): v for name, v in self.dataset.variables.items() if v.ndim == 0}
        found = {name: v for name, v in scalars.items() if role_of(name, v) == role}
        return found.get("valid_time", next(iter(found.values()), None))

    def is_field(self, variable: xr.Variable) -> bool:
        """Whether a variable lies on a latitude-longitude grid."""
        return bool(self.of(variable, "latitude") and self.of(variable, "longitude"))

    def has_time(self, variable: xr.Variable) -> bool:
        """Whether a variable has times, even a single one."""
        return bool(self.of(variable, "time")) or self.single("time") is not None

    def values(self, dim: str) -> NDArray[Any]:
        """The values along a dimension; positions where it has no coordinate."""
        coordinate = self._along[dim][1]
        return np.arange(self.dataset.sizes[dim]) if coordinate is None else np.asarray(coordinate.values)

    def times(self, variable: xr.Variable) -> pd.DatetimeIndex:
        """The times of a variable, in its order.

        Raises:
            DataError: they have no values, cannot be read, or are in another calendar.
        """
        dims = self.of(variable, "time")
        coordinate = self._along[dims[0]][1] if dims else self.single("time")
        if coordinate is None:
            raise DataError(
                f"{self.file}: the time axis '{dims[0]}' has no values: give files with a time coordinate."
            )
        return decode_times(self.file, coordinate)

    def degrees(self, dim: str) -> NDArray[np.float64]:
        """Latitudes or longitudes, in the file's order.

        Raises:
            DataError: they have no values, or ones that are not latitudes.
        """
        role, coordinate = self._along[dim]
        if coordinate is None:
            raise DataError(
                f"{self.file}: the {role} axis '{dim}' has no values: give files with coordinates."
            )
        values = _without_noise(np.asarray(coordinate.values))
        limit = 90.0 if role == "latitude" else 540.0
        if not (np.abs(values) <= limit + 1e-6).all():
            raise DataError(
                f"{self.file}: the {role}s are not degrees ({np.nanmin(values):g} to {np.nanmax(values):g}, "
                "some may be missing): regrid to regular latitudes and longitudes."
            )
        return values

    def pressures(self, dim: str) -> list[float] | None:
        """The levels along a dimension in hPa; None where they are not pressures (model levels, heights)."""
        coordinate = self._along[dim][1]
        return None if coordinate is None else to_hpa(coordinate)


def role_of(name: str, variable: xr.Variable | None, named: bool = True) -> str | None:
    """What a coordinate stands for, by its attributes, else (where `named`) by its name."""
    attrs = variable.attrs if variable is not None else {}
    standard, units = str(attrs.get("standard_name", "")), str(attrs.get("units", "")).lower()
    if standard in _STANDARD_NAMES:
        return _STANDARD_NAMES[standard]
    if match := _DEGREES.fullmatch(units):
        return "latitude" if match[1].startswith("n") else "longitude"
    if " since " in units and named and not standard:
        return "time"
    return next((role for role, names in _NAMES.items() if named and name.casefold() in names), None)


def _without_noise(values: NDArray[Any]) -> NDArray[np.float64]:
    """Degrees in float64; a float32 of 0.1 becomes 0.1, not 0.10000000149."""
    with np.errstate(invalid="ignore"):  # damaged numbers are refused later
        exact = values.astype(np.float64)
    if values.dtype != np.float32:
        return exact
    short = np.round(exact, 4)
    return np.where(np.abs(short - exact) <= np.spacing(np.abs(values)), short, exact)


def to_hpa(coordinate: xr.Variable) -> list[float] | None:
    """Pressure levels in hPa; without units, numbers above 2000 are Pa. None where it is not a pressure."""
    values = np.atleast_1d(np.asarray(coordinate.values, dtype=np.float64))
    units = str(coordinate.attrs.get("units", "")).strip().casefold()
    if units in _HPA:
        factor = _HPA[units]
    elif units or str(coordinate.attrs.get("standard_name", "air_pressure")) != "air_pressure":
        return None
    else:
        factor = 0.01 if values.max() > 2000 else 1.0
    return [float(f"{value:.6g}") for value in values * factor]


def decode_times(file: str, coordinate: xr.Variable) -> pd.DatetimeIndex:
    """Times in ns from a CF time coordinate, or from dates written as 20061231.

    Raises:
        DataError: another calendar than the real one, or times that cannot be read.
    """
    calendar = str(coordinate.attrs.get("calendar", "standard")).lower()
    if calendar not in CALENDARS:
        raise DataError(
            f"{file}: the calendar is '{calendar}', and only the real one is supported: convert the file's "
            "times to the standard calendar."
        )
    values = np.atleast_1d(np.asarray(coordinate.values))
    units = str(coordinate.attrs.get("units", ""))
    try:
        times = _decoded(values, units, calendar)
    except (ValueError, OverflowError, TypeError) as error:
        raise DataError(
            f"{file}: the times cannot be read (units '{units}'): mend the time coordinate."
        ) from error
    if times.isna().any():
        raise DataError(
            f"{file}: {int(times.isna().sum())} of {len(times)} times are missing: mend the time coordinate."
        )
    return times


def _decoded(values: NDArray[Any], units: str, calendar: str) -> pd.DatetimeIndex:
    if values.dtype.kind == "M":
        return pd.DatetimeIndex(values).as_unit("ns")
    if " since " not in units:
        # the form that the new Climate Data Store gave to monthly means in autumn 2024
        return pd.DatetimeIndex(pd.to_datetime(values.astype(str), format="%Y%m%d")).as_unit("ns")
    coordinate = xr.Variable(("time",), values, {"units": units, "calendar": calendar})
    coder = xr.coders.CFDatetimeCoder(use_cftime=False)
    decoded = xr.decode_cf(xr.Dataset(coords={"time": coordinate}), decode_times=coder)
    # Fractions of days and hours do not meet milliseconds exactly.
    return pd.DatetimeIndex(decoded["time"].values).as_unit("ns").round("ms")
