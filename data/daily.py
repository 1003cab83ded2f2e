"""From hours to daily values on UTC days: means of states, mean fluxes from accumulations, sums of water.

An instantaneous field counts at 00:00 … 23:00. A field that is accumulated or averaged over the hour before its stamp
counts at 01:00 … 24:00, which is 00:00 of the next day. A day of which a value is missing is missing: it is never the
mean of what happened to come. Accumulated energy (J m-2) becomes a mean flux (W m-2), positive downwards as ECMWF has
it; accumulated water (m) becomes the day's sum. Supports hourly, 3-hourly and 6-hourly steps; sums need hourly ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import catalogue
from data.catalogue import Variable

SECONDS_A_DAY = 86400.0
BLOCK_BYTES = 32 * 2**20  # of hours that are in memory at one time
FLUX_RANGE = (-3000.0, 3000.0)  # W m-2
_INTEGRAL = "integral_wrt_time_of_"

Read = Callable[[NDArray[np.intp]], NDArray[np.floating]]


@dataclass(frozen=True)
class Reduction:
    """How a variable's steps become a daily value: the sum of a day's steps, divided.

    Attributes:
        first: the step of a day that counts first, counted from 00:00.
        steps: how many steps make a day.
        divisor: of the sum.
        units: of the daily value.
        standard_name: its CF standard name, '' where CF has none.
        long_name: what it is, with its sign where it has one.
        cell_methods: how it was made, in CF's words.
    """

    first: int
    steps: int
    divisor: float
    units: str
    standard_name: str
    long_name: str
    cell_methods: str

    def attributes(self) -> dict[str, str]:
        """The attributes of the daily variable."""
        found = {"long_name": self.long_name, "units": self.units, "cell_methods": self.cell_methods}
        if "downward" in self.long_name:
            found["comment"] = "positive downwards (into the surface)"
        return found | ({"standard_name": self.standard_name} if self.standard_name else {})


def reduction(name: str, step_hours: int = 1) -> Reduction:
    """The reduction of a field of the raw store (t2m, z500, sshf) that has a step every so many hours."""
    variable, level = catalogue.parse(name)
    steps = 24 // step_hours
    long_name = variable.long_name + (f" at {level:g} hPa" if level is not None else "")
    standard = variable.standard_name or ""
    interval = f"(interval: {step_hours} hour{'s' if step_hours > 1 else ''})"
    if variable.kind == "accumulated":
        return _accumulated(variable, long_name, standard, steps)
    first = 1 if variable.kind == "mean" else 0
    return Reduction(
        first, steps, float(steps), variable.units, standard, long_name, f"time: mean {interval}"
    )


def _accumulated(variable: Variable, long_name: str, standard: str, steps: int) -> Reduction:
    if variable.units != "J m-2":
        return Reduction(1, steps, 1.0, variable.units, standard, f"{long_name}, sum of the day", "time: sum")
    words = long_name.removeprefix("Time-integrated ")
    return Reduction(
        1, steps, SECONDS_A_DAY, "W m-2", standard.removeprefix(_INTEGRAL) if standard.startswith(_INTEGRAL) else "",
        f"Mean {words[0].lower()}{words[1:]}", "time: mean",
    )  # fmt: skip


def from_daily_mean(name: str) -> Reduction:
    """The reduction of what the service has averaged over a day's hours: one step a day, scaled to the same units."""
    hourly = reduction(name)
    return Reduction(
        0, 1, hourly.divisor / 24, hourly.units, hourly.standard_name, hourly.long_name, hourly.cell_methods
    )


class Daily:
    """Daily values of a field as an array (day, latitude, longitude) that is made as it is read.

    Args:
        read: gives the steps of the given indices, (step, latitude, longitude); index 0 is 00:00 of the first day.
        shape: days, latitudes, longitudes.
        rule: the reduction.
        spacing: indices between the first steps of two days.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, read: Read, shape: tuple[int, int, int], rule: Reduction, spacing: int) -> None:
        self._read = read
        self.shape = shape
        self.rule = rule
        self._spacing = spacing

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        key = key if isinstance(key, tuple) else (key,)
        days = np.arange(self.shape[0])[key[0]] if key else np.arange(self.shape[0])
        block = self.days(np.atleast_1d(days))
        return (block if np.ndim(days) else block[0])[(slice(None),) * np.ndim(days) + key[1:]]

    def days(self, days: NDArray[np.integer]) -> NDArray[np.float32]:
        """The given days, (day, latitude, longitude)."""
        out = np.empty((len(days), *self.shape[1:]), np.float32)
        at_once = max(BLOCK_BYTES // (4 * self.rule.steps * self.shape[1] * self.shape[2]), 1)
        for first in range(0, len(days), at_once):
            chosen = slice(first, min(first + at_once, len(days)))
            out[chosen] = self._reduce(np.asarray(days[chosen]))
        return out

    def _reduce(self, days: NDArray[np.integer]) -> NDArray[np.float32]:
        steps = days[:, np.newaxis] * self._spacing + self.rule.first + np.arange(self.rule.steps)
        hours = self._read(steps.ravel().astype(np.intp))
        return total(hours.reshape(len(days), self.rule.steps, *self.shape[1:]), self.rule.divisor)


def total(hours: NDArray[np.floating], divisor: float) -> NDArray[np.float32]:
    """The sum of (day, step, latitude, longitude) over the steps, divided; NaN where any step is NaN."""
    summed = hours.sum(axis=1, dtype=np.float64) / divisor
    return summed.astype(np.float32)


def plausible(name: str, units: str) -> tuple[float, float]:
    """Smallest and largest value of a field of the raw store that could be real; any where it is not known."""
    found = catalogue.find_field(name)
    if found is None:
        return -np.inf, np.inf
    variable, level = found
    if units == "W m-2" and variable.units == "J m-2":
        return FLUX_RANGE
    return variable.plausible_at(level)
