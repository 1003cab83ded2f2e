"""Scaling with the statistics of the training period, and back to physical units.

    x = (raw - climatology - mean) / (scale * cell_scale)

With the seasonal cycle removed the climatology holds the mean of every cell and `mean` is 0. With the cycle left in
the climatology is 0 (or the trend alone) and `mean` is the variable's area-weighted mean. `scale` is the
area-weighted standard deviation of what is left; `cell_scale` is there where every cell is scaled by its own, and
says how that relates to `scale`. Missing values become 0, and the mask says where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import climatology
from data.climatology import Coefficients, Fit
from data.errors import DataError

LEAST_SHARE = (
    1e-6  # of its size, by which a variable must vary, and of the variable's scale, by which a cell must
)


@dataclass(frozen=True)
class Statistics:
    """What scales a record and turns it back.

    Attributes:
        variables: names, in the order of the variable axis.
        mean: (variable,), in the variable's units.
        scale: (variable,), in the variable's units.
        cell_scale: (variable, latitude, longitude), or None for 1 everywhere.
        coefficients: climatology (variable, term, latitude, longitude), in the variable's units; an xarray array is
            read as it is needed.
        mask: (variable, latitude, longitude), True where the data exist.
        terms: names of the climatology's terms.
        seen: the time steps on which all this was fitted.
    """

    variables: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    cell_scale: NDArray[np.float64] | None
    coefficients: Coefficients
    mask: NDArray[np.bool_]
    terms: tuple[str, ...]
    seen: pd.DatetimeIndex

    def normalise(self, raw: NDArray[np.floating], times: pd.DatetimeIndex) -> NDArray[np.float32]:
        """Raw fields (time, variable, latitude, longitude) to x of the same shape, missing to 0."""
        parts = [self.normalise_variable(v, raw[:, v], times) for v in range(len(self.variables))]
        return np.stack(parts, axis=1)

    def normalise_variable(
        self, variable: int, raw: NDArray[np.floating], times: pd.DatetimeIndex
    ) -> NDArray[np.float32]:
        """Raw fields (time, latitude, longitude) of one variable, by its position, to x."""
        x = self._offset(variable, times)
        np.subtract(raw, x, out=x)
        x /= self._divisor(variable)
        found = x.astype(np.float32)
        if not np.isfinite(found).all():
            found[~np.isfinite(found)] = 0
        if not self.mask[variable].all():
            found[:, ~self.mask[variable]] = 0
        return found

    def restore(self, x: NDArray[np.floating], times: pd.DatetimeIndex) -> NDArray[np.float64]:
        """x (time, variable, latitude, longitude) back to physical units, missing to NaN."""
        parts = [
            np.where(self.mask[v], x[:, v] * self._divisor(v) + self._offset(v, times), np.nan)
            for v in range(len(self.variables))
        ]
        return np.stack(parts, axis=1)

    def check_unseen(self, times: pd.DatetimeIndex) -> None:
        """Checks that none of these time steps took part in the statistics.

        Raises:
            DataError: if they would be scored as unseen although they were seen.
        """
        check_unseen(times, self.seen)

    def _offset(self, variable: int, times: pd.DatetimeIndex) -> NDArray[np.float64]:
        cycle = climatology.evaluate(self.coefficients[variable], self.terms, times)
        if self.mean[variable]:
            cycle += self.mean[variable]
        return cycle

    def _divisor(self, variable: int) -> NDArray[np.float64]:
        scale = self.scale[variable]
        return scale if self.cell_scale is None else scale * self.cell_scale[variable]


def check_unseen(times: pd.DatetimeIndex, seen: pd.DatetimeIndex) -> None:
    """Checks that none of the time steps is among those that statistics were fitted on.

    Raises:
        DataError: if they would be scored as unseen although they were seen.
    """
    both = times.intersection(seen)
    if len(both):
        raise DataError(
            f"{len(both)} time steps from {both[0]} to {both[-1]} cannot be scored as unseen, since the "
            "statistics were fitted on them: choose dataset.reference_start and dataset.reference_end within "
            "the training period."
        )


@dataclass(frozen=True)
class Scaling:
    """The mean and scale of one variable; `cell` is its cell_scale, `offset` what its climatology still lacks."""

    mean: float
    scale: float
    cell: NDArray[np.float64]
    offset: NDArray[np.float64]


def scaling(
    name: str,
    left: Fit,
    size: NDArray[np.float64],
    mask: NDArray[np.bool_],
    area_weight: NDArray[np.float64],
    *,
    by_cell: bool,
) -> Scaling:
    """Mean and scale of a variable from what its climatology leaves.

    Args:
        name: of the variable, for the message.
        left: mean and variance at every cell.
        size: how large the values are at every cell, for the check that they vary.
        mask: (latitude, longitude).
        area_weight: (latitude,).
        by_cell: whether every cell gets its own mean and scale.

    Raises:
        DataError: if the variable does not vary, or exists nowhere.
    """
    if not mask.any():
        raise DataError(
            f"{name} has no grid cell where it is never missing: leave it out of dataset.variables."
        )
    weight = np.where(mask, area_weight[:, None], 0)
    weight = weight / weight.sum()
    average, variance = np.where(mask, left.mean, 0), np.where(mask, left.variance, 0)
    mean = 0.0 if by_cell else float((weight * average).sum())
    spread = 0 if by_cell else (average - mean) ** 2
    scale = float(np.sqrt((weight * (variance + spread)).sum()))
    if not scale > LEAST_SHARE * max(np.abs(size[mask]).max(), 1e-30):
        raise DataError(f"{name} does not vary over the training period: leave it out of dataset.variables.")
    deviation = np.sqrt(variance) / scale
    cell = np.where(mask & (deviation > LEAST_SHARE), deviation, 1) if by_cell else np.ones_like(deviation)
    return Scaling(mean, scale, cell, average if by_cell else np.zeros_like(average))
