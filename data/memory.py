"""How much memory this process may still take, on the machine or in its container."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # version 2, as containers and batch systems have it
UNKNOWN = 4 * 2**30  # assumed where the system does not tell


def available() -> int:
    """Bytes that can be taken without swapping, within the limit of the container."""
    return max(min(_of_machine(), _of_container()), 0)


def _of_machine() -> int:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return UNKNOWN


def _of_container() -> int:
    """What the container's limit leaves; what its page cache holds can be taken back."""
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        taken = int((CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        )
    except (OSError, ValueError):  # no container, or "max": no limit
        return 2**63
    return limit - taken + int(stat.get("inactive_file", 0))
