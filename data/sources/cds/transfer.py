"""A file from the web to the disk: resumed where it broke, compared with the stated size and checksum.

What arrives goes to a `.part` file, so that the next try, or the next process, goes on from its end. Supports servers
that resume and servers that do not. Does not look into the file.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import multiurl
import requests
from multiurl.base import NoBar

from data.sources import address
from data.sources.cds.settings import Transfer

CHUNK = 64 * 2**10  # bytes in hand: what a broken connection loses
_QUIET = logging.CRITICAL + 1  # multiurl logs addresses and whole error pages

Told = Callable[[int, int], None]  # bytes that have arrived, bytes of the file


class AssetError(Exception):
    """The file cannot be brought from this address; the text says why."""


class ChecksumError(AssetError):
    """All bytes are there, and they are not the right ones."""


class _DeadlineError(Exception):
    """The transfer has taken too long."""


def _nothing(done: int, total: int) -> None:
    """Tells nobody."""


def fetch(
    url: str,
    size: int,
    checksum: str,
    part: Path,
    settings: Transfer,
    *,
    verify: bool = True,
    tell: Told | None = None,
) -> None:
    """Brings the file at `url` to `part`, whatever of it is there already.

    Raises:
        AssetError: the address gives nothing, or gives out again and again.
        ChecksumError: the bytes are not those that the service states.
    """
    told = tell or (_nothing)
    try:
        address.check(url)
    except address.UnsafeAddressError as error:
        raise AssetError(str(error)) from None
    limit = time.monotonic() + settings.deadline_hours * 3600
    failures, restarts = 0, 0
    while (have := _length(part)) != size:
        if have > size:  # a server that announces to resume and then sends the whole file
            part.unlink()
            restarts, have = restarts + 1, 0
            if restarts >= settings.tries:
                raise AssetError(f"more bytes arrive than the {size} that are stated")
        why = _once(url, part, settings, verify, limit, lambda: told(_length(part), size))
        failures = 0 if _length(part) > have else failures + 1
        if why is None and _length(part) < size and failures:
            why = f"only {_length(part)} of {size} bytes arrive"
        if failures >= settings.tries:
            raise AssetError(why or "no bytes arrive")
        if _length(part) != size:
            time.sleep(pause(settings, failures))
    told(size, size)
    _check(url, checksum, part, settings, verify)


def pause(settings: Transfer, failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, bounded, never the same twice."""
    longest = min(settings.retry_seconds * 2 ** min(max(failures - 1, 0), 30), settings.retry_max_seconds)
    return random.uniform(0.5, 1.0) * longest  # noqa: S311 - a wait, no secret


def _once(
    url: str, part: Path, settings: Transfer, verify: bool, limit: float, told: Callable[[], None]
) -> str | None:
    """One connection; returns why it ended early, None where it did not.

    Raises:
        AssetError: the address is of no use.
    """

    def observe() -> None:
        told()
        if time.monotonic() > limit:
            raise _DeadlineError

    logger = logging.getLogger("multiurl")
    level = logger.level
    logger.setLevel(_QUIET)
    try:
        multiurl.download(
            url, target=str(part), resume_transfers=True, maximum_retries=0, timeout=settings.timeout_seconds,
            verify=verify, stream=True, chunk_size=CHUNK, progress_bar=NoBar, observer=observe,
            session=address.Session(),
        )  # fmt: skip
    except _DeadlineError:
        raise AssetError(f"the transfer takes longer than {settings.deadline_hours:g} hours") from None
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 416:  # beyond the end: what is here is not of this file
            part.unlink(missing_ok=True)
        elif 400 <= status < 500 and status not in (408, 425, 429):
            raise AssetError(f"its address answers {status}") from None
        return f"its address answers {status}"
    except AssertionError:  # multiurl's words for a size that it did not expect
        return "its size is not the stated one"
    except address.UnsafeAddressError as error:
        raise AssetError(str(error)) from None
    except requests.RequestException as error:
        return f"the connection broke ({type(error).__name__})"
    finally:
        logger.setLevel(level)
    return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(url: str, checksum: str, part: Path, settings: Transfer, verify: bool) -> None:
    """Compares the md5 where the service states one; part of an S3 upload's tag is none and is not compared."""
    if not settings.checksum or not re.fullmatch(r"[0-9a-fA-F]{32}", checksum):
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found == checksum.lower() or _is_multipart_tag(url, checksum, settings, verify):
        return
    part.unlink()
    raise ChecksumError("its bytes do not have the stated checksum")


def _is_multipart_tag(url: str, checksum: str, settings: Transfer, verify: bool) -> bool:
    try:
        with address.Session() as session:
            head = session.head(url, timeout=settings.timeout_seconds, verify=verify, allow_redirects=True)
    except requests.RequestException:
        return False
    return head.headers.get("ETag", "").strip('"').lower().startswith(f"{checksum.lower()}-")
