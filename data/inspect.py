"""Reads a raw store back: times, missing values, ranges, checksums, month by month.

What is found wrong is told with the month and the variable, so that just this can be made again. A cell may be
missing on all days (land for sea temperatures) or on none, and a day for all cells where the source allows it.
Memory is bounded by a month of one variable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data.daily import plausible
from data.errors import DamagedError, DataError
from data.timeaxis import complete, infer_step


@dataclass(frozen=True)
class Finding:
    """Something wrong: in which month and variable ('' for all), what, and whether it came after the writing."""

    month: str
    name: str
    what: str
    decayed: bool = False

    def __str__(self) -> str:
        return f"{self.month} {self.name}: {self.what}" if self.name else f"{self.month}: {self.what}"


def checksums(dataset: xr.Dataset) -> dict[str, dict[str, str]]:
    """The sha256 of the values of each variable in each month: {variable: {month: checksum}}."""
    return {
        str(name): {month: _checksum(dataset[name].isel(time=part).values) for month, part in months(dataset)}
        for name in dataset.data_vars
    }


def months(dataset: xr.Dataset) -> Iterator[tuple[str, slice]]:
    """The months of a store and where they are along time."""
    labels = pd.DatetimeIndex(dataset["time"].values).strftime("%Y-%m").to_numpy()
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])) if len(labels) else np.array([], int)
    for start, stop in zip(starts, [*starts[1:], len(labels)], strict=True):
        yield str(labels[start]), slice(int(start), int(stop))


def _checksum(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()


def inspect(dataset: xr.Dataset, noted: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Everything that is wrong with a raw store.

    Args:
        dataset: the store, opened lazily.
        noted: the checksums at the time of writing, as `checksums` gives them; {} where there are none.
    """
    found = list(_times(pd.DatetimeIndex(dataset["time"].values)))
    for name in map(str, dataset.data_vars):
        found.extend(_values(dataset[name], noted.get(name, {})))
    return found


def _times(times: pd.DatetimeIndex) -> Iterator[Finding]:
    for time in times[times.duplicated()]:
        yield Finding(f"{time:%Y-%m}", "", f"the time {time} occurs twice")
    if not times.is_monotonic_increasing:
        step = int(np.flatnonzero(np.diff(times.values) < np.timedelta64(0))[0])
        yield Finding(f"{times[step]:%Y-%m}", "", f"the time {times[step]} is followed by {times[step + 1]}")
        return
    try:
        lacking = complete(times.unique(), infer_step(times.unique())).difference(times)
    except DataError as error:
        yield Finding(f"{times[0]:%Y-%m}", "", str(error))
        return
    for time in lacking:
        yield Finding(f"{time:%Y-%m}", "", f"the time {time} is missing")


def _values(array: xr.DataArray, noted: Mapping[str, str]) -> Iterator[Finding]:
    """Faults of one variable: unreadable and changed months, impossible values, cells that are missing at times."""
    name = str(array.name)
    low, high = plausible(name, str(array.attrs.get("units", "")))
    missing: dict[str, NDArray[np.intp]] = {}
    days = 0
    for month, part in months(array.to_dataset(name=name)):
        try:
            values = array.isel(time=part).values
        except DamagedError as error:
            yield Finding(month, name, f"cannot be read ({error.reason})", decayed=True)
            continue
        if month in noted and _checksum(values) != noted[month]:
            yield Finding(
                month, name, "has other values than were written (its checksum differs)", decayed=True
            )
        whole = np.isfinite(values).any(axis=(1, 2))
        if not whole.all():
            yield Finding(month, name, f"{int((~whole).sum())} of {len(whole)} days are missing everywhere")
        if whole.any():
            lowest, highest = np.nanmin(values), np.nanmax(values)
            if lowest < low or highest > high:
                yield Finding(
                    month, name, f"holds {lowest:.6g} to {highest:.6g}, outside {low:.6g} to {high:.6g}"
                )
        missing[month] = np.isnan(values[whole]).sum(axis=0)
        days += int(whole.sum())
    yield from _astray(name, missing, days)


def _astray(name: str, missing: Mapping[str, NDArray[np.intp]], days: int) -> Iterator[Finding]:
    """Cells that are missing on some days and not on others, told where they are the exception."""
    if not missing:
        return
    total = np.sum(list(missing.values()), axis=0)
    rare = (total > 0) & (total <= days / 2)
    for month, count in missing.items():
        cells = int((count[rare] > 0).sum())
        if cells:
            yield Finding(
                month, name, f"{cells} cells are missing on some days that are there on most others"
            )
    if ((total > days / 2) & (total < days)).any():
        cells = int(((total > days / 2) & (total < days)).sum())
        yield Finding(next(iter(missing)), name, f"{cells} cells are there on a few days only")
