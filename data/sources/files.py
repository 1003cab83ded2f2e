"""Files that the user already has: NetCDF, GRIB, or zip archives of them.

Supports what the Climate Data Store sends, before and after September 2024, and other CF files on latitudes
and longitudes; one file or many, split by variable, by time, or both. Variables are recognised and their
units converted through the catalogue. What cannot be understood is a DataError that names the file, what was
found and what to do. Does not regrid, resample in time, or read Zarr stores, curvilinear grids and model
levels.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from data.errors import DataError
from data.sources import archive, grib, netcdf, selection
from data.sources.discover import DataFile, digest, find_files, sniff
from data.sources.field import RawField
from data.sources.harmonise import Field, harmonise
from data.sources.merge import merge, preliminary_steps, probe
from data.sources.record import listed
from data.sources.scratch import Scratch
from data.sources.selection import Selection
from data.timeaxis import period

log = logging.getLogger(__name__)

UNSTATED = "as stated by the data's provider"


class FilesSource:
    """A record in files.

    Args:
        path: a file, a folder (with all below it), a glob, or a list of these.
        variables: short names, with the level in hPa on pressure levels (`z500`); a bare `z` means all its
            levels. None for all that the files hold, which then have to be known.
        start: first date, such as 2000-01-01; None for the beginning of the files.
        end: last date, included.
        levels: pressure levels in hPa by short name, for files that do not state them.
        number: the ensemble member, for files that hold several.
        allow_missing: whether steps that no file holds become NaN instead of an error.

    Raises:
        DataError: an option cannot be understood.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        *,
        variables: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        levels: Mapping[str, float] | None = None,
        number: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        self.path = path
        named = None if variables is None else [selection.field_name("variables", name) for name in variables]
        if named == []:
            raise DataError("dataset.variables is empty: name at least one, or leave it out for all.")
        self.period = period(start, end)
        self.levels = selection.levels(levels or {})
        self.number = number
        self.allow_missing = allow_missing
        self.options = {
            "source": "files",
            "variables": named,
            "start": None if start is None else str(start),
            "end": None if end is None else str(end),
            "levels": self.levels,
            "number": number,
            "allow_missing": allow_missing,
        }
        self.variables = named

    def fingerprint(self) -> dict[str, Any]:
        """The options, and name, size and SHA-256 of every file; every file is read once for it.

        Raises:
            DataError: as find_files.
        """
        return {**self.options, "files": [digest(file) for file in find_files(self.path)]}

    def labels(self) -> pd.Series | None:
        """None: files plant no labels."""
        return None

    def open(self) -> xr.Dataset:
        """The record under the raw-store contract, read lazily along time.

        Raises:
            DataError: here or while reading, with one sentence that names the file, what was found and what
                to do.
        """
        files = find_files(self.path)
        chosen = Selection(self.variables)
        scratch = Scratch()
        fields = [field for file in files for field in self._fields(file, chosen, scratch)]
        chosen.check_known()
        names = {field.name for field in fields}
        chosen.check_found(names, listed([file.name for file in files]))
        rank = {name: i for i, name in enumerate(chosen.order(names))}
        fields.sort(key=lambda field: rank[field.name])
        dataset = merge(fields, self.period, allow_missing=self.allow_missing)
        probe(fields)
        dataset.attrs = self._attributes(files, fields)
        return dataset

    def _fields(self, file: DataFile, chosen: Selection, scratch: Scratch) -> Iterator[Field]:
        for raw in read_file(file, partial(chosen.wants, file.name), scratch, self.number):
            field = harmonise(raw, self.levels)
            if chosen.takes(field.name):
                yield field

    def _attributes(self, files: list[DataFile], fields: list[Field]) -> dict[str, str]:
        about = [field.reader.raw.about for field in fields]
        names = listed([Path(file.name).name for file in files], most=5)
        origin = _stated(about, ("source", "title", "institution", "history"))
        request = {**self.options, "files": [file.name for file in files]}
        attributes = {
            "Conventions": "CF-1.8",
            "source": f"files: {names}" + (f" ({origin})" if origin else ""),
            "licence": _stated(about, ("license", "licence", "rights")) or UNSTATED,
            "citation": _stated(about, ("citation", "references", "doi")) or UNSTATED,
            "request": json.dumps(request, sort_keys=True),
        }
        if len(times := preliminary_steps(fields)):
            period = f"{times[0].isoformat()} to {times[-1].isoformat()}"
            attributes["preliminary"] = f"{len(times)} steps of ERA5T, {period}"
            log.warning("%s: %d steps are preliminary (ERA5T) and may still change", names, len(times))
        return attributes


def read_file(
    file: DataFile,
    wanted: Callable[[str, Mapping[str, Any]], bool],
    scratch: Scratch,
    number: int | None = None,
) -> list[RawField]:
    """The wanted fields of one file of any form, nothing read yet.

    Args:
        file: NetCDF, GRIB, or a zip archive of them.
        wanted: asked with the name and the attributes of each variable that has a grid and times.
        scratch: where archives are unpacked.
        number: the ensemble member, where there are several.

    Raises:
        DataError: the file cannot be read.
    """
    form = sniff(file)
    if form == "zip":
        members = archive.unpack(file, scratch)
        return [raw for member in members for raw in read_file(member, wanted, scratch, number)]
    if form == "grib":
        return grib.read_fields(file, wanted, scratch, number)
    return netcdf.read_fields(file, form, wanted, number, keep=scratch)


def _stated(about: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> str:
    """What files say of themselves under the first of some attributes, in short and without folders."""
    for key in keys:
        texts = dict.fromkeys(_short(str(attrs[key])) for attrs in about if str(attrs.get(key, "")).strip())
        if texts:
            return _short("; ".join(texts), most=320)
    return ""


def _short(text: str, most: int = 160) -> str:
    line = re.sub(r"(?<![\w/:.])/(?:[^\s/\"']+/)+", "", " ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"
