"""One field of one file, read lazily: unpacked, converted, turned to the raw store's orientation and checked.

RawField is what was found (nothing read), FieldReader reads steps of it, Timeline puts readers of many files
behind one time axis as an array that dask can cut. A value outside what is physically possible, or a block
that cannot be read, is a DataError at the moment of reading. Packed integers are unpacked in float64 and
rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data.errors import DataError

Block = NDArray[np.float32]  # (time, latitude, longitude)

# What the NetCDF library leaves where nothing was written, by type (netcdf.h, NC_FILL_*); none for bytes.
_DEFAULT_FILL = {
    "i2": -32767, "i4": -2147483647, "i8": -9223372036854775806,
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
_ASTRAY: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    IndexError,
    EOFError,
    KeyError,
)  # what backends raise on damaged data


@dataclass(frozen=True, eq=False)
class RawField:
    """A field as found in a file.

    Attributes:
        file: what messages call the file.
        label: what the file calls the field.
        layers: lazy arrays (time, latitude, longitude), or (latitude, longitude) of one step; where the first
            is missing, the next one counts (final ERA5, then preliminary).
        times: one time for each step.
        latitude: degrees north, in the file's order.
        longitude: degrees east, in the file's order.
        attrs: the variable's attributes.
        level: hPa, where the file states it.
        preliminary: True for each step that is preliminary (ERA5T).
        native_steps: steps that the file stores in one piece.
        about: the file's own attributes.
        close: closes the file; reading opens it again. An open NetCDF-4 file keeps unpacked pieces of every variable.
        errors: what reading raises on damaged data, besides the usual.
        keep: what has to stay alive for as long as the field is read (unpacked archives).
    """

    file: str
    label: str
    layers: tuple[xr.Variable, ...]
    times: pd.DatetimeIndex
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    attrs: Mapping[str, Any]
    level: float | None = None
    preliminary: NDArray[np.bool_] | None = None
    native_steps: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)
    close: Callable[[], None] | None = None
    errors: tuple[type[Exception], ...] = ()
    keep: Any = None


@dataclass(frozen=True, eq=False)
class FieldReader:
    """Reads steps of a raw field in the catalogue's units and the raw store's orientation.

    Attributes:
        raw: the field.
        scale: value in the catalogue's units = value in the file's units * scale + offset.
        offset: see scale.
        units: the catalogue's units.
        plausible: smallest and largest value that could be real.
        rows: indices that put the file's latitudes in descending order.
        columns: indices that put its longitudes in ascending order from -180.
        level: hPa, for messages.
    """

    raw: RawField
    scale: float
    offset: float
    units: str
    plausible: tuple[float, float]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    level: float | None = None
    _held: dict[int, Block] = field(default_factory=dict, repr=False, init=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Steps, latitudes, longitudes."""
        return len(self.raw.times), len(self.rows), len(self.columns)

    @property
    def resolution(self) -> float:
        """The step between packed values, in the catalogue's units; 0 where values are not packed."""
        return abs(float(self.raw.attrs.get("scale_factor", 0.0)) * self.scale)

    def read(self, steps: slice) -> Block:
        """Steps of the field as float32 (time, latitude, longitude).

        Raises:
            DataError: the file is damaged, or holds values that are not possible.
        """
        native = self.raw.native_steps
        wanted = range(*steps.indices(len(self.raw.times)))
        if native <= 1 or len(wanted) == 0:
            return self._read(steps)
        starts = range(wanted.start // native * native, wanted.stop, native)
        block = np.concatenate([self._piece(start, start + native, wanted.stop) for start in starts])
        return block[wanted.start - starts[0] :][: len(wanted)]

    def peek(self) -> Block:
        """The first step, without keeping anything."""
        return self._read(slice(0, 1))

    def _piece(self, start: int, stop: int, wanted: int) -> Block:
        """A stored piece; kept as long as steps of it may follow, so that it is unpacked once, not for each block."""
        block = self._held.pop(start, None)
        if block is None:
            block = self._read(slice(start, stop))
        self._held.clear()
        if wanted < stop:
            self._held[start] = block
        return block

    def _read(self, steps: slice) -> Block:
        values = self._layer(self.raw.layers[0], steps)
        for layer in self.raw.layers[1:]:
            values = np.where(np.isnan(values), self._layer(layer, steps), values)
        values = values[:, self.rows][:, :, self.columns]
        if (self.scale, self.offset) != (1.0, 0.0):
            values = values.astype(np.float64) * self.scale + self.offset
        block = np.ascontiguousarray(values, dtype=np.float32)
        self._check(block, steps)
        return block

    def _layer(self, variable: xr.Variable, steps: slice) -> NDArray[np.floating]:
        try:
            chosen = variable[steps] if variable.ndim == 3 else variable
            stored = np.asarray(chosen.values)
        except _ASTRAY + self.raw.errors as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.raw.file}: {self.raw.label} cannot be read ({reason}): the file is damaged, get it again."
            ) from error
        finally:
            if self.raw.close is not None:
                self.raw.close()
        return unpack(stored if stored.ndim == 3 else stored[np.newaxis], self.raw.attrs)

    def _check(self, block: Block, steps: slice) -> None:
        lowest, highest = np.fmin.reduce(block, axis=None), np.fmax.reduce(block, axis=None)
        low, high = self.plausible
        if not (lowest < low or highest > high):  # also where all is NaN
            return
        extremes = f"{lowest:.6g} to {highest:.6g} {self.units}"
        celsius = self.units == "K" and lowest > -110 and highest < 70
        hint = " (they look like degrees Celsius)" if celsius else ""
        at, setting = (
            (f" at {self.level:g} hPa", " or by dataset.levels") if self.level is not None else ("", "")
        )
        raise DataError(
            f"{self.raw.file}: {self.raw.label} has values from {extremes}{hint} after "
            f"{self.raw.times[steps][0]:%Y-%m-%d %H:%M}, outside the {low:.6g} to {high:.6g} {self.units} that are "
            f"possible{at}: mend the data or their units ('{self.raw.attrs.get('units', '')}') in the file{setting}."
        )


def unpack(stored: NDArray[Any], attrs: Mapping[str, Any]) -> NDArray[np.floating]:
    """Values of a NetCDF array as CF has it: missing to NaN, then value * scale_factor + add_offset.

    Missing are _FillValue (else the type's default), missing_value, and what lies outside valid_min,
    valid_max, valid_range where these have the stored type. Integers and packed values are unpacked in
    float64; plain floating point numbers keep their type.
    """
    if str(attrs.get("_Unsigned", "false")).lower() == "true" and stored.dtype.kind == "i":
        stored = stored.view(f"u{stored.dtype.itemsize}")
    missing = _missing(stored, attrs)
    scale, offset = float(attrs.get("scale_factor", 1.0)), float(attrs.get("add_offset", 0.0))
    if stored.dtype.kind == "f" and (scale, offset) == (1.0, 0.0):
        return np.where(missing, np.nan, stored).astype(stored.dtype, copy=False)
    values = stored.astype(np.float64) * scale + offset
    values[missing] = np.nan
    return values


def _missing(stored: NDArray[Any], attrs: Mapping[str, Any]) -> NDArray[np.bool_]:
    default = _DEFAULT_FILL.get(stored.dtype.str[1:])
    marks = [attrs.get("_FillValue", default), attrs.get("missing_value")]
    missing = np.zeros(stored.shape, dtype=bool)
    for mark in (one for several in marks if several is not None for one in np.ravel(several)):
        if (value := _as_stored(float(mark), stored.dtype)) is not None:
            missing |= stored == value
    for name, position, outside in _VALID:
        limit = np.ravel(attrs.get(name, []))
        if limit.size and limit.dtype.kind == stored.dtype.kind:
            missing |= outside(stored, limit[position])
    return missing


def _as_stored(mark: float, dtype: np.dtype[Any]) -> Any:
    """A mark for missing values in the stored type; None where that type cannot hold it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.float64(mark).astype(dtype)
    if not np.isfinite(mark) or mark != round(mark):
        return None
    limits = np.iinfo(dtype)
    value = int(mark) + (2**limits.bits if limits.min == 0 and mark < 0 else 0)
    return dtype.type(value) if limits.min <= value <= limits.max else None


_VALID = (
    ("valid_min", 0, np.less),
    ("valid_max", 0, np.greater),
    ("valid_range", 0, np.less),
    ("valid_range", -1, np.greater),
)


class Timeline:
    """Readers of one field in many files as one array (time, latitude, longitude) on a common time axis.

    Args:
        readers: of equal grids.
        owner: for each step of the axis the reader that has it, -1 where none has (the step is NaN).
        position: for each step its index in that reader.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(
        self, readers: list[FieldReader], owner: NDArray[np.integer], position: NDArray[np.integer]
    ) -> None:
        self.readers = readers
        self.owner = np.asarray(owner)
        self.position = np.asarray(position)
        self.shape = (len(self.owner), *readers[0].shape[1:])

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        key = key if isinstance(key, tuple) else (key,)
        steps = np.arange(len(self.owner))[key[0]] if key else np.arange(len(self.owner))
        block = self.read(np.atleast_1d(steps))
        return (block if np.ndim(steps) else block[0])[(slice(None),) * np.ndim(steps) + key[1:]]

    def read(self, steps: NDArray[np.integer]) -> Block:
        """The given steps of the axis, in that order."""
        block = np.full((len(steps), *self.shape[1:]), np.nan, dtype=np.float32)
        owner, position = self.owner[steps], self.position[steps]
        for index in np.unique(owner[owner >= 0]):
            mine = owner == index
            first, last = position[mine].min(), position[mine].max()
            block[mine] = self.readers[index].read(slice(int(first), int(last) + 1))[position[mine] - first]
        return block
