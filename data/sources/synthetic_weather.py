"""The synthetic weather itself: a seasonal climate, planted regimes, red noise, and the physics that ties them.

Every random process has its own stream and is drawn day by day, so that a longer record begins with the same
days to the last bit. Noise is drawn as zonal waves on fixed latitudes and sampled on the grid asked for, so that
another grid shows the same weather. Patterns, amplitudes and memories are chosen so that EOF + k-means recovers
the planted regimes in part and neighbouring days help; the tests hold the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.sources.synthetic_box import EARTH_RADIUS, NORTH, SOUTH, Array, Grid, land_mask

GAS_CONSTANT = 287.05  # J kg-1 K-1, dry air
AIR_DENSITY = 1.2  # kg m-3, near the sea
FREEZING_SEA = 271.35  # K
SECONDS_PER_DAY = 86400.0

# Height anomalies of each regime as (latitude, longitude, radius in km, weight), after the seven year-round
# regimes of Grams et al. (2017, doi:10.1038/nclimate3338), whose order the labels follow. The centres were
# moved until no two patterns correlate above 0.15, so that k-means has seven clusters to find.
REGIMES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "atlantic_trough": ((47, -18, 750, -1.0), (38, 10, 750, 0.9)),
    "zonal": ((63, -22, 750, -1.0), (38, -18, 750, 0.8)),
    "scandinavian_trough": ((60, 26, 800, -1.0), (52, -21, 750, 0.3)),
    "atlantic_ridge": ((49, -45, 900, 1.0), (46, -1, 750, -0.4)),
    "european_blocking": ((55, -2, 1000, 1.0), (62, -51, 750, -0.5)),
    "scandinavian_blocking": ((70, 22, 800, 1.0), (46, 7, 1000, -0.4)),
    "greenland_blocking": ((67, -52, 800, 1.0), (40, -52, 750, -0.7)),
}
REGIME_HEIGHT = 470.0  # m2 s-2, root mean square of a pattern over the box
SHORTEST_SPELL = 5  # days, as Grams et al. demand of a regime
SUCCESSION = (0.5, 0.2, 0.1, 0.1, 0.05, 0.05)  # chance that the next regime is 1 to 6 places on in the order


class Red(NamedTuple):
    """A red-noise process: correlation exp(-(distance / length_km)**2) in space, memory**lag in time."""

    size: float  # standard deviation, in units of the field
    length_km: float
    memory: float  # lag-1 autocorrelation, in a frame that moves with the drift
    drift: float = 0.0  # degrees of longitude a day, to the east


# Quick in comparison with a spell, so that a mean over five days tells regimes from noise.
NOISE = {
    "planetary": Red(size=480.0, length_km=2000, memory=0.4),  # m2 s-2
    "synoptic": Red(size=560.0, length_km=1200, memory=0.85, drift=12.0),  # m2 s-2; 9 m s-1 at 55N
    "t850": Red(size=1.5, length_km=900, memory=0.6),  # K
    "sst": Red(size=0.4, length_km=1200, memory=0.97),  # K
}
ZONAL_WAVES = 32  # enough for 900 km at 30N
STREAMS = ("regime", "amplitude", *NOISE)  # one random stream each, told apart by its place here


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What the weather of a record depends on; see SyntheticSource, which checks the values."""

    seed: int
    regime_strength: float
    noise_strength: float
    spell_days: float

    def fields(self, times: pd.DatetimeIndex, grid: Grid) -> dict[str, Array]:
        """z500, u500, v500, t850, msl and sst in the catalogue's units, each (time, latitude, longitude)."""
        normal, stormy = climate(times, grid), 1 + 0.3 * _winter(times, coldest_day=20)
        z = stormy * (self._regime_heights(len(times), grid) + self._height_noise(len(times), grid))
        z500 = normal["z500"] + z
        t = _warmth(z, grid.eastward(z) / grid.coriolis, normal["t850"], grid)
        t += stormy * self._noise("t850", len(times), grid)
        # The mixed layer takes up a fiftieth of the air's anomaly a day and forgets in fifty days.
        sst = normal["sst"] + _persist(t, memory=0.98) + self._noise("sst", len(times), grid)
        # Hypsometric equation, the layer's mean temperature anomaly taken as half of that at 850 hPa.
        msl = normal["msl"] + AIR_DENSITY * (z - GAS_CONSTANT * np.log(2.0) * 0.5 * t)
        return {
            "z500": z500,
            "u500": -grid.northward(z500) / grid.coriolis,
            "v500": grid.eastward(z500) / grid.coriolis,
            "t850": normal["t850"] + t,
            "msl": msl,
            "sst": np.where(land_mask(grid), np.nan, np.maximum(sst, FREEZING_SEA)),
        }

    def regime_of_day(self, days: int) -> NDArray[np.int64]:
        """The planted regime of each day, 0 to 6 in the order of REGIMES, (days)."""
        return self._chain(days)[1:-1]

    def _chain(self, days: int) -> NDArray[np.int64]:
        """The regime from the day before the record to the day after it, (days + 2).

        A spell lasts five days and then ends with a constant daily chance; the next regime depends on the
        present one alone, and in the long run all are equally frequent.
        """
        draws = self._stream("regime").random((days + 2, 2))
        leave = 1 / (self.spell_days - SHORTEST_SPELL + 1)
        places = 1 + np.searchsorted(np.cumsum(SUCCESSION)[:-1], draws[:, 1], side="right")
        chain = np.empty(days + 2, dtype=np.int64)
        regime, age = int(draws[0, 1] * len(REGIMES)), 0
        for day in range(days + 2):
            if age >= SHORTEST_SPELL and draws[day, 0] < leave:
                regime, age = (regime + int(places[day])) % len(REGIMES), 0
            chain[day] = regime
            age += 1
        return chain

    def _regime_heights(self, days: int, grid: Grid) -> Array:
        """Height anomaly of the regimes in m2 s-2: three days of transition, amplitude that varies."""
        one_hot = np.eye(len(REGIMES))[self._chain(days)]
        weights = 0.25 * one_hot[:-2] + 0.5 * one_hot[1:-1] + 0.25 * one_hot[2:]
        vigour = np.exp(0.2 * _red_series(self._stream("amplitude").standard_normal(days), memory=0.65))
        size = REGIME_HEIGHT * self.regime_strength * vigour
        return np.einsum("t,tr,rij->tij", size, weights, regime_patterns(grid))

    def _height_noise(self, days: int, grid: Grid) -> Array:
        """Red noise of the height in m2 s-2, planetary and synoptic, largest along the storm track."""
        storm_track = 0.5 + 0.5 * np.exp(-(((grid.latitude - 57) / 16) ** 2))[:, None]
        return storm_track * (self._noise("planetary", days, grid) + self._noise("synoptic", days, grid))

    def _noise(self, name: str, days: int, grid: Grid) -> Array:
        """Gaussian red noise (time, latitude, longitude) of the named process, nearly isotropic.

        Day by day, because the order of summation in one large product depends on the number of days.
        """
        size, length_km, memory, drift = NOISE[name]
        rng, (mix, spectrum, basis) = self._stream(name), _wave_operators(length_km, grid)
        turn = memory * np.exp(-1j * np.arange(ZONAL_WAVES) * np.deg2rad(drift))
        fields = np.empty((days, grid.latitude.size, grid.longitude.size))
        state = np.zeros((mix.shape[1], ZONAL_WAVES), dtype=complex)
        for day in range(days):
            fresh = rng.standard_normal((*state.shape, 2)).view(complex)[..., 0]
            state = turn * state + np.sqrt(1 - memory**2) * fresh if day else fresh
            fields[day] = ((mix @ state) * spectrum @ basis).real
        return self.noise_strength * size * fields

    def _stream(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, STREAMS.index(name)])


def regime_patterns(grid: Grid) -> Array:
    """Height patterns of the seven regimes, (regime, latitude, longitude), area-weighted mean square 1."""
    reference = Grid.of_size(46, 90)  # the same patterns whatever the grid
    power = (_bumps(reference) ** 2 * reference.cos).mean((1, 2), keepdims=True) / reference.cos.mean()
    return _bumps(grid) / np.sqrt(power)


def _bumps(grid: Grid) -> Array:
    return np.stack(
        [
            sum(weight * grid.bump(lat, lon, km) for lat, lon, km, weight in parts)
            for parts in REGIMES.values()
        ]
    )


def climate(times: pd.DatetimeIndex, grid: Grid) -> dict[str, Array]:
    """Mean seasonal cycle, each (time, latitude, 1 or longitude): air coldest in late January, sea in March."""
    air, sea = _winter(times, coldest_day=25), _winter(times, coldest_day=65)
    jet = 0.5 * (1 + np.tanh((grid.latitude - 47) / 14))[:, None]  # 0 far south of the jet, 1 far north
    north = ((grid.latitude - SOUTH) / (NORTH - SOUTH))[:, None]
    waves = 600 * grid.bump(55, 5, 1500) - 900 * grid.bump(58, -60, 1500)
    azores_high, iceland_low = grid.bump(36, -30, 1500), grid.bump(62, -34, 1400)
    return {
        "z500": 57400 - 700 * air - 5600 * (1 + 0.25 * air) * jet + waves * (1 + 0.3 * air),
        "t850": 288 - 26 * north - (5.5 + 4 * north) * air,
        "msl": 101300 + 800 * azores_high - 1000 * (1 + 0.4 * air) * iceland_low,
        "sst": 296 - 24.5 * north - (3.5 - 1.5 * north) * sea + 5 * grid.bump(64, -2, 1300),
    }


def _winter(times: pd.DatetimeIndex, *, coldest_day: float) -> Array:
    """1 on the coldest day of each year and -1 half a year later, (time, 1, 1)."""
    length = np.where(times.is_leap_year, 366, 365)
    return np.cos(2 * np.pi * (times.day_of_year.to_numpy() - coldest_day) / length)[:, None, None]


def _warmth(z: Array, v: Array, mean_t: Array, grid: Grid) -> Array:
    """Temperature anomaly at 850 hPa: warm under ridges, and where the wind brings air down the mean gradient.

    Advection acts at two fifths of its strength: mixing and the sea take the rest.
    """
    advection = -0.4 * SECONDS_PER_DAY * v * grid.northward(mean_t)
    return 3e-3 * z + _persist(advection, memory=0.6)


def _persist(forcing: Array, *, memory: float) -> Array:
    """Response y[n] = memory y[n-1] + (1 - memory) forcing[n] along time, from rest."""
    response = np.empty_like(forcing)
    state = np.zeros_like(forcing[0])
    for day, push in enumerate(forcing):
        state = memory * state + (1 - memory) * push
        response[day] = state
    return response


def _red_series(draws: Array, *, memory: float) -> Array:
    """Red noise of unit variance from white, (time)."""
    series = np.concatenate([draws[:1], np.sqrt(1 - memory**2) * draws[1:]])
    for day in range(1, len(series)):
        series[day] += memory * series[day - 1]
    return series


def _wave_operators(length_km: float, grid: Grid) -> tuple[Array, Array, NDArray[np.complex128]]:
    """What turns white noise (node, wave) into a smooth field of unit variance.

    Returns:
        mix (latitude, node), spectrum (latitude, wave), basis (wave, longitude).
    """
    waves, nodes = np.arange(ZONAL_WAVES), np.arange(SOUTH - 24, NORTH + 26, 2.0)
    km = np.deg2rad(grid.latitude[:, None] - nodes) * EARTH_RADIUS / 1e3
    mix = np.exp(-2 * (km / length_km) ** 2)
    spectrum = np.exp(-((waves * length_km / (EARTH_RADIUS / 1e3 * grid.cos)) ** 2) / 8)
    basis = np.exp(1j * waves[:, None] * np.deg2rad(grid.longitude))
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (mix, spectrum)]
    return unit[0], unit[1], basis
