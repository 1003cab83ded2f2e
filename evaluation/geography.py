"""What every map has beside its colours: a domain, its shape on the page, coasts, meridians and parallels.

Supports regular and irregular latitude-longitude grids, also such that pass the date line. The projection is
equidistant cylindrical, true in the middle of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from evaluation import coastlines, units
from evaluation.svg import INK

MOST_CELLS = 72  # on a side of a map; finer grids are averaged in blocks first
COAST, GRATICULE = "#333333", "#00000022"  # on the maps' own light ground, in a dark page as well
COAST_DETAIL = 1.5  # CSS pixels; half of what a map of the globe would take at one
ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, eq=False)
class Domain:
    """A grid as a map shows it, from west to east without a break.

    Attributes:
        latitude: (row,) degrees north.
        longitude: (column,) degrees east, ascending; over 180 beyond the date line.
        columns: (column,) place of each column in the fields' own order.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, latitude: np.ndarray, longitude: np.ndarray) -> Domain:
        """The domain of ascending longitudes in [-180, 180); where its widest gap lies inside, it begins there."""
        columns, turned = np.arange(len(longitude)), np.asarray(longitude, dtype=float)
        gaps = np.diff(turned)
        if len(gaps) and gaps.max() > 1.001 * (turned[0] + 360 - turned[-1]):
            columns = np.roll(columns, -(int(gaps.argmax()) + 1))
            turned = np.where(turned < turned[columns[0]], turned + 360, turned)[columns]
        return cls(np.asarray(latitude, dtype=float), turned, columns)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, east, south and north; never without extent."""
        west, south = float(self.longitude.min()), float(self.latitude.min())
        east, north = float(self.longitude.max()), float(self.latitude.max())
        return west, max(east, west + 1e-6), south, max(north, south + 1e-6)

    def height(self, width: float) -> float:
        """Of a map so wide, both in CSS pixels: a degree of latitude is as long as on the ground in mid-map."""
        widening = max(np.cos(np.deg2rad(self.latitude.mean())), 0.35)
        ratio = np.ptp(self.latitude) / max(np.ptp(self.longitude) * widening, 1e-9)
        return float(round(width * min(max(ratio, 0.4), 1.6)))

    def words(self) -> str:
        """The domain in words, as "30° N to 60° N, 20° W to 14.5° E"."""
        west, east, south, north = self.box
        parallels = " to ".join(units.degrees(value, "NS") for value in (south, north))
        return f"{parallels}, {' to '.join(units.degrees(_turned(value), 'EW') for value in (west, east))}"

    def coarse(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latitude, longitude and block means that keep the grid within MOST_CELLS on a side.

        A block that is partly missing is missing.
        """
        values = values[:, self.columns]
        rows, columns = (-(-size // MOST_CELLS) for size in values.shape)
        if rows == columns == 1:
            return self.latitude, self.longitude, values
        height, width = (size // block for size, block in zip(values.shape, (rows, columns), strict=True))
        cut = values[: height * rows, : width * columns].reshape(height, rows, width, columns)
        return (
            self.latitude[: height * rows].reshape(height, rows).mean(axis=1),
            self.longitude[: width * columns].reshape(width, columns).mean(axis=1),
            cut.mean(axis=(1, 3)),
        )


def ground(axes: Axes, domain: Domain, width: float) -> None:
    """Coasts, meridians, parallels and a border on a map so many CSS pixels wide; sets its limits."""
    coast(axes, domain, width)
    frame(axes, domain)


def coast(axes: Axes, domain: Domain, width: float) -> None:
    """Thin coastlines as fine as a map so wide shows, all of them one path; none on a domain without area."""
    if min(len(domain.latitude), len(domain.longitude)) < 2:
        return
    west, east, *_ = domain.box
    if lines := coastlines.within(*domain.box, detail=COAST_DETAIL * (east - west) / width):
        add_path(axes, lines, colour=COAST, width=0.6)


def add_path(axes: Axes, lines: list[np.ndarray], *, colour: str, width: float) -> None:
    """Lines (point, 2) in the axes' coordinates as one path, which keeps the file small."""
    codes = [np.r_[Path.MOVETO, np.full(len(line) - 1, Path.LINETO)] for line in lines]
    path = Path(np.concatenate(lines), np.concatenate(codes))
    path.should_simplify = False
    axes.add_artist(PathPatch(path, fill=False, edgecolor=colour, linewidth=width))


def frame(axes: Axes, domain: Domain) -> None:
    """Thin meridians and parallels and a border; no ticks, since the caption gives the domain."""
    west, east, south, north = domain.box
    axes.vlines(_round_places(west, east), south, north, colors=[GRATICULE], linewidth=0.5)
    axes.hlines(_round_places(south, north), west, east, colors=[GRATICULE], linewidth=0.5)
    border = Rectangle((west, south), east - west, north - south, fill=False, edgecolor=INK, linewidth=1.0)
    axes.add_artist(border)
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)


def round_step(step: float) -> float:
    """The least of a few round numbers times a power of ten that is not below step."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor * power for factor in ROUND if factor * power >= step * (1 - 1e-9)))


def _round_places(low: float, high: float) -> np.ndarray:
    step = round_step((high - low) / 4)
    return np.arange(np.ceil(low / step), high / step) * step


def _turned(longitude: float) -> float:
    """The longitude in [-180, 180)."""
    return (longitude + 180) % 360 - 180
