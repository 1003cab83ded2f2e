"""All that the files have of one field, and whether the fields together cover a period without gaps.

Files may be split by variable, by time, or both. Steps that two files share have to agree (within the
precision of packed values). Supports steps of constant length and of whole months. Does not interpolate in
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import DataError
from data.sources.field import Timeline
from data.sources.harmonise import Field
from data.store import steps_per_chunk, time_slices
from data.timeaxis import Step, complete, infer_step

Period = tuple[pd.Timestamp | None, pd.Timestamp | None]


@dataclass(frozen=True)
class Record:
    """All that the files have of one field: which reader has which time."""

    name: str
    fields: list[Field]
    times: pd.DatetimeIndex
    owner: NDArray[np.intp]
    position: NDArray[np.intp]

    @property
    def files(self) -> str:
        """The files it comes from, for a message."""
        return listed([field.file for field in self.fields])

    def timeline(self, axis: pd.DatetimeIndex) -> Timeline:
        """The record on a time axis, NaN where it has nothing."""
        index = self.times.get_indexer(axis)
        owner = np.where(index >= 0, self.owner[index], -1)
        return Timeline([field.reader for field in self.fields], owner, self.position[index])


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more


def gather(fields: list[Field]) -> Record:
    """All times of one field in many files; of times that several files have, the first file counts.

    Raises:
        DataError: a time occurs twice in one file, or files contradict each other.
    """
    for field in fields:
        _check_distinct(field)
    times = np.concatenate([field.reader.raw.times.values for field in fields])
    owner = np.concatenate([np.full(field.reader.shape[0], i) for i, field in enumerate(fields)])
    position = np.concatenate([np.arange(field.reader.shape[0]) for field in fields])
    order = np.lexsort((owner, times))
    times, owner, position = times[order], owner[order], position[order]
    first = np.append(True, times[1:] != times[:-1])
    kept = np.flatnonzero(first)[np.cumsum(first) - 1]  # for each entry the one that counts
    readers = [field.reader for field in fields]
    again = np.flatnonzero(~first)
    _check_agreement(
        fields[0].name,
        pd.DatetimeIndex(times[again]),
        Timeline(readers, owner[kept[again]], position[kept[again]]),
        Timeline(readers, owner[again], position[again]),
    )
    return Record(fields[0].name, fields, pd.DatetimeIndex(times[first]), owner[first], position[first])


def _check_distinct(field: Field) -> None:
    times = field.reader.raw.times
    if times.is_unique:
        return
    repeated = times[times.duplicated()]
    raise DataError(
        f"{field.file}: {len(repeated)} times of {field.reader.raw.label} occur more than once, the first "
        f"{repeated[0]:%Y-%m-%d %H:%M}: remove the duplicates from the file."
    )


def _check_agreement(name: str, times: pd.DatetimeIndex, kept: Timeline, again: Timeline) -> None:
    """Compares what two files have for the same times, block by block."""
    size = steps_per_chunk(4 * kept.shape[1] * kept.shape[2], len(times))
    tolerance = max(reader.resolution for reader in kept.readers)
    for part in time_slices(len(times), size):
        a, b = kept[part], again[part]
        differs = ~np.isclose(a, b, rtol=3e-7, atol=tolerance, equal_nan=True)
        if differs.any():
            step, row, column = (int(index[0]) for index in np.nonzero(differs))
            one, two = (line.readers[line.owner[part][step]].raw.file for line in (kept, again))
            raise DataError(
                f"{two}: {name} at {times[part][step]:%Y-%m-%d %H:%M} contradicts {one} "
                f"({b[step, row, column]:.6g} and {a[step, row, column]:.6g} {kept.readers[0].units}): keep "
                "one of the files."
            )


def time_axis(records: list[Record], period: Period) -> pd.DatetimeIndex:
    """The regular time axis of all records together, within the period.

    Raises:
        DataError: the times are irregular, those of two fields do not meet, or the files do not cover the
            period.
    """
    union = records[0].times
    for record in records[1:]:
        union = union.union(record.times)
    start, end = period[0] or union[0], period[1] or union[-1]
    # With one step more on both sides, a step that is missing at the border is seen to be missing.
    near = union[max(int(union.searchsorted(start)) - 1, 0) : int(union.searchsorted(end, side="right")) + 1]
    step = _common_step(records, near)
    _check_covered(
        union, step or Step(pd.Timedelta(days=1)), period, listed([f.file for r in records for f in r.fields])
    )
    axis = complete(near, step)
    return axis[(axis >= start) & (axis <= end)]


def _common_step(records: list[Record], near: pd.DatetimeIndex) -> Step | None:
    steps: list[tuple[Record, Step]] = []
    for record in records:
        try:
            step = infer_step(record.times.intersection(near))
        except DataError as error:
            raise DataError(
                f"{record.files}: {record.name}: {str(error).rstrip('.')}: give files of one regular step, "
                "or a period in which they are regular by dataset.start and dataset.end."
            ) from error
        if step is not None:
            steps.append((record, step))
    if not steps:
        return infer_step(near)
    for record, step in steps[1:]:
        _check_meets(*steps[0], record, step)
    return steps[0][1]


def _check_meets(first: Record, step: Step, other: Record, other_step: Step) -> None:
    """Whether two records have the same step and stand at the same times."""
    try:
        together = infer_step(first.times.union(other.times))
    except DataError:
        together = None
    if step == other_step == together:
        return
    raise DataError(
        f"{other.files}: {other.name} is {other_step} from {other.times[0]:%Y-%m-%d %H:%M}, but "
        f"{first.name} in {first.files} is {step} from {first.times[0]:%Y-%m-%d %H:%M}: give files with the "
        "same times, or choose among them by dataset.variables."
    )


def _check_covered(union: pd.DatetimeIndex, step: Step, period: Period, files: str) -> None:
    start, end = period
    record = f"{union[0]:%Y-%m-%d %H:%M} to {union[-1]:%Y-%m-%d %H:%M}"
    if start is not None and (step.after(union[0], -1) >= start or start > union[-1]):
        raise DataError(
            f"{files}: dataset.start {start:%Y-%m-%d} lies outside the record, {record}: choose it within."
        )
    if end is not None and (step.after(union[-1]) <= end or end < union[0]):
        raise DataError(
            f"{files}: dataset.end {end:%Y-%m-%d} lies outside the record, {record}: choose it within."
        )


def check_complete(record: Record, axis: pd.DatetimeIndex, *, allow_missing: bool) -> None:
    """Whether a record has every step of the axis.

    Raises:
        DataError: steps are missing and that is not allowed, or all are.
    """
    lacking = axis.difference(record.times)
    if len(lacking) == len(axis):
        raise DataError(
            f"{record.files}: {record.name} has no value from {axis[0]:%Y-%m-%d} to {axis[-1]:%Y-%m-%d}, "
            "where other variables have: choose a period by dataset.start and dataset.end."
        )
    if len(lacking) and not allow_missing:
        have = record.times
        raise DataError(
            f"{record.files}: {record.name} lacks {len(lacking)} of the {len(axis)} steps from "
            f"{axis[0]:%Y-%m-%d %H:%M} to {axis[-1]:%Y-%m-%d %H:%M}, the first {lacking[0]:%Y-%m-%d %H:%M} "
            f"(it has {have[0]:%Y-%m-%d} to {have[-1]:%Y-%m-%d}): add the files, choose a period by "
            "dataset.start and dataset.end, or set dataset.allow_missing=true."
        )
