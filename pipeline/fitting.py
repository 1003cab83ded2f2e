"""What train does once it is clear that a run is not current: builds the model and fits it under Lightning.

Apart from pipeline.train, since torch and lightning take seconds to import and a current run needs neither.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import xarray as xr
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy, Strategy
from omegaconf import DictConfig

from data import grid, store
from data.datamodule import WindowDataModule
from models import cost
from models.autoencoder import Autoencoder, build_autoencoder
from models.training import AutoencoderModule
from pipeline import processes, resuming, tracking
from pipeline.config import plain
from pipeline.durable import write_text

log = logging.getLogger(__name__)

MONITOR = "validation_loss"
PARTS = ("loss", "reconstruction", "laplacian")


def fit(cfg: DictConfig, prepared_path: Path, checkpoints: Path) -> dict[str, Any]:
    """Trains one run, going on from its last checkpoint if there is one.

    Args:
        cfg: all settings.
        prepared_path: the prepared store.
        checkpoints: folder for last.ckpt and best.ckpt; the training curve goes beside it.

    Returns:
        what the manifest notes: parameters, flops_per_window, train_step_seconds, epochs, best_epoch,
        best_validation_loss.
    """
    quieten()
    # As many threads as there are, but said: only then does MKL use all of them whatever the machine (by default it
    # may use one where two share a core), and a run repeats to the last bit in any process.
    torch.set_num_threads(torch.get_num_threads())
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    prepared = store.open_store(prepared_path)
    module = build_module(cfg, prepared)
    windows = datamodule(cfg, prepared, ahead=cfg.model.forecast_steps)
    results = costs(module, windows, cfg.window.length)
    if cfg.trainer.compile:
        module.autoencoder.compile()  # in place, so that checkpoints have the names that they have without
    parts = (*PARTS, "forecast") if cfg.model.forecast_steps else PARTS
    history = History(checkpoints.parent / "training.csv", parts)
    best = resuming.Checkpoints(checkpoints, MONITOR)  # after history, whose curve they carry
    midway = resuming.Midway(checkpoints / resuming.MIDDLE, cfg.trainer.checkpoint_minutes, division(cfg))
    trainer = lightning.Trainer(
        max_epochs=cfg.trainer.max_epochs,
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=strategy(cfg),
        accumulate_grad_batches=cfg.trainer.accumulate,
        precision=cfg.trainer.precision,
        gradient_clip_val=cfg.trainer.gradient_clip or None,
        deterministic=True,
        plugins=[resuming.DurableIO()],
        callbacks=[
            *(history, midway, EarlyStopping(MONITOR, patience=cfg.trainer.patience), best),
            *progress_bar(),
            *tracking.callbacks(cfg, checkpoints),
        ],
        logger=tracking.logger(cfg, checkpoints.parent),
        enable_progress_bar=bool(progress_bar()),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    last = resuming.resume_point(checkpoints, division(cfg))
    if last is None or not resuming.has_stopped(last):
        trainer.fit(module, datamodule=windows, ckpt_path=last, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not processes.is_first():
        return results
    midway.path.unlink(missing_ok=True)
    return results | best_epoch(checkpoints.parent / "training.csv")


def division(cfg: DictConfig) -> list[int]:
    """Processes, and batches of each, that a step of the optimiser is divided among."""
    return [processes.count(cfg), int(cfg.trainer.accumulate)]


def strategy(cfg: DictConfig) -> Strategy | str:
    """Distributed data-parallel where there are several processes, in which all parameters must have a gradient."""
    return DDPStrategy() if processes.count(cfg) > 1 else "auto"


def build_module(cfg: DictConfig, prepared: xr.Dataset) -> AutoencoderModule:
    """The LightningModule that the settings and the prepared store's grid ask for."""
    return AutoencoderModule(
        build_model(plain(cfg.model), prepared),
        learning_rate=cfg.trainer.learning_rate,
        weight_decay=cfg.trainer.weight_decay,
        epochs=cfg.trainer.max_epochs,
        laplacian_weight=cfg.model.laplacian_weight,
        laplacian_of=cfg.model.laplacian_of,
        forecast_weight=cfg.model.forecast_weight,
    )


def build_model(config: dict[str, Any], prepared: xr.Dataset) -> Autoencoder:
    """The network for a prepared store's variables and grid, with fresh weights."""
    return build_autoencoder(
        config,
        in_channels=prepared.sizes["variable"],
        grid=(prepared.sizes["latitude"], prepared.sizes["longitude"]),
        season_features=prepared.sizes["season_feature"],
        mask=torch.from_numpy(prepared["mask"].values),
        area_weight=torch.from_numpy(prepared["area_weight"].values),
        cyclic_longitude=grid.is_cyclic(prepared["longitude"].values),
    )


def datamodule(cfg: DictConfig, prepared: xr.Dataset, *, ahead: int = 0) -> WindowDataModule:
    """The windows of a prepared store as the settings cut them, with so many steps after each that are foretold."""
    return WindowDataModule(
        prepared,
        length=cfg.window.length + ahead,
        stride=cfg.window.stride,
        batch_size=cfg.trainer.batch_size,
        seed=cfg.seed,
        processes=cfg.trainer.devices,
    )


def costs(module: AutoencoderModule, windows: WindowDataModule, length: int) -> dict[str, Any]:
    """Parameters, arithmetic (of a window of `length` steps) and seconds of a training step, before training."""
    batch = next(iter(windows.train_dataloader()))
    return {
        "parameters": cost.parameters(module.autoencoder),
        "flops_per_window": cost.flops_per_window(module.autoencoder, length, batch["season"].shape[-1]),
        "train_step_seconds": cost.train_step_seconds(module, batch),
    }


class History(Callback):
    """Writes the training curve, one line an epoch, and carries it through the checkpoints.

    Lightning's own CSV logger starts anew when a run is resumed.

    Args:
        path: of the CSV file.
        parts: of the loss, itself first.
    """

    def __init__(self, path: Path, parts: tuple[str, ...] = PARTS) -> None:
        self.path = path
        self.parts = parts
        self.columns = [f"{split}_{part}" for split in ("train", "validation") for part in parts]
        self.rows: list[list[float]] = []
        self.started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The curve so far, and how long its epoch has lasted."""
        return {"rows": self.rows, "seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the curve of an interrupted run."""
        self.rows = [list(row) for row in state_dict["rows"]]
        self.started = time.monotonic() - state_dict.get("seconds", 0.0)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Adds the epoch to the curve."""
        if not trainer.is_global_zero:
            return
        values = [float(trainer.callback_metrics[name]) for name in self.columns]
        seconds = round(time.monotonic() - self.started, 2)
        self.rows.append([trainer.current_epoch, *values, seconds])
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([["epoch", *self.columns, "seconds"], *self.rows])
        write_text(self.path, buffer.getvalue())
        if not trainer.progress_bar_callback:
            log.info(
                "train: epoch %d, loss %.4f, validation %.4f, %.1f s",
                *(trainer.current_epoch, values[0], values[len(self.parts)], seconds),
            )


def best_epoch(path: Path) -> dict[str, Any]:
    """The number of epochs, and the best of them, from the training curve."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row[MONITOR]))
    return {
        "epochs": len(rows),
        "best_epoch": int(float(best["epoch"])),
        "best_validation_loss": float(best[MONITOR]),
    }


def progress_bar() -> list[Callback]:
    """A bar on a terminal; elsewhere a log line an epoch."""
    return [TQDMProgressBar()] if os.isatty(2) else []


def quieten() -> None:
    """Drops advice of Lightning's that does not apply here, each with its reason."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*smaller than the logging interval.*",  # only epochs are logged
        ".*exists and is not empty.*",  # a resumed run
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # between Lightning and torch
    ):
        warnings.filterwarnings("ignore", text)
