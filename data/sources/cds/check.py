"""Whether an answer holds what was asked for: variables, every time, the box, values that can be real.

A file that is whole is not yet right: the service has sent other variables, other months, error pages and files of
fewer steps without a word. What passes here counts as done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data import catalogue
from data.errors import DataError
from data.sources.cds.plan import Part
from data.sources.discover import DataFile
from data.sources.field import FieldReader
from data.sources.files import read_file
from data.sources.harmonise import Field, harmonise, identify
from data.sources.scratch import Scratch
from data.store import time_slices

BLOCK_BYTES = 32 * 2**20
_EDGE = 1e-3  # degrees
# J m-2 in an hour: a flux of 3000 W m-2, twice what the sun gives
_HOURLY_ENERGY = 3000.0 * 3600.0


class WrongAnswerError(Exception):
    """An answer is not what was asked for; the text says in what."""


class NotYetError(Exception):
    """An answer ends early: the rest is not published yet."""


@dataclass(frozen=True)
class Account:
    """What is noted of a checked file: `preliminary` holds the first and the last ERA5T time and their number."""

    size: int
    sha256: str
    preliminary: list[Any] | None


def read(part: Part, path: Path) -> list[Field]:
    """The fields of an answer that were asked for, under their names in the raw store, nothing read yet.

    Raises:
        DataError: the file cannot be read.
    """
    wanted = {catalogue.parse(name)[0] for name in part.names}

    def is_wanted(label: str, attrs: Mapping[str, Any]) -> bool:
        found = identify(label, attrs)
        return found is not None and found[0] in wanted

    raws = read_file(DataFile(path, path.name), is_wanted, Scratch())
    return [field for raw in raws if (field := harmonise(raw, {})).name in part.names]


def check(part: Part, path: Path, *, allow_missing: bool = False) -> Account:
    """Looks through all of an answer.

    Args:
        part: what was asked for.
        path: the file.
        allow_missing: whether steps may be missing.

    Raises:
        WrongAnswerError: it is not what was asked for.
        NotYetError: its last steps are missing and recent.
    """
    try:
        fields = read(part, path)
        _check_names(part, fields)
        for field in fields:
            _check_box(part, field)
            _check_times(part, field, allow_missing)
            _check_values(field, allow_missing)
    except DataError as error:
        raise WrongAnswerError(str(error).rstrip(".")) from error
    return Account(path.stat().st_size, sha256(path), _preliminary(fields))


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_names(part: Part, fields: list[Field]) -> None:
    found = [field.name for field in fields]
    lacking = [name for name in part.names if name not in found]
    if lacking:
        held = ", ".join(found) or "nothing"
        raise WrongAnswerError(
            f"{', '.join(lacking)} is not in the answer, which holds {held} of what was asked for"
        )
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise WrongAnswerError(f"{', '.join(twice)} is in the answer twice")
    for field in fields:
        stated = field.reader.raw.attrs.get("GRIB_paramId") or field.variable.param_id
        same = {field.variable.param_id, 156 if field.variable.short == "z" else None}
        if field.variable.param_id is not None and int(stated or 0) not in same:
            raise WrongAnswerError(f"{field.name} is called so but is ECMWF's parameter {stated}")


def _check_box(part: Part, field: Field) -> None:
    north, west, south, east = part.request["area"]
    found = (field.latitude[0], field.longitude[0], field.latitude[-1], field.longitude[-1])
    wanted = (north, west, south, east)
    if not np.allclose(found, wanted, rtol=0, atol=_EDGE):
        raise WrongAnswerError(
            f"{field.name} covers {_edges(found)} (north, west, south, east) where {_edges(wanted)} was asked for"
        )


def _edges(box: tuple[Any, ...]) -> str:
    return ", ".join(f"{float(edge):g}" for edge in box)


def _check_times(part: Part, field: Field, allow_missing: bool) -> None:
    times, wanted = field.reader.raw.times, part.times
    if not times.is_unique:
        raise WrongAnswerError(f"{field.name} has the time {times[times.duplicated()][0]} twice")
    foreign, lacking = times.difference(wanted), wanted.difference(times)
    if len(foreign):
        raise WrongAnswerError(f"{field.name} has the time {foreign[0]}, which was not asked for")
    if len(lacking) and not allow_missing:
        if lacking[0] > times.max() and lacking[-1] > pd.Timestamp.now("UTC").tz_localize(
            None
        ) - pd.Timedelta(days=10):
            raise NotYetError(
                f"{field.name} ends at {times.max():%Y-%m-%d %H:%M}, and the rest is not published yet"
            )
        raise WrongAnswerError(
            f"{field.name} lacks {len(lacking)} of {len(wanted)} times, the first {lacking[0]:%Y-%m-%d %H:%M}"
        )


def _check_values(field: Field, allow_missing: bool) -> None:
    steps, rows, columns = field.reader.shape
    reader: FieldReader = field.reader
    any_value = False
    for part in time_slices(steps, max(BLOCK_BYTES // (4 * rows * columns), 1)):
        block = reader.read(part)  # a DataError where values are not possible
        present = np.isfinite(block).any(axis=(1, 2))
        any_value |= bool(present.any())
        if not present.all() and not allow_missing:
            step = reader.raw.times[part][int(np.argmin(present))]
            raise WrongAnswerError(f"{field.name} is missing everywhere at {step:%Y-%m-%d %H:%M}")
        if field.variable.units == "J m-2" and np.nanmax(np.abs(block), initial=0) > _HOURLY_ENERGY:
            raise WrongAnswerError(
                f"{field.name} has {np.nanmax(np.abs(block)):.3g} J m-2 in an hour, which is not possible"
            )
    if not any_value:
        raise WrongAnswerError(f"{field.name} is missing everywhere")


def _preliminary(fields: list[Field]) -> list[Any] | None:
    raws = [field.reader.raw for field in fields]
    marked = [
        raw.times[raw.preliminary] for raw in raws if raw.preliminary is not None and raw.preliminary.any()
    ]
    if not marked:
        return None
    times = pd.DatetimeIndex(np.unique(np.concatenate([m.values for m in marked])))
    return [times[0].isoformat(), times[-1].isoformat(), len(times)]
