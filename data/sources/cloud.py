"""ERA5 from a public Zarr store, anonymously, through fsspec: ARCO-ERA5, WeatherBench 2, or a store of their layout.

Supports stores of fields (time, [level,] latitude, longitude) in any order of dimensions and of latitudes, longitudes
from 0 to 360, CDS long names, and time axes that are laid out further than there are data (attributes
valid_time_start, valid_time_stop). Months are reduced to days and kept as files beside a journal, so that a killed
download goes on where it was. A chunk of these stores is the whole globe at one time, so that a small box moves as
many bytes as the globe does. Does not tell final from preliminary data: only what the store calls final is read.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from data import catalogue
from data.errors import DataError
from data.sources import address
from data.sources.cds import assemble, wish
from data.sources.cds.check import sha256
from data.sources.cds.delivery import settle
from data.sources.cds.journal import Journal
from data.sources.cds.plan import Wish
from data.sources.cds.settings import Transfer
from data.sources.cloud_record import Record
from data.sources.progress import Status, Watch, nobody

log = logging.getLogger(__name__)

STORES = {
    "arco": "https://storage.googleapis.com/gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3",
    "weatherbench2": "https://storage.googleapis.com/weatherbench2/datasets/era5/"
    "1959-2023_01_10-wb13-6h-1440x721_with_derived_variables.zarr",
}
STEP_HOURS = {"weatherbench2": 6}
GLOBE_BYTES = 721 * 1440 * 4  # of one field, uncompressed, which is one chunk
LEVELS = {"arco": 37, "weatherbench2": 13}  # that are in one chunk with the one that is wanted
SOURCE = "ERA5, Copernicus Climate Change Service (C3S), from the public Zarr store"


@dataclass(frozen=True)
class Month:
    """A month of the record, which is a part: its days and the file that they are kept in."""

    days: pd.DatetimeIndex
    id: str

    @property
    def label(self) -> str:
        """Such as 2021-03."""
        return f"{self.days[0]:%Y-%m}"

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.label}-cloud-{self.id[-12:]}.nc"


class CloudSource:
    """A record in a public Zarr store.

    Args:
        wanted: what is wanted.
        store: the store's name (arco, weatherbench2) or its address.
        folder: where months and journal lie.
        settings: how patiently the store is read.
        allow_missing: whether days of which hours are missing become NaN instead of an error.
        watch: is told the state of all months.
    """

    def __init__(
        self, wanted: Wish, store: str, folder: Path, settings: Transfer, *, allow_missing: bool = False,
        watch: Watch = nobody,
    ) -> None:  # fmt: skip
        if wanted.grid is not None:
            raise DataError("dataset.source=cloud reads fields as they are stored: set dataset.grid=null.")
        self.wish = wanted
        self.name = store
        self.address = STORES.get(store, store)
        if self.address.startswith("http") and not address.is_safe(self.address):
            raise DataError(
                f"dataset.store {self.address}: {address.WANTED}: write https, or bring the store here."
            )
        self.folder = folder
        self.settings = settings
        self.allow_missing = allow_missing
        self.watch = watch
        self.journal = Journal(folder)

    def _options(self) -> dict[str, Any]:
        return {
            "source": "cloud",
            "store": self.address,
            "variables": list(self.wish.variables),
            "start": f"{self.wish.start:%Y-%m-%d}",
            "end": f"{self.wish.end:%Y-%m-%d}",
            "area": list(self.wish.area),
            "step_hours": self.wish.step_hours,
            "allow_missing": self.allow_missing,
        }

    def months(self) -> list[Month]:
        """The months of the record."""
        what = {key: value for key, value in self._options().items() if key not in ("start", "end")}
        key = sha(repr(sorted(what.items())))
        days = self.wish.days
        periods = days.to_period("M")
        found = [days[periods == month] for month in periods.unique()]
        return [Month(d, f"{d[0]:%Y%m%d}-{d[-1]:%Y%m%d}-{key}") for d in found]

    def file(self, month: Month) -> Path | None:
        """The file of a month; None where it has to be fetched."""
        noted = self.journal[month.id].verified
        path = self.folder / month.file
        return path if noted and path.exists() and path.stat().st_size == noted["size"] else None

    def fingerprint(self) -> dict[str, Any]:
        """The options, and the checksums of the months; None for one that has to be fetched."""
        noted = {month.id: self.journal[month.id].verified for month in self.months()}
        return {**self._options(), "months": {key: facts and facts["sha256"] for key, facts in noted.items()}}

    def labels(self) -> pd.Series | None:
        """None: reanalyses plant no labels."""
        return None

    def plan_lines(self) -> list[str]:
        """What would be read and about how many bytes that moves; no network is used."""
        fields = len(self.wish.days) * 24 // self.wish.step_hours
        size = sum(
            GLOBE_BYTES * fields * (LEVELS.get(self.name, 1) if catalogue.parse(name)[1] is not None else 1)
            for name in self.wish.variables
        )
        return [
            f"{self.address}: {', '.join(self.wish.variables)}, {len(self.months())} months, {fields} times each.",
            f"Chunks hold the whole globe: up to {size / 1e9:.0f} GB before compression, about half of it moves.",
        ]

    def damaged(self) -> list[str]:
        """Names of the months whose files are not what the journal says; they are fetched again next time."""
        with self.journal.alone():
            found = [
                m
                for m in self.months()
                if (path := self.file(m)) and sha256(path) != self._noted(m)["sha256"]
            ]
            self._again(found)
        return [month.label for month in found]

    def _noted(self, month: Month) -> Mapping[str, Any]:
        return self.journal[month.id].verified or {}

    def condemn(self, month: str, name: str) -> list[str]:  # noqa: ARG002
        """Has a month fetched again next time; returns its name."""
        with self.journal.alone():
            found = [part for part in self.months() if part.label == month]
            self._again(found)
        return [part.label for part in found]

    def _again(self, months: Sequence[Month]) -> None:
        for month in months:
            self.journal.note(month.id, "damaged", label=month.label)

    def open(self) -> xr.Dataset:
        """The daily record under the raw-store contract, after bringing what is missing of it.

        Raises:
            DataError: the store cannot be read, or lacks what is wanted.
        """
        with self.journal.alone():
            missing = [month for month in self.months() if self.file(month) is None]
            if missing:
                self._bring(missing)
        paths = [self.folder / month.file for month in self.months()]
        found = [xr.open_dataset(path, engine="netcdf4", chunks={}, cache=False) for path in paths]
        dataset = xr.concat(found, dim="time", join="exact", combine_attrs="drop_conflicts")
        for variable in dataset.variables.values():
            variable.encoding = {}
        dataset.attrs = assemble.attributes(self._options(), f"{SOURCE} {self.address}")
        return assemble.finish(dataset[list(self.wish.variables)])

    def _bring(self, missing: Sequence[Month]) -> None:
        statuses = [Status(month.label, month.label) for month in missing]
        record = Record(self.wish, self.address, self.settings, allow_missing=self.allow_missing)
        for month, status in zip(missing, statuses, strict=True):
            status.to("downloading")
            self.watch(statuses)
            dataset = record.days(month.days)
            partial = self.folder / f"{month.file}.part"
            dataset.to_netcdf(
                partial, engine="netcdf4", encoding={n: {"zlib": True} for n in dataset.data_vars}
            )
            size, checksum = partial.stat().st_size, sha256(partial)
            settle(partial, self.folder / month.file)
            self.journal.note(
                month.id, "verified", file=month.file, size=size, sha256=checksum, preliminary=None
            )
            status.done = status.total = size
            status.to("verified")
            self.watch(statuses)


def sha(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def from_options(options: Mapping[str, Any], folder: Path, watch: Watch = nobody) -> CloudSource:
    """The source that a dataset's settings ask for.

    Raises:
        DataError: a setting cannot be understood.
    """
    store = str(options["store"])
    options = {**options, "step_hours": STEP_HOURS.get(store, options["step_hours"]), "product": "hourly"}
    transfer = Transfer(in_flight=int(options["in_flight"]), **options["transfer"])
    return CloudSource(
        wish.from_options(options),
        store,
        folder,
        transfer,
        allow_missing=bool(options["allow_missing"]),
        watch=watch,
    )
