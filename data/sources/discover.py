"""Which files a path means: one file, a folder with all below it, a glob, or a list of these.

Recognises NetCDF (classic and HDF5), GRIB and zip by their first bytes, never by their names alone. In a
folder, other files are passed over, but one that is named like data and is not data is an error. Does not
support remote addresses.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from data.errors import DataError

log = logging.getLogger(__name__)

DATA_SUFFIXES = {
    ".nc",
    ".nc3",
    ".nc4",
    ".cdf",
    ".netcdf",
    ".grib",
    ".grib1",
    ".grib2",
    ".grb",
    ".grb2",
    ".zip",
}
PARTIAL_SUFFIXES = {".part", ".partial", ".tmp", ".crdownload"}

_MAGIC = {
    b"CDF\x01": "netcdf3", b"CDF\x02": "netcdf3", b"CDF\x05": "netcdf3", b"\x89HDF\r\n\x1a\n": "netcdf4",
    b"GRIB": "grib", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip",
}  # fmt: skip
_FOREIGN = {
    b"<": "a web page or XML text, often an error message of a server: get it again",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"BZh": "a bzip2 archive: unpack it",
    b"\xfd7zXZ": "an xz archive: unpack it",
    b"\x0e\x03\x13\x01": "HDF4: convert it to NetCDF",
}


@dataclass(frozen=True)
class DataFile:
    """A file to read: where it lies and what messages call it (its name, from dataset.path on)."""

    path: Path
    name: str


def find_files(path: str | Path | Sequence[str | Path]) -> list[DataFile]:
    """The data files that `path` means, in natural order (part2 before part10).

    Raises:
        DataError: nothing is there, nothing of it can be read, or a file named like data is not.
    """
    if isinstance(path, Sequence) and not isinstance(path, str):
        found = [file for entry in path for file in find_files(entry)]
        return list({file.path: file for file in found}.values())
    text = str(Path(path).expanduser())
    if "://" in str(path):
        raise DataError(
            f"dataset.path '{path}' is a remote address, which is not supported: give a local path."
        )
    try:
        if Path(text).is_file():
            return [DataFile(Path(text), Path(text).name)]
        return _chosen(str(path), list(_listed(text)), _base(text))
    except OSError as error:
        reason = f"{error.strerror}): check that you may read it"
        raise DataError(f"dataset.path '{error.filename}' cannot be read ({reason}.") from error


def _listed(text: str) -> Iterator[Path]:
    """All files of a folder or a glob; hidden files and Zarr stores are left out."""
    if Path(text).is_dir():
        yield from _walk(Path(text))
    elif glob.has_magic(text):
        for match in glob.iglob(text, recursive=True):  # noqa: PTH207 - the pattern may be absolute
            if Path(match).is_file():
                yield Path(match)
    else:
        raise DataError(f"dataset.path '{text}' does not exist: give a file, a folder or a glob.")


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not name.endswith(".zarr")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _base(text: str) -> Path:
    """The folder from which files are named: of a glob, the part before its first wildcard."""
    parts = Path(text).parts
    fixed = [part for i, part in enumerate(parts) if not any(glob.has_magic(p) for p in parts[: i + 1])]
    return Path(*fixed) if fixed else Path()


def _chosen(asked: str, paths: list[Path], base: Path) -> list[DataFile]:
    files = [DataFile(path, path.relative_to(base).as_posix()) for path in paths]
    chosen = [file for file in sorted(files, key=_natural) if _is_data(file)]
    if not chosen:
        others = ", ".join(sorted(file.name for file in files)[:3]) or "nothing"
        hint = "a Zarr store, which this source does not read" if _is_zarr(base) else f"it holds {others}"
        raise DataError(f"dataset.path '{asked}' holds no NetCDF, GRIB or zip file: {hint}.")
    return chosen


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _natural(file: DataFile) -> list[tuple[int, Any]]:
    return [
        (0, int(part)) if part.isdigit() else (1, part.casefold()) for part in re.split(r"(\d+)", file.name)
    ]


def _is_data(file: DataFile) -> bool:
    suffix = file.path.suffix.lower()
    if suffix in PARTIAL_SUFFIXES:
        log.warning("%s is passed over: it looks like an unfinished download", file.name)
        return False
    if suffix in DATA_SUFFIXES:
        sniff(file)
        return True
    try:
        return _match(_MAGIC, _head(file)) is not None
    except DataError:
        return False


def sniff(file: DataFile) -> str:
    """'netcdf3', 'netcdf4', 'grib' or 'zip', by the file's first bytes.

    Raises:
        DataError: it cannot be opened, is empty, or is something else; the message says what.
    """
    head = _head(file)
    if not head:
        raise DataError(f"{file.name}: the file is empty (0 bytes): get it again.")
    if form := _match(_MAGIC, head):
        return form
    foreign = _match(_FOREIGN, head.lstrip())
    seen = f"it is {foreign}" if foreign else f"it begins with {head[:8]!r}: get it again"
    raise DataError(f"{file.name}: not a NetCDF, GRIB or zip file: {seen}.")


def _head(file: DataFile) -> bytes:
    with _readable(file) as stream:
        return stream.read(16)


@contextmanager
def _readable(file: DataFile) -> Iterator[BufferedReader]:
    try:
        with file.path.open("rb") as stream:
            yield stream
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{file.name}: cannot be opened ({reason}): check that you may read it.") from error


def _match(table: dict[bytes, str], head: bytes) -> str | None:
    return next((kind for magic, kind in table.items() if head.startswith(magic)), None)


def digest(file: DataFile) -> dict[str, Any]:
    """Name, size and SHA-256 of a file, read once as long as it does not change."""
    state = file.path.stat()
    return {
        "name": file.name,
        "size": state.st_size,
        "sha256": _sha256(file, state.st_mtime_ns, state.st_size),
    }


@lru_cache(maxsize=100_000)
def _sha256(file: DataFile, *state: int) -> str:  # noqa: ARG001 - what tells that the file has changed
    with _readable(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
