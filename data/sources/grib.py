"""The fields of a GRIB file, through cfgrib, with an account of every message.

The file is first gone through message by message with ecCodes: damage, gaps between messages and fields that
occur twice are errors. Then each field (parameter, level, ensemble member) is opened by cfgrib on its own
along its valid times, so that nothing is dropped silently: cfgrib by itself leaves out what does not fit the
first field's times (an accumulated variable beside an instantaneous one). Supports GRIB 1 and 2 on regular
latitude-longitude and Gaussian grids. Does not support reduced grids, spherical harmonics and model levels.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data.errors import DataError
from data.sources.discover import DataFile
from data.sources.field import RawField
from data.sources.netcdf import PRELIMINARY, Wanted, check_member
from data.sources.scratch import Scratch

log = logging.getLogger(__name__)

GRIDS = {"regular_ll", "regular_gg"}
_PRESSURE = {"isobaricInhPa": 1.0, "isobaricInPa": 0.01}


@dataclass(frozen=True)
class _Key:
    """What tells one field from another: its messages differ in time only."""

    param_id: int
    short_name: str
    level_type: str
    level: int
    number: int | None


@dataclass
class _Account:
    """The messages of one field: where the first begins, their valid times, and whether each is preliminary."""

    offset: int = 0
    times: list[pd.Timestamp] = field(default_factory=list)
    preliminary: list[bool] = field(default_factory=list)


def read_fields(
    file: DataFile, wanted: Wanted, scratch: Scratch, number: int | None = None
) -> list[RawField]:
    """The wanted fields of a GRIB file, one for each parameter and pressure level.

    Args:
        file: the file.
        wanted: asked for each parameter.
        scratch: where the index goes; never beside the file.
        number: the ensemble member, where there are several.

    Raises:
        DataError: a message is damaged, a field occurs twice, the grid is not supported, a member must be
            chosen.
    """
    accounts = scan(file)
    members: dict[tuple[int, str, int], list[Any]] = defaultdict(list)
    for key in accounts:
        members[key.param_id, key.level_type, key.level].append(key.number)
    fields = []
    for key, account in accounts.items():
        if not wanted(key.short_name, _attrs(key)):
            continue
        several = sorted(
            members[key.param_id, key.level_type, key.level], key=lambda n: -1 if n is None else n
        )
        if len(several) > 1 or (number is not None and key.number is not None):
            check_member(file.name, key.short_name, several, number)
        if number is None or key.number in (None, number):
            fields.append(_open(file, key, account, scratch))
    return fields


def _attrs(key: _Key) -> Mapping[str, Any]:
    return {"GRIB_paramId": key.param_id, "GRIB_shortName": key.short_name}


def scan(file: DataFile) -> dict[_Key, _Account]:
    """Goes through all messages of a file.

    Raises:
        DataError: the file is damaged or truncated, or a field occurs twice at one time.
    """
    accounts: dict[_Key, _Account] = defaultdict(_Account)
    extents: list[tuple[int, int]] = []
    with file.path.open("rb") as stream, _quiet():
        while True:
            try:
                message = eccodes.codes_grib_new_from_file(stream, headers_only=True)
                if message is None:
                    break
                if not eccodes.codes_get(message, "isMessageValid"):  # which cfgrib does not ask
                    raise ValueError("ecCodes finds it not valid")
                _note(file, message, accounts)
                offset, length = (int(eccodes.codes_get(message, key)) for key in ("offset", "totalLength"))
                extents.append((offset, length))
                eccodes.codes_release(message)
            except DataError:
                raise
            except (eccodes.CodesInternalError, ValueError) as error:
                raise DataError(
                    f"{file.name}: the GRIB file is truncated or damaged at message {len(extents) + 1} "
                    f"({error}): get it again."
                ) from error
    _check_whole(file, extents)
    _check_once(file, accounts)
    return dict(accounts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps ecCodes from writing lines of its own to standard error beside the one sentence that is raised."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _note(file: DataFile, message: int, accounts: dict[_Key, _Account]) -> None:
    get = eccodes.codes_get
    grid = get(message, "gridType")
    name = get(message, "shortName")
    if grid not in GRIDS:
        raise DataError(
            f"{file.name}: {name} is on a '{grid}' grid, which is not supported: ask for a regular "
            "latitude-longitude grid, or regrid the file."
        )
    number = get(message, "number") if eccodes.codes_is_defined(message, "number") else None
    key = _Key(get(message, "paramId"), name, get(message, "typeOfLevel"), get(message, "level"), number)
    date, clock = get(message, "validityDate"), get(message, "validityTime")
    version = ""
    if eccodes.codes_is_defined(message, "experimentVersionNumber"):
        version = get(message, "experimentVersionNumber", str)
    if not accounts[key].times:
        accounts[key].offset = int(get(message, "offset"))
    accounts[key].times.append(
        pd.Timestamp(date // 10000, date // 100 % 100, date % 100, clock // 100, clock % 100)
    )
    accounts[key].preliminary.append(version == PRELIMINARY)


def _check_whole(file: DataFile, extents: list[tuple[int, int]]) -> None:
    """Whether the messages, and zeros as padding, are all that the file holds.

    ecCodes skips what it does not recognise, and with it a message whose first bytes are damaged.
    """
    ends = [0, *(offset + length for offset, length in extents)]
    starts = [*(offset for offset, _ in extents), file.path.stat().st_size]
    with file.path.open("rb") as stream:
        for end, start in zip(ends, starts, strict=True):
            stream.seek(end)
            if stream.read(max(start - end, 0)).strip(b"\0"):
                raise DataError(
                    f"{file.name}: the GRIB file is damaged between bytes {end} and {start} (no message "
                    "begins there): get it again."
                )


def _check_once(file: DataFile, accounts: Mapping[_Key, _Account]) -> None:
    for key, account in accounts.items():
        time, count = Counter(account.times).most_common(1)[0]
        if count > 1:
            raise DataError(
                f"{file.name}: {key.short_name} at {time:%Y-%m-%d %H:%M} occurs {count} times (several "
                "steps, types or streams in one file): keep one kind in a file."
            )


def _open(file: DataFile, key: _Key, account: _Account, scratch: Scratch) -> RawField:
    dataset = _dataset(file, key, scratch)
    name = str(next(iter(dataset.data_vars)))
    variable = dataset.variables[name]
    times = pd.DatetimeIndex(np.atleast_1d(dataset["valid_time"].values)).as_unit("ns")
    order = np.argsort(pd.DatetimeIndex(account.times))
    if not times.equals(pd.DatetimeIndex(account.times)[order].as_unit("ns")):
        raise DataError(
            f"{file.name}: {key.short_name} has {len(account.times)} messages, of which cfgrib reads "
            f"{len(times)}: split the file by variable."
        )
    latitude, longitude = _grid(
        file, key, account.offset, (dataset.sizes["latitude"], dataset.sizes["longitude"])
    )
    return RawField(
        file=file.name,
        label=key.short_name,
        layers=(
            variable.transpose(*[d for d in ("valid_time", "latitude", "longitude") if d in variable.dims]),
        ),
        times=times,
        latitude=latitude,
        longitude=longitude,
        attrs={**variable.attrs, **_attrs(key)},
        level=key.level * _PRESSURE[key.level_type] if key.level_type in _PRESSURE else None,
        preliminary=np.array(account.preliminary)[order],
        about={"institution": dataset.attrs.get("institution", "")},
        errors=(eccodes.CodesInternalError,),
        keep=scratch,
    )


def _grid(
    file: DataFile, key: _Key, offset: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes and longitudes in the order of the values, from the first message.

    cfgrib takes distinctLongitudes, which ecCodes sorts: on a grid from 358 to 1 degrees east they are 0, 1, 358, 359
    while the values begin at 358 (seen with cfgrib 0.9.15, ecCodes 2.50).
    """
    with file.path.open("rb") as stream:
        stream.seek(offset)
        message = eccodes.codes_grib_new_from_file(stream)
        points = [
            eccodes.codes_get_array(message, name).reshape(shape) for name in ("latitudes", "longitudes")
        ]
        eccodes.codes_release(message)
    latitude, longitude = points[0][:, 0], points[1][0]
    if not ((points[0] == latitude[:, np.newaxis]).all() and (points[1] == longitude).all()):
        raise DataError(
            f"{file.name}: {key.short_name} stores its points in an order that is not supported: convert the file "
            "so that it goes row by row from west to east."
        )
    return latitude, longitude


def _dataset(file: DataFile, key: _Key, scratch: Scratch) -> xr.Dataset:
    chosen = {"paramId": key.param_id, "typeOfLevel": key.level_type, "level": key.level}
    chosen |= {} if key.number is None else {"number": key.number}
    index = hashlib.sha256(str(file.path).encode()).hexdigest()[:16]
    try:
        return xr.open_dataset(
            file.path,
            engine="cfgrib",
            cache=False,
            backend_kwargs={
                "time_dims": ["valid_time"],
                "filter_by_keys": chosen,
                "errors": "raise",
                "indexpath": str(scratch.path / f"{index}-{{short_hash}}.idx"),
            },
        )
    except Exception as error:  # cfgrib raises its own and ecCodes' errors, and bare ValueError and KeyError
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{file.name}: {key.short_name} cannot be laid out in time and space ({reason})."
        ) from error
