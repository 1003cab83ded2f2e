"""The Climate Data Store through its own client: one try a call, every error judged.

The client's repetition is switched off: it would repeat a submission that the service accepted but could not confirm,
and wait for hours without a word. What is repeated, and when, the courier decides.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pandas as pd
import requests
from ecmwf.datastores import Client, Remote, Results
from ecmwf.datastores.processing import LinkError, ProcessingFailedError

from data.sources.address import Session
from data.sources.cds.credential import Credential
from data.sources.cds.faults import ServiceError, Verdict, judge

log = logging.getLogger(__name__)
T = TypeVar("T")

_CLIENT_ERRORS = (
    requests.RequestException, ProcessingFailedError, LinkError, AssertionError, ValueError, KeyError, TypeError,
    AttributeError,
)  # fmt: skip
_PAGES = 3  # of 100 jobs, the newest first, that are looked through for a request of our own


class Service:
    """One account at the service.

    Args:
        credential: address and key.
        timeout: seconds that a connection may give nothing.
    """

    def __init__(self, credential: Credential, timeout: float) -> None:
        self.credential = credential
        with warnings.catch_warnings():  # it asks for news, and warns where it gets none
            warnings.simplefilter("ignore")
            self._client = Client(
                url=credential.url, key=credential.key, verify=credential.verify, timeout=timeout, progress=False,
                cleanup=False, maximum_tries=1, retry_after=0, sleep_max=5, log_callback=self._log, session=Session(),
            )  # fmt: skip

    def _log(self, level: int, message: str, *_: Any, **__: Any) -> None:
        if level >= logging.WARNING:
            log.warning("the Climate Data Store says: %s", self.credential.scrub(str(message)))

    def _call(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except _CLIENT_ERRORS as error:
            fault = judge(error)
            # The cause is left out: its text and its objects hold the key.
            raise ServiceError(replace(fault, why=self.credential.scrub(fault.why))) from None

    def _optional(self, ask: Callable[[], T]) -> T | None:
        """An answer that the download can do without: None where the service does not give it, or in another form."""
        try:
            return ask()
        except (KeyError, TypeError, AttributeError, AssertionError, LinkError):
            return None
        except requests.RequestException as error:
            fault = judge(error)
            if fault.verdict in (Verdict.TRANSIENT, Verdict.BUSY):
                raise ServiceError(replace(fault, why=self.credential.scrub(fault.why))) from None
            return None

    def authenticate(self) -> None:
        """Asks whether the key is accepted; passes where the service does not say."""
        try:
            self._call(self._client.check_authentication)
        except ServiceError as error:
            if "does not accept the key" in error.fault.why or error.fault.verdict in (
                Verdict.TRANSIENT,
                Verdict.BUSY,
            ):
                raise

    def end(self, dataset: str) -> pd.Timestamp | None:
        """The last day that the dataset's page states; None where it states none."""
        found = self._optional(lambda: self._client.get_collection(dataset).end_datetime)
        return None if found is None else pd.Timestamp(found).tz_convert("UTC").tz_localize(None).normalize()

    def cost(self, dataset: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the service says a request costs and may cost; {} where it does not say."""
        found = self._optional(lambda: self._client.estimate_costs(dataset, dict(request)))
        return found if isinstance(found, dict) else {}

    def submit(self, dataset: str, request: Mapping[str, Any]) -> Remote:
        """Asks for data."""
        return self._call(lambda: self._client.submit(dataset, dict(request)))

    def attach(self, job: str) -> Remote:
        """A request of an earlier time."""
        return self._call(lambda: self._client.get_remote(job))

    def state(self, remote: Remote) -> str:
        """accepted, running or successful; every other end of a request is an error."""
        self._call(lambda: remote.results_ready)
        return str(remote.last_status)

    def results(self, remote: Remote) -> tuple[str, int, str]:
        """Address, size in bytes and checksum ('' where none is stated) of the answer."""

        def ask() -> tuple[str, int, str]:
            results: Results = remote.get_results()
            return results.location, results.content_length, str(results.asset.get("file:checksum", ""))

        return self._call(ask)

    def find(
        self, dataset: str, request: Mapping[str, Any], known: frozenset[str], since: str = ""
    ) -> Remote | None:
        """The newest job of the account that asks for just this and is not known; for what a killed process sent.

        Args:
            dataset: its dataset.
            request: its body.
            known: numbers of jobs that it is not.
            since: ISO time in UTC before which it was not made; '' where that is not known.
        """
        for job in self._newest(since):
            if job["jobID"] in known or job.get("processID", dataset) != dataset:
                continue
            remote = self.attach(job["jobID"])
            if same(self._call(lambda remote=remote: remote.request), request):  # type: ignore[misc]
                return remote
        return None

    def _newest(self, since: str) -> Iterator[dict[str, Any]]:
        """Jobs, the newest first, back to a day before `since`: the clocks may differ, and time zones be left out."""
        earliest = None if not since else pd.Timestamp(since).tz_localize(None) - pd.Timedelta(days=1)
        status: list[Any] = ["accepted", "running", "successful"]
        page = self._optional(lambda: self._client.get_jobs(limit=100, sortby="-created", status=status))
        for _ in range(_PAGES):
            if page is None:
                return
            for job in self._call(lambda page=page: page.json["jobs"]):  # type: ignore[misc]
                if earliest is not None and _created(job) < earliest:
                    return
                yield job
            page = self._call(lambda page=page: page.next)  # type: ignore[misc]


def _created(job: Mapping[str, Any]) -> pd.Timestamp:
    try:
        return pd.Timestamp(str(job["created"])).tz_localize(None)
    except (KeyError, ValueError):
        return pd.Timestamp.max


def same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a request as the service notes it is ours: it may add keys, reorder lists and write numbers as text."""
    return all(key in theirs and _flat(theirs[key]) == _flat(value) for key, value in ours.items())


def _flat(value: Any) -> list[str]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return sorted(_text(item) for item in items)


def _text(item: Any) -> str:
    try:
        return f"{float(item):g}"
    except (TypeError, ValueError):
        return str(item)
