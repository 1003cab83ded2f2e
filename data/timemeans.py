"""Time axes of means: which steps of a record make which day, and which days make a running mean.

A day is a UTC day. Of a state its steps from 00:00 on count, of what is accumulated or averaged over the time before
its stamp those after 00:00 and the 00:00 of the next day (data.daily). A day of which a step is missing is missing.
A running mean is centred on its day; days without a whole window are left out. Supports steps of 1, 2, 3, 4, 6, 8 and
12 hours that stand at whole multiples of them; accumulated fields need hourly steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import catalogue, daily, timeaxis
from data.daily import Reduction
from data.errors import DataError

HOURS = (1, 2, 3, 4, 6, 8, 12)
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Days:
    """Days made of the steps of a record.

    Attributes:
        times: 00:00 of each day.
        rules: how each field is reduced.
        steps: by field, which steps of the record make each day (day, step of the day), -1 where there is none.
    """

    times: pd.DatetimeIndex
    rules: dict[str, Reduction]
    steps: dict[str, NDArray[np.intp]]


def days(times: pd.DatetimeIndex, names: tuple[str, ...], derived: tuple[str, ...] = ()) -> Days | None:
    """Plans daily values of a record; None where its steps are days already.

    Args:
        times: of the record.
        names: its fields that are known to the catalogue.
        derived: fields computed from those, which are states.

    Raises:
        DataError: if the steps make no days.
    """
    hours = _step_hours(times)
    if hours == 24:
        return None
    rules = {name: daily.reduction(name, hours) for name in names}
    rules |= {name: Reduction(0, 24 // hours, 24.0 / hours, "", "", "", "time: mean") for name in derived}
    for name in names:
        if catalogue.parse(name)[0].kind == "accumulated" and hours != 1:
            raise DataError(
                f"{name} is accumulated and its steps are {hours} hours apart, so that their sum is not the day's: "
                "give hourly steps, or leave it out by dataset.fields."
            )
    axis = pd.date_range(times[0].normalize(), times[-1].normalize(), freq="D", unit="ns")
    steps = {name: _steps_of_days(times, axis, rule, hours) for name, rule in rules.items()}
    whole = np.all([(found >= 0).all(axis=1) for found in steps.values()], axis=0)
    if not whole.any():
        raise DataError(
            f"no day between {times[0]} and {times[-1]} has all of its steps: set dataset.frequency=native."
        )
    kept = slice(int(np.argmax(whole)), len(whole) - int(np.argmax(whole[::-1])))
    return Days(axis[kept], rules, {name: found[kept] for name, found in steps.items()})


def _step_hours(times: pd.DatetimeIndex) -> int:
    step = timeaxis.infer_step(times)
    length = None if step is None else step.length
    hours = None if length is None else length / pd.Timedelta(hours=1)
    if hours == 24:
        return 24
    if hours not in HOURS or ((times - times.normalize()) % length != pd.Timedelta(0)).any():
        stated = "it has one step" if step is None else f"its steps are {step}, at {times[0]:%H:%M} and so on"
        raise DataError(
            f"the record cannot be made daily: {stated}, where steps of {', '.join(map(str, HOURS))} hours from "
            "00:00 are known: set dataset.frequency=native."
        )
    return int(hours)


def _steps_of_days(
    times: pd.DatetimeIndex, axis: pd.DatetimeIndex, rule: Reduction, hours: int
) -> NDArray[np.intp]:
    offsets = (rule.first + np.arange(rule.steps)) * np.timedelta64(hours, "h").astype("timedelta64[ns]")
    wanted = axis.values[:, None] + offsets
    return times.get_indexer(pd.DatetimeIndex(wanted.ravel())).reshape(wanted.shape)


def reduce(fields: NDArray[np.floating], steps: NDArray[np.intp], rule: Reduction) -> NDArray[np.float32]:
    """Daily values (day, H, W) of fields (step, H, W), by the steps of each day (day, step of the day)."""
    chosen = fields[np.maximum(steps, 0)]
    chosen[steps < 0] = np.nan
    return daily.total(chosen, rule.divisor)


def middles(times: pd.DatetimeIndex, window: int) -> NDArray[np.intp]:
    """The days of a daily record that have a whole centred window about them.

    Raises:
        DataError: if the record is not daily, or shorter than the window.
    """
    half = window // 2
    if not half:
        return np.arange(len(times))
    step = timeaxis.infer_step(times)
    if step is None or step.length != DAY:
        raise DataError(
            f"dataset.running_mean_days={window} needs daily steps, and the record has "
            f"{'one' if step is None else f'them {step}'}: set dataset.frequency=daily, or "
            "dataset.running_mean_days=1."
        )
    centres = np.arange(half, len(times) - half)
    whole = times[centres + half] - times[centres - half] == (window - 1) * DAY
    if not whole.any():
        raise DataError(
            f"the record ({times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}) has no {window} days in a row: lower "
            "dataset.running_mean_days."
        )
    return centres[np.asarray(whole)]


def running_mean(fields: NDArray[np.floating], centres: NDArray[np.intp], window: int) -> NDArray[np.float32]:
    """Centred means (centre, H, W) over the days of fields (day, H, W); NaN where any day is NaN."""
    total = np.zeros((len(centres), *fields.shape[1:]))
    for shift in range(-(window // 2), window // 2 + 1):
        total += fields[centres + shift]
    return (total / window).astype(np.float32)
