"""ERA5 from the Climate Data Store as a source of the raw store.

The content depends on the requests and on the checksums of their answers. Answers are kept as files beside a journal,
so that nothing is asked for twice. Preliminary data (ERA5T) are replaced once they are three months old.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from data.errors import DataError
from data.sources.cds import assemble, credential, plan, preflight
from data.sources.cds.check import sha256
from data.sources.cds.courier import Courier
from data.sources.cds.journal import Journal
from data.sources.cds.plan import Part, Wish
from data.sources.cds.service import Service
from data.sources.cds.settings import Transfer
from data.sources.progress import Watch, nobody

log = logging.getLogger(__name__)

FINAL_AFTER = pd.DateOffset(months=3)  # after which ERA5T is replaced by ERA5


def _now() -> datetime:
    return datetime.now(UTC)


class CdsSource:
    """A record at the Climate Data Store.

    Args:
        wish: what is wanted.
        folder: where parts and journal lie.
        settings: how patiently the service is asked.
        allow_missing: whether answers may lack steps, whose days are then missing.
        watch: is told the state of all parts while they are brought.
        now: the time, which decides what of ERA5T should be final.
    """

    def __init__(
        self, wish: Wish, folder: Path, settings: Transfer, *, allow_missing: bool = False, watch: Watch = nobody,
        now: Callable[[], datetime] = _now,
    ) -> None:  # fmt: skip
        self.wish = wish
        self.folder = folder
        self.settings = settings
        self.allow_missing = allow_missing
        self.watch = watch
        self.now = now
        self.plan = plan.make(wish)
        self.journal = Journal(folder)
        self._renewed: set[str] = set()

    def parts(self) -> list[Part]:
        """The plan, with what the service wanted smaller replaced by its pieces."""
        return [piece for part in self.plan for piece in self._pieces(part)]

    def _pieces(self, part: Part) -> Iterator[Part]:
        if self.journal[part.id].pieces:
            for half in part.halves():
                yield from self._pieces(half)
        else:
            yield part

    def file(self, part: Part) -> Path | None:
        """The checked file of a part; None where it has to be fetched."""
        noted = self.journal[part.id].verified
        if noted is None or self.is_due(part):
            return None
        path = self.folder / noted["file"]
        return path if path.exists() and path.stat().st_size == noted["size"] else None

    def is_due(self, part: Part) -> bool:
        """Whether a part was preliminary (ERA5T) when it was fetched and should be final now."""
        noted = self.journal[part.id].verified
        if noted is None or not noted["preliminary"] or part.id in self._renewed:
            return False
        final = pd.Timestamp(noted["preliminary"][1]) + FINAL_AFTER
        return bool(pd.Timestamp(self.now()).tz_convert("UTC").tz_localize(None) >= final)

    def fingerprint(self) -> dict[str, Any]:
        """The requests with the checksums of their answers; None for an answer that has to be fetched."""
        answers = {}
        for part in self.parts():
            noted = self.journal[part.id].verified
            answers[part.id] = None if noted is None or self.is_due(part) else noted["sha256"]
        return {"source": "cds", "allow_missing": self.allow_missing, "answers": answers, **self._options()}

    def _options(self) -> dict[str, Any]:
        wish = self.wish
        return {
            "variables": list(wish.variables),
            "start": f"{wish.start:%Y-%m-%d}",
            "end": f"{wish.end:%Y-%m-%d}",
            "area": list(wish.area),
            "product": wish.product,
            "step_hours": wish.step_hours,
            "data_format": wish.data_format,
            "grid": None if wish.grid is None else list(wish.grid),
        }

    def labels(self) -> pd.Series | None:
        """None: reanalyses plant no labels."""
        return None

    def open(self) -> xr.Dataset:
        """The daily record under the raw-store contract, after bringing what is missing of it.

        Raises:
            DataError: it cannot be had; one sentence says why, and what has been brought stays.
        """
        with self.journal.alone():
            missing = [part for part in self.parts() if self.file(part) is None]
            if missing:
                self._bring(missing)
            files = [(part, self._brought(part)) for part in self.parts()]
        dataset = assemble.assemble(self.wish, files)
        dataset.attrs = assemble.attributes(self._options()) | self._preliminary()
        return dataset

    def _brought(self, part: Part) -> Path:
        path = self.file(part)
        if path is None:
            raise DataError(
                f"{part.label}: its file in {self.folder} was removed just now: run the same command again."
            )
        return path

    def plan_lines(self) -> list[str]:
        """What would be asked for: every request, its fields and bytes, and the disk space; no network is used."""
        parts = self.parts()
        done = {part.id for part in parts if self.file(part) is not None}
        missing = [part for part in parts if part.id not in done]
        return [
            *(f"{part.label}: {part.dataset} {plan.canonical(part.request)}" for part in parts),
            *(plan.line(part, part.id in done) for part in parts),
            f"{len(parts)} requests, {sum(part.n_fields for part in parts)} fields, about "
            f"{sum(part.size for part in parts) / 1e6:.0f} MB to download; {len(done)} are here already.",
            f"Disk space needed: at most {preflight.space(missing, self.wish) / 1e6:.0f} MB in {self.folder}.",
        ]

    def damaged(self) -> list[str]:
        """Names of the parts whose files are not what the journal says; they are fetched again next time."""
        with self.journal.alone():
            found = [part for part in self.parts() if self._is_damaged(part)]
            for part in found:
                self.journal.note(part.id, "damaged", label=part.label)
        return [part.label for part in found]

    def _is_damaged(self, part: Part) -> bool:
        noted = self.journal[part.id].verified
        if noted is None:
            return False
        path = self.folder / noted["file"]
        return path.exists() and sha256(path) != noted["sha256"]

    def condemn(self, month: str, name: str) -> list[str]:
        """Has the parts that hold a field in a month fetched again next time; returns their names."""
        found = [part for part in self.parts() if part.month == month and (not name or name in part.names)]
        with self.journal.alone():
            for part in found:
                self.journal.note(part.id, "damaged", label=part.label)
        return [part.label for part in found]

    def _bring(self, missing: Sequence[Part]) -> None:
        preflight.check_dates(self.wish, None)
        found = credential.find()
        preflight.check_space(missing, self.wish, self.folder)
        service = Service(found, self.settings.timeout_seconds)
        preflight.check_account(service, self.wish, missing, self.settings)
        done = [part for part in self.parts() if self.file(part) is not None]
        # A request that is under way has been found affordable before.
        fresh = [part for part in missing if self.journal[part.id].job is None]
        preflight.affordable(service, fresh, self.journal, self.settings)
        wanted = [part for part in self.parts() if self.file(part) is None]
        courier = Courier(
            service,
            self.journal,
            self.folder,
            self.settings,
            allow_missing=self.allow_missing,
            watch=self.watch,
        )
        courier.bring(wanted, done)
        # What is preliminary still has been asked for just now: the next download asks again.
        self._renewed |= {part.id for part in wanted}

    def _preliminary(self) -> dict[str, str]:
        """What the store's attributes say of ERA5T: first and last time, by part."""
        noted = {part.label: self.journal[part.id].verified for part in self.parts()}
        found = {
            label: facts["preliminary"][:2]
            for label, facts in noted.items()
            if facts and facts["preliminary"]
        }
        if not found:
            return {}
        log.warning("download: %d parts hold preliminary data (ERA5T): %s", len(found), ", ".join(found))
        return {"preliminary": json.dumps(found, sort_keys=True)}


def from_options(options: Mapping[str, Any], folder: Path, watch: Watch = nobody) -> CdsSource:
    """The source that a dataset's settings ask for.

    Raises:
        DataError: a setting cannot be understood.
    """
    from data.sources.cds.wish import from_options as wish

    transfer = Transfer(in_flight=int(options["in_flight"]), **options["transfer"])
    return CdsSource(
        wish(options), folder, transfer, allow_missing=bool(options.get("allow_missing", False)), watch=watch
    )
