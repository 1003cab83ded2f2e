"""Which addresses data may come from: https anywhere, plain http from this machine alone.

What comes over plain http could be another's, and a key that is sent over it is everybody's. Supports the sessions of
requests and of aiohttp, whose redirects are looked at one by one.
"""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import requests

KEY_HEADER = "PRIVATE-TOKEN"  # of the Climate Data Store; requests knows only Authorization
WANTED = "only https addresses are followed, and http ones of this machine"


class UnsafeAddressError(requests.exceptions.InvalidURL):
    """An address that is not followed; the text says which and why."""


def is_safe(address: str) -> bool:
    """Whether an address is https, or http on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(address: str, origin: str = "") -> None:
    """Checks an address, and where it was reached from another that it is not less safe than that.

    Raises:
        UnsafeAddressError: if it is not to be followed; what stands behind its path is left out of the message.
    """
    scheme = urlsplit(origin).scheme
    if is_safe(address) and not (scheme == "https" and urlsplit(address).scheme != "https"):
        return
    shown = address.split("?")[0][:120]
    sent = f"{urlsplit(origin).hostname} leads to {shown!r}" if origin else f"its address is {shown!r}"
    raise UnsafeAddressError(f"{sent}, and {WANTED}")


class Session(requests.Session):
    """Follows safe addresses only, and gives the key to no other host than the one that it is for."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Sends a request; each of a chain of redirects comes this way.

        Raises:
            UnsafeAddressError: as check.
        """
        check(request.url or "")
        return super().send(request, **options)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads to.

        Raises:
            UnsafeAddressError: as check.
        """
        target = super().get_redirect_target(resp)
        try:
            if target is not None:
                check(urljoin(resp.url, target), resp.url)
        except UnsafeAddressError:
            resp.close()
            raise
        return target

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Takes the key off a request that goes to another host."""
        super().rebuild_auth(prepared_request, response)
        if self.should_strip_auth(response.request.url or "", prepared_request.url or ""):
            prepared_request.headers.pop(KEY_HEADER, None)


def watched() -> aiohttp.TraceConfig:
    """What makes a session of aiohttp look at its redirects."""

    async def look(_: Any, __: SimpleNamespace, step: aiohttp.TraceRequestRedirectParams) -> None:
        target = step.response.headers.get("Location") or step.response.headers.get("URI") or ""
        check(urljoin(str(step.url), target), str(step.url))

    found = aiohttp.TraceConfig()
    found.on_request_redirect.append(look)
    return found
