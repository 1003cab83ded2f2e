"""Coastlines of the world for maps, read from a file of the project: no network is needed.

Supports boxes of longitude and latitude anywhere, also across the date line. The lines are Natural Earth's land at
1:110m, which is in the public domain, as the npm package world-atlas 2.0.2 (ISC) passes it on; coastlines.json says
the same and how it was made. Islands under about 50 km are not in them, nor are lakes and borders of states.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("coastlines.json")


def within(west: float, east: float, south: float, north: float, *, detail: float = 0.0) -> list[np.ndarray]:
    """The coastlines in a box, each (point, 2) of longitude and latitude, cut at the box's border.

    Args:
        west: longitude of the border, degrees; with east beyond 180 the box passes the date line.
        east: at most 360 degrees further; the lines' longitudes lie between the two.
        south: latitude of the border, degrees.
        north: latitude of the border, degrees.
        detail: degrees; points that are hardly further from the one before are left out, and so are smaller islands.
    """
    segments, follows = _segments()
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        shift = np.array([turn, 0.0])
        box = np.array([west, south]) - shift, np.array([east, north]) - shift
        pieces += [line + shift for line in _clipped(segments, follows, *box)]
    return (
        pieces if detail == 0 else [line for line in (_thinned(p, detail) for p in pieces) if len(line) > 1]
    )


@cache
def _segments() -> tuple[np.ndarray, np.ndarray]:
    """All straight pieces (segment, end, coordinate), and whether each goes on from the one before."""
    lines = [np.array(line) for line in json.loads(FILE.read_text(encoding="utf-8"))["coordinates"]]
    segments = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines])
    first = np.cumsum([0] + [len(line) - 1 for line in lines[:-1]])
    follows = np.ones(len(segments), dtype=bool)
    follows[first] = False
    return segments, follows


def _clipped(
    segments: np.ndarray, follows: np.ndarray, low: np.ndarray, high: np.ndarray
) -> list[np.ndarray]:
    """The parts of the segments in a box (Liang and Barsky 1984), put together to lines again."""
    enter, leave = _crossings(segments, low, high)
    kept = np.flatnonzero(enter < leave)
    if len(kept) == 0:
        return []
    start, step = segments[kept, 0], segments[kept, 1] - segments[kept, 0]
    first, last = start + enter[kept, None] * step, start + leave[kept, None] * step
    goes_on = follows[kept[1:]] & (np.diff(kept) == 1) & (leave[kept[:-1]] == 1) & (enter[kept[1:]] == 0)
    breaks = np.flatnonzero(~goes_on) + 1
    parts = zip(np.split(first, breaks), np.split(last, breaks), strict=True)
    return [np.concatenate([begin, end[-1:]]) for begin, end in parts]


def _thinned(line: np.ndarray, detail: float) -> np.ndarray:
    """Without the points that share a cell of that many degrees with the one before; the ends stay."""
    cells = np.floor(line / detail)
    moved = np.r_[True, (np.diff(cells, axis=0) != 0).any(axis=1)]
    if not moved[1:].any():
        return line[:1]
    moved[-1] = True
    return line[moved]


def _crossings(segments: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where along each segment (0 … 1) it enters the box and leaves it; it misses a box that it leaves first."""
    start, step = segments[:, 0], segments[:, 1] - segments[:, 0]
    inside = (start >= low) & (start <= high)
    along = np.where(step == 0, 1.0, step)  # what runs beside two sides does not cross them
    sides = (low - start) / along, (high - start) / along
    parallel = np.where(inside, -np.inf, np.inf)
    enter = np.where(step == 0, parallel, np.minimum(*sides)).max(axis=1)
    leave = np.where(step == 0, -parallel, np.maximum(*sides)).min(axis=1)
    return np.maximum(enter, 0.0), np.minimum(leave, 1.0)
