"""What a model costs: parameters, arithmetic and time.

Arithmetic is counted by torch's FlopCounterMode: matrix products and convolutions only, in floating-point
operations, a multiply-add being two. Elementwise work, norms and softmax are not counted, so time is measured
beside it.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.autoencoder import Autoencoder
from models.errors import check_whole
from models.layers import memory
from models.training import AutoencoderModule

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process's memory, and forgets its peak."""


def parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def flops_per_window(autoencoder: Autoencoder, length: int, season_features: int) -> int:
    """Return the floating-point operations of embedding and decoding one window of `length` steps.

    Two operations a multiply-add, forward only; a training step costs about three times as much.
    """
    check_whole("window.length", length, 1)
    parameter = next(autoencoder.parameters())
    x = parameter.new_zeros(1, length, *autoencoder.mask.shape)
    season = parameter.new_zeros(1, length, season_features)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        autoencoder(x, season)
    return counter.get_total_flops()


def train_step_seconds(module: AutoencoderModule, batch: Mapping[str, Tensor], repeats: int = 5) -> float:
    """Return the median seconds of one training step on a batch: forward, loss and backward, no update.

    The first step is not counted. Gradients are left as they were found, and no parameter changes.
    """
    check_whole("repeats", repeats, 1)
    seconds = []
    for _ in range(repeats + 1):
        _wait(batch["x"])
        started = time.perf_counter()
        train_step(module, batch)
        _wait(batch["x"])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def train_step(module: AutoencoderModule, batch: Mapping[str, Tensor]) -> None:
    """Take a training step without its update: forward, loss and backward; nothing is left behind."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    torch.autograd.grad(module.losses(batch)["loss"], trainable, allow_unused=True)


def memory_is_told() -> bool:
    """Return whether this system tells the peak memory of a process."""
    return STATUS.exists() and RESET.exists()


def resident_rise(work: Callable[[], object]) -> int:
    """Return by how many bytes the resident set rises, at most, above what it was before some work.

    What earlier work has freed goes back to the system first. For a process of its own, since memory that others
    have left there would hide a part.
    """
    memory.release()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    before = _kilobytes("VmRSS")
    RESET.write_text("5", encoding="ascii")
    work()
    return 1024 * max(_kilobytes("VmHWM") - before, 0)


def _kilobytes(key: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
