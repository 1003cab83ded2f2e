"""From an answer at the service to a checked file: fetched under another name, looked through, noted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ecmwf.datastores import Remote

from data.sources.cds.check import WrongAnswerError, check
from data.sources.cds.journal import Journal
from data.sources.cds.plan import Part
from data.sources.cds.service import Service
from data.sources.cds.settings import Transfer
from data.sources.cds.transfer import fetch
from data.sources.progress import Status

SUFFIX = {"netcdf": ".nc", "grib": ".grib"}


@dataclass(frozen=True)
class Delivery:
    """Brings answers to a folder.

    Attributes:
        service: the account.
        journal: what is known of the parts.
        folder: where the files go.
        settings: how patiently.
        allow_missing: whether answers may lack steps.
        show: is called whenever a state has changed.
    """

    service: Service
    journal: Journal
    folder: Path
    settings: Transfer
    allow_missing: bool
    show: Callable[[], None]

    def partial(self, part: Part) -> Path:
        """Where an answer goes until it is checked."""
        return self.folder / f"{part.file_stem}.part"

    def bring(self, part: Part, remote: Remote, status: Status) -> None:
        """Fetches and checks the answer to a request that is done; what has arrived before is not fetched again.

        Raises:
            ServiceError: the service does not say where the answer is.
            AssetError: the file cannot be brought from there.
            WrongAnswerError: it is not what was asked for.
            NotYetError: its last steps are not published yet.
        """
        status.to("downloading")
        self.show()
        url, size, checksum = self.service.results(remote)
        if size <= 0:
            raise WrongAnswerError("the answer is an empty file")

        def tell(done: int, total: int) -> None:
            status.done, status.total = done, total
            self.show()

        partial, verify = self.partial(part), self.service.credential.verify
        fetch(url, size, checksum, partial, self.settings, verify=verify, tell=tell)
        status.to("checking")
        self.show()
        account = check(part, partial, allow_missing=self.allow_missing)
        target = self.folder / f"{part.file_stem}{SUFFIX[str(part.request.get('data_format', 'netcdf'))]}"
        settle(partial, target)
        facts = {"file": target.name, "job": remote.request_id, "label": part.label, **asdict(account)}
        self.journal.note(part.id, "verified", **facts)
        status.to("verified")


def settle(partial: Path, target: Path) -> None:
    """Gives a checked file its name, after its bytes are on the disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
