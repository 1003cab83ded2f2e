"""A small record through all stages, in folders that can be copied, and what of it no disturbance may change."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    *("dataset.start=2001-01-01", "dataset.end=2002-12-31", "dataset.variables=[z500,sst]"),
    *("window.length=6", "window.stride=6", "model.hidden_channels=8", "model.embedding_size=4"),
    *("trainer.max_epochs=3", "trainer.accelerator=cpu", "trainer.checkpoint_minutes=0.005"),
    *("cluster.k=3", "cluster.n_init=2", "cluster.surrogates=2", "cluster.resamples=20", "compute.workers=1"),
)
WALL_CLOCK = ("started", "seconds", "train_step_seconds")  # entries that are left out of comparisons


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status, file operations, what it said, and how long it took."""

    status: int
    operations: int
    said: str
    seconds: float


@dataclass
class Stages:
    """Runs stages; see tests/faults/launcher.py."""

    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self,
        stage: str,
        folder: Path,
        words: tuple[str, ...] = WORDS,
        *,
        after: float | None = None,
        **fate: Any,
    ) -> Ended:
        """A stage to its end, or to a kill `after` seconds.

        Args:
            stage: its name.
            folder: the working directory, with store and runs in it.
            words: settings.
            after: seconds to a kill -9; None for none.
            fate: kill_at, file_size, user, env.
        """
        said = folder.with_name(f"{folder.name}-said.txt")
        order = {"stage": stage, "words": list(words), "folder": str(folder), "said": str(said), **fate}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        pid, started = int(self._line()), time.monotonic()
        if after is not None:
            _kill_after(pid, after)
        status, operations = map(int, self._line().split())
        return Ended(status, operations, said.read_text(encoding="utf-8"), time.monotonic() - started)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the launcher has ended"
        return line

    def close(self) -> None:
        """Ends the launcher."""
        self.process.kill()
        self.process.communicate()


def _kill_after(pid: int, seconds: float) -> None:
    """Kills a process that the launcher has not waited for yet, or finds that it has ended."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(min(0.005, max(ends - time.monotonic(), 0)))
        if _has_ended(pid):
            return
    if not _has_ended(pid):
        os.kill(pid, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def content(folder: Path) -> dict[str, str]:
    """The sha256 of every file of every artifact under a folder, without what tells the time."""
    held = [path for name in ("store", "runs") for path in (folder / name).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(_timeless(path)).hexdigest()
        for path in held
        if path.name not in ("journal.jsonl", "lock")  # the requests of a download, with numbers and times
    }


def _timeless(path: Path) -> bytes:
    if path.name.endswith(".manifest.json"):
        return _manifest(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "training.csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
    if path.suffix == ".ckpt":
        return json.dumps(_plain(torch.load(path, weights_only=True)), sort_keys=True).encode()
    return path.read_bytes()


def _manifest(manifest: dict[str, Any]) -> bytes:
    """Without times, and the sizes and checksums of files that hold times; those files are compared themselves."""
    del manifest["seal"]
    for name in manifest["files"]:
        if name.endswith((".ckpt", ".csv")):
            manifest["files"][name] = "compared itself"
    return json.dumps(_plain(manifest), sort_keys=True).encode()


def _plain(value: Any) -> Any:
    """JSON without entries of the wall clock; rows of the training curve end with seconds."""
    if isinstance(value, dict):
        kept = {str(k): _plain(v) for k, v in value.items() if k not in WALL_CLOCK}
        if "rows" in kept:
            kept["rows"] = [row[:-1] for row in kept["rows"]]
        return kept
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.numpy().tobytes()).hexdigest()]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
