"""What MinConvGRU, MinConvLSTM and FA-MinConv share: a memory whose gates see the input only.

All of the work is for all steps at once; step by step gives the same numbers. A subclass gives `project_input`, the
maps that the memory is made from, `(B, T, n F, H, W)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_at_least, check_choice
from models.layers import minimal
from models.layers.base import RecurrentLayer
from models.layers.convolution import PaddedConv2d
from models.layers.memory import BLOCK, joined
from models.layers.modes import transformed

PIECE = 2**23  # bytes of a large convolution that are made at a time, and still cached when they are read


class MinConvState(NamedTuple):
    """The memory, which is the hidden map `(B, F, H, W)`."""

    hidden: Tensor


class MinConvLayer(RecurrentLayer):
    """A layer with a minimal memory.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        gate: what the gate is made of, see `models.layers.minimal`.
        candidate: `positive` (the paper's), `tanh` or `identity`.
        scan: `linear` (step by step on a CPU, by doubling elsewhere), `doubling`, or `log`, the paper's prefix
            scan in the logarithm, for the positive candidate.
    """

    parallel_time = True

    def __init__(
        self, in_channels: int, hidden_channels: int, *, gate: str, candidate: str, scan: str
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_choice("candidate", candidate, minimal.CANDIDATES)
        check_choice("scan", scan, minimal.SCANS)
        if scan == "log" and candidate != "positive":
            raise ModelError(
                f"scan 'log' takes logarithms, and candidate '{candidate}' has negative values: choose candidate"
                " 'positive' or scan 'linear'."
            )
        self.form, self.scan = minimal.Form(gate, candidate), scan

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """Return a memory of zeros."""
        return MinConvState(
            torch.zeros(batch, self.hidden_channels, height, width, device=device, dtype=dtype)
        )

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run over `x (B, T, C, H, W)`, all steps at once, from `state` or from zero."""
        self._check(x, ("B", "T", "C", "H", "W"))
        state = self.start(x) if state is None else state
        hidden, last = self.remember([self.project_input(x)], state.hidden)
        return hidden, MinConvState(last)

    def advance(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take one step with the projected input `(B, n F, H, W)`."""
        hidden = minimal.step(projected, state.hidden, self.form)
        return hidden, MinConvState(hidden)

    def remember(self, parts: Sequence[Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory after each step and after the last, see `models.layers.minimal.remember`."""
        fused = start.device.type == "cpu" and not transformed()
        return minimal.remember(parts, start, self.form, scan_by=self.scan, fused=fused)


class ConvolvedLayer(MinConvLayer):
    """A minimal memory whose maps are one convolution of the input, as in the paper.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        maps: n, of F channels each, that the memory is made from.
        kernel_size: k, odd.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.
        options: of `MinConvLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        maps: int,
        kernel_size: int,
        pad_mode: str,
        **options: str,
    ) -> None:
        super().__init__(in_channels, hidden_channels, **options)
        channels = maps * hidden_channels
        self.convolution = PaddedConv2d(in_channels, channels, kernel_size, pad_mode=pad_mode)
        nn.init.xavier_uniform_(self.convolution.weight)

    @property
    def bias(self) -> Tensor:
        """The bias of the convolution `(n F,)`, in the order of the maps."""
        return self.convolution.bias  # type: ignore[return-value]  # it is built with one

    def project_input(self, x: Tensor) -> Tensor:
        """Convolve the input of all steps at once: `(B, T, C, H, W) -> (B, T, n F, H, W)`."""
        return self.convolution(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run over `x (B, T, C, H, W)` from `state` or from zero: all steps at once, or many where they are large."""
        self._check(x, ("B", "T", "C", "H", "W"))
        size = x.numel() // max(1, x.shape[2]) * self.convolution.out_channels * x.element_size()
        if size <= BLOCK or x.device.type != "cpu" or transformed():
            return super().forward(x, state)
        hidden = []
        for part in x.split(max(1, x.shape[1] * PIECE // size), dim=1):
            found, state = super().forward(part, state)
            hidden.append(found)
        return joined(hidden), state


def memories(longest: float, channels: int) -> Tensor:
    """Return log(tau - 1) `(F,)` for memories tau of the channels, evenly spaced in their logarithm.

    As the gate's bias, k = -log(tau - 1), it lets the channels start with memories of so many steps.

    Raises:
        ModelError: unless the longest is more than a step.
    """
    check_at_least("memory", longest, 1.01)
    tau = torch.exp(math.log(longest) * torch.arange(1, channels + 1) / channels)
    return (tau - 1).log()
