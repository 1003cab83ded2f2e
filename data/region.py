"""The part of a latitude-longitude grid inside a box, also across the date line and at the poles.

A box is [north, west, south, east] in degrees. West may lie east of east (150 to -120 is the Pacific), and then the
longitudes that are left ascend through 180 (150 … 240), so that neighbours in the array are neighbours on the globe.
Without a box the whole grid is taken, in that same order. Cells whose centres are on the edge belong to the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import grid
from data.errors import DataError

TOLERANCE = 1e-4  # degrees; longitudes of float32 files are off by 1e-5


@dataclass(frozen=True)
class Cut:
    """Rows and columns of a grid.

    Attributes:
        rows: from north to south.
        columns: one or two stretches, from west to east.
        latitude: degrees north of the rows.
        longitude: degrees east of the columns, ascending, from [-180, 180) on.
    """

    rows: slice
    columns: tuple[slice, ...]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]


def cut(latitude: NDArray[np.floating], longitude: NDArray[np.floating], box: Sequence[float] | None) -> Cut:
    """Cuts a grid.

    Args:
        latitude: descending, (H,).
        longitude: ascending within [-180, 180), (W,).
        box: north, west, south, east; None for everything.

    Raises:
        DataError: if the box is none, or reaches beyond the grid.
    """
    return _select(np.asarray(latitude, np.float64), np.asarray(longitude, np.float64), box)


def _select(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], box: Sequence[float] | None
) -> Cut:
    if box is None:
        return _cut(latitude, longitude, slice(0, len(latitude)), _unbroken(longitude), len(longitude))
    north, west, south, east = check(box)
    inside = np.flatnonzero((latitude <= north + TOLERANCE) & (latitude >= south - TOLERANCE))
    width = 360.0 if east - west == 360 else (east - west) % 360
    east_of = (longitude - west + TOLERANCE) % 360
    chosen = np.flatnonzero(east_of <= width + 2 * TOLERANCE)
    if not len(inside) or not len(chosen):
        raise DataError(
            f"dataset.region {_words(box)} holds no point of the record's grid ({_extent(latitude, longitude)})."
        )
    first = int(chosen[np.argmin(east_of[chosen])])
    _check_covered(box, latitude, longitude, latitude[inside], east_of[chosen], width)
    return _cut(latitude, longitude, slice(int(inside[0]), int(inside[-1]) + 1), first, len(chosen))


def check(box: Sequence[float]) -> tuple[float, float, float, float]:
    """North, west, south and east of a box.

    Raises:
        DataError: if they are not four numbers in this order and within range.
    """
    numbers = all(isinstance(edge, (int, float)) and not isinstance(edge, bool) for edge in box)
    if len(box) != 4 or not numbers or not -90 <= box[2] <= box[0] <= 90:
        raise DataError(
            f"dataset.region must be [north,west,south,east] in degrees with -90 <= south <= north <= 90. "
            f"Received: {list(box)}."
        )
    if not all(-360 <= edge <= 720 for edge in (box[1], box[3])) or box[3] - box[1] > 360:
        raise DataError(
            f"dataset.region: west and east must be longitudes at most 360 degrees apart. Received: {list(box)}."
        )
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _cut(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], rows: slice, first: int, count: int
) -> Cut:
    """The rows, and `count` columns from `first` on, round the globe where they reach its end."""
    end = min(first + count, len(longitude))
    columns = (
        (slice(first, end), slice(0, first + count - end)) if first + count > end else (slice(first, end),)
    )
    found = np.concatenate([longitude[part] for part in columns])
    return Cut(rows, columns, latitude[rows], found + 360 * (found < found[0]))


def _unbroken(longitude: NDArray[np.float64]) -> int:
    """The column to begin with, so that a record across the date line is in one piece."""
    if len(longitude) < 3:
        return 0
    steps = np.diff(longitude)
    widest = int(steps.argmax())
    round_the_globe = longitude[0] + 360 - longitude[-1]
    broken = steps[widest] > 1.5 * np.median(steps) and round_the_globe < steps[widest]
    return widest + 1 if broken else 0


def _check_covered(
    box: Sequence[float],
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    rows: NDArray[np.float64],
    east_of: NDArray[np.float64],
    width: float,
) -> None:
    """A box may reach beyond the last cell by less than a step of the grid."""
    north, _, south, _ = box
    high = max(_step(latitude), TOLERANCE)
    wide = max(_step(longitude), TOLERANCE)
    covered = min(north, 90) - rows[0] < high and rows[-1] - max(south, -90) < high
    if not grid.is_cyclic(longitude):
        covered &= (
            east_of.min() < wide
            and width - east_of.max() < wide
            and np.diff(np.sort(east_of)).max(initial=0) < 1.5 * wide
        )
    if not covered:
        raise DataError(
            f"dataset.region {_words(box)} reaches beyond the record ({_extent(latitude, longitude)}): choose a "
            "region inside it."
        )


def _step(axis: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(np.diff(axis)))) if len(axis) > 1 else 0.0


def _words(box: Sequence[float]) -> str:
    return f"[{','.join(f'{edge:g}' for edge in box)}]"


def _extent(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> str:
    return f"latitude {latitude[0]:g} to {latitude[-1]:g}, longitude {longitude[0]:g} to {longitude[-1]:g}"
