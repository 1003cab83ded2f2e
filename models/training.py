"""Training under Lightning: the loss, the optimiser and what is logged; the one file that knows lightning.

Checkpoints hold tensors and plain numbers only and load with `torch.load(path, weights_only=True)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from models.autoencoder import Autoencoder
from models.errors import ModelError, check_at_least, check_choice, check_whole
from models.losses import laplacian, loss_weight, stencil_weight, weighted_mean_square

WARM_UP = 0.05
"""Share of all steps in which the learning rate rises from zero; then it falls to zero as a cosine."""

NOT_DECAYED = ("pattern", "offset", "peephole", "scale", "skip", "log_decay", "step_bias", "relative_bias")
"""Ends of the names of parameters of two or more axes that are not decayed."""


class AutoencoderModule(lightning.LightningModule):
    """Train an autoencoder to reconstruct batches `{"x": (B, T, C, H, W), "season": (B, T, S), ...}`.

        loss = reconstruction + laplacian_weight * laplacian        see models.losses
               + forecast_weight * forecast, where it foretells     see Autoencoder.forecast
               + penalty of the layer, where it has one             see RecurrentLayer.penalty

    An autoencoder that foretells L steps takes windows of T + L: it sees T, which are reconstructed, and the
    forecast's error is that of the L steps that it has not seen, in the same mean square as the reconstruction's.
    Logs, each the mean over an epoch, `train_` and `validation_` of loss, reconstruction, laplacian and, where there
    is one, forecast.
    A batch with a `weight` counts so much in the mean over the batches of a step, which are on several processes or
    follow each other; one of weight 0 is a repetition and counts nothing.

    Args:
        autoencoder: the network.
        learning_rate: highest learning rate of AdamW.
        weight_decay: of matrices and kernels; biases, scales and patterns are not decayed.
        epochs: epochs over which the learning rate goes its way; as many as the trainer's max_epochs.
        laplacian_weight: weight of the Laplacian term, 0 for none.
        laplacian_of: `error`, which keeps true gradients, or `reconstruction`, which smooths.
        forecast_weight: weight of the forecast's error.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        *,
        learning_rate: float,
        weight_decay: float,
        epochs: int,
        laplacian_weight: float,
        laplacian_of: str = "error",
        forecast_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least("trainer.learning_rate", learning_rate, 1e-12)
        check_at_least("trainer.weight_decay", weight_decay, 0)
        check_whole("trainer.max_epochs", epochs, 1)
        check_at_least("model.laplacian_weight", laplacian_weight, 0)
        check_choice("model.laplacian_of", laplacian_of, ("error", "reconstruction"))
        check_at_least("model.forecast_weight", forecast_weight, 1e-12 if autoencoder.forecast_steps else 0)
        self.save_hyperparameters(ignore="autoencoder")
        self.autoencoder = autoencoder
        self.epochs = epochs
        self.learning_rate, self.weight_decay = float(learning_rate), float(weight_decay)
        self.laplacian_weight, self.laplacian_of = float(laplacian_weight), laplacian_of
        self.forecast_weight = float(forecast_weight)
        self._register_weights()

    weight: Tensor
    stencil: Tensor

    def _register_weights(self) -> None:
        """Keep the weights of the two terms; they follow from the autoencoder's mask, so are not saved."""
        weight = loss_weight(self.autoencoder.mask, self.autoencoder.area_weight)
        stencil = stencil_weight(weight, self.autoencoder.cyclic_longitude)
        if self.laplacian_weight > 0 and not bool(stencil.sum() > 0):
            raise ModelError(
                f"The Laplacian term needs a point with four neighbours, and the data on a grid of"
                f" {' x '.join(map(str, weight.shape[1:]))} have none: set model.laplacian_weight=0."
            )
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("stencil", stencil, persistent=False)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return loss, reconstruction, laplacian and, where there is one, forecast of a batch, each a scalar."""
        x, after = self._cut(batch["x"])
        season, _ = self._cut(batch["season"])
        embedding, reconstruction, penalty = self.autoencoder(x, season)
        error = reconstruction - x
        rough = error if self.laplacian_of == "error" else reconstruction
        squares = weighted_mean_square(error, self.weight)
        curvature = laplacian(rough, self.autoencoder.cyclic_longitude)
        roughness = weighted_mean_square(curvature, self.stencil)
        loss = squares + self.laplacian_weight * roughness if self.laplacian_weight > 0 else squares
        loss = loss if penalty is None else loss + penalty
        parts = {"reconstruction": squares, "laplacian": roughness}
        if self.autoencoder.forecast_steps:
            missed = self.autoencoder.ahead(embedding) - after
            parts["forecast"] = weighted_mean_square(missed, self.weight)
            loss = loss + self.forecast_weight * parts["forecast"]
        return {"loss": loss, **parts}

    def _cut(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return the steps of `window (B, T + L, ...)` that are seen, and those that are foretold."""
        seen = window.shape[1] - self.autoencoder.forecast_steps
        return window[:, :seen], window[:, seen:]

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch and log its parts."""
        parts = self.losses(batch)
        if not bool(torch.isfinite(parts["loss"])):
            raise ModelError(
                f"The training loss became {parts['loss'].item()} in epoch {self.current_epoch}, batch"
                f" {batch_idx} (step {self.global_step}): lower trainer.learning_rate (now"
                f" {self.learning_rate:g}) or trainer.gradient_clip, or look for infinite values in the data."
            )
        self._log("train", parts, batch)
        return parts["loss"] * batch["weight"] if "weight" in batch else parts["loss"]

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        """Log the parts of the loss of a batch."""
        self._log("validation", self.losses(batch), batch)

    def _log(self, split: str, parts: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        values = {f"{split}_{name}": value.detach() for name, value in parts.items()}
        count = len(batch["x"]) if "weight" not in batch or batch["weight"] > 0 else 0
        count *= (
            self.trainer.world_size
        )  # Lightning rounds the mean of the processes' counts to a whole number
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW and its schedule, which goes on step by step."""
        groups = parameter_groups(self.autoencoder, self.weight_decay)
        optimiser: Optimizer = AdamW(groups, lr=self.learning_rate)
        total = self.epochs * self._steps_per_epoch()
        scheduler = LambdaLR(optimiser, lambda step: schedule(step, total))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps_per_epoch(self) -> int:
        """Ask the trainer, through its own count of all steps, which knows devices and accumulation."""
        epochs = self.trainer.max_epochs
        steps = self.trainer.estimated_stepping_batches
        if not epochs or epochs < 0 or not math.isfinite(steps):
            raise ModelError("trainer.max_epochs must be a whole number of at least 1: set it.")
        return max(1, math.ceil(steps / epochs))


def schedule(step: int, total: int) -> float:
    """Return the share of the learning rate at a step: a linear rise, then a cosine to zero at `total`."""
    warm_up = max(1, round(WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, total - warm_up))
    return 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimiser's two groups: decayed (matrices and kernels), and not.

    The decoder's patterns are not decayed: where they are orthonormal only their span counts, and where they
    are free they are the data's own, which need not be small. Nor are what stands for a bias, a scale or a rate
    and is a matrix for its place alone: see NOT_DECAYED.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.dim() >= 2 and not name.endswith(NOT_DECAYED)
            (decayed if matrix else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def autoencoder_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the autoencoder's part of a Lightning checkpoint, for `autoencoder.load_state_dict`.

    Raises:
        ModelError: when the checkpoint is not one of `AutoencoderModule`.
    """
    prefix = "autoencoder."
    state = checkpoint.get("state_dict", {})
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise ModelError("The checkpoint holds no autoencoder: give one that the train stage wrote.")
    return found
