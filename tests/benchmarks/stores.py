"""Chunks, shards and codecs against time and files: `python -m tests.benchmarks.stores [--size NAME] [--codecs]`.

Prints the tables of docs/stores.md: what it takes to write a store, to read it whole, and to read windows of 12 steps
one by one. Seconds are those of the processor, which other work on the machine changes little, each the least of
three rounds, with the page cache warm.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from data import store
from tests.benchmarks import fields

SIZES = {
    "azores": (365, 7, 41, 41),
    "euroatlantic": (2557, 3, 61, 121),
    "global": (60, 3, 721, 1440),
}
KIB, MIB = 2**10, 2**20
CHUNKS = (256 * KIB, MIB, 4 * MIB, 16 * MIB)
SHARDS = {"none": 1, "64 MiB": 64 * MIB, "256 MiB": 256 * MIB}
CODECS = {
    "none": (Crc32cCodec(),),
    "zstd 1": (ZstdCodec(level=1, checksum=True),),
    "zstd 3": (ZstdCodec(level=3, checksum=True),),
    "zstd 9": (ZstdCodec(level=9, checksum=True),),
    **{
        f"blosc {name} {level}, {shuffle}": (
            BloscCodec(cname=name, clevel=level, shuffle=shuffle),
            Crc32cCodec(),
        )
        for name, level in (("lz4", 1), ("lz4", 5), ("zstd", 1), ("zstd", 5))
        for shuffle in ("shuffle", "bitshuffle")
    },
}
WINDOW, WINDOWS, ROUNDS = 12, 20, 3


class Cost(NamedTuple):
    """What a layout costs; rates in uncompressed MB a second of one core, of windows in MB of theirs."""

    chunk_steps: int
    shard_steps: int
    files: int
    share: float
    write: float
    read: float
    windows: float


@contextmanager
def layout(**constants: Any) -> Iterator[None]:
    """The store's constants set to others for a while."""
    before = {name: getattr(store, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(store, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(store, name, value)


def measure(record: xr.Dataset, folder: Path) -> Cost:
    """Write and read a record that is in memory."""
    path = folder / "layout.zarr"
    size = record["x"].nbytes / 1e6
    settings = store.encoding(record)
    x = settings["x"]

    def write() -> None:
        shutil.rmtree(path, ignore_errors=True)
        store.lay_out(record.assign(x=record["x"].chunk()), path, settings)
        for part in store.regions(record):
            store.write_region(record[["x"]].isel(time=part), path, part)

    writing = best(write)
    array = store.open_array(path, "x")
    starts = np.random.default_rng(0).integers(0, len(record["x"]) - WINDOW, WINDOWS).tolist()
    files = [file for file in (path / "x").rglob("*") if file.is_file()]
    return Cost(
        x["chunks"][0],
        store.region_step(x),
        len(files),
        sum(file.stat().st_size for file in files) / record["x"].nbytes,
        size / writing,
        size / best(lambda: array[:]),
        WINDOWS * WINDOW * size / len(record["x"]) / best(lambda: [array[a : a + WINDOW] for a in starts]),
    )


def best(run: Callable[[], Any]) -> float:
    """The processor's seconds, of all threads, in the cheapest of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stores", description=__doc__)
    parser.add_argument("--size", choices=SIZES, help="one of the sizes only")
    parser.add_argument("--codecs", action="store_true", help="compare codecs rather than chunks and shards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in [options.size] if options.size else SIZES:
            record = fields.record(*SIZES[size]).load()
            _say(f"\n{size}: {' x '.join(map(str, SIZES[size]))}, {record['x'].nbytes / 1e6:.0f} MB\n")
            _table(record, Path(folder), CODECS if options.codecs else None)


def _table(record: xr.Dataset, folder: Path, codecs: dict[str, Any] | None) -> None:
    _say(
        "| layout | steps in a chunk, shard | files | size | write | read | windows of 12 |\n"
        + "| --- " * 7
        + "|"
    )
    if codecs:
        for name, compressors in codecs.items():
            with layout(COMPRESSORS=compressors):
                _row(name, measure(record, folder))
        return
    for chunk in CHUNKS:
        for name, shard in SHARDS.items():
            with layout(CHUNK_BYTES=chunk, SHARD_BYTES=shard):
                _row(f"chunk {chunk // KIB} KiB, shard {name}", measure(record, folder))


def _row(name: str, cost: Cost) -> None:
    rates = " | ".join(f"{rate:.0f} MB/s" for rate in (cost.write, cost.read, cost.windows))
    _say(f"| {name} | {cost.chunk_steps}, {cost.shard_steps} | {cost.files} | {cost.share:.2f} | {rates} |")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
