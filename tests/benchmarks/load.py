"""Time and memory of every stage as a dataset, its clusters and its runs grow: `python -m tests.benchmarks.load`.

Prints a Markdown table: the demo's record and one twenty times as long, a week of a thousand steps a
day, seven clusters and fifty, and a report of two runs and of two hundred. Every stage runs in a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("download", "prepare", "train", "embed", "cluster_report")
ONE_EPOCH = ("trainer.max_epochs=1", "cluster.surrogates=0")
SHORT = (
    *("dataset.end=2001-12-31", "dataset.deseasonalise=false", "dataset.variables=[z500,sst]", *ONE_EPOCH),
    *("window.length=6", "model.hidden_channels=8", "model.embedding_size=4"),  # what is made counts, not how
)


def measure(folder: Path, stage: str, *words: str) -> tuple[float, float]:
    """Runs a stage; its seconds, and the most megabytes that it held."""
    command = [
        sys.executable,
        "-m",
        f"pipeline.{stage}",
        *words,
        f"paths.store={folder}",
        f"paths.runs={folder}",
    ]
    started = time.monotonic()
    with (folder / "said.txt").open("w") as said:
        output = [(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)]
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=output)
        _, status, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit((folder / "said.txt").read_text(encoding="utf-8"))
    return time.monotonic() - started, used.ru_maxrss / 1024


def road(folder: Path, *words: str) -> dict[str, tuple[float, float]]:
    """All stages."""
    return {stage: measure(folder, stage, *words) for stage in STAGES}


def week(path: Path, steps_a_day: int = 1000, days: int = 7) -> None:
    """A record with many steps a day, as NetCDF."""
    count = steps_a_day * days
    walk = np.random.default_rng(0).standard_normal((count, 16, 24), dtype=np.float32).cumsum(axis=0)
    xr.Dataset(
        {"z500": (("time", "latitude", "longitude"), 50000 + 30 * walk, {"units": "m2 s-2"})},
        coords={
            "time": ("time", np.arange(count) / steps_a_day, {"units": "days since 2021-01-01"}),
            "latitude": ("latitude", np.linspace(70, 25, 16), {"units": "degrees_north"}),
            "longitude": ("longitude", np.linspace(-60, 32, 24), {"units": "degrees_east"}),
        },
    ).to_netcdf(path)


def many_runs(folder: Path, count: int) -> tuple[float, float]:
    """The report of so many seeds of one model."""
    seeds = f"seed={','.join(map(str, range(count)))}"
    for stage in ("download", "prepare"):
        measure(folder, stage, *SHORT)
    for stage in ("train", "embed"):
        measure(folder, stage, "--multirun", seeds, *SHORT)
    return measure(folder, "cluster_report", *SHORT)


def rows() -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """What is measured, by its name."""
    for name, words in (
        ("the demo, 1461 days", ()),
        ("20 times as long, 29 220 days", ("dataset.start=1941-01-01", "dataset.end=2020-12-31")),
    ):
        with tempfile.TemporaryDirectory() as place:
            yield name, road(Path(place), *ONE_EPOCH, *words)
            if not words:
                report = measure(Path(place), "cluster_report", *ONE_EPOCH, "cluster.k=50")
                yield "the demo, 50 clusters", {"cluster_report": report}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "week.nc"
        week(path)
        files = ("dataset=files", "dataset.name=week", f"dataset.path={path}", "dataset.deseasonalise=false")
        yield "a week, 7000 steps, one variable", road(Path(place), *ONE_EPOCH, *files)
    for count in (2, 200):
        with tempfile.TemporaryDirectory() as place:
            yield f"{count} runs of a year", {"cluster_report": many_runs(Path(place), count)}


def main() -> None:
    """Prints a row of a Markdown table as each is measured."""
    print("| |", " | ".join(STAGES), "|\n|" + " --- |" * (len(STAGES) + 1))  # noqa: T201
    for name, found in rows():
        cells = (f"{found[s][0]:.0f} s, {found[s][1]:.0f} MB" if s in found else "" for s in STAGES)
        print(f"| {name} |", " | ".join(cells), "|", flush=True)  # noqa: T201


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
