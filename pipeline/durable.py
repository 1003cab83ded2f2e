"""Files and folders written so that they survive a power cut.

A rename is durable once the folder that holds the name is flushed, and what is renamed has to be on the disk before:
otherwise a manifest may outlive the files that it declares whole. In an object store a put is durable, and whole or
not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from data import places


def write_text(path: Path, text: str) -> None:
    """Writes a file: under another name first, flushed to the disk, then renamed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    if places.is_remote(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    if places.is_remote(path):
        return
    if path.is_dir():
        for inner in path.iterdir():
            flush(inner)
    _sync(path)


def flush_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(part: Path, path: Path) -> None:
    """Puts what was written under another name, and is on the disk, into its place, where nothing is any more."""
    places.remove(path)
    part.replace(path)
    flush_folder(path.parent)
