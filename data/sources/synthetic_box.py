"""The box of the synthetic weather: its grid, derivatives on it, and a rough coast.

Supports any number of points on 30N-75N, 60W-30E. Does not support other boxes; no projection, no topography.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EARTH_RADIUS = 6.371e6  # m
EARTH_ROTATION = 7.292e-5  # s-1
SOUTH, NORTH, WEST, EAST = 30.0, 75.0, -60.0, 30.0


@dataclass(frozen=True)
class Grid:
    """Latitudes (descending) and longitudes (ascending) in degrees, and the geometry that follows."""

    latitude: Array
    longitude: Array

    @classmethod
    def of_size(cls, n_latitude: int, n_longitude: int) -> Grid:
        """The box with this many points; the eastern edge is left out, as on a global grid."""
        return cls(
            np.linspace(NORTH, SOUTH, n_latitude), np.linspace(WEST, EAST, n_longitude, endpoint=False)
        )

    @property
    def cos(self) -> Array:
        """Cosine of latitude, (latitude, 1)."""
        return np.cos(np.deg2rad(self.latitude))[:, None]

    @property
    def coriolis(self) -> Array:
        """Coriolis parameter in s-1, (latitude, 1)."""
        return 2 * EARTH_ROTATION * np.sin(np.deg2rad(self.latitude))[:, None]

    def bump(self, latitude: float, longitude: float, radius_km: float) -> Array:
        """Gaussian of great-circle distance, 1 at its centre, (latitude, longitude)."""
        lat, lat0 = np.deg2rad(self.latitude)[:, None], np.deg2rad(latitude)
        turn = np.cos(np.deg2rad(self.longitude - longitude))
        cosine = np.sin(lat) * np.sin(lat0) + np.cos(lat) * np.cos(lat0) * turn
        distance = EARTH_RADIUS / 1e3 * np.arccos(np.clip(cosine, -1, 1))
        return np.exp(-0.5 * (distance / radius_km) ** 2)

    def northward(self, field: Array) -> Array:
        """Derivative to the north, per metre, of (…, latitude, longitude); second order, edges too."""
        return np.gradient(field, EARTH_RADIUS * np.deg2rad(self.latitude), axis=-2, edge_order=2)

    def eastward(self, field: Array) -> Array:
        """Derivative to the east, per metre, of (…, latitude, longitude); second order, edges too."""
        slope = np.gradient(field, EARTH_RADIUS * np.deg2rad(self.longitude), axis=-1, edge_order=2)
        return slope / self.cos


def land_mask(grid: Grid) -> NDArray[np.bool_]:
    """True over a rough Europe, Africa, Greenland, Newfoundland, Iceland and Britain, (latitude, longitude)."""
    lat, lon = grid.latitude[:, None], grid.longitude[None, :]
    coast_lat = (30, 36, 36.5, 43.5, 44, 48, 51, 54, 58, 62, 71)
    coast_lon = (-9.5, -6, -9, -9, -1.5, -4, 3, 8, 6, 5, 26)
    continent = (lon > np.interp(lat, coast_lat, coast_lon)) & (lat < 71)
    for sea in ((36.5, 18, 4, 15), (43, 35, 3, 7), (58.5, 20, 5, 3)):  # Mediterranean, Black Sea, Baltic
        continent &= ~_in_ellipse(lat, lon, *sea)
    islands = ((73, -40, 13, 17), (50, -62, 5, 8), (65, -18.5, 1.6, 4.5), (54.5, -3.5, 4, 3))
    return np.logical_or.reduce([continent, *(_in_ellipse(lat, lon, *island) for island in islands)])


def _in_ellipse(
    lat: Array, lon: Array, centre_lat: float, centre_lon: float, height: float, width: float
) -> NDArray[np.bool_]:
    return ((lat - centre_lat) / height) ** 2 + ((lon - centre_lon) / width) ** 2 < 1
