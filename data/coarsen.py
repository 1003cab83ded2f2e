"""Fields on a coarser grid: area-weighted means over blocks of cells.

The mean over the area of what is left is that of the fine grid, and a constant field stays what it is. Of a block
some cells may be missing: its mean is that of the others, as long as they make half of its area; else the block is
missing. What does not fill a block at the southern or eastern edge is left out. Supports regular and irregular
grids; does not support blocks that break a grid round the globe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data import grid
from data.errors import DataError

LEAST_SHARE = 0.5  # of a block's area that has to exist


def check(latitude: NDArray[np.floating], longitude: NDArray[np.floating], size: int) -> None:
    """Checks that blocks of size x size cells fit the grid.

    Raises:
        DataError: if no block fits, or blocks would leave a gap in a grid round the globe.
    """
    height, width = len(latitude), len(longitude)
    if size > min(height, width):
        raise DataError(
            f"dataset.coarsen={size} is more than the grid of {height} x {width} cells has: choose less."
        )
    if width % size and grid.is_cyclic(longitude):
        raise DataError(
            f"dataset.coarsen={size} does not divide the {width} cells round the globe: choose a divisor of {width}."
        )


def axis(values: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Coordinates of the blocks: the mean of their cells'."""
    whole = len(values) // size * size
    return np.asarray(values[:whole], np.float64).reshape(-1, size).mean(axis=1)


def block_areas(area: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Relative area of a block at each latitude, with mean 1, from that of the cells (H,)."""
    whole = len(area) // size * size
    blocks = area[:whole].reshape(-1, size).sum(axis=1)
    return np.asarray(blocks / blocks.mean())


def block_mean(fields: NDArray[np.floating], area: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Area-weighted means over blocks.

    Args:
        fields: (time, H, W), NaN where missing.
        area: of a cell at each latitude (H,), in any unit.
        size: cells of a block each way.

    Returns:
        means (time, H // size, W // size).
    """
    steps, height, width = fields.shape
    rows, columns = height // size, width // size
    cells = fields[:, : rows * size, : columns * size].astype(np.float64)
    cells = cells.reshape(steps, rows, size, columns, size)
    weight = area[: rows * size].reshape(rows, size)
    missing = np.isnan(cells)
    total = np.einsum("trick,ri->trc", np.where(missing, 0, cells), weight)
    there = np.einsum("trick,ri->trc", ~missing, weight)
    enough = there >= LEAST_SHARE * size * weight.sum(axis=1)[:, None] * (1 - 1e-9)
    return np.where(enough, total / np.where(enough, there, 1), np.nan).astype(np.float32)
