"""Writing Zarr stores, reading them, and checking the raw-store contract.

Stores are Zarr v3 with consolidated metadata. Large arrays are cut along time into small chunks, so that a window of
a few steps decodes little beyond itself, and many chunks lie in one file, a shard, so that files stay few. Every
chunk has a checksum and is a file or part of one, even where all of it is missing values: a damaged one, or one that
is not there, is an error when it is read. Supports many writers, one a shard; does not append.
What was measured for the choices stands in docs/stores.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from data import places
from data.errors import DamagedError, DataError
from data.guarded import Guarded, WholeStore, damage_told

CHUNK_BYTES = 2**20  # uncompressed, about: what is decoded at once
SHARD_BYTES = (
    64 * 2**20
)  # uncompressed, at most unless a step is larger: what is held in memory to be written
COMPRESSORS: tuple[Any, ...] = (BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec())
TEXT_COMPRESSORS = (ZstdCodec(level=3, checksum=True),)
NUMBERS = "fiub"  # kinds of dtype that are stored as they are


def steps_per_chunk(bytes_per_step: int, n_times: int) -> int:
    """How many time steps make a chunk of about CHUNK_BYTES."""
    return int(np.clip(CHUNK_BYTES // max(bytes_per_step, 1), 1, max(n_times, 1)))


def steps_per_shard(bytes_per_step: int, n_times: int) -> int:
    """How many time steps make a shard: whole chunks, SHARD_BYTES at most, and no more than the record needs."""
    chunk = steps_per_chunk(bytes_per_step, n_times)
    most = max(SHARD_BYTES // (max(bytes_per_step, 1) * chunk), 1)
    return chunk * min(most, -(-max(n_times, 1) // chunk))


def time_slices(n_times: int, step: int) -> Iterator[slice]:
    """Cuts 0 … n_times into consecutive slices of at most `step`."""
    for first in range(0, n_times, step):
        yield slice(first, min(first + step, n_times))


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Chunks and shards along time, and checked compression, for xarray's to_zarr.

    All arrays of several shards have the same number of steps in a shard: that of the largest. An array that fits
    one shard has just one.
    """
    step = _common_step(dataset)
    found = {str(name): _layout(variable, step) for name, variable in dataset.variables.items()}
    if "time" in dataset:
        found["time"] |= {"units": "hours since 1900-01-01", "dtype": "float64", "calendar": "standard"}
    return found


def _common_step(dataset: xr.Dataset) -> int:
    """Steps of a shard of the array whose steps are largest; all, where that one fits one shard."""
    timed = [variable for variable in dataset.variables.values() if "time" in variable.dims]
    n_times = max(dataset.sizes.get("time", 1), 1)
    return min((steps_per_shard(_step_bytes(variable), n_times) for variable in timed), default=n_times)


def _step_bytes(variable: xr.Variable) -> int:
    return variable.dtype.itemsize * int(np.prod(variable.shape)) // max(variable.sizes["time"], 1)


def _layout(variable: xr.Variable, step: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "compressors": COMPRESSORS if variable.dtype.kind in NUMBERS else TEXT_COMPRESSORS
    }
    chunks, shards = list(variable.shape), list(variable.shape)
    if "time" in variable.dims:
        axis, n_times = variable.dims.index("time"), max(variable.sizes["time"], 1)
        size = _step_bytes(variable)
        one_shard = steps_per_shard(size, n_times) >= n_times
        shards[axis] = steps_per_shard(size, n_times) if one_shard else step
        chunks[axis] = _divisor(shards[axis], steps_per_chunk(size, n_times))
    if chunks:
        settings["chunks"] = tuple(max(n, 1) for n in chunks)
    if shards != chunks:
        settings["shards"] = tuple(max(n, 1) for n in shards)
    return settings


def _divisor(number: int, at_most: int) -> int:
    return next(n for n in range(min(number, at_most), 0, -1) if number % n == 0)


def region_step(settings: dict[str, Any]) -> int:
    """Steps of time in a shard of an array whose first axis is time, from its part of `encoding`."""
    return int((settings.get("shards") or settings["chunks"])[0])


def regions(dataset: xr.Dataset) -> list[slice]:
    """The parts of time that write_region takes: whole shards, in any order, each by one writer."""
    return list(time_slices(dataset.sizes["time"], _common_step(dataset)))


def write(
    dataset: xr.Dataset, path: Path, track: Callable[[Sequence[slice]], Iterable[slice]] = iter
) -> None:
    """Writes a dataset, reading and writing a shard of each array at a time.

    Args:
        dataset: with a time dimension; what is lazy is computed shard by shard.
        path: where the store is to be; see data.places.
        track: goes through the parts and may show how far it is.
    """
    settings = encoding(dataset)
    lay_out(dataset, path, settings)
    later = dataset[_later(dataset, settings)]
    for part in track(regions(dataset) if later else []):
        write_region(later.isel(time=part), path, part)


def _later(dataset: xr.Dataset, settings: dict[str, dict[str, Any]]) -> list[str]:
    """Arrays that lay_out leaves to write_region: those of several shards, and what is lazy."""
    return [
        str(name)
        for name, array in dataset.data_vars.items()
        if "time" in array.dims
        and (array.chunks is not None or _shard_step(array, settings[str(name)]) < array.sizes["time"])
    ]


def _shard_step(array: xr.DataArray, settings: dict[str, Any]) -> int:
    return int((settings.get("shards") or settings["chunks"])[array.dims.index("time")])


def lay_out(dataset: xr.Dataset, path: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Makes the store with all that is small and in memory; the other arrays follow by write_region.

    What lay there before is removed.
    """
    later = _later(dataset, settings)
    lazy = {name: dataset[name].chunk(_shard_chunks(dataset[name], settings[name])) for name in later}
    fixed = {name: array.compute() for name, array in dataset.data_vars.items() if name not in later}
    with warnings.catch_warnings():
        # zarr-python, xarray and GDAL read consolidated metadata of version 3; the specification follows
        warnings.filterwarnings(
            "ignore", "Consolidated metadata is currently not part", zarr.errors.ZarrUserWarning
        )
        dataset.assign(fixed | lazy).to_zarr(
            **places.zarr_at(path),
            mode="w",
            compute=False,
            encoding=settings,
            zarr_format=3,
            consolidated=True,
            write_empty_chunks=True,
        )


def _shard_chunks(array: xr.DataArray, settings: dict[str, Any]) -> dict[Any, int]:
    return dict(zip(array.dims, settings.get("shards") or settings["chunks"], strict=True))


def write_region(dataset: xr.Dataset, path: Path, part: slice) -> None:
    """Writes the time steps `part`, whole shards, of the arrays in `dataset` to a store that is laid out.

    Arrays that fit one shard and of which `part` is not all are passed over: lay_out has written them.

    Raises:
        DataError: if `part` is not whole shards.
    """
    group: Any = open_group(path, "r+")
    for name, values in dataset.data_vars.items():
        if "time" not in values.dims or values.dtype.kind not in NUMBERS:
            continue
        array, axis = group[name], values.dims.index("time")
        step, n_times = (array.shards or array.chunks)[axis], array.shape[axis]
        if step >= n_times and (part.start, part.stop) != (0, n_times):
            continue
        if part.start % step or (part.stop % step and part.stop != n_times):
            raise DataError(
                f"steps {part.start} to {part.stop} are not whole shards of {step} steps of {name}: take the parts "
                "that data.store.regions gives."
            )
        writable(array)[(*[slice(None)] * axis, part)] = values.values


def writable(array: Any) -> Any:
    """An array that writes chunks of missing values too: one that is not there is damage."""
    return array.with_config({"write_empty_chunks": True})


def open_store(path: Path) -> xr.Dataset:
    """Opens a store lazily; reading what is damaged of it is an error.

    Raises:
        DataError: if there is no store.
        DamagedError: if it cannot be read, here or when its values are.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a readable Zarr store (there is no such folder); make it again.")
    whole: Any = WholeStore(path)
    with damage_told(path, "its metadata"):
        found = xr.open_zarr(whole, chunks=None, consolidated=True)
    found.encoding["source"] = str(path)
    return Guarded.all_of(found, path)


def open_group(path: Path, mode: Literal["r", "r+"]) -> Any:
    """A store as zarr has it, to read it or to write regions of it."""
    return zarr.open_group(**places.zarr_at(path), mode=mode)


def open_array(path: Path, name: str) -> Any:
    """One array of a store, as zarr has it.

    Raises:
        DamagedError: if it cannot be opened, or files of it are missing.
    """
    with damage_told(path, "its metadata"):
        array: Any = zarr.open_group(WholeStore(path), mode="r")[name]
        lacking = array.nchunks - array.nchunks_initialized
    if lacking > 0:
        raise DamagedError(path, f"{lacking} of {array.nchunks} chunks of {name} are not there")
    return array


def read(array: Any, part: slice, path: Path) -> NDArray[Any]:
    """Time steps of an array, its first axis.

    Raises:
        DamagedError: if a chunk of them is damaged, or not there any more.
    """
    with damage_told(path, f"steps {part.start} to {part.stop - 1} of {array.basename}"):
        return np.asarray(array[part])


def check_raw(dataset: xr.Dataset) -> None:
    """Checks the raw-store contract of dimensions, axes and types.

    Raises:
        DataError: naming the first point that does not hold.
    """
    if not dataset.data_vars:
        raise DataError("the source gave no variable: check dataset.variables.")
    for name, array in dataset.data_vars.items():
        if array.dims != ("time", "latitude", "longitude") or array.dtype != np.float32:
            raise DataError(
                f"{name} must be float32 (time, latitude, longitude). Received: {array.dtype} {array.dims}."
            )
    times = pd.DatetimeIndex(dataset["time"].values)
    if not (times.is_monotonic_increasing and times.is_unique):
        raise DataError("the time axis must increase without repeats.")
    latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
    if (np.diff(latitude) >= 0).any() or (np.abs(latitude) > 90).any():
        raise DataError(f"latitude must descend within [-90, 90]. Received: {latitude[0]} … {latitude[-1]}.")
    if (np.diff(longitude) <= 0).any() or longitude.min() < -180 or longitude.max() >= 180:
        raise DataError(
            f"longitude must ascend within [-180, 180). Received: {longitude[0]} … {longitude[-1]}."
        )
