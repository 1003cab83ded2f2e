"""Prepare against a plain copy: bytes a second, both on the same threads, in turns.

The copy opens the raw store as dask arrays, one chunk a raw shard, rechunks them to the prepared store's shards,
compresses them likewise and writes them. Prepare reads the record twice, fits a climatology, and writes as much.
Records are made of waves that travel and noise, in 16 significant bits as reanalyses are packed, and in all 24.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import pandas as pd
import xarray as xr

from data import store
from data.fields import Fields
from data.options import Options
from data.periods import Periods
from models.cost import resident_rise
from pipeline import compute
from pipeline.prepare import fit, write
from tests.benchmarks import peak
from tests.benchmarks.timing import interleave, ratio

SPLIT = {"validation": 0.15, "test": 0.15, "gap": 2}


class Record(NamedTuple):
    """Steps, rows, columns and variables, the bits of a value that matter, threads, days from step to step."""

    steps: int
    height: int
    width: int
    variables: int = 3
    bits: int = 16
    threads: int = 2
    days_apart: float = 1

    def label(self) -> str:
        return (
            f"{self.steps}x{self.height}x{self.width}x{self.variables}.{self.bits}bits.{self.threads}threads"
        )

    def raw_bytes(self) -> int:
        return 4 * self.steps * self.height * self.width * self.variables


MAIN = Record(730, 121, 240)
GLOBAL = Record(60, 721, 1440, days_apart=12)  # two years, so that they have a climatology
QUICK = [MAIN]
FULL = [MAIN, MAIN._replace(bits=24), MAIN._replace(threads=1), Record(4000, 41, 41, 7), GLOBAL]
LONGER = 4  # times, of a record that must not take more memory
Figure = tuple[str, dict[str, Any]]


def figures(full: bool, only: str = "") -> Iterator[Figure]:
    """Measure the figures that begin with `only`; the main record's has no record in its name."""
    for record in FULL if full else QUICK:
        name = "prepare.rate" + ("" if record == MAIN else f".{record.label()}")
        if name.startswith(only):
            yield name, _rate(record)
    if full and "prepare.memory".startswith(only) and peak.available():
        yield "prepare.memory", _memory(GLOBAL)


def _memory(record: Record) -> dict[str, Any]:
    """The memory that preparing a record LONGER times as long takes, over that of the record itself."""
    longer = record._replace(steps=LONGER * record.steps, days_apart=record.days_apart / LONGER)
    with tempfile.TemporaryDirectory() as name:
        taken = {one.steps: peak_of(one, Path(name) / f"{one.steps}.zarr") for one in (record, longer)}
    return {
        **ratio([taken[longer.steps]], [taken[record.steps]]),
        "unit": "times the memory",
        "against": f"{record.steps} steps",
        "setting": record._asdict(),
        "megabytes": {steps: round(value / 2**20) for steps, value in taken.items()},
    }


def peak_of(record: Record, raw: Path) -> int:
    """Return by how many bytes preparing a record raises the resident set of a new process, at the most."""
    if not raw.exists():
        make(record, raw)
    command = [sys.executable, "-m", "tests.benchmarks.prepare", str(raw), json.dumps(record)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _rate(record: Record) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = folder / "raw.zarr"
        make(record, raw)
        runs = {"copy": lambda: copy(raw, folder, record), "prepare": lambda: prepare(raw, folder, record)}
        seconds = interleave(runs, rounds=5)
    return {
        **ratio(seconds["copy"], seconds["prepare"]),
        "unit": "of a copy's rate",
        "against": "dask copy",
        "setting": record._asdict(),
        "megabytes_per_second": {
            run: round(record.raw_bytes() / 1e6 / sorted(values)[len(values) // 2], 1)
            for run, values in seconds.items()
        },
    }


def make(record: Record, path: Path) -> None:
    """Write a raw store, block by block of time."""
    times = pd.date_range("2001-01-01", periods=record.steps, freq=pd.Timedelta(days=record.days_apart))
    latitude = np.linspace(90, -90, record.height)
    longitude = -180 + 360 / record.width * np.arange(record.width)
    names = [f"t{1000 - 50 * n}" for n in range(record.variables)]
    dims = ("time", "latitude", "longitude")
    lazy = dask.array.zeros((record.steps, record.height, record.width), dtype=np.float32, chunks=(1, -1, -1))
    dataset = xr.Dataset(
        {name: (dims, lazy, {"units": "K", "long_name": name}) for name in names},
        coords={"time": times, "latitude": latitude, "longitude": longitude},
        attrs={"source": "synthetic"},
    )
    store.lay_out(dataset, path, store.encoding(dataset))
    for part in store.regions(dataset):
        fields = {name: (dims, _weather(record, part, seed)) for seed, name in enumerate(names)}
        store.write_region(xr.Dataset(fields), path, part)


def _weather(record: Record, part: slice, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, part.start])
    y = np.linspace(-1, 1, record.height)[:, None]
    x = np.linspace(0, 2 * np.pi, record.width, endpoint=False)
    found = np.empty((part.stop - part.start, record.height, record.width), np.float32)
    for step, day in enumerate(range(part.start, part.stop)):
        season = 10 * y * np.cos(2 * np.pi * day / 365.25)
        waves = sum(8 / k * np.cos(k * x - 0.1 * k * day + 3 * k * y) for k in range(1, 6))
        found[step] = 290 - 40 * y**2 + season + waves + rng.standard_normal(found.shape[1:], np.float32)
    mantissa = np.int32(-1 << (24 - record.bits))
    return (found.view(np.int32) & mantissa).view(np.float32)


def copy(raw: Path, folder: Path, record: Record) -> None:
    """Read, rechunk, compress and write with dask."""
    target = folder / "copy.zarr"
    shutil.rmtree(target, ignore_errors=True)
    source = store.open_store(raw)
    x = xr.concat([source[name].drop_attrs() for name in source.data_vars], "variable").transpose(
        "time", "variable", ...
    )
    settings = store.encoding(xr.Dataset({"x": x}))
    whole = {name: settings[name] for name in ("x", "time")}
    chunked = xr.open_zarr(raw, chunks={"time": _shard(raw)})
    stacked = chunked.to_dataarray("variable", name="x").transpose("time", "variable", ...)
    shards = (settings["x"].get("shards") or settings["x"]["chunks"])[0]
    plain = stacked.chunk({"time": shards, "variable": -1}).drop_attrs().drop_encoding().to_dataset()
    plain = plain.drop_vars("variable")
    with dask.config.set(scheduler="threads", num_workers=record.threads):
        plain.to_zarr(target, mode="w", encoding=whole, zarr_format=3, consolidated=False)


def _shard(raw: Path) -> int:
    import zarr

    array: Any = next(iter(zarr.open_group(raw, mode="r").arrays()))[1]
    name = next(str(n) for n in store.open_store(raw).data_vars)
    array = zarr.open_group(raw, mode="r")[name]
    return int((array.shards or array.chunks)[0])


def prepare(raw: Path, folder: Path, record: Record) -> None:
    """What the stage does, without Hydra."""
    part = folder / "prepared.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    options = Options.of(
        {"deseasonalise": record.steps * record.days_apart > 600}
    )  # less than a year gives no climatology
    fields = Fields(raw, options)
    periods = Periods(fields, SPLIT, 2)
    with compute.workers("threads", record.threads) as workers:
        fitted = fit(fields, periods, part, workers)
        write(fields, periods, fitted, part, part / "whole", workers)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    rise = resident_rise(lambda: prepare(path, path.parent, Record(*json.loads(sys.argv[2]))))
    sys.stdout.write(f"{rise}\n")
