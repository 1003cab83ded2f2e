"""Runs stages in processes of their own, forked from one that has imported everything: a run costs no imports.

Reads one JSON object a line: stage, words, folder (the working directory), said (a file for its output), env; and
what is to befall the run:
kill_at (it kills itself at its n-th file operation), file_size (no file may grow beyond it), user (a number).
Answers with the process's number, and when it has ended with its exit status and how many file operations it did.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR
WARM = (
    "evaluation.assessment",
    "evaluation.report",
    "pipeline.encoding",
    "data.sources.cds",
    "pipeline.scoring",
)
STAGES = ("download", "prepare", "train", "embed", "cluster_report", "ablation")


class Operations:
    """Counts the operations by which a process changes files under its folder, and ends it at one of them."""

    def __init__(self, folder: str, kill_at: int | None) -> None:
        self.folder, self.kill_at, self.count = folder, kill_at, 0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        if not writes and event not in OPERATIONS:
            return
        if not self._is_within(arguments[0]):
            return
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_within(self, path: Any) -> bool:
        """Whether a path is in the folder; a descriptor is taken to be."""
        return isinstance(path, int) or os.path.abspath(os.fsdecode(path)).startswith(self.folder)  # noqa: PTH100


def run(order: dict[str, Any], told: int, output: int) -> int:
    """A stage in this process; its exit status."""
    os.environ.update(order.get("env", {}))
    os.chdir(order["folder"])
    os.dup2(output, 1)
    os.dup2(output, 2)
    if "user" in order:
        os.setuid(order["user"])
    if "file_size" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], resource.RLIM_INFINITY))
    operations = Operations(str(Path(order["folder"]).resolve()), order.get("kill_at"))
    sys.addaudithook(lambda event, arguments: operations.hear(event, arguments))
    sys.argv = [order["stage"], *order["words"]]
    status = 0
    try:
        stage = importlib.import_module(f"pipeline.{order['stage']}")
        importlib.import_module("pipeline.command").run(getattr(stage, order["stage"]))
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    os.write(told, str(operations.count).encode())
    return status


def main() -> None:
    """Serves until its input ends."""
    for name in (*WARM, *(f"pipeline.{stage}" for stage in STAGES)):
        importlib.import_module(name)
    for line in sys.stdin:
        (reading, writing), (hearing, speaking) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = run(json.loads(line), writing, speaking)
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(writing)
        os.close(speaking)
        print(pid, flush=True)  # noqa: T201
        with os.fdopen(hearing, "rb") as pipe:  # a file would have the limits that the run has
            Path(json.loads(line)["said"]).write_bytes(pipe.read())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, os.read(reading, 20).decode() or 0, flush=True)  # noqa: T201
        os.close(reading)


if __name__ == "__main__":
    main()
