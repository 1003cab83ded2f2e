"""Run the benchmarks: `python -m tests.benchmarks [--only PREFIX] [--full] [--folder runs/bench]`.

Writes `bench.json` (one entry a figure; a run with `--only` keeps the others), `bench.svg` and `growth.svg`, and
prints a table. Figures are ratios of what was measured side by side, so they hold on a busy machine; seconds do not.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import encoders, layers, loader, plot, prepare


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="figures that begin so, such as faconvlstm.forward")
    parser.add_argument("--full", action="store_true", help="all grids, channels and threads: about an hour")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="where the results go")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "bench.json"
    found = json.loads(path.read_text()) if path.exists() and options.only else {}
    _say(f"{machine()}\n{'figure':58s} {'ratio':>7s} {'low':>7s} {'high':>7s}  against")
    for name, figure in _wanted(options.only, options.full):
        found[name] = {**figure, "machine": machine()}
        _say(
            f"{name:58s} {figure['ratio']:7.2f} {figure['low']:7.2f} {figure['high']:7.2f}  {figure['against']}"
        )
        path.write_text(json.dumps(found, indent=1) + "\n")
        (options.folder / "bench.svg").write_text(plot.speedups(found))
        (options.folder / "growth.svg").write_text(plot.growth(found))
    _say(f"Written: {path}, bench.svg and growth.svg beside it")


def machine() -> str:
    """Name the processor, its cores and the version of torch."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _wanted(only: str, full: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in (layers, encoders, prepare, loader):
        yield from part.figures(full, only)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
