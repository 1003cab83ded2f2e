"""Hatching of a part of a map: slanting lines, all of them one short path.

Supports any grid; the lines are cut where the nearest cell is not hatched, to a pixel.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from evaluation.geography import Domain, add_path

SPACING = 5.0  # CSS pixels between two lines, along the border
COLOUR, WIDTH = "#000000aa", 0.5


def hatch(axes: Axes, domain: Domain, hatched: np.ndarray, width: float, height: float) -> None:
    """Hatches the cells (latitude, longitude), in the fields' own order, of a map of so many CSS pixels."""
    lines = slanting(domain, hatched, width, height)
    if len(lines):
        add_path(axes, list(lines), colour=COLOUR, width=WIDTH)


def slanting(domain: Domain, hatched: np.ndarray, width: float, height: float) -> np.ndarray:
    """(line, end, 2): longitude and latitude of lines from upper left to lower right, in hatched cells only."""
    across = np.arange(int(width) + 1.0)
    starts = np.arange(SPACING / 2 - width, height, SPACING)  # pixels below the upper left corner
    down = starts[:, None] + across  # (line, pixel)
    inside = (down >= 0) & (down <= height)
    west, east, south, north = domain.box
    longitude = west + across / width * (east - west)
    latitude = north - np.clip(down, 0, height) / height * (north - south)
    cells = hatched[:, domain.columns]
    found = inside & cells[_nearest(domain.latitude, latitude), _nearest(domain.longitude, longitude)[None]]
    edges = np.diff(np.pad(found, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    return np.stack(
        [np.stack([longitude[end], latitude[lines, end]], axis=1) for end in (first, last)], axis=1
    )[last > first]


def _nearest(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For every wanted coordinate, the index of the nearest of monotonic places."""
    order = np.argsort(places)
    middle = (places[order][1:] + places[order][:-1]) / 2
    return order[np.searchsorted(middle, wanted)]
