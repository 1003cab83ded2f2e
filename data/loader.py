"""Batches of windows, from memory where the fields fit and from the store's chunks where they do not.

Both give the same windows in the same order (data.sampler). From the store, every chunk is read whole and decoded
once for all windows of a buffer, ahead of its use, in threads. A loader can be stopped after any batch and go on
with the next one. Knows nothing of torch: `finish` turns arrays into what is wanted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from data import memory, places, store
from data.prefetch import Prefetcher
from data.sampler import Blocks, EpochSampler, blocks

Arrays = dict[str, NDArray[Any]]
Batch = tuple[list[tuple[int, int]], float]  # windows, each with its buffer, and how much they count

IN_MEMORY_SHARE = 0.5  # of the memory that is available when the store is opened
AHEAD_BYTES = 2**29  # of batches that are ready before they are asked for
AHEAD = (2, 8)  # fewest and most such batches
CACHE_LINE = 64  # bytes
READ_BYTES = (
    2**22
)  # that are read at a time where chunks are smaller, since each reading costs some time of its own
READERS = 4  # threads at most; each decodes some 500 MB a second, and more than a few hinder each other


class Record:
    """The fields and the season of a prepared store, in memory where they fit.

    Args:
        prepared: with x (time, variable, latitude, longitude) and season (time, season_feature).
        processes: how many on this machine hold a record each.

    Attributes:
        memory: x, where it is in memory, else None.
        chunk: steps in a chunk of x.
        span: steps that are read at a time, whole chunks.
        step_bytes: bytes of a step of x.
    """

    def __init__(self, prepared: xr.Dataset, *, processes: int = 1) -> None:
        x = prepared["x"]
        self.path = places.place(prepared.encoding.get("source", ""))
        self.season: NDArray[np.float32] = prepared["season"].values
        self.shape: tuple[int, ...] = x.shape[1:]
        self.chunk = int((x.encoding.get("chunks") or (1,))[0])
        self.step_bytes = x.nbytes // max(len(x), 1)
        self.span = self.chunk * max(1, READ_BYTES // max(1, self.chunk * self.step_bytes))
        stored = "source" in prepared.encoding
        self.array = store.open_array(self.path, "x") if stored else None
        fits = x.nbytes * processes <= IN_MEMORY_SHARE * memory.available()
        whole = fits or self.array is None or self.array.shape != x.shape
        self.memory: NDArray[np.float32] | None = x.values if whole else None

    def fields(self, part: slice) -> NDArray[np.float32]:
        """Some steps of x, (time, variable, latitude, longitude)."""
        return store.read(self.array, part, self.path) if self.memory is None else self.memory[part]


class Windows:
    """Windows of a record, as arrays.

    Args:
        record: the fields.
        starts: first step of each window (window,), ascending.
        length: steps in a window.
    """

    def __init__(self, record: Record, starts: NDArray[np.int64], length: int) -> None:
        self.record, self.starts, self.length = record, starts, length

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, indices: list[int]) -> Arrays:
        """Some windows: x (B, T, C, H, W), season (B, T, S), start (B,)."""
        return self._batch(indices, lambda out, first: np.copyto(out, self.record.fields(self._part(first))))

    def batch_from(self, indices: list[int], spans: dict[int, NDArray[np.float32]]) -> Arrays:
        """The same from decoded spans."""
        return self._batch(indices, lambda out, first: self._copy(out, first, spans))

    def spans(self, window: int) -> range:
        """The spans of the store that hold a window."""
        part, size = self._part(int(self.starts[window])), self.record.span
        return range(part.start // size, (part.stop - 1) // size + 1)

    def blocks(self) -> Blocks:
        """The windows in the blocks in which they are shuffled."""
        record = self.record
        return blocks(self.starts, length=self.length, chunk=record.chunk, step_bytes=record.step_bytes)

    def _part(self, first: int) -> slice:
        return slice(first, first + self.length)

    def _batch(self, indices: list[int], fill: Callable[[NDArray[np.float32], int], None]) -> Arrays:
        start = self.starts[indices]
        x = _empty((len(start), self.length, *self.record.shape))
        for out, first in zip(x, start.tolist(), strict=True):
            fill(out, first)
        season = _empty((*x.shape[:2], self.record.season.shape[1]))
        np.take(self.record.season, start[:, None] + np.arange(self.length), axis=0, out=season)
        return {"x": x, "season": season, "start": start}

    def _copy(self, out: NDArray[np.float32], first: int, spans: dict[int, NDArray[np.float32]]) -> None:
        done = 0
        while done < self.length:
            span, offset = divmod(first + done, self.record.span)
            piece = spans[span][offset : offset + self.length - done]
            out[done : done + len(piece)] = piece
            done += len(piece)


class WindowLoader:
    """The batches of an epoch, again and again; it can go on from any of them.

    Where a step of the optimiser is cut into several batches, each has a weight: see EpochSampler.

    Args:
        windows: what is loaded.
        sampler: in which order.
        finish: turns arrays into what is given out.
        threaded: put batches together in a thread also where the record is in memory.
    """

    batch_sampler = None  # Lightning looks for one beside the sampler, whose epoch it sets

    def __init__(
        self,
        windows: Windows,
        sampler: EpochSampler,
        *,
        finish: Callable[[Arrays], Any] = dict,
        threaded: bool = False,
    ) -> None:
        self.windows, self.sampler, self.finish, self.threaded = windows, sampler, finish, threaded
        self._given = 0  # batches of this epoch that were given out
        self._begin = 0  # the batch that the next iteration begins with

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        """Begins an epoch, or goes on within one after load_state_dict; the epoch is the sampler's."""
        self._given, self._begin = self._begin, 0
        batches = list(zip(self.sampler.batches(), self.sampler.weights(), strict=True))
        for batch in self._run(batches[self._given :]):
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were given out."""
        return {"given": self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next iteration goes on after those batches."""
        self._begin = state_dict["given"] % len(self)

    def _run(self, batches: list[Batch]) -> Iterator[Any]:
        streamed = self.windows.record.memory is None
        if not streamed and not self.threaded:
            return (self._finish(batch, self._windows(batch)) for batch in batches)
        return Prefetcher(
            self._needs if streamed else lambda _: (),
            self._read,
            self._make if streamed else lambda batch, _: self._finish(batch, self._windows(batch)),
            threads=min(READERS, cores()),
            ahead=self._ahead(),
        ).run(batches)

    def _ahead(self) -> int:
        record = self.windows.record
        pieces = self.sampler.ranks * self.sampler.accumulate
        size = -(-self.sampler.batch_size // pieces) * self.windows.length * record.step_bytes
        return int(np.clip(AHEAD_BYTES // max(size, 1), *AHEAD))

    def _needs(self, batch: Batch) -> list[tuple[int, int]]:
        return [(buffer, span) for buffer, window in batch[0] for span in self.windows.spans(window)]

    def _read(self, key: tuple[int, int]) -> NDArray[np.float32]:
        size = self.windows.record.span
        return self.windows.record.fields(slice(key[1] * size, (key[1] + 1) * size))

    def _make(self, batch: Batch, parts: dict[tuple[int, int], NDArray[np.float32]]) -> Any:
        spans = {span: values for (_, span), values in parts.items()}
        return self._finish(batch, self.windows.batch_from([window for _, window in batch[0]], spans))

    def _windows(self, batch: Batch) -> Arrays:
        return self.windows.batch([window for _, window in batch[0]])

    def _finish(self, batch: Batch, arrays: Arrays) -> Any:
        if self.sampler.ranks * self.sampler.accumulate > 1:
            arrays["weight"] = np.asarray(batch[1], np.float32)
        return self.finish(arrays)


def _empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Room that begins at a cache line, as torch's own arrays do.

    Linear algebra may add in another order where an array begins elsewhere, which depends on what the process did
    before; a run would not repeat to the last bit.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    room = np.empty(size + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    return room[first : first + size].view(np.float32).reshape(shape)


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
