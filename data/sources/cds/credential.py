"""The address and key of the service, found where cdsapi finds them and looked at before anything is sent."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cdsapi.api import get_url_key_verify

from data.errors import DataError
from data.sources.address import is_safe

EXAMPLE = "https://cds.climate.copernicus.eu/api"


@dataclass(frozen=True)
class Credential:
    """Address and personal access token; the token is in no representation of it."""

    url: str
    key: str = field(repr=False)
    verify: bool = True

    @property
    def site(self) -> str:
        """The service's web pages."""
        return self.url.removesuffix("/api")

    def scrub(self, text: str) -> str:
        """A text without the key."""
        return text.replace(self.key, "***")


def find() -> Credential:
    """The credential: CDSAPI_URL and CDSAPI_KEY, else the file CDSAPI_RC or ~/.cdsapirc.

    Raises:
        DataError: there is none, or it cannot be right; the message does not hold the key.
    """
    rc = Path(os.environ.get("CDSAPI_RC", "~/.cdsapirc")).expanduser()
    try:
        url, key, verify = get_url_key_verify(None, None, None)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "'verify' is 0 or 1, the rest plain text"
        raise DataError(
            f"{rc}: the Climate Data Store's credential cannot be read ({reason}): mend it."
        ) from None
    except Exception:  # cdsapi raises a bare one where url or key is missing
        raise DataError(
            f"there is no credential for the Climate Data Store in CDSAPI_URL and CDSAPI_KEY nor in {rc}: write "
            f"'url: {EXAMPLE}' and 'key: <personal access token>' there, or set dataset.source=cloud, which needs "
            "none."
        ) from None
    _check_url(url, _place("CDSAPI_URL", rc))
    _check_key(key, _place("CDSAPI_KEY", rc))
    return Credential(url, key, bool(verify))


def _place(name: str, rc: Path) -> str:
    return name if os.environ.get(name) is not None else str(rc)


def _check_url(url: str, place: str) -> None:
    if not url.strip("\"'").startswith(("http://", "https://")) or url != url.strip():
        raise DataError(f"{place}: the address {url!r} is not a web address: it should be {EXAMPLE}.")
    if url != url.strip("\"'"):
        raise DataError(
            f"{place}: the address stands in quotes, which are taken as part of it: remove the quotes."
        )
    if not is_safe(url):
        raise DataError(
            f"{place}: the address {url} is plain http, over which anyone can read the key: it should be {EXAMPLE}."
        )
    if url.rstrip("/").endswith("/v2"):
        raise DataError(
            f"{place}: {url} is the old service, which was closed in 2024: it should be {EXAMPLE}."
        )
    if url.endswith("/"):
        raise DataError(f"{place}: the address {url} ends in a slash: write {url.rstrip('/')}.")
    if not url.endswith("/api"):
        raise DataError(f"{place}: the address {url} does not end in /api: it should be {EXAMPLE}.")


def _check_key(key: str, place: str) -> None:
    if not key.strip():
        raise DataError(f"{place}: the key is empty: copy the personal access token from your profile page.")
    if any(mark in key for mark in "\"'"):
        raise DataError(
            f"{place}: the key stands in quotes, which are taken as part of it: remove the quotes."
        )
    if ":" in key:
        raise DataError(
            f"{place}: the key has the old form '<user>:<key>', which the service no longer takes: copy the personal "
            "access token from your profile page."
        )
    if key != key.strip() or any(ord(letter) < 33 or ord(letter) > 126 for letter in key):
        raise DataError(
            f"{place}: the key holds a line break, a space or another stray letter: write the token alone, on a line."
        )
