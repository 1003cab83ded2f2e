"""azores2021 whole against a loopback Climate Data Store: seconds and peak memory of download, verify and prepare.

`python -m tests.benchmarks.azores2021 [folder]`. Every stage runs in a process of its own; the service in this one.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.cds_server import KEY, FakeCds

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]

# Reports the memory of the stage itself: what a process that starts it holds is not counted.
MEASURED = """
import os, sys, time, resource, importlib
from pipeline import command
started = time.monotonic()
name = sys.argv[1]
sys.argv = sys.argv[1:]
module = importlib.import_module("pipeline." + name)
try:
    command.run(getattr(module, name))
finally:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(f"{name}: {time.monotonic() - started:.1f} s, peak {peak / 1024:.0f} MB resident", file=sys.stderr)
"""


def main(folder: Path) -> None:
    """Runs the stages, each of which says its seconds and its memory on standard error."""
    server = FakeCds(["accepted", "running", "successful"]).start()
    words = [
        "dataset=azores2021",
        "dataset.transfer.poll_seconds=0.3",
        f"paths.store={folder}",
        f"paths.runs={folder}",
    ]
    env = {**os.environ, "CDSAPI_URL": server.url, "CDSAPI_KEY": KEY}
    started = time.monotonic()
    for stage in ("download", "download", "verify", "prepare"):
        pid = os.spawnve(os.P_NOWAIT, sys.executable, [sys.executable, "-c", MEASURED, stage, *words], env)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{stage} failed")
    log.info("%d requests, %.0f s in all", server.posts, time.monotonic() - started)
    server.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
