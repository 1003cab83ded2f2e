"""What can be known to go wrong before anything is asked for: space on the disk, dates, key, cost."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from data.errors import DataError
from data.sources.cds.faults import ServiceError, Verdict
from data.sources.cds.journal import Journal
from data.sources.cds.plan import Part, Wish
from data.sources.cds.service import Service
from data.sources.cds.settings import Transfer
from data.sources.cds.transfer import pause

log = logging.getLogger(__name__)
T = TypeVar("T")

BYTES_PER_STORED_VALUE = 4  # of the raw store, uncompressed: what compression saves stays as a margin
OPTIONAL_TRIES = 3  # for what the download can do without


def space(parts: Sequence[Part], wish: Wish) -> int:
    """Bytes that the missing parts and the raw store, which is written beside an older one, need at most."""
    height, width = wish.shape
    store = BYTES_PER_STORED_VALUE * len(wish.variables) * len(wish.days) * height * width
    return sum(part.values for part in parts) * BYTES_PER_STORED_VALUE + store


def check_space(parts: Sequence[Part], wish: Wish, folder: Path) -> None:
    """Whether the disk has room.

    Raises:
        DataError: it has not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = space(parts, wish), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the download needs up to {needed / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB are free: make "
            "room, or set paths.store to another disk, or ask for a smaller dataset.area or a shorter period."
        )


def check_dates(wish: Wish, last: pd.Timestamp | None) -> None:
    """Whether the last day is published; `last` is what the service states, None for today at the latest.

    Raises:
        DataError: it is not.
    """
    today = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    known = today if last is None else min(last, today)
    if wish.end > known:
        raise DataError(
            f"dataset.end {wish.end:%Y-%m-%d} is not published yet: ERA5 reaches {known:%Y-%m-%d}"
            f"{'' if last is not None else ' less about five days'}; set dataset.end to a day that is there."
        )


def check_account(service: Service, wish: Wish, parts: Sequence[Part], settings: Transfer) -> None:
    """Whether the key is accepted and the dates are published.

    Raises:
        DataError: they are not, or the service does not answer.
    """
    patiently(service.authenticate, service, settings)
    ends = [
        end
        for name in dict.fromkeys(part.dataset for part in parts)
        if (end := _end(service, name, settings)) is not None
    ]
    check_dates(wish, min(ends) if ends else None)


def _end(service: Service, dataset: str, settings: Transfer) -> pd.Timestamp | None:
    return _perhaps(lambda: service.end(dataset), settings)


def affordable(service: Service, parts: Sequence[Part], journal: Journal, settings: Transfer) -> list[Part]:
    """The parts, those that cost more than the service allows split into halves until they do not.

    Raises:
        DataError: the service says that a request is not valid, or what cannot be split costs too much.
    """
    costs: dict[tuple[object, ...], tuple[bool, str]] = {}
    found: list[Part] = []
    queue = list(parts)
    while queue:
        part = queue.pop(0)
        # What is asked of one request holds for all of its shape: a month of 31 days costs what the next one does.
        shape = (part.dataset, part.kind, len(part.request["variable"]), part.n_fields)
        if shape not in costs:
            costs[shape] = _cost(service, part, settings)
        fits, cost = costs[shape]
        if fits:
            found.append(part)
        else:
            queue = split(part, journal, cost) + queue
    return found


def split(part: Part, journal: Journal, why: str) -> list[Part]:
    """Halves of a part that is too large, noted in the journal.

    Raises:
        DataError: it is a single field already.
    """
    halves = part.halves()
    if not halves:
        raise DataError(f"{part.label}: {why}, and the request cannot be split any further.")
    log.info("download: %s is too large for one request (%s): it is split in two", part.label, why)
    journal.note(part.id, "split", into=[half.id for half in halves], label=part.label)
    return halves


def _cost(service: Service, part: Part, settings: Transfer) -> tuple[bool, str]:
    answer = _perhaps(lambda: service.cost(part.dataset, part.request), settings) or {}
    if answer.get("request_is_valid") is False:
        reason = answer.get("invalid_reason") or "no reason given"
        cost, limit = answer.get("cost"), answer.get("limit")
        if isinstance(cost, (int, float)) and isinstance(limit, (int, float)) and cost > limit:
            return False, f"it costs {cost:g} where {limit:g} are allowed"
        raise DataError(
            f"{part.label}: the service says that the request is not valid ({reason}): check the settings."
        )
    try:
        cost, limit = float(answer["cost"]), float(answer["limit"])
    except (KeyError, TypeError, ValueError):
        return True, ""
    return cost <= limit, f"it costs {cost:g} where {limit:g} are allowed"


def _perhaps(ask: Callable[[], T], settings: Transfer) -> T | None:
    for tries in range(1, min(OPTIONAL_TRIES, settings.tries) + 1):
        try:
            return ask()
        except ServiceError:
            time.sleep(pause(settings, tries))
    return None


def patiently(ask: Callable[[], T], service: Service, settings: Transfer) -> T:
    """Asks again after errors that pass.

    Raises:
        DataError: one that does not pass, or too many in a row.
    """
    for tries in range(1, settings.tries + 1):
        try:
            return ask()
        except ServiceError as error:
            fault = error.fault
            if fault.verdict not in (Verdict.TRANSIENT, Verdict.BUSY):
                raise DataError(refusal(service, fault.why)) from None
            if tries == settings.tries:
                raise DataError(silence(service, fault.why, tries)) from None
            time.sleep(fault.wait if fault.wait is not None else pause(settings, tries))
    raise AssertionError("unreachable")


def refusal(service: Service, why: str) -> str:
    """The sentence for what waiting does not mend."""
    return f"the Climate Data Store at {service.credential.url} refuses: {why}."


def silence(service: Service, why: str, tries: int) -> str:
    """The sentence for errors that do not end."""
    return (
        f"the Climate Data Store at {service.credential.url} failed {tries} times in a row ({why}): run the same "
        "command again later; what has been brought is kept."
    )
