"""The two passes of prepare over a record, cut into tasks that any worker can do: statistics, then fields.

The first pass reduces spans of time to moments, one variable at a time, which are merged in the order of time: the
result does not depend on who computed a span, nor on how many were computed at once. The second writes normalised
fields, each task a region of the store that no other touches. A task holds a block of raw fields, the moments of one
variable, or a region; the length of the record does not matter.

A mean by calendar day has 366 fields, so it is fitted band by band of the grid where those are large.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import climatology, daymeans, store
from data.climatology import Fit
from data.daymeans import DayTotals
from data.fields import Fields
from data.frozen import statistics_of
from data.moments import Moments
from data.normalise import Statistics
from data.options import Options

SPAN_BYTES = 128 * 2**20  # of raw fields that one task of the first pass reads
DAYS_BYTES = 256 * 2**20  # of the 366 fields of a band; fitting takes a few times as much


@dataclass(frozen=True)
class Task:
    """A task of the first pass: a variable over rows of the grid and a part of the time axis."""

    variable: int
    rows: slice
    part: slice
    last: bool  # of this variable and these rows


def tasks(fields: Fields) -> list[Task]:
    """The first pass, in the order in which its results are merged."""
    step = _span(fields)
    spans = list(store.time_slices(len(fields.times), step))
    return [
        Task(variable, rows, part, part is spans[-1])
        for variable in range(len(fields.variables))
        for rows in bands(fields)
        for part in spans
    ]


def _span(fields: Fields) -> int:
    block = fields.steps_per_block()
    per_block = max(SPAN_BYTES // max(block * 4 * fields.cut.latitude.size * fields.cut.longitude.size, 1), 1)
    return block * per_block


def bands(fields: Fields) -> list[slice]:
    """The rows of the grid that are fitted at one time."""
    height, width = fields.shape
    if not _by_calendar_day(fields.options):
        return [slice(0, height)]
    return list(store.time_slices(height, max(DAYS_BYTES // (8 * daymeans.DAYS * width), 1)))


def _by_calendar_day(options: Options) -> bool:
    return options.deseasonalise and options.climatology == "daily_mean"


@dataclass
class Account:
    """What the first pass knows of a variable over some rows.

    Attributes:
        used: moments of the fitted steps in the season.
        unused: moments of the fitted steps out of it, None where the whole year is used.
        days: their sums by calendar day, None where no mean by calendar day is asked for.
        absent: at how many steps each cell is missing.
        present: whether each step has any value.
    """

    used: Moments
    unused: Moments | None
    days: DayTotals | None
    absent: NDArray[np.int32]
    present: NDArray[np.bool_]

    @classmethod
    def empty(cls, options: Options, shape: tuple[int, int]) -> Account:
        """Of no step."""
        count = 2 * options.harmonics + options.detrend
        return cls(
            Moments.empty(count, shape),
            None if options.season is None else Moments.empty(count, shape),
            DayTotals.empty(shape) if _by_calendar_day(options) else None,
            np.zeros(shape, np.int32),
            np.zeros(0, bool),
        )

    def note_missing(self, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Takes in what is missing of the steps that follow (time, *shape); returns which have any value."""
        if missing.any():
            self.absent += np.count_nonzero(missing, axis=0).astype(np.int32)
        present: NDArray[np.bool_] = ~np.all(missing, axis=(1, 2))
        self.present = np.concatenate([self.present, present])
        return present

    def merge(self, other: Account) -> None:
        """Takes in the steps that follow."""
        self.used.merge(other.used)
        if self.unused is not None and other.unused is not None:
            self.unused.merge(other.unused)
        if self.days is not None and other.days is not None:
            self.days.merge(other.days)
        self.absent += other.absent
        self.present = np.concatenate([self.present, other.present])

    def fit(self, options: Options) -> Fit:
        """The climatology and what it leaves.

        Raises:
            DataError: if the fitted steps do not determine it.
        """
        return climatology.fit(options, self.used, self.unused, self.days)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What can be saved, by name."""
        found = {"absent": self.absent, "present": self.present} | self.used.arrays("used_")
        found |= self.unused.arrays("unused_") if self.unused is not None else {}
        return found | (self.days.arrays() if self.days is not None else {})

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Account:
        """What `arrays` gave."""
        return cls(
            Moments.from_arrays(arrays, "used_"),
            Moments.from_arrays(arrays, "unused_") if "unused_count" in arrays else None,
            DayTotals.from_arrays(arrays) if "day_count" in arrays else None,
            arrays["absent"],
            arrays["present"],
        )


def account(fields: Fields, fitted: NDArray[np.bool_], task: Task) -> Account:
    """Does a task of the first pass.

    Args:
        fields: the record.
        fitted: which steps of `fields.times` the statistics are fitted on.
        task: the task.
    """
    name, options = fields.variables[task.variable], fields.options
    in_season = np.zeros(len(fields.times), bool)
    in_season[fields.used] = True
    shape = (task.rows.stop - task.rows.start, fields.shape[1])
    found = Account.empty(options, shape)
    for part in fields.blocks(task.part):
        values = fields.read(name, part, task.rows)
        present = found.note_missing(np.isnan(values))
        times, chosen = fields.times[part], fitted[part] & present
        design = climatology.regressors(times, options.harmonics, trend=options.detrend)
        for moments, steps in ((found.used, in_season[part]), (found.unused, ~in_season[part])):
            if moments is not None and (chosen & steps).any():
                moments.add(design[chosen & steps], _take(values, chosen & steps))
        if found.days is not None:
            trend = design[:, -1] if options.detrend else np.zeros(len(times))
            found.days.add(daymeans.calendar_day(times)[chosen], trend[chosen], _take(values, chosen))
    return found


def _take(values: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    return values if chosen.all() else values[chosen]


def write(fields: Fields, path: Path, token: str, part: slice) -> None:
    """Does a task of the second pass: writes x over a part of the store's time axis.

    Args:
        fields: the record.
        path: the prepared store, laid out, with its statistics.
        token: what tells this writing from others under the same path.
        part: a region of the store: whole shards.
    """
    statistics = _statistics(path, token)
    x = np.empty((part.stop - part.start, len(fields.variables), *fields.shape), np.float32)
    for variable, name in enumerate(fields.variables):
        for stretch, here in fields.stretches(part):
            for block in fields.blocks(stretch):
                at = slice(here + block.start - stretch.start, here + block.stop - stretch.start)
                values = fields.read(name, block)
                x[at, variable] = statistics.normalise_variable(variable, values, fields.times[block])
    array: Any = store.open_group(path, "r+")["x"]
    store.writable(array)[part] = x


@lru_cache(maxsize=2)
def _statistics(path: Path, token: str) -> Statistics:  # noqa: ARG001
    """A process reads the statistics once for all of its regions."""
    return statistics_of(store.open_store(path))
