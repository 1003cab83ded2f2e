"""How far a download in parts is: a table that is drawn anew on a terminal, plain log lines elsewhere.

Each part is shown with its state (waiting, queued, running, downloading, checking, verified), how long it is in that
state, and while it is downloading with its rate. Long lists show what is under way and count the rest.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from data.sources.progress import Status

log = logging.getLogger(__name__)

ROWS = 30  # of parts at one time on a terminal
SECONDS_BETWEEN_PICTURES = 0.2
SECONDS_BETWEEN_LINES = 60.0
TOLD = ("queued", "running", "downloading", "verified", "cooling off", "retrying", "failed")
DONE = ("verified", "failed")


class Board:
    """Shows the state of parts; used as `with board:` around the work that calls `show`."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn = 0
        self._last = 0.0
        self._told: dict[str, str] = {}

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._drawn = 0

    def show(self, statuses: Sequence[Status]) -> None:
        """Is told the state of all parts, as often as it changes."""
        if self._terminal:
            self._draw(statuses)
        else:
            self._tell(statuses)

    def _draw(self, statuses: Sequence[Status]) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_PICTURES and not all(s.state in DONE for s in statuses):
            return
        self._last = now
        lines = [*(row(status) for status in chosen(statuses, ROWS)), totals(statuses)]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        sys.stderr.write(up + "\x1b[0J" + "\n".join(lines) + "\n")
        sys.stderr.flush()
        self._drawn = len(lines)

    def _tell(self, statuses: Sequence[Status]) -> None:
        for status in statuses:
            before = self._told.setdefault(
                status.label, "verified" if status.state == "verified" else "waiting"
            )
            if status.state != before and status.state in TOLD:
                log.info("download: %s", " ".join(row(status).split()))
                self._told[status.label] = status.state
                self._last = time.monotonic()
        if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            log.info("download: %s", totals(statuses))
            self._last = time.monotonic()


def chosen(statuses: Sequence[Status], most: int) -> list[Status]:
    """All parts, or where they are too many those under way, then the next ones, in their order."""
    if len(statuses) <= most:
        return list(statuses)
    urgent = sorted(statuses, key=lambda s: (s.state in DONE, s.state == "waiting"))[:most]
    kept = {id(status) for status in urgent}
    return [status for status in statuses if id(status) in kept]


def row(status: Status) -> str:
    """One part: its name, state, bytes and rate, and how long it is in the state."""
    seconds = max(time.monotonic() - status.since, 0.0)
    return f"{status.label:<32} {status.state:<12} {_bytes(status, seconds):<30} {clock(seconds)}".rstrip()


def _bytes(status: Status, seconds: float) -> str:
    if status.state == "downloading" and status.total:
        rate = status.done / max(seconds, 1e-3) / 1e6
        return f"{status.done / 1e6:.1f} of {status.total / 1e6:.1f} MB, {rate:.1f} MB/s"
    return f"{status.total / 1e6:.1f} MB" if status.state == "verified" and status.total else ""


def totals(statuses: Sequence[Status]) -> str:
    """How many parts are in which state."""
    counts = Counter(status.state for status in statuses)
    return f"{counts['verified']} of {len(statuses)} parts verified" + "".join(
        f", {number} {state}" for state, number in counts.items() if state != "verified"
    )


def clock(seconds: float) -> str:
    """Seconds as 0:42 or 3:05:10."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
