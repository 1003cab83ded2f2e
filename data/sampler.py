"""The order in which an epoch takes its windows: a function of (seed, epoch, rank) and of the store alone.

The order is made for reading from disk: windows are shuffled in blocks of neighbours, and then within a buffer of a
few blocks that fits in memory, so that a chunk is decoded once for all its windows. A record that fits one buffer is
shuffled as a whole. The same order is taken where the record is in memory, so that what is learned does not depend
on how much memory a machine has. Supports several processes, each with its own windows; knows nothing of torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError

BUFFER_BYTES = (
    2 * 2**30
)  # of decoded fields that are shuffled together; a constant, since the order depends on it
BLOCKS = (2, 16)  # fewest and most blocks in a buffer: more mix better, and fewer decode less twice
TWICE = 0.2  # share of a block that may be decoded twice, for windows that reach into the next one


@dataclass(frozen=True)
class Blocks:
    """Which windows are neighbours.

    Attributes:
        of_window: the block of each window (window,), ascending.
        in_buffer: how many blocks are shuffled together.
    """

    of_window: NDArray[np.int64]
    in_buffer: int


def blocks(starts: NDArray[np.int64], *, length: int, chunk: int, step_bytes: int) -> Blocks:
    """Cuts windows into blocks by their first steps, at borders of chunks.

    Args:
        starts: first step of each window (window,), ascending.
        length: steps in a window.
        chunk: steps in a chunk of the store.
        step_bytes: bytes of a step.
    """
    room = BUFFER_BYTES // max(step_bytes, 1)
    if int(starts[-1]) + length - int(starts[0]) <= room:
        return Blocks(np.zeros(len(starts), np.int64), 1)
    beyond = length + chunk
    count = int(np.clip(TWICE * room / beyond, *BLOCKS))
    steps = max((room // count - beyond) // chunk, 1) * chunk
    return Blocks(starts // steps, count)


class EpochSampler:
    """Every window once an epoch over all ranks, in an order that (seed, epoch, rank) decides.

    A step of the optimiser takes `batch_size` windows, over all ranks and the `accumulate` batches that each makes of
    it; a last one takes what is left. Of a record that fits one buffer a step takes the same windows however many
    ranks there are; of a larger one every rank reads blocks of its own, so that the order depends on their number.
    Batches of a step differ by one window at most, and `weights` says how much each counts, so that the weighted mean
    of their losses is that of the step. Where a step has fewer windows than batches, the batches left over repeat a
    window and count nothing.

    Args:
        blocks: the windows and which are neighbours.
        batch_size: windows in a step of the optimiser.
        seed: of the order; None keeps the windows in theirs.
        rank: of this process.
        ranks: how many there are.
        accumulate: batches of each rank in a step.

    Raises:
        DataError: if there are fewer windows than processes, or a step has fewer windows than batches.
    """

    def __init__(
        self,
        blocks: Blocks,
        *,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        ranks: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.blocks = blocks
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.ranks, self.accumulate = rank, ranks, accumulate
        self.epoch = 0
        self.windows = len(blocks.of_window)
        if self.windows < ranks:
            raise DataError(
                f"{self.windows} windows cannot be shared among {ranks} processes: lower trainer.devices or "
                "window.stride."
            )
        if batch_size < ranks * accumulate:
            raise DataError(
                f"the {batch_size} windows of a step cannot be shared among {ranks} processes with {accumulate} "
                "batches each: raise trainer.batch_size."
            )

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of an epoch, the same number on all ranks."""
        return -(-self.windows // self.batch_size) * self.accumulate

    def batches(self) -> list[list[tuple[int, int]]]:
        """The epoch's batches of this rank; a window is (buffer, window): it is read with those of its buffer."""
        sizes = self._sizes()[1]
        pairs = [(buffer, window) for buffer, part in enumerate(self._mine(sizes)) for window in part]
        ends = np.cumsum(sizes[:, self.rank]).tolist()
        return [
            pairs[first:end] or pairs[first - 1 : first] for first, end in zip([0, *ends], ends, strict=False)
        ]

    def weights(self) -> list[float]:
        """How much each batch of this rank counts: its share of the step's windows, 1 for an equal one."""
        totals, sizes = self._sizes()
        return (sizes[:, self.rank] * (self.ranks * self.accumulate) / totals).tolist()

    def _sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Windows of the step that a batch belongs to (batch,), and of the batches of all ranks (batch, rank)."""
        pieces = self.ranks * self.accumulate
        totals = np.minimum(self.batch_size, self.windows - np.arange(0, self.windows, self.batch_size))
        sizes = totals[:, None] // pieces + (np.arange(pieces) < totals[:, None] % pieces)
        return np.repeat(totals, self.accumulate), sizes.reshape(-1, self.ranks)

    def _mine(self, sizes: NDArray[np.int64]) -> list[list[int]]:
        """This rank's windows buffer by buffer, in their order; in one where all fit one or keep their order."""
        order = self._windows_of_all()
        if self.blocks.in_buffer == 1:
            parts = np.split(order, np.cumsum(sizes.ravel())[:-1])
            return [np.concatenate(parts[self.rank :: self.ranks]).tolist()]
        first, count = sizes[:, : self.rank].sum(), sizes[:, self.rank].sum()
        return self._buffers(order[first : first + count])

    def _windows_of_all(self) -> NDArray[np.int64]:
        """Windows of all ranks, block after block; of a single buffer the whole permutation."""
        if self.seed is None:
            return np.arange(self.windows)
        rng = np.random.default_rng([self.seed, self.epoch])
        of_window = self.blocks.of_window
        if self.blocks.in_buffer == 1:
            return rng.permutation(self.windows)
        borders = np.flatnonzero(np.diff(of_window)) + 1
        parts = np.split(np.arange(self.windows), borders)
        return np.concatenate([parts[k] for k in rng.permutation(len(parts))])

    def _buffers(self, windows: NDArray[np.int64]) -> list[list[int]]:
        """Windows of a rank buffer by buffer, shuffled within each; in one where they keep their order."""
        if self.seed is None:
            return [windows.tolist()]
        rng = np.random.default_rng([self.seed, self.epoch, 1 + self.rank])
        changes = np.flatnonzero(np.diff(self.blocks.of_window[windows])) + 1
        borders = changes[self.blocks.in_buffer - 1 :: self.blocks.in_buffer]
        return [rng.permutation(part).tolist() for part in np.split(windows, borders)]
