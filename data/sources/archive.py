"""Zip archives of data files, as the Climate Data Store sends them when an answer has several parts.

Members are unpacked to a scratch folder, each checked against its checksum, within a bound of size, under
plain names, so that no archive can write elsewhere. Supports NetCDF and GRIB members; other members are
passed over. Does not support archives in archives or encrypted members.
"""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from data.errors import DataError
from data.sources.discover import DataFile, sniff
from data.sources.scratch import Scratch

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 2**30  # of all members of one archive, unpacked
MAX_RATIO = 200  # unpacked to packed, of archives that unpack to more than SMALL; fields come to 2 to 20
SMALL = 256 * 2**20
MAX_MEMBERS = 10_000
OTHER_SUFFIXES = {".txt", ".md", ".pdf", ".csv", ".json", ".html", ".xml", ".png", ".prov"}
_BLOCK = 2**20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


def unpack(file: DataFile, scratch: Scratch, max_bytes: int = MAX_BYTES) -> list[DataFile]:
    """The data files of an archive, unpacked below `scratch`.

    Raises:
        DataError: the archive is damaged, encrypted, too large for the bound or the disk, would write outside
            its folder, or holds no data file.
    """
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            _check_names(file, members)
            _check_size(file, members, scratch.path, max_bytes)
            folder = scratch.folder()
            found = [_unpack(file, archive, info, folder, i) for i, info in enumerate(members)]
    except _DAMAGED as error:
        raise DataError(
            f"{file.name}: the zip archive cannot be unpacked ({error}): get it again."
        ) from error
    readable = [member for member in found if _is_data(member)]
    if not readable:
        names = ", ".join(info.filename for info in members[:3]) or "nothing"
        raise DataError(f"{file.name}: the zip archive holds no NetCDF or GRIB file, but {names}.")
    return readable


def _check_names(file: DataFile, members: list[zipfile.ZipInfo]) -> None:
    for info in members:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", info.filename):
            raise DataError(
                f"{file.name}: member '{info.filename}' of the zip archive would be written outside its "
                "folder: do not trust this archive."
            )


def _check_size(file: DataFile, members: list[zipfile.ZipInfo], folder: Path, max_bytes: int) -> None:
    total, packed = sum(info.file_size for info in members), file.path.stat().st_size
    if len(members) > MAX_MEMBERS or (total > SMALL and total > MAX_RATIO * packed):
        raise DataError(
            f"{file.name}: the zip archive of {packed / 2**20:.3g} MiB says that it holds {len(members)} files of "
            f"{total / 2**30:.3g} GiB, which no archive of fields does: do not trust it."
        )
    if total > max_bytes:
        raise DataError(
            f"{file.name}: the zip archive unpacks to {total / 2**30:.1f} GiB, more than the "
            f"{max_bytes / 2**30:.3g} GiB that are allowed: unpack it yourself and give the folder as "
            "dataset.path."
        )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DataError(
            f"{file.name}: the zip archive unpacks to {total / 2**30:.1f} GiB and {folder.parent} has "
            f"{free / 2**30:.1f} GiB left: set TMPDIR to a larger disk."
        )


def _unpack(
    file: DataFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, index: int
) -> DataFile:
    """Writes one member; never more bytes than the archive declares, whatever the packed data unfolds to."""
    target = folder / f"{index:04d}-{PurePosixPath(info.filename).name}"
    left = info.file_size
    with archive.open(info) as source, target.open("wb") as sink:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise DataError(
                    f"{file.name}: member '{info.filename}' is larger than it says: get it again."
                )
            sink.write(block)
    return DataFile(target, f"{file.name}/{info.filename}")


def _is_data(member: DataFile) -> bool:
    """Whether a member is to be read; one that is named like data but is not raises."""
    if member.path.suffix.lower() in OTHER_SUFFIXES:
        return False
    if sniff(member) == "zip":
        raise DataError(f"{member.name}: an archive inside an archive is not supported: unpack it yourself.")
    return True
