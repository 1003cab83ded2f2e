"""What is known of every part, on disk: one JSON line an event, written before the step that follows from it.

Events: `intent` (about to ask), `submitted` (the service's number of it), `refused` (not accepted), `lost` (the
number is of no use any more), `split` (asked for in pieces), `verified` (its file is whole and checked), `damaged`
(its file has to be fetched again). A line that a killed process left half-written is passed over. One process at a
time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import DataError


@dataclass
class Entry:
    """What the events say of one part.

    Attributes:
        job: the service's number of the request that is under way.
        unsure: whether a request was perhaps made whose number is not known.
        asked: when it was, as ISO time in UTC; '' where that is not known.
        verified: what was noted of its file; None where there is none.
        pieces: the parts that it was split into.
    """

    job: str | None = None
    unsure: bool = False
    asked: str = ""
    verified: Mapping[str, Any] | None = None
    pieces: list[str] = field(default_factory=list)


class Journal:
    """The events of one dataset's parts, in `folder`/journal.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.jsonl"
        self._entries: dict[str, Entry] = {}
        self._jobs: set[str] = set()
        self._read()

    def __getitem__(self, part: str) -> Entry:
        return self._entries.setdefault(part, Entry())

    @property
    def jobs(self) -> frozenset[str]:
        """All request numbers that were ever noted."""
        return frozenset(self._jobs)

    def note(self, part: str, event: str, **facts: Any) -> None:
        """Writes an event to the disk, and only then takes it into account."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"part": part, "event": event, "at": at, **facts}, ensure_ascii=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            torn = file.tell() > 0 and not self._ends_whole()
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(part, event, {"at": at, **facts})

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from bringing the same dataset.

        Raises:
            DataError: one is doing so.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(
                    f"another download into {self.path.parent.parent} is under way: wait for it or end it first."
                ) from None
            self.__init__(self.path.parent)  # type: ignore[misc]  # what the other process has written meanwhile
            yield

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read(self) -> None:
        if not self.path.exists():
            return
        for line in self.path.read_bytes().split(b"\n"):
            try:
                facts = json.loads(line)
                part, event = facts.pop("part"), facts.pop("event")
            except (ValueError, KeyError, AttributeError, TypeError):
                continue
            self._apply(part, event, facts)

    def _apply(self, part: str, event: str, facts: Mapping[str, Any]) -> None:
        entry = self[part]
        if event == "intent":
            # Of several that are unsure the first counts: the request may be of any of them.
            entry.asked = entry.asked if entry.unsure else str(facts.get("at", ""))
            entry.unsure = True
        elif event == "submitted":
            entry.job, entry.unsure = facts["job"], False
            self._jobs.add(facts["job"])
        elif event == "refused":
            entry.unsure = False
        elif event == "lost":
            entry.job = None
        elif event == "split":
            entry.pieces, entry.job, entry.unsure = list(facts["into"]), None, False
        elif event == "verified":
            entry.verified, entry.job = dict(facts), None
        elif event == "damaged":
            entry.verified = None
