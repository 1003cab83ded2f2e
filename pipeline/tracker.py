"""A callback that logs, beside the losses, learning rate, gradient norm and throughput, and keeps the checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from pipeline import tracking


class Tracker(Callback):
    """Logs a step's learning rate and gradient norm, before it is clipped, and an epoch's windows a second.

    It takes no part in the training: a run is the same to the last bit without it.

    Args:
        best: the checkpoint to keep as an artifact when training ends; None for none.
    """

    def __init__(self, best: Path | None) -> None:
        self.best = best
        self.windows = 0.0
        self.started = self.trained = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Starts the clock."""
        self.windows, self.started = 0.0, time.monotonic()

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """Logs the step."""
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        rate = float(optimizer.param_groups[0]["lr"])
        _log(trainer, {"gradient_norm": norm, "learning_rate": rate})

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Counts this process's windows; a batch that counts nothing repeats one."""
        *_, batch, _ = arguments
        if batch.get("weight", 1) > 0:
            self.windows += len(batch["x"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Logs the throughput of all processes, validation apart."""
        rate = self.windows * trainer.world_size / max(self.trained - self.started, 1e-9)
        _log(trainer, {"windows_per_second": rate})

    def on_validation_epoch_start(self, *_: Any) -> None:
        """Stops the clock: training of the epoch is done."""
        self.trained = time.monotonic()

    def on_fit_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Keeps the best checkpoint."""
        if self.best is None or not trainer.is_global_zero:
            return
        tracking.keep(trainer.logger.experiment, self.best, "checkpoint")  # type: ignore[union-attr]


def _log(trainer: lightning.Trainer, values: dict[str, float]) -> None:
    if trainer.logger is not None:
        trainer.logger.log_metrics(values, step=trainer.global_step)
