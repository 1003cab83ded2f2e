"""The loader against zarr alone and against xbatcher, on one store, and how long training waits for it.

All read from the page cache, where the store has just been written. The record is streamed: it is not kept in memory.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from data import memory, sampler, store
from data.datamodule import WindowDataModule
from tests.benchmarks import fields
from tests.benchmarks.timing import fastest, ratio

Figure = tuple[str, dict[str, Any]]
LENGTH = 12
STEP_SECONDS = 1.0  # of the simulated training step


class Setting(NamedTuple):
    """A record, how its windows are cut, and how many steps of it are shuffled together."""

    steps: int
    variables: int
    height: int
    width: int
    stride: int
    batch: int = 2
    buffer_steps: int = 40

    def label(self) -> str:
        return f"{self.height}x{self.width}.stride{self.stride}"


GLOBAL = Setting(60, 3, 721, 1440, stride=LENGTH)
REGIONAL = Setting(2557, 3, 61, 121, stride=4, batch=8, buffer_steps=1000)
MAIN = {
    "loader.rate.zarr": GLOBAL,
    "loader.rate.xbatcher": REGIONAL,
    "loader.wait": GLOBAL._replace(stride=1),
}
FULL = {
    "loader.rate.zarr": [REGIONAL._replace(stride=LENGTH)],
    "loader.rate.xbatcher": [
        *(REGIONAL._replace(stride=stride) for stride in (1, LENGTH)),
        *(GLOBAL._replace(stride=stride) for stride in (1, 4, LENGTH)),
    ],
    "loader.wait": [],
}


def figures(full: bool, only: str = "") -> Iterator[Figure]:
    """Measure the figures that begin with `only`; those of the main setting have no setting in their name."""
    measures = {"zarr": against_zarr, "xbatcher": against_xbatcher, "wait": waiting}
    for name, main in MAIN.items():
        measure = measures[name.split(".")[-1]]
        settings = {
            name if one == main else f"{name}.{one.label()}": one
            for one in [main, *(FULL[name] if full else [])]
        }
        wanted = {label: setting for label, setting in settings.items() if label.startswith(only)}
        if wanted and measure is against_xbatcher and importlib.util.find_spec("xbatcher") is None:
            sys.stdout.write(f"{name}: left out, since xbatcher is not installed\n")
            continue
        for label, setting in wanted.items():
            yield label, _measured(measure, setting)


def _measured(measure: Callable[[xr.Dataset, Setting], dict[str, Any]], setting: Setting) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, streaming(setting):
        return measure(fields.make(Path(folder) / "store.zarr", *setting[:4]), setting)


@contextmanager
def streaming(setting: Setting) -> Iterator[None]:
    """No memory for the record, and a small buffer, so that a short record is read as a long one is."""
    available, buffer = memory.available, sampler.BUFFER_BYTES
    bytes_per_step = 4 * setting.variables * setting.height * setting.width
    try:
        memory.available = lambda: 0
        sampler.BUFFER_BYTES = setting.buffer_steps * bytes_per_step
        yield
    finally:
        memory.available, sampler.BUFFER_BYTES = available, buffer


def against_zarr(opened: xr.Dataset, setting: Setting) -> dict[str, Any]:
    """Seconds of zarr to read and decode the chunks that the windows lie in, over those of an epoch of the loader.

    The windows do not overlap, so that the loader delivers as many bytes as zarr decodes.
    """
    array = store.open_array(Path(opened.encoding["source"]), "x")
    last = LENGTH * (setting.steps // LENGTH)

    def zarr_alone(step: int) -> None:
        for part in store.time_slices(last, step):
            array[part]

    contestants = {
        f"zarr, {step} steps a time": partial(zarr_alone, step) for step in (array.chunks[0], LENGTH)
    }
    seconds = _steady({"loader": partial(_epoch, opened, setting), **contestants}, rounds=5)
    best = fastest({name: seconds[name] for name in contestants})
    return {
        **ratio(seconds[best], seconds["loader"]),
        "unit": "of the rate",
        **_context(best, setting, seconds),
    }


def against_xbatcher(opened: xr.Dataset, setting: Setting) -> dict[str, Any]:
    """Seconds of xbatcher to give every window, over those of an epoch of the loader."""
    import xbatcher

    overlap = {"input_overlap": {"time": LENGTH - setting.stride}} if setting.stride < LENGTH else {}

    def theirs() -> None:
        for batch in xbatcher.BatchGenerator(opened[["x"]], {"time": LENGTH}, preload_batch=False, **overlap):
            batch["x"].values  # noqa: B018

    seconds = _steady({"xbatcher": theirs, "loader": partial(_epoch, opened, setting)}, rounds=3)
    return {
        **ratio(seconds["xbatcher"], seconds["loader"]),
        "unit": "times as fast",
        **_context("xbatcher", setting, seconds),
    }


def waiting(opened: xr.Dataset, setting: Setting) -> dict[str, Any]:
    """Share of an epoch's time in which a training loop with steps of a second has no batch; the first one counts."""
    shares = []
    for _ in range(3):
        batches = iter(_loader(opened, setting))
        waited, started = 0.0, time.perf_counter()
        while True:
            asked = time.perf_counter()
            if next(batches, None) is None:
                break
            waited += time.perf_counter() - asked
            time.sleep(STEP_SECONDS)
        shares.append(waited / (time.perf_counter() - started))
    return {
        "ratio": round(statistics.median(shares), 4),
        "low": round(min(shares), 4),
        "high": round(max(shares), 4),
        "rounds": len(shares),
        "unit": "share of the time",
        "against": f"a step of {STEP_SECONDS:g} s",
        "setting": setting._asdict(),
    }


def _steady(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round, right after a turn of its own that is not counted.

    A virtual machine's host takes back memory that has been free for seconds, and giving it again costs more than
    decoding does; in training, batch after batch uses the same.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def _loader(opened: xr.Dataset, setting: Setting) -> Any:
    module = WindowDataModule(opened, length=LENGTH, stride=setting.stride, batch_size=setting.batch, seed=0)
    return module.train_dataloader()


def _epoch(opened: xr.Dataset, setting: Setting) -> None:
    for _ in _loader(opened, setting):
        pass


def _context(against: str, setting: Setting, seconds: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "against": against,
        "setting": setting._asdict(),
        "seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
    }
