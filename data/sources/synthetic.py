"""Synthetic daily ERA5-like fields over the North Atlantic and Europe, with seven planted weather regimes.

Supports any period and grid size on the fixed box 30N-75N, 60W-30E. The same seed and start give the same
weather to the last bit on one machine; a later end only adds days. The fields hold together: the wind at 500 hPa
is geostrophic, t850 follows the height and the advection by the wind, msl is hypsometric, sst integrates t850 and
is missing over land.

Does not support other boxes, sub-daily steps or topography, and is no climate model. Another start is other
weather. The record is made in memory: about 100 bytes for a grid point and day.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from data import catalogue
from data.errors import DataError
from data.sources.synthetic_box import Array, Grid
from data.sources.synthetic_weather import SHORTEST_SPELL, Weather

GENERATOR_VERSION = 1  # part of the fingerprint: raise it when the same options give other bytes
SMALLEST_GRID = 8  # points a side: coarser grids cannot hold the patterns
VARIABLES = ("z500", "u500", "v500", "t850", "msl", "sst")


@dataclass(frozen=True, kw_only=True)
class SyntheticSource:
    """A seeded maker of daily fields under the raw-store contract.

    Attributes:
        start: first day, an ISO date from 1700 on.
        end: last day, included, before 2250.
        seed: non-negative; the same seed and start give the same weather.
        n_latitude: points from 75N to 30N, at least 8.
        n_longitude: points from 60W to one step short of 30E, at least 8.
        regime_strength: factor on the planted patterns; 0 plants labels that leave no trace.
        noise_strength: factor on all red noise; 0 leaves the regimes alone.
        spell_days: mean days that a regime lasts, at least 5.
        variables: which fields, in which order, out of z500, u500, v500, t850, msl, sst.

    Raises:
        DataError: an option is out of its range.
    """

    start: str = ""
    end: str = ""
    seed: int = 0
    n_latitude: int = 16
    n_longitude: int = 24
    regime_strength: float = 1.0
    noise_strength: float = 1.0
    spell_days: float = 7.5
    variables: tuple[str, ...] = VARIABLES

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _day("start", self.start))
        object.__setattr__(self, "end", _day("end", self.end))
        object.__setattr__(self, "variables", tuple(self.variables))
        _check(self)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the content depends on, as plain JSON values."""
        options = asdict(self) | {"variables": list(self.variables)}
        return {"source": "synthetic", "generator_version": GENERATOR_VERSION, **options}

    def open(self) -> xr.Dataset:
        """The fields, float32 in memory, dims (time, latitude, longitude); sst is NaN over land."""
        grid = Grid.of_size(self.n_latitude, self.n_longitude)
        fields = self._weather().fields(self._times(), grid)
        dataset = _dataset({name: fields[name] for name in self.variables}, self._times(), grid)
        dataset.attrs["request"] = json.dumps(self.fingerprint(), sort_keys=True)
        return dataset

    def labels(self) -> pd.Series:
        """The planted regime of each day, int64 from 0 to 6 in the order of REGIMES; for scoring only."""
        times = self._times()
        return pd.Series(self._weather().regime_of_day(len(times)), index=times, name="regime")

    def _weather(self) -> Weather:
        return Weather(
            seed=self.seed,
            regime_strength=self.regime_strength,
            noise_strength=self.noise_strength,
            spell_days=self.spell_days,
        )

    def _times(self) -> pd.DatetimeIndex:
        return pd.date_range(self.start, self.end, freq="D", name="time").as_unit("ns")


def make(*, start: str, end: str, seed: int, **options: Any) -> tuple[xr.Dataset, pd.Series]:
    """Fields and planted labels of a SyntheticSource with these options.

    Example:
        fields, labels = make(start="2001-01-01", end="2001-12-31", seed=0, variables=("z500", "sst"))
    """
    source = SyntheticSource(start=start, end=end, seed=seed, **options)
    return source.open(), source.labels()


def _dataset(fields: dict[str, Array], times: pd.DatetimeIndex, grid: Grid) -> xr.Dataset:
    """The fields under the raw-store contract, all attributes but the request."""
    dims = ("time", "latitude", "longitude")
    axes = {
        "time": ("time", times, {"standard_name": "time", "long_name": "time"}),
        "latitude": ("latitude", grid.latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("longitude", grid.longitude, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    about = {
        "Conventions": "CF-1.8",
        "source": "synthetic fields with planted regimes; not observations",
        "licence": "CC0-1.0",
        "citation": "none: made by the program",
    }
    data = {name: (dims, field.astype(np.float32), _attributes(name)) for name, field in fields.items()}
    return xr.Dataset(data, axes, about)


def _attributes(name: str) -> dict[str, str]:
    variable, level = catalogue.parse(name)
    at = f" at {level:g} hPa" if level is not None else ""
    attributes = {"long_name": f"{variable.long_name}{at}", "units": variable.units}
    return attributes | ({"standard_name": variable.standard_name} if variable.standard_name else {})


def _day(option: str, value: Any) -> str:
    """The ISO date of what was given as a day."""
    try:
        day = pd.Timestamp(value)
        if pd.Timestamp("1700-01-01") <= day < pd.Timestamp("2250-01-01"):
            return day.date().isoformat()
    except (ValueError, TypeError):
        pass
    raise DataError(
        f"synthetic source: {option} must be a day from 1700 to 2249, written as 2001-01-31 (received: {value!r})."
    )


def _check(source: SyntheticSource) -> None:
    """Raise DataError on the first option that is out of range."""
    _check_whole(source, "seed", 0)
    _check_whole(source, "n_latitude", SMALLEST_GRID)
    _check_whole(source, "n_longitude", SMALLEST_GRID)
    for option, least in (("regime_strength", 0), ("noise_strength", 0), ("spell_days", SHORTEST_SPELL)):
        value = getattr(source, option)
        if not isinstance(value, int | float) or not least <= value < np.inf:
            _refuse(source, option, f"a number, at least {least}")
    if source.end < source.start:
        _refuse(source, "end", f"no earlier than start, {source.start}")
    if not source.variables or len(set(source.variables) & set(VARIABLES)) < len(source.variables):
        _refuse(source, "variables", f"different names out of {', '.join(VARIABLES)}")


def _check_whole(source: SyntheticSource, option: str, least: int) -> None:
    value = getattr(source, option)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        _refuse(source, option, f"a whole number, at least {least}")


def _refuse(source: SyntheticSource, option: str, wanted: str) -> None:
    raise DataError(f"synthetic source: {option} must be {wanted} (received: {getattr(source, option)!r}).")
