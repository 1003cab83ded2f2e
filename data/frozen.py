"""The preparation of a record as its store keeps it, applied as it is to other records of the same kind.

Nothing is fitted: climatology, trend, scales and mask are those of the prepared store, and so are all options. New
data must hold the same fields in the same units on the same grid, or on one that holds that grid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import derived, region, season, seasonal, store, timeaxis
from data.errors import DataError
from data.fields import BLOCK_BYTES, Fields
from data.matching import GRID_TOLERANCE, Kind, match
from data.normalise import Statistics
from data.options import Options

LAZY_BYTES = 256 * 2**20  # statistics above this size are read as they are needed


def statistics_of(prepared: xr.Dataset) -> Statistics:
    """The statistics of a prepared store."""
    coefficients = prepared["climatology_coefficient"]
    return Statistics(
        variables=tuple(map(str, prepared["variable"].values)),
        mean=prepared["mean"].values,
        scale=prepared["scale"].values,
        cell_scale=prepared["cell_scale"].values if "cell_scale" in prepared else None,
        coefficients=coefficients if coefficients.nbytes > LAZY_BYTES else coefficients.values,
        mask=prepared["mask"].values,
        terms=tuple(map(str, prepared["term"].values)),
        seen=pd.DatetimeIndex(prepared["fitted_time"].values),
    )


@dataclass(frozen=True, eq=False)
class Frozen:
    """A preparation that is fitted once and for all.

    Attributes:
        options: how records are prepared.
        statistics: what they are scaled with.
        prepared: the store that it comes from.
    """

    options: Options
    statistics: Statistics
    prepared: xr.Dataset

    @classmethod
    def of(cls, prepared: xr.Dataset) -> Frozen:
        """The preparation of a prepared store.

        Raises:
            DataError: if the store does not say how it was prepared.
        """
        if "preparation" not in prepared.attrs:
            raise DataError("the prepared store does not say how it was prepared: run prepare again.")
        options = Options.of(json.loads(prepared.attrs["preparation"]))
        return cls(options, statistics_of(prepared), prepared)

    @property
    def variables(self) -> tuple[str, ...]:
        """The fields, in the order of the variable axis."""
        return self.statistics.variables

    def apply(self, raw: xr.Dataset) -> xr.Dataset:
        """Prepares a record.

        Args:
            raw: under the contract of the raw store; it may hold more variables, in any order, and a larger grid.

        Returns:
            x (time, variable, latitude, longitude) float32; season (time, season_feature); lacking (time), the share
            of the run's cells that is missing of the variable that lacks most; present (time), False where it lacks
            all. x, lacking and present are computed as they are read. Steps that the record leaves out are there as
            missing ones, steps out of season are not.

        Raises:
            DataError: if the record lacks a field, or its units, grid or steps are others.
        """
        matched = match(self._physical(raw), self._kind())
        inside = season.within(pd.DatetimeIndex(matched["time"].values), self.options.season)
        matched = matched.isel(time=np.flatnonzero(inside))
        times = pd.DatetimeIndex(matched["time"].values)
        step = max(BLOCK_BYTES // (4 * self.statistics.mask.size), 1)
        parts = list(store.time_slices(len(times), step))
        read = [dask.delayed(self._part, nout=2)(matched.isel(time=part)) for part in parts]
        sizes = [part.stop - part.start for part in parts]
        shape = self.statistics.mask.shape
        x = [da.from_delayed(one[0], (n, *shape), np.float32) for one, n in zip(read, sizes, strict=True)]
        lacking = da.concatenate(
            [da.from_delayed(one[1], (n,), np.float64) for one, n in zip(read, sizes, strict=True)]
        )
        names = [str(name) for name in self.prepared["season_feature"].values]
        kept = ("variable", "latitude", "longitude", "season_feature")
        return xr.Dataset(
            {
                "x": (("time", *kept[:3]), da.concatenate(x)),
                "season": (("time", "season_feature"), seasonal.features(times, names)),
                "lacking": ("time", lacking),
                "present": ("time", lacking < 1),
            },
            coords={"time": times, **{name: self.prepared[name] for name in kept}},
        )

    def _physical(self, raw: xr.Dataset) -> xr.Dataset:
        """The run's fields out of the record, before they are normalised, computed as they are read."""
        there = [name for name in self.variables if name in raw or derived.find(name)]
        settings = self.options.settings() | {"fields": there or list(self.variables)}
        settings["region"] = self.options.region or self._box(raw)
        settings["season"] = None  # taken when the axis is complete
        fields = Fields(raw, Options.of(settings))
        parts = list(fields.blocks(slice(0, len(fields.times))))
        arrays = {}
        for name in fields.variables:
            blocks = [
                da.from_delayed(
                    dask.delayed(fields.read)(name, part), (part.stop - part.start, *fields.shape), np.float32
                )
                for part in parts
            ]
            arrays[name] = (
                ("time", "latitude", "longitude"),
                da.concatenate(blocks),
                fields.attributes[name],
            )
        coords = {"time": fields.times, "latitude": fields.latitude, "longitude": fields.longitude}
        return xr.Dataset(arrays, coords=coords)

    def _kind(self) -> Kind:
        times = pd.DatetimeIndex(self.prepared["time"].values)
        return Kind(
            self.variables,
            json.loads(self.prepared.attrs["units"]),
            self.prepared["latitude"].values,
            self.prepared["longitude"].values,
            timeaxis.infer_step(times),
        )

    def _box(self, raw: xr.Dataset) -> tuple[float, float, float, float] | None:
        """The run's area, where the record's grid holds the run's; None to leave it whole and see what differs.

        It reaches from the centre of the first cell to that of the last, of the cells of which blocks were made.
        """
        size, edges = self.options.coarsen, []
        for name in ("latitude", "longitude"):
            axis = self.prepared[name].values
            half = (axis[1] - axis[0]) * (size - 1) / (2 * size) if len(axis) > 1 else 0.0
            edges.append((float(axis[0] - half), float(axis[-1] + half)))
        (north, south), (west, east) = edges
        box = (min(north, 90.0), west, max(south, -90.0), east)
        try:
            found = region.cut(raw["latitude"].values, raw["longitude"].values, box)
        except DataError:
            return None
        same = len(found.latitude) == size * self.prepared.sizes["latitude"]
        same &= len(found.longitude) == size * self.prepared.sizes["longitude"]
        return box if same and abs(found.latitude[0] - north) < GRID_TOLERANCE else None

    def _part(self, physical: xr.Dataset) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """x, and the share that lacks, of some time steps."""
        raw = np.stack([physical[name].values for name in self.variables], axis=1)
        mask = self.statistics.mask
        absent = (np.isnan(raw) & mask).sum(axis=(2, 3)) / mask.sum(axis=(1, 2))
        return self.statistics.normalise(raw, pd.DatetimeIndex(physical["time"].values)), absent.max(axis=1)
