"""Where a record comes from, behind one interface; every source gives a dataset under the raw-store contract.

The contract: float32 variables named by ECMWF's short name (level appended on pressure levels) with dims
(time, latitude, longitude); time datetime64 increasing, latitude descending, longitude ascending in [-180, 180);
missing is NaN; CF names and units; attributes source, licence, citation, request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import xarray as xr

from data.errors import DataError
from data.sources.progress import Watch, nobody
from data.sources.synthetic import SyntheticSource


class Source(Protocol):
    """A record that can be opened."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the content depends on, as plain JSON values."""

    def open(self) -> xr.Dataset:
        """The record under the raw-store contract, lazily where it is large."""

    def labels(self) -> pd.Series | None:
        """Planted truth by day, for scoring only; None where there is none."""


@runtime_checkable
class InParts(Protocol):
    """A source that brings its record in parts, which it keeps as files beside a journal."""

    def plan_lines(self) -> list[str]:
        """What it would ask for, and how much that is, line by line."""

    def damaged(self) -> list[str]:
        """Names of the parts whose files are not what the journal says; they are fetched again next time."""

    def condemn(self, month: str, name: str) -> list[str]:
        """Has the parts that hold a field in a month fetched again next time; returns their names."""


def _files(options: Mapping[str, Any], folder: Path, watch: Watch) -> Source:  # noqa: ARG001
    from data.sources.files import FilesSource  # brings in ecCodes

    names = ("path", "variables", "start", "end", "levels", "number", "allow_missing")
    return FilesSource(**{name: options[name] for name in names})


def _synthetic(options: Mapping[str, Any], folder: Path, watch: Watch) -> Source:  # noqa: ARG001
    names = ("start", "end", "seed", "variables")
    return SyntheticSource(**{name: options[name] for name in names if options[name] is not None})


def _cds(options: Mapping[str, Any], folder: Path, watch: Watch) -> Source:
    from data.sources import cds

    return cds.from_options(options, folder, watch)


def _cloud(options: Mapping[str, Any], folder: Path, watch: Watch) -> Source:
    from data.sources import cloud

    return cloud.from_options(options, folder, watch)


Builder = Callable[[Mapping[str, Any], Path, Watch], Source]
SOURCES: dict[str, Builder] = {"files": _files, "synthetic": _synthetic, "cds": _cds, "cloud": _cloud}


def build(options: Mapping[str, Any], folder: Path | None = None, watch: Watch = nobody) -> Source:
    """The source that a dataset's settings name, made with those of its settings that it takes.

    Args:
        options: the dataset's settings.
        folder: where a source that brings its record in parts keeps them; None for the working directory's `parts`.
        watch: is told how far such a source is.

    Raises:
        DataError: if there is no source of that name, or a setting cannot be understood.
    """
    if options["source"] not in SOURCES:
        raise DataError(f"dataset.source must be one of {', '.join(SOURCES)}. Received: {options['source']}.")
    return SOURCES[options["source"]](options, folder or Path("parts"), watch)
