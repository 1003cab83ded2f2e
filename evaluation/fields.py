"""The fields of the evaluated days, taken from the prepared store, and the two spaces in which labels are scored.

Supports any subset of the store's days, missing cells by mask, and physical units for anomalies. Holds the
days' fields in memory (float32); a record that does not fit there is not supported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr

from evaluation.errors import EvaluationError
from evaluation.inputs import SPLITS, Run


@dataclass(frozen=True, eq=False)
class Fields:
    """The prepared fields of the evaluated days.

    Attributes:
        times: (time,) datetime64.
        split: (time,) int8: 0 train, 1 validation, 2 test.
        x: (time, variable, latitude, longitude) float32, normalised.
        mask: (variable, latitude, longitude) bool, True where the data exist.
        area_weight: (latitude,), mean 1.
        scale: (variable, latitude, longitude), physical units per normalised unit.
        variables: short names.
        units: by variable, as in the store.
        long_names: by variable.
        latitude: (latitude,) degrees north.
        longitude: (longitude,) degrees east.
        seasonal_cycle: "removed" or "kept".
    """

    times: np.ndarray
    split: np.ndarray
    x: np.ndarray
    mask: np.ndarray
    area_weight: np.ndarray
    scale: np.ndarray
    variables: tuple[str, ...]
    units: dict[str, str]
    long_names: dict[str, str]
    latitude: np.ndarray
    longitude: np.ndarray
    seasonal_cycle: str

    @property
    def train(self) -> np.ndarray:
        """(time,) bool, the days of the training period."""
        return self.split == 0

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """The days (bool) of each split that has any, by its name."""
        named = {name: self.split == value for value, name in SPLITS.items()}
        return {name: days for name, days in named.items() if days.any()}

    @cached_property
    def train_mean(self) -> np.ndarray:
        """(variable, latitude, longitude), the mean of x over the training period."""
        return self.x[self.train].mean(axis=0, dtype=np.float64)

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Anomalies from the training mean in physical units, NaN where masked, of x (..., variable, lat, lon)."""
        anomaly = (x - self.train_mean) * self.scale
        return np.where(self.mask, anomaly, np.nan)

    def cells(self, x: np.ndarray) -> np.ndarray:
        """(time, cell) of the cells that exist, out of (time, variable, latitude, longitude)."""
        return x[:, self.mask]

    def cell_weights(self) -> np.ndarray:
        """(cell,) area weight of each cell that exists."""
        return np.broadcast_to(self.area_weight[:, None], self.mask.shape)[self.mask]


def select(prepared: xr.Dataset, runs: Sequence[Run]) -> Fields:
    """The fields of the days that every run covers and that belong to a split.

    Raises:
        EvaluationError: where no training day is left.
    """
    store = prepared.transpose("time", "variable", "latitude", "longitude", ...)
    times = store["time"].values
    keep = np.isin(times, _common_times(runs)) & (store["split"].values >= 0)
    split = store["split"].values[keep]
    if not (split == 0).any():
        raise EvaluationError(
            f"No day of the training period is covered by all of the {len(runs)} runs: "
            "embed them again from this prepared store."
        )
    variables = tuple(str(name) for name in store["variable"].values)
    return Fields(
        times=times[keep],
        split=split,
        x=store["x"].isel(time=np.flatnonzero(keep)).values.astype(np.float32, copy=False),
        mask=store["mask"].values.astype(bool),
        area_weight=store["area_weight"].values,
        scale=_scale(store),
        variables=variables,
        units=_by_variable(store, "units", variables, ""),
        long_names=_by_variable(store, "long_name", variables, None),
        latitude=store["latitude"].values,
        longitude=store["longitude"].values,
        seasonal_cycle=_seasonal_cycle(store),
    )


def align(values: np.ndarray, own: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The rows of values (time, …), whose times are `own`, on the given days, all of which they cover."""
    rows = pd.Index(own).get_indexer(times)
    return values if np.array_equal(rows, np.arange(len(own))) else values[rows]


def data_space(fields: Fields) -> np.ndarray:
    """(time, feature) float32: every cell scaled to [0, 1] by its range in the training period.

    The convention of the paper authors' clustering repository. The scaling undoes whatever affine scaling a feature
    came with, so normalised fields give what physical units would.
    """
    return minmax_features(fields.cells(fields.x), fields.train)


def weighted_space(fields: Fields) -> np.ndarray:
    """(time, feature) float32: standardised anomalies times the square root of the cell's area.

    Squared Euclidean distances are then area integrals, in which no latitude counts more than its share.
    """
    return fields.cells(fields.x) * np.sqrt(fields.cell_weights()).astype(np.float32)


def minmax_features(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Each feature scaled to [0, 1] by its range in the training rows.

    Missing values are filled with the feature's training mean. Features that are always missing or constant in
    training are dropped.

    Args:
        values: (time, feature), NaN where missing.
        train: (time,) bool.
    """
    known = ~np.isnan(values[train]).all(axis=0)
    values = values[:, known]
    low, high = np.nanmin(values[train], axis=0), np.nanmax(values[train], axis=0)
    varies = high > low
    scaled = (values[:, varies] - low[varies]) / (high - low)[varies]
    return np.where(np.isnan(scaled), np.nanmean(scaled[train], axis=0), scaled)


def _scale(store: xr.Dataset) -> np.ndarray:
    """(variable, latitude, longitude): of the variable, times the cell's own where cells were scaled one by one."""
    scale = store["scale"] * store["cell_scale"] if "cell_scale" in store else store["scale"]
    return scale.broadcast_like(store["mask"]).transpose(*store["mask"].dims).values


def _seasonal_cycle(store: xr.Dataset) -> str:
    """As the store states it; an older store is judged by its coefficients."""
    fitted = bool((store["climatology_coefficient"] != 0).any())
    return str(store.attrs.get("seasonal_cycle", "removed" if fitted else "kept"))


def _common_times(runs: Sequence[Run]) -> np.ndarray:
    common = runs[0].times
    for run in runs[1:]:
        common = np.intersect1d(common, run.times)
    return common


def _by_variable(
    store: xr.Dataset, attribute: str, variables: Sequence[str], default: str | None
) -> dict[str, str]:
    stated = json.loads(store.attrs.get(attribute, "{}"))
    return {name: stated.get(name, name if default is None else default) for name in variables}
