"""What lies in an artifact: the list of its files for the manifest, and whether they still are what was written.

Sizes of all files are looked at before every use, and the sha256 of all but the chunks of Zarr stores, which carry a
checksum each that is compared when the chunk is read: a record may be larger than what can be read twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from data import places

Files = Mapping[str, Sequence[int | str | None]]  # by name: bytes, and sha256 or None


def listing(path: Path, held: Iterable[Path]) -> dict[str, list[int | str | None]]:
    """Files by their names, relative to an artifact: bytes, and sha256 where one is not a chunk.

    Args:
        path: the artifact, a file or a folder.
        held: its files.
    """
    return {
        os.path.relpath(str(file), str(path)): [
            file.stat().st_size,
            None if _is_chunk(file, path) else sha256(file),
        ]
        for file in held
    }


def files(path: Path) -> Iterator[Path]:
    """All files in a folder, at any depth; or the file itself."""
    if path.is_dir():
        yield from sorted(inner for inner in path.rglob("*") if inner.is_file())
    else:
        yield path


def sizes(path: Path) -> dict[str, int]:
    """Bytes of all objects of a store in an object store, by their names in it, from few requests."""
    at = cast(Any, path)
    found = at.fs.find(at.path, detail=True)
    return {name.removeprefix(at.path).lstrip("/"): int(told["size"]) for name, told in found.items()}


def _is_chunk(file: Path, path: Path) -> bool:
    return ".zarr" in path.suffixes and "c" in file.parts[len(path.parts) + 1 :]


def sha256(file: Path) -> str:
    """The checksum of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damage(path: Path, listed: Files) -> str | None:
    """What is first found to differ from a listing; None where nothing does."""
    there = sizes(path) if places.is_remote(path) else {}
    for name, (size, checksum) in listed.items():
        file = path.parent / name.removeprefix("../") if name.startswith("../") else path / name
        try:
            found = there[name] if name in there else file.stat().st_size
            if found != size:
                return f"its file {name} has {found} bytes in place of {size}"
            if checksum is not None and sha256(file) != checksum:
                return f"its file {name} has other bytes than were written"
        except (FileNotFoundError, NotADirectoryError):
            return f"its file {name} is not there"
    return None
