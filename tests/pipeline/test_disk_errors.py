"""What is said when the operating system refuses something, also beneath what a library makes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline import disk

ROOTS = ("store", "runs")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no room to write {path} (No space left on device): make space, or set paths.store"),
        (errno.EDQUOT, "no room to write {path} (Disk quota exceeded)"),
        (errno.EFBIG, "no room to write {path} (File too large)"),
        (errno.EROFS, "{path} lies on a disk that is read-only: set paths.store and paths.runs"),
        (
            errno.EACCES,
            "{path} is closed to this user (Permission denied): change its permissions (chmod u+rwX",
        ),
        (errno.ENOENT, "{path} is not there (No such file or directory): check the path"),
        (errno.EIO, "the disk fails at {path} (Input/output error)"),
        (errno.EISDIR, "Is a directory: {path}."),
    ],
)
def test_a_sentence_for_every_refusal(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "none" / "a.nc"
    said = disk.sentence(OSError(number, os.strerror(number), str(path)), ROOTS)
    assert said.startswith(words.format(path=path))
    if number == errno.EACCES:
        assert f"chmod u+rwX {tmp_path})" in said


def test_a_full_disk_is_seen_beneath_the_error_of_a_library() -> None:
    error = RuntimeError("unexpected pos 64 vs 0")  # as torch says it
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    found = disk.refusal(error)
    assert found is not None
    assert disk.sentence(found, ROOTS).startswith("no room to write store or runs (No space left")


def test_a_bug_stays_a_bug() -> None:
    bug = KeyError("a")
    bug.__context__ = FileNotFoundError(errno.ENOENT, "No such file", "a")
    assert disk.refusal(bug) is None
    assert disk.refusal(OSError("no number")) is None
