"""The fields that are prepared, read part by part: selection, derivation, region, blocks, time means.

What is done needs nothing but the record itself, no statistics, and is done in this order: derived fields are
computed, the region is cut, cells are averaged over blocks, steps over days, days by a running mean. Memory is
bounded by the part that is asked for. A record given by its path is opened anew in every process that reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import catalogue, coarsen, derived, grid, region, season, store, timemeans
from data.errors import DamagedError, DataError
from data.options import Options

BLOCK_BYTES = 32 * 2**20  # of raw fields that are read at one time
EVERYTHING = slice(None)


class Fields:
    """Fields of a raw record under options.

    Args:
        source: the raw store's path, or the record itself.
        options: how it is prepared.
        variables: those of the record that belong to it; None for all.

    Attributes:
        variables: names of the fields.
        times: the time steps after time means, all the year round.
        used: which of them are in the season, as indices.
        latitude: degrees north, descending.
        longitude: degrees east, ascending.
        area_weight: cell area at each latitude, mean 1.

    Raises:
        DataError: if the options do not fit the record.
    """

    def __init__(
        self, source: Path | xr.Dataset, options: Options, variables: Sequence[str] | None = None
    ) -> None:
        self.source = source
        self.options = options
        raw = self._raw
        held = tuple(map(str, raw.data_vars if variables is None else variables))
        self.inputs = _inputs(held, options.fields)
        self.variables = tuple(self.inputs)
        self._plan_space(raw)
        self._plan_time(pd.DatetimeIndex(raw["time"].values))
        self.attributes = {name: self._attributes_of(raw, name) for name in self.variables}
        self.source_attributes = dict(raw.attrs)
        chunks = raw[self.inputs[self.variables[0]][0]].encoding.get("chunks")
        self._raw_chunk = int(chunks[0]) if chunks else 1

    @cached_property
    def _raw(self) -> xr.Dataset:
        return self.source if isinstance(self.source, xr.Dataset) else store.open_store(self.source)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_raw"}

    def _plan_space(self, raw: xr.Dataset) -> None:
        size = self.options.coarsen
        area = grid.area_weights(raw["latitude"].values)
        self.cut = region.cut(raw["latitude"].values, raw["longitude"].values, self.options.region)
        self._cell_area = area[self.cut.rows] / area[self.cut.rows].mean()
        coarsen.check(self.cut.latitude, self.cut.longitude, size)
        self.latitude = coarsen.axis(self.cut.latitude, size)
        self.longitude = coarsen.axis(self.cut.longitude, size)
        self.area_weight = coarsen.block_areas(self._cell_area, size)

    def _plan_time(self, times: pd.DatetimeIndex) -> None:
        if not len(times):
            raise DataError("the record has no time step: check dataset.start and dataset.end.")
        known = tuple(name for name in self.variables if derived.find(name) is None)
        made = tuple(name for name in self.variables if name not in known)
        self.days = timemeans.days(times, known, made) if self.options.frequency == "daily" else None
        base = times if self.days is None else self.days.times
        self._centres = timemeans.middles(base, self.options.running_mean_days)
        self.times = base[self._centres]
        self.used = np.flatnonzero(season.within(self.times, self.options.season))
        if not len(self.used):
            raise DataError(
                f"no step of the record ({times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}) is in the months "
                f"{list(self.options.season or ())}: change dataset.season."
            )

    def _attributes_of(self, raw: xr.Dataset, name: str) -> dict[str, str]:
        found = derived.find(name)
        attrs = found.attributes() if found else dict(raw[name].attrs)
        if self.days is not None and found is None:
            attrs |= self.days.rules[name].attributes()
        return {key: str(attrs.get(key, "")) for key in ("units", "long_name")}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.latitude), len(self.longitude)

    def steps_per_block(self) -> int:
        """Time steps that make about BLOCK_BYTES of raw fields, in whole raw chunks where steps are raw ones."""
        width = sum(part.stop - part.start for part in self.cut.columns)
        raw_step = 4 * (self.cut.rows.stop - self.cut.rows.start) * width
        per_day = (
            1 if self.days is None else len(self.times) and self._raw.sizes["time"] / len(self.days.times)
        )
        steps = max(int(BLOCK_BYTES / (raw_step * max(per_day, 1))), 1)
        return steps // self._raw_chunk * self._raw_chunk or steps if self.days is None else steps

    def blocks(self, part: slice) -> Iterator[slice]:
        """Cuts a part of the time axis into blocks."""
        for block in store.time_slices(part.stop - part.start, self.steps_per_block()):
            yield slice(part.start + block.start, part.start + block.stop)

    def stretches(self, part: slice = EVERYTHING) -> list[tuple[slice, int]]:
        """A part of the used steps as stretches of the time axis, each with its position in the part."""
        steps = self.used[part]
        edges = [0, *(np.flatnonzero(np.diff(steps) != 1) + 1).tolist(), len(steps)]
        return [
            (slice(int(steps[a]), int(steps[b - 1]) + 1), a) for a, b in itertools.pairwise(edges) if b > a
        ]

    def read(self, name: str, part: slice, rows: slice = EVERYTHING) -> NDArray[np.float32]:
        """A field over consecutive time steps, (time, latitude, longitude), NaN where missing.

        Args:
            name: of the field.
            part: of the time axis `times`.
            rows: of the grid.

        Raises:
            DataError: if a chunk is damaged, or a value is infinite.
        """
        centres = self._centres[part]
        half = self.options.running_mean_days // 2
        first = int(centres[0]) - half
        base = self._steps(name, slice(first, int(centres[-1]) + half + 1), rows)
        if half:
            return timemeans.running_mean(base, centres - first, self.options.running_mean_days)
        return base

    def _steps(self, name: str, part: slice, rows: slice) -> NDArray[np.float32]:
        """A field over consecutive steps before the running mean: of the record, or days."""
        if self.days is None:
            return self._cells(name, part, rows)
        steps = self.days.steps[name][part]
        there = steps[steps >= 0]
        if not len(there):
            return np.full((len(steps), len(self.latitude[rows]), len(self.longitude)), np.nan, np.float32)
        first = int(there.min())
        fields = self._cells(name, slice(first, int(there.max()) + 1), rows)
        return timemeans.reduce(fields, np.where(steps < 0, -1, steps - first), self.days.rules[name])

    def _cells(self, name: str, part: slice, rows: slice) -> NDArray[np.float32]:
        """A field over raw steps on the prepared grid."""
        size = self.options.coarsen
        begin, end, _ = rows.indices(len(self.latitude))
        cells = slice(self.cut.rows.start + begin * size, self.cut.rows.start + end * size)
        inputs = [self._raw_field(variable, part, cells) for variable in self.inputs[name]]
        found = derived.find(name)
        field = inputs[0] if found is None else found.compute(*inputs)
        return (
            field
            if size == 1
            else coarsen.block_mean(field, self._cell_area[begin * size : end * size], size)
        )

    def _raw_field(self, variable: str, part: slice, rows: slice) -> NDArray[np.float32]:
        array = self._raw[variable]
        try:
            pieces = [array[part, rows, columns].values for columns in self.cut.columns]
        except DamagedError as error:
            times = self._raw["time"].values[part]
            where = f"between {pd.Timestamp(times[0]):%Y-%m-%d} and {pd.Timestamp(times[-1]):%Y-%m-%d}"
            raise DamagedError(error.path, f"{where}: {error.reason}") from error
        field = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=2)
        if not np.isfinite(field).all() and np.isinf(field).any():
            step = self._raw["time"].values[part][np.argwhere(np.isinf(field))[0][0]]
            raise DataError(
                f"{variable} is infinite at {pd.Timestamp(step)}: correct the source and download it again."
            )
        return field


def _inputs(held: tuple[str, ...], wanted: tuple[str, ...] | None) -> dict[str, tuple[str, ...]]:
    """For each field that is wanted, the variables of the record that it is made of.

    Raises:
        DataError: naming what is neither in the record nor derived from what is.
    """
    if wanted is None:
        return {name: (name,) for name in held}
    found: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        made = derived.find(name) if name not in held else None
        if made is None:
            known = name if name in held else catalogue.field_name(*catalogue.parse(name))
            found[known] = (known,)
        else:
            found[made.name] = made.inputs
        lacking = [one for one in next(reversed(found.values())) if one not in held]
        if lacking:
            raise DataError(
                f"dataset.fields asks for {name}, and the raw store has no {' nor '.join(lacking)} (it has "
                f"{', '.join(held)}): add what is lacking to dataset.variables and download it."
            )
    return found
