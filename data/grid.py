"""What a latitude-longitude grid says of itself: exact cell areas, and whether it goes round the globe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area_weights(latitude: NDArray[np.floating]) -> NDArray[np.float64]:
    """Relative area of a cell at each latitude, with mean 1.

    The exact area between the cell's edges, sin(north) - sin(south). Edges lie halfway between grid points; the
    outermost cells are as wide outwards as inwards and end at the pole.

    Args:
        latitude: degrees north, (H,), monotonic.

    Returns:
        weights (H,).
    """
    latitude = np.asarray(latitude, dtype=np.float64)
    if latitude.size == 1:
        return np.ones(1)
    middle = (latitude[1:] + latitude[:-1]) / 2
    first, last = 2 * latitude[0] - middle[0], 2 * latitude[-1] - middle[-1]
    edges = np.clip(np.concatenate([[first], middle, [last]]), -90, 90)
    area = np.abs(np.diff(np.sin(np.deg2rad(edges))))
    return area / area.mean()


def is_cyclic(longitude: NDArray[np.floating]) -> bool:
    """Whether the last cell of an even grid borders on the first round the globe."""
    longitude = np.asarray(longitude, dtype=np.float64)
    if longitude.size < 2:
        return False
    step = np.diff(longitude)
    return bool(
        np.allclose(step, step[0], rtol=1e-3) and np.isclose(step[0] * longitude.size, 360, rtol=1e-3)
    )
