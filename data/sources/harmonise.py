"""From a field as it was found to a field of the raw store: its name, level, units and orientation.

A variable is recognised by its name, else by its GRIB parameter, else by its CF standard name or long name.
The level of a pressure-level field is what the file states, else what dataset.levels says, else what the
file's name says (`z500_2000.nc`); a field whose level nobody states keeps its bare name. Geopotential heights
become geopotential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import catalogue
from data.catalogue import Variable
from data.errors import DataError
from data.sources.field import FieldReader, RawField
from data.units import canonical, conversion

Found = tuple[Variable, float | None]

_NEAR_SURFACE = {
    ("t", "2"): "t2m",
    ("u", "10"): "u10",
    ("v", "10"): "v10",
    ("u", "100"): "u100",
    ("v", "100"): "v100",
}


@dataclass(frozen=True, eq=False)
class Field:
    """A field under its name in the raw store.

    Attributes:
        name: such as z500.
        variable: its catalogue entry.
        reader: reads its steps.
        latitude: degrees north, descending.
        longitude: degrees east in [-180, 180), ascending.
        note: how it was converted, '' where it was not.
    """

    name: str
    variable: Variable
    reader: FieldReader
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    note: str

    @property
    def file(self) -> str:
        """What messages call the file."""
        return self.reader.raw.file


def identify(label: str, attrs: Mapping[str, Any]) -> Found | None:
    """The catalogue's variable of a field in a file and the level that its name states, or None."""
    if found := catalogue.find_field(label):
        return _near_surface(found, attrs)
    if param_id := attrs.get("GRIB_paramId"):
        variable = catalogue.find_param_id(int(param_id))
    else:
        long_name = str(attrs.get("long_name", "")).casefold()
        variable = catalogue.find_standard_name(str(attrs.get("standard_name", ""))) or next(
            (v for v in catalogue.CATALOGUE if v.long_name.casefold() == long_name), None
        )
    return None if variable is None else _near_surface((variable, None), attrs)


def _near_surface(found: Found, attrs: Mapping[str, Any]) -> Found:
    """NCEP calls the temperature at 2 m `air` as well, and says where it is in words only."""
    variable, level = found
    words = " ".join(str(attrs.get(key, "")) for key in ("long_name", "level_desc", "var_desc"))
    height = re.search(r"\b(2|10|100) ?m\b", words)
    if level is None and height and (name := _NEAR_SURFACE.get((variable.short, height[1]))):
        return catalogue.lookup(name), None
    return found


def harmonise(raw: RawField, levels: Mapping[str, float]) -> Field:
    """The field of the raw store that a field in a file is.

    Args:
        raw: a field that `identify` knows.
        levels: pressure levels in hPa by short name, for files that do not state them.

    Raises:
        DataError: it is not known, its units do not convert, or its grid is not usable.
    """
    found = identify(raw.label, raw.attrs)
    if found is None:
        raise DataError(
            f"{raw.file}: variable '{raw.label}' is not known ({catalogue.suggestion(raw.label)})."
        )
    variable, level = found[0], raw.level if raw.level is not None else found[1]
    level = _level(raw, variable, level, levels) if variable.level == "pressure" else None
    scale, offset, note = _conversion(raw, variable)
    latitude, rows = _latitudes(raw)
    longitude, columns = _longitudes(raw)
    reader = FieldReader(
        raw,
        scale,
        offset,
        variable.units,
        variable.plausible_at(level),
        rows=rows,
        columns=columns,
        level=level,
    )
    _check_meridian(raw, reader)
    return Field(catalogue.field_name(variable, level), variable, reader, latitude, longitude, note)


def _level(
    raw: RawField, variable: Variable, stated: float | None, levels: Mapping[str, float]
) -> float | None:
    options = (stated, levels.get(variable.short), _level_in_name(raw.file, variable))
    return next((level for level in options if level is not None), None)


def _level_in_name(file: str, variable: Variable) -> float | None:
    """The level that the file's name states for this variable, as `z500_2000.nc` does; None if several."""
    words = re.findall(r"(?<![a-z0-9])[a-z]+\d+(?:hpa)?(?![a-z0-9])", PurePosixPath(file).stem.casefold())
    found = [pair for word in words if (pair := catalogue.find_field(word))]
    levels = {level for known, level in found if known is variable and level is not None}
    return levels.pop() if len(levels) == 1 else None


def _conversion(raw: RawField, variable: Variable) -> tuple[float, float, str]:
    units = str(raw.attrs.get("units", raw.attrs.get("GRIB_units", "")))
    if not units.strip() and variable.units != "1":
        raise DataError(
            f"{raw.file}: {raw.label} has no units, and {variable.short} is expected in '{variable.units}' "
            "or what converts to it: add a units attribute to the file."
        )
    try:
        scale, offset = conversion(units or "1", variable)
    except DataError as error:
        raise DataError(
            f"{raw.file}: {raw.label} has units '{units}', and {variable.short} is expected in "
            f"'{variable.units}' or what converts to it: convert the file, or mend its units attribute."
        ) from error
    if (scale, offset) == (1.0, 0.0):
        return scale, offset, ""
    shift = f" + {offset:g}" if offset else ""
    return scale, offset, f"converted from {raw.label} in {canonical(units)}: times {scale:.6g}{shift}"


def _latitudes(raw: RawField) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rows = np.argsort(-raw.latitude, kind="stable")
    latitude = raw.latitude[rows]
    twice = np.flatnonzero(np.diff(latitude) == 0)
    if len(twice):
        raise DataError(f"{raw.file}: the latitude {latitude[twice[0]]:g} occurs twice: regrid the file.")
    return latitude, rows


def _wrapped(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes in [-180, 180)."""
    wrapped = np.round((longitude + 180) % 360 - 180, 9)
    return np.where(wrapped >= 180, -180.0, wrapped)


def _longitudes(raw: RawField) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Longitudes from -180, ascending, and the columns that give them; of a repeated meridian the first."""
    wrapped = _wrapped(raw.longitude)
    columns = np.argsort(wrapped, kind="stable")
    first = np.diff(wrapped[columns], prepend=-999) > 1e-6
    return wrapped[columns][first], columns[first]


def _check_meridian(raw: RawField, reader: FieldReader) -> None:
    """Whether two columns of one meridian (180W and 180E) hold the same values, in the first step."""
    wrapped = _wrapped(raw.longitude)
    columns = np.argsort(wrapped, kind="stable")
    twice = np.flatnonzero(np.diff(wrapped[columns]) <= 1e-6)
    if not len(twice):
        return
    both = replace(reader, columns=np.concatenate([columns[twice], columns[twice + 1]]))
    left, right = np.split(both.peek(), 2, axis=2)
    if not np.allclose(left, right, rtol=1e-6, atol=reader.resolution, equal_nan=True):
        raise DataError(
            f"{raw.file}: the meridian {wrapped[columns[twice[0]]]:g} occurs twice in {raw.label} with "
            "different values: cut the file to one of them."
        )
