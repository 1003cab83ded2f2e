"""Where a store lies: a folder of this machine, or an object store at an address that fsspec knows.

Addresses are s3://bucket/prefix, gs://…, abfs://… and the like; each needs its client (s3fs, gcsfs, adlfs), which
takes credentials and endpoint from where it always does: no setting of the project holds them. What this module gives
for an address has the ways of a Path (universal_pathlib), so that the rest of the project need not care. A folder of
this machine is a plain Path. On an object store a put is whole or not at all; there are no renames and no locks.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from functools import cache
from pathlib import Path
from typing import Any, cast

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from data.errors import DataError

CLIENTS = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
}  # by protocol, those that are packages of their own
FRESH = {"use_listings_cache": False}  # others write there too
ERRORS = (
    "aiobotocore",
    "botocore",
    "aiohttp",
    "gcsfs",
    "google",
    "azure",
    "s3fs",
    "fsspec",
)  # whose they are


def is_address(text: str) -> bool:
    """Whether it is an address of an object store rather than a folder."""
    return "://" in text


def is_remote(path: Path) -> bool:
    """Whether a place lies in an object store."""
    return not isinstance(path, Path)


def place(text: str) -> Path:
    """A folder, or what stands at an address and has the ways of a Path.

    Raises:
        DataError: if nothing here can reach the address.
    """
    return _at(text) if is_address(text) else Path(text)


@cache
def _at(address: str) -> Path:
    protocol = address.partition("://")[0]
    client = CLIENTS.get(protocol)
    if client and importlib.util.find_spec(client) is None:
        raise DataError(f"{address} needs {client}: install it with `pip install {client}`.")
    from upath import UPath

    open_at: Any = UPath

    for talker in ("botocore", "aiobotocore"):  # where they found credentials is nobody's news
        logging.getLogger(talker).setLevel(logging.WARNING)
    try:
        found = open_at(address, **FRESH)
        _try(found, address)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            f"{address}: {_first_line(error)}: give a folder or an address such as s3://…"
        ) from error
    except Exception as error:  # each client has errors of its own
        raise DataError(unreached(address, error)) from error
    return cast(Path, found)


def _try(found: Any, address: str) -> None:
    """Asks for an object that is not there, so that a wrong bucket or credential is told before any work."""
    try:
        found.fs.cat_file(f"{found.path.rstrip('/')}/.nothing")
    except FileNotFoundError as error:
        if "bucket does not exist" in str(error):
            raise DataError(
                f"{address}: there is no such bucket; make it, or correct the address."
            ) from error


def unreached(address: str, error: Exception) -> str:
    """The sentence for an object store that does not answer, or refuses."""
    return (
        f"{address} cannot be reached ({type(error).__name__}: {_first_line(error)}): check the address, the "
        "credentials and the endpoint where its client looks for them."
    )


def is_clients(error: BaseException) -> bool:
    """Whether an error is that of an object store's client."""
    return type(error).__module__.partition(".")[0] in ERRORS


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")[:200]


def store_at(path: Path) -> Store:
    """The store at a place, as zarr has it, read only."""
    if is_remote(path):
        return FsspecStore.from_url(str(path), storage_options=FRESH, read_only=True)
    return LocalStore(path, read_only=True)


def zarr_at(path: Path) -> dict[str, Any]:
    """The arguments by which zarr and xarray find a store."""
    return {"store": str(path), "storage_options": FRESH} if is_remote(path) else {"store": path}


def count_files(path: Path) -> int:
    """Files, or objects, of a store."""
    if is_remote(path):
        return len(cast(Any, path).fs.find(cast(Any, path).path))
    return sum(1 for file in path.rglob("*") if file.is_file())


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if is_remote(path):
        if path.exists():
            cast(Any, path).fs.rm(cast(Any, path).path, recursive=True)
    elif path.is_dir() and not path.is_symlink():  # of a link the link goes, never what it leads to
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
