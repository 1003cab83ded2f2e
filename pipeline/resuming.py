"""Going on with a run that was killed: the checkpoint to go on from, and checkpoints within an epoch.

last.ckpt holds the last whole epoch, middle.ckpt a step within one; the later of the two is gone on from, and the run
ends with the weights and the curve of an undisturbed one. middle.ckpt is there while a run is, and goes at its end.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from data.errors import DamagedError
from pipeline.durable import write_bytes

log = logging.getLogger(__name__)

LAST, MIDDLE = "last.ckpt", "middle.ckpt"


class DurableIO(TorchCheckpointIO):
    """Writes a checkpoint so that a kill or a power cut leaves the old one or the new one.

    Lightning's own writes to the system's temporary folder first, and copies it where that is on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Writes a checkpoint to a path."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getvalue())


class Checkpoints(ModelCheckpoint):
    """Keeps best.ckpt (the lowest of what is monitored) and last.ckpt (the last whole epoch) in a folder.

    What a checkpoint says of them are names, not where they lie: so a run can be moved and gone on with, and the
    same run elsewhere has the same checkpoints.

    Args:
        folder: for both.
        monitor: a value that is logged.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            folder,
            filename="best",
            monitor=monitor,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Lightning's state, with names for paths."""
        return self._with_paths(super().state_dict(), lambda path: Path(path).name) | {"dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on in this run's folder."""
        found = self._with_paths(state_dict, lambda name: str(Path(self.dirpath or "") / name))
        super().load_state_dict(found | {"dirpath": self.dirpath})

    @staticmethod
    def _with_paths(state: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        changed: dict[str, Any] = {key: change(state[key]) if state[key] else "" for key in paths}
        return state | changed | {"best_k_models": {change(k): v for k, v in state["best_k_models"].items()}}


def resume_point(folder: Path, division: list[int]) -> Path | None:
    """The checkpoint to go on from, if a killed run left one.

    Args:
        folder: of the checkpoints.
        division: what a step is divided among; one within an epoch can be gone on from with the same division alone.

    Raises:
        DamagedError: if one cannot be read.
    """
    states = {path: _read(path) for path in (folder / LAST, folder / MIDDLE) if path.exists()}
    found = {
        path: (int(state["epoch"]), int(state["global_step"]))
        for path, state in states.items()
        if path.name == LAST or state["midway"].get("division") == division
    }
    if not found:
        return None
    path = max(found, key=lambda path: found[path][1])
    epoch, step = found[path]
    within = f"within epoch {epoch}, at step {step}" if path.name == MIDDLE else f"after epoch {epoch}"
    log.info("train: going on %s.", within)
    return path


def _read(path: Path) -> dict[str, Any]:
    """Epoch, step and `midway` of a checkpoint."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {"midway": {}} | {
            key: state[key] for key in ("epoch", "global_step", "midway") if key in state
        }
    except OSError:
        raise
    except Exception as error:
        raise DamagedError(path, type(error).__name__) from error


def has_stopped(last: Path) -> bool:
    """Whether the run had stopped early when its last checkpoint was written."""
    states = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    return any(state.get("stopped_epoch", 0) > 0 for name, state in states.items() if "EarlyStopping" in name)


class Midway(Callback):
    """Writes a checkpoint every so many minutes within an epoch, and restores what Lightning leaves out of all.

    That is the state of torch's random numbers, and the sums over the epoch so far of what is logged as its mean.
    Where several processes train, the sums are those of all, and the first takes them up.

    Args:
        path: the checkpoint, each in the place of the one before.
        minutes: between checkpoints; 0 for none.
        division: what a step of the optimiser is divided among.
    """

    def __init__(self, path: Path, minutes: float, division: list[int]) -> None:
        self.path, self.seconds, self.division = path, 60 * minutes, division
        self.written = time.monotonic()
        self.random: torch.Tensor | None = None
        self.sums: dict[str, list[torch.Tensor]] = {}

    def on_save_checkpoint(self, trainer: lightning.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Adds them to a checkpoint; at the end of an epoch its sums are done with."""
        sums = {} if trainer.is_last_batch else _sums(trainer)
        checkpoint["midway"] = {
            "division": self.division,
            "random": torch.get_rng_state(),
            "sums": {name: [value.detach().cpu() for value in pair] for name, pair in sums.items()},
        }

    def on_load_checkpoint(self, trainer: lightning.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Takes them from one."""
        state = checkpoint.get("midway", {})
        self.random = state.get("random")
        self.sums = state.get("sums", {}) if trainer.is_global_zero else {}

    def on_train_start(self, *_: Any) -> None:
        """Goes on with the random numbers, and starts the clock."""
        if self.random is not None:
            torch.set_rng_state(self.random)
        self.written = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *rest: Any) -> None:
        """Writes a checkpoint if it is time and a step is done; after an epoch's last batch one is written anyway."""
        self._add_sums(trainer)
        batch_index = rest[-1]
        if self.seconds == 0 or trainer.is_last_batch or (batch_index + 1) % self.division[1]:
            return
        if trainer.strategy.broadcast(time.monotonic() - self.written >= self.seconds):
            trainer.save_checkpoint(self.path)
            self.written = time.monotonic()

    def _add_sums(self, trainer: lightning.Trainer) -> None:
        """To the first batch after resuming, with which the trainer has begun its sums."""
        for name, (value, windows) in self.sums.items():
            metric = _metrics(trainer)[name]
            metric.value = metric.value + value.to(metric.value)
            metric.cumulated_batch_size = metric.cumulated_batch_size + windows.to(
                metric.cumulated_batch_size
            )
        self.sums = {}


def _metrics(trainer: lightning.Trainer) -> dict[str, Any]:
    """What is logged in training; the trainer has no public name for it, and keeps it out of checkpoints."""
    return trainer.fit_loop.epoch_loop._results


def _sums(trainer: lightning.Trainer) -> dict[str, list[torch.Tensor]]:
    """Over all processes."""
    return {
        name: [
            trainer.strategy.reduce(value.clone(), reduce_op="sum")
            for value in (metric.value, metric.cumulated_batch_size)
        ]
        for name, metric in _metrics(trainer).items()
    }
