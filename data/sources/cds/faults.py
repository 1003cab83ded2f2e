"""What an error of the service or the network means for a request: refuse, split, wait, ask again, not yet there.

Errors are told apart by status and title of the answer, as the service documents them, never by the client's message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import requests
from ecmwf.datastores.processing import ProcessingFailedError

from data.sources.address import UnsafeAddressError


class Verdict(Enum):
    """What to do about an error."""

    REFUSED = "refused"  # it will not get better by waiting
    TOO_LARGE = "too large"  # ask for less at a time
    BUSY = "busy"  # the service asks to slow down
    TRANSIENT = "transient"  # the same again, later
    LOST = "lost"  # the job or its result is gone: ask anew
    ABSENT = "absent"  # the data are not there, or not yet


@dataclass(frozen=True)
class Fault:
    """An error, judged.

    Attributes:
        verdict: what to do.
        why: what happened, in words, without a full stop.
        wait: seconds that the service asks to wait.
        unsure: whether a request that failed in this way may have been accepted all the same.
        ended: whether the service has given up the request that was asked about.
    """

    verdict: Verdict
    why: str
    wait: float | None = None
    unsure: bool = False
    ended: bool = False


class ServiceError(Exception):
    """An error of the service or the network with what it means."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.why)
        self.fault = fault


_BUSY = re.compile(r"temporarily limited|queued requests|daily requests|configure your script", re.IGNORECASE)
_ABSENT = re.compile(
    r"no data\b|NoData|Restricted access|not available yet|No valid dates|latest date available",
    re.IGNORECASE,
)
_LARGE = re.compile(r"cost limits? exceeded|too large|reduce your selection", re.IGNORECASE)


def judge(error: Exception) -> Fault:
    """What an error of the client means."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _answer(error.response)
    if isinstance(error, ProcessingFailedError):
        return _state(str(error))
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return Fault(
            Verdict.TRANSIENT, "the answer is a web page instead of data (maintenance?)", unsure=True
        )
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE" in str(error).upper():
        return Fault(Verdict.REFUSED, "its certificate cannot be verified (a proxy in between?)")
    if isinstance(error, UnsafeAddressError):
        return Fault(Verdict.REFUSED, str(error))
    if isinstance(error, (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
        return Fault(Verdict.REFUSED, "its address is not a web address")
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return Fault(Verdict.TRANSIENT, _network(error), unsure=True)
    if isinstance(error, requests.RequestException):
        return Fault(Verdict.TRANSIENT, f"the connection failed ({type(error).__name__})", unsure=True)
    return Fault(
        Verdict.TRANSIENT, f"the answer is not in the expected form ({type(error).__name__})", unsure=True
    )


def _network(error: Exception) -> str:
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "its name cannot be resolved (no network?)"
    if "refused" in text:
        return "the connection is refused"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "it does not answer in time"
    return f"the connection broke ({type(error).__name__})"


def _answer(response: requests.Response) -> Fault:
    status, problem = response.status_code, _problem(response)
    title, words = str(problem.get("title", "")), _words(problem)
    if status == 429:
        return Fault(Verdict.BUSY, words or "too many requests", wait=_wait(response, words))
    if status in (408, 425) or status >= 500:
        return Fault(Verdict.TRANSIENT, f"it answers {status} {response.reason}", unsure=True)
    if status == 401:
        return Fault(
            Verdict.REFUSED,
            "it does not accept the key: copy the personal access token from your profile page to CDSAPI_KEY or to "
            "your .cdsapirc",
        )
    if status == 403:
        return _forbidden(title, words, str(response.url))
    if status == 404:
        return _not_found(title, words, response)
    return _rejected(status, title, words)


def _forbidden(title: str, words: str, url: str) -> Fault:
    if "/jobs/" in url:  # the request of another account, from before the key was changed
        return Fault(Verdict.LOST, words or "the request belongs to another account")
    if _LARGE.search(title):
        return Fault(Verdict.TOO_LARGE, words)
    if "licence" in title:
        return Fault(Verdict.REFUSED, f"a licence of the dataset is not accepted yet: {words}")
    return Fault(
        Verdict.REFUSED, words or "it answers 403 Forbidden with a web page (a firewall or a proxy?)"
    )


def _not_found(title: str, words: str, response: requests.Response) -> Fault:
    if "not ready" in title:
        return Fault(Verdict.TRANSIENT, words)
    if "expired" in title or "job" in title or "/jobs/" in str(response.url):
        return Fault(Verdict.LOST, words or "the request is not known any more")
    return Fault(Verdict.REFUSED, words or "it answers 404 Not Found: check CDSAPI_URL or your .cdsapirc")


def _rejected(status: int, title: str, words: str) -> Fault:
    """400 and the rest: a request that is not valid, or the end of a job that failed."""
    if _BUSY.search(words) or "rejected" in title:
        return Fault(Verdict.BUSY, words, ended=True)
    if _ABSENT.search(words):
        return Fault(Verdict.ABSENT, words)
    if _LARGE.search(words):
        return Fault(Verdict.TOO_LARGE, words)
    if "job has failed" in title:
        return Fault(Verdict.LOST, words)
    return Fault(
        Verdict.REFUSED, f"it does not accept the request ({status}: {words or title or 'no reason given'})"
    )


def _state(text: str) -> Fault:
    if "Unknown API state" in text:
        return Fault(
            Verdict.TRANSIENT, f"the request has a state that is not known ({text.rpartition(' ')[2]})"
        )
    if "API state" in text:
        return Fault(Verdict.LOST, "the request was dismissed")
    title, _, words = text.partition("\n")
    return _rejected(400, title, words or title)


def _problem(response: requests.Response) -> Mapping[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _words(problem: Mapping[str, Any]) -> str:
    """The reason that an answer gives, on one line."""
    detail = problem.get("traceback") or problem.get("detail") or problem.get("title") or ""
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(map(str, d.get('loc', [])))}: {d.get('msg', '')}" if isinstance(d, dict) else str(d)
            for d in detail
        )
    line = " ".join(str(detail).split())
    return (line if len(line) <= 400 else f"…{line[-399:]}").rstrip(". ")


def _wait(response: requests.Response, words: str) -> float | None:
    header = response.headers.get("Retry-After", "")
    found = re.search(r"wait (\d+) second", words)
    stated = header if header.isdigit() else found[1] if found else None
    return None if stated is None else min(float(stated), 3600.0)
