"""Batches of windows for Lightning: in memory where the record fits, read from the store where it does not.

The order is a function of (seed, epoch, rank) and of the store, the same in both cases, so a resumed run sees the
windows that an uninterrupted one sees. Each process of a distributed run sees windows of its own: see data.sampler.
"""

from __future__ import annotations

from typing import Any

import lightning
import pandas as pd
import torch
import xarray as xr

from data import split, windows
from data.loader import Arrays, Record, WindowLoader, Windows
from data.sampler import EpochSampler


class WindowDataModule(lightning.LightningDataModule):
    """Training and validation windows of a prepared store, and all windows of any period in order.

    Batches are dicts of tensors: x (B, T, C, H, W) float32, season (B, T, S) float32, start (B,) int64, and where
    a step of the optimiser is made of several batches weight () float32, how much this one counts. They lie in pinned
    memory where the trainer's device is a CUDA one.

    Args:
        prepared: the prepared store, opened.
        length: steps in a window.
        stride: steps between the starts of training windows.
        batch_size: windows in a step of the optimiser, over all processes and accumulated batches.
        seed: of the order in which windows are seen.
        processes: how many on this machine load the same record.
    """

    def __init__(
        self,
        prepared: xr.Dataset,
        *,
        length: int,
        stride: int,
        batch_size: int,
        seed: int,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.length = length
        self.stride = stride
        self.batch_size = batch_size
        self.seed = seed
        self.processes = processes
        self._record: Record | None = None
        self._training: WindowLoader | None = None
        self._resumed: dict[str, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        """How far the epoch is, for a checkpoint within it."""
        return self._training.state_dict() if self._training else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The training windows go on after that point.

        Lightning loads a loader's own state only if it makes the loader after it has restored its loops; a schedule
        of the learning rate that asks for the number of steps has it made before.
        """
        self._resumed = state_dict or None

    def windows(self, period: int, stride: int = 1) -> Windows:
        """The windows of a period (data.split's codes)."""
        times = pd.DatetimeIndex(self.prepared["time"].values)
        codes = self.prepared["split"].values
        starts = windows.starts(times, codes, period=period, length=self.length, stride=stride)
        if self._record is None:
            self._record = Record(self.prepared, processes=self.processes)
        return Windows(self._record, starts, self.length)

    def train_dataloader(self) -> WindowLoader:
        """Shuffled training windows, after those that a resumed run has seen of its epoch."""
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else 1
        self._training = self._loader(self.windows(split.TRAIN, self.stride), self.seed, accumulate)
        if self._resumed:
            self._training.load_state_dict(self._resumed)
            self._resumed = None
        return self._training

    def val_dataloader(self) -> WindowLoader:
        """Validation windows in order, at the same stride."""
        return self._loader(self.windows(split.VALIDATION, self.stride))

    def all_windows(self, period: int) -> WindowLoader:
        """Every window of a period, in order: what embeddings are averaged over."""
        return self._loader(self.windows(period))

    def _loader(self, found: Windows, seed: int | None = None, accumulate: int = 1) -> WindowLoader:
        trainer = self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        pinned = trainer is not None and trainer.strategy.root_device.type == "cuda"
        sampler = EpochSampler(
            found.blocks(),
            batch_size=self.batch_size,
            seed=seed,
            rank=rank,
            ranks=ranks,
            accumulate=accumulate,
        )
        return WindowLoader(found, sampler, finish=_pinned if pinned else _tensors, threaded=pinned)


def _tensors(batch: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def _pinned(batch: Arrays) -> dict[str, Any]:
    """In memory from which a copy to the device can go on beside the computation."""
    return {name: tensor.pin_memory() for name, tensor in _tensors(batch).items()}
