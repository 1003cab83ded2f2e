"""One process at a time: who holds what is told, what the dead leave does not block."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import locks
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from pipeline import locks
with locks.holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a.zarr."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "a.zarr")]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_who_holds_it_is_told_and_a_dead_process_does_not_block(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path, lock = tmp_path / "a.zarr", tmp_path / "a.zarr.lock"
    who = rf"making {path} \(process {holder.pid} on {socket.gethostname()}, since 2\d+-.*\): wait until it is done"
    with pytest.raises(PipelineError, match=who), locks.holding(path):
        pass
    with locks.holding(tmp_path / "b.zarr"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert lock.exists()
    with locks.holding(path), locks.holding(path):  # a process may ask again
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_host_says_what_to_delete(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = tmp_path / "a.zarr.lock"
    lock.write_text(json.dumps({"process": 1, "host": "elsewhere", "since": "yesterday"}))
    words = f"process 1 on elsewhere, since yesterday.*if that host is lost delete {lock}"
    with pytest.raises(PipelineError, match=words), locks.holding(tmp_path / "a.zarr"):
        pass
    lock.unlink()  # as the message says
    with locks.holding(tmp_path / "a.zarr"):
        pass


@pytest.mark.parametrize(("host", "process", "blocks"), [("elsewhere", 1, True), ("", 2**22 + 1, False)])
def test_without_flock_what_the_lock_says_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, process: int, blocks: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = {"process": process, "host": host or socket.gethostname(), "since": "yesterday"}
    (tmp_path / "a.zarr.lock").write_text(json.dumps(left))
    if blocks:
        with pytest.raises(PipelineError, match="is lost delete"), locks.holding(tmp_path / "a.zarr"):
            pass
    else:
        with locks.holding(tmp_path / "a.zarr"):
            pass


def test_what_a_killed_process_wrote_half_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "a.zarr.lock").write_text('{"pro')
    with locks.holding(tmp_path / "a.zarr"):
        pass


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path, part = tmp_path / "a.zarr", tmp_path / "a.zarr.part"
    part.mkdir()
    locks.sweep(path, part)
    assert part.exists()
    holder.kill()
    holder.wait()
    with locks.holding(path):  # the process's own
        locks.sweep(path, part)
        assert part.exists()
    locks.sweep(path, part)  # no lock: it is being left for whoever goes on
    assert part.exists()
    (tmp_path / "a.zarr.lock").touch()
    locks.sweep(path, part)
    assert not list(tmp_path.iterdir())


def test_processes_that_share_in_the_work_of_another_do_not_ask(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with locks.holding(tmp_path / "a.zarr"):
        pass
