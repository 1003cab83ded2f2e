"""Fields that are computed from others of the same step: wind speed, and the thickness between two levels.

Supports wind speed at 10 and 100 metres (si10, si100) and on pressure levels (ws850), and thickness in geopotential
metres, the lower level first (thickness_1000_500). Wind speed is taken before any mean over time or space, since the
speed of a mean wind is less than the mean speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import catalogue
from data.catalogue import GRAVITY
from data.errors import DataError

Field = NDArray[np.floating]

_ALIASES = {"10si": "si10", "10m_wind_speed": "si10", "100si": "si100", "100m_wind_speed": "si100"}
_THICKNESS = re.compile(r"thickness_(\d{1,4})_(\d{1,4})")
_WIND = re.compile(r"ws_?(\d{1,4})")


@dataclass(frozen=True)
class Derived:
    """A derived field: `inputs` are names of the raw store, of which `compute` makes the field in `units`."""

    name: str
    long_name: str
    standard_name: str
    units: str
    inputs: tuple[str, ...]
    compute: Callable[..., Field]

    def attributes(self) -> dict[str, str]:
        """The attributes of the field."""
        found = {"long_name": self.long_name, "units": self.units}
        return found | ({"standard_name": self.standard_name} if self.standard_name else {})


def speed(u: Field, v: Field) -> Field:
    """Wind speed from its components."""
    return np.hypot(u, v)


def thickness(lower: Field, upper: Field) -> Field:
    """Geopotential metres between two levels, from their geopotential in m2 s-2."""
    return (upper - lower) / np.float32(GRAVITY)


def find(name: str) -> Derived | None:
    """The derived field of a name, or None.

    Raises:
        DataError: if the levels of a thickness are in the wrong order.
    """
    key = name.strip().casefold()
    key = _ALIASES.get(key, key)
    if key in ("si10", "si100"):
        height = key.removeprefix("si")
        return _wind(key, f"{height} metre wind speed", (f"u{height}", f"v{height}"))
    if found := _WIND.fullmatch(key):
        level = float(found[1])
        inputs = tuple(catalogue.field_name(catalogue.lookup(part), level) for part in ("u", "v"))
        return _wind(f"ws{level:g}", f"Wind speed at {level:g} hPa", inputs)
    found = _THICKNESS.fullmatch(key)
    return _thickness(int(found[1]), int(found[2])) if found else None


def _wind(name: str, long_name: str, inputs: tuple[str, ...]) -> Derived:
    return Derived(name, long_name, "wind_speed", "m s-1", inputs, speed)


def _thickness(lower: int, upper: int) -> Derived:
    if lower <= upper:
        raise DataError(
            f"thickness_{lower}_{upper} must name the lower level, of higher pressure, first: write "
            f"thickness_{upper}_{lower}."
            if lower != upper
            else f"thickness_{lower}_{upper} must name two levels, such as thickness_1000_500."
        )
    geopotential = catalogue.lookup("z")
    inputs = tuple(catalogue.field_name(geopotential, level) for level in (lower, upper))
    long_name = f"Thickness between {lower} and {upper} hPa"
    return Derived(f"thickness_{lower}_{upper}", long_name, "", "m", inputs, thickness)
