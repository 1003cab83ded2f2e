"""One process at a time at an artifact, on this machine and on others that share the disk.

A lock is a file beside the artifact, held by flock: it is free again when its process ends, however that ends, and
what it says (process, host, since when) is for people. Where the file system has no flock, what it says decides, and
a lock that another host left has to be deleted by hand. See docs/faults.md on network file systems.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data import places
from pipeline.errors import PipelineError

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # above 0 in a process that shares in the work of another
NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_mine: set[Path] = set()  # held by this process, which may ask again


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Keeps other processes from making the same artifact; in an object store, which has no locks, it does nothing.

    Raises:
        PipelineError: if one is at it; the message says which.
    """
    lock = _lock(path)
    if lock is None or lock in _mine:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _take(lock, path)
    _mine.add(lock)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(_me()).encode())
        yield
    finally:
        _mine.discard(lock)
        lock.unlink(
            missing_ok=True
        )  # while it is held: whoever waits for this file sees that it is another's
        os.close(handle)


def sweep(path: Path, *left: Path) -> None:
    """Removes the lock of a process that was killed once the artifact was there, and what else it left."""
    lock = _lock(path)
    if lock is None or lock in _mine or not lock.exists():
        return
    with suppress(PipelineError, OSError), holding(path):  # a living one's, or not this user's to remove
        for stray in left:
            places.remove(stray)


def _lock(path: Path) -> Path | None:
    """The lock's file; None where there are no locks, and in a process whose first one holds it."""
    if places.is_remote(path) or any(os.environ.get(name, "0") not in ("", "0") for name in RANKS):
        return None
    return path.absolute().with_name(f"{path.name}.lock")


def _take(lock: Path, path: Path) -> int:
    """The lock's file, open and held."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = False
        except OSError as error:
            held = error.errno not in NO_FLOCK or _lives(_holder(lock))
        if held:
            os.close(handle)
            raise PipelineError(_refusal(path, lock, _holder(lock)))
        if _is_there(handle, lock):
            return handle
        os.close(handle)  # its holder removed it between the two steps


def _is_there(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": now}


def _holder(lock: Path) -> dict[str, Any]:
    try:
        found = json.loads(lock.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process of a lock may be there still; of other hosts that cannot be known."""
    if holder.get("host") != socket.gethostname():
        return bool(holder)
    return Path(f"/proc/{holder.get('process')}").exists()


def _refusal(path: Path, lock: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"another process is making {path}: wait until it is done."
    who = f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}"
    lost = f", and if that host is lost delete {lock}" if holder.get("host") != socket.gethostname() else ""
    return f"another process is making {path} ({who}): wait until it is done or end it{lost}."
