"""The arithmetic of docs/scaling.md: `python -m tests.benchmarks.scaling`, with rates measured by `--measure`.

Bytes, operations, memory and core hours of each stage, from the size of a dataset and a few rates. Rates are of one
core, by the processor's time and not the clock's, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from models import cost
from tests.benchmarks import loader, prepare, training

# of one core of an AMD EPYC virtual machine, torch 2.13 CPU: see `measure` for what each is
RATES = {
    "prepare": 5.37e7,
    "load": 1.29e8,
    "train": 1.25e4,
    "embed": 6.11e4,
    "product": 5.8e10,
    "flops": 9720,
}
LENGTH, STRIDE, EPOCHS, EMBEDDING, HIDDEN, TRAINED = 12, 4, 16, 16, 32, 0.7  # the defaults of conf/


class Dataset(NamedTuple):
    """A dataset's size: steps that are prepared, raw values behind each of theirs, variables, grid."""

    name: str
    steps: int
    raw_values: int
    variables: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def step_bytes(self) -> int:
        return 4 * self.variables * self.pixels


DATASETS = (
    Dataset("azores2021", 365, 24, 7, 41, 41),
    Dataset("euroatlantic 1979-2024", 16802, 1, 3, 241, 481),
    Dataset("the same, coarsen=4", 16802, 16, 3, 60, 120),
    Dataset("global, hourly, 1940-2024", 745128, 1, 3, 721, 1440),
    Dataset("the same, daily, coarsen=4", 31047, 24 * 16, 3, 180, 360),
)


def costs(held: Dataset, rates: dict[str, float]) -> dict[str, str]:
    """What the stages take, as they are shown."""
    prepared = held.steps * held.step_bytes
    raw = prepared * held.raw_values
    windows = TRAINED * held.steps / STRIDE
    flops = rates["flops"] * held.pixels * LENGTH  # of a window, forward
    pairs = 2 * held.steps**2 * held.variables * held.pixels
    return {
        "raw, uncompressed": size(raw),
        "prepared, uncompressed": size(prepared),
        "prepare, core hours": hours(raw / rates["prepare"]),
        "a window": size(LENGTH * held.step_bytes),
        "hidden maps of a window": size(4 * LENGTH * HIDDEN * held.pixels),
        "operations of a window, forward": f"{flops:.2g}",
        "windows an epoch": f"{windows:.3g}",
        "operations of training": f"{3 * flops * windows * EPOCHS:.2g}",
        "train, core hours": hours(windows * EPOCHS * held.pixels / rates["train"]),
        "load, core hours": hours(EPOCHS * TRAINED * prepared / rates["load"]),
        "embed, core hours": hours(held.steps * held.pixels / rates["embed"]),
        "embeddings": size(4 * held.steps * EMBEDDING),
        "report, memory": size(prepared),
        "distances in data space, core hours": hours(pairs / rates["product"]),
    }


def size(count: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def hours(seconds: float) -> str:
    """Seconds as hours, with two digits that count."""
    return f"{seconds / 3600:.2g}"


def table(rates: dict[str, float]) -> str:
    """Markdown, a column a dataset."""
    columns = [costs(held, rates) for held in DATASETS]
    rows = [["", *(held.name for held in DATASETS)], ["---"] * (1 + len(DATASETS))]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def measure() -> dict[str, float]:
    """The rates: raw bytes prepared, bytes loaded, pixels x windows trained and embedded, operations, a second."""
    torch.set_num_threads(1)
    side = training.GRID[0] * training.GRID[1]
    module = training.module("faconvlstm")
    step, batch = training.step("faconvlstm"), training.batch()
    with torch.no_grad():
        embedding = _seconds(lambda: module.autoencoder.embed(batch["x"], batch["season"]), 3)
    matrix = np.ones((2000, 2000), np.float32)
    return {
        "prepare": _prepared(),
        "load": _loaded(),
        "train": training.BATCH * side / _seconds(step, 5),
        "embed": training.BATCH * side / embedding,  # every step begins a window
        "product": 2 * 2000.0**3 / _seconds(lambda: matrix @ matrix, 3),
        "flops": cost.flops_per_window(module.autoencoder, LENGTH, 8) / (LENGTH * side),
    }


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    """Of the processor, after a call that is not counted."""
    function()
    started = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - started) / repeats


def _prepared() -> float:
    record = prepare.MAIN._replace(threads=1)
    with tempfile.TemporaryDirectory() as name:
        prepare.make(record, Path(name) / "raw.zarr")
        started = time.process_time()
        prepare.prepare(Path(name) / "raw.zarr", Path(name), record)
        return record.raw_bytes() / (time.process_time() - started)


def _loaded() -> float:
    setting = loader.REGIONAL._replace(steps=730)
    with tempfile.TemporaryDirectory() as name, loader.streaming(setting):
        held = loader.fields.make(Path(name) / "store.zarr", *setting[:4])
        started = time.process_time()
        loader._epoch(held, setting)
        return held["x"].nbytes / (time.process_time() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help="the rates of this machine rather than those kept here"
    )
    rates = measure() if parser.parse_args().measure else RATES
    sys.stdout.write(
        f"{json.dumps({name: float(f'{rate:.3g}') for name, rate in rates.items()})}\n\n{table(rates)}"
    )
