"""VMRNN (Tang et al. 2024, VMRNN: Integrating Vision Mamba and LSTM, equations 4 to 8).

SwinLSTM's recurrence (`models.layers.tokens`) with blocks of visual state space (Liu et al. 2024, VMamba): each
block reads the map along its rows and its columns, both ways, by a selective scan. No custom kernel is needed.
Supports forms B and D and any grid. Does not follow a shift of the fields: the scans have a first place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import check_whole
from models.layers.convolution import PaddedConv2d
from models.layers.selective_scan import ScanWeights, selective_scan
from models.layers.tokens import TokenLSTM

DIRECTIONS = 4
SLOWEST, FASTEST, LEAST = 1e-3, 0.1, 1e-4
"""Bounds of the steps at the start, drawn evenly in their logarithm, and the least step."""


class SelectiveScan2d(nn.Module):
    """Mix a map `(N, h, w, d)` by selective scans in four directions (SS2D).

        [x, z] = W_in u;  x = SiLU(DW_3x3(x) + b)                                  d -> 2D, D = 2d
        [dt_k, B_k, C_k] = W_k x, dt_k = W'_k dt_k + b_k                           k: rows, columns, both reversed
        y = sum_k scan_k(x);  result = W_out (LN(y) SiLU(z))

    Parameters, with R = ceil(d / 16) and N states: `6 d^2 + D (8R + 12N + 20)`. Cost a token:
    `6 d^2 + D (9 + 8R + 8N)` multiply-adds in products, and a few single operations on 4 D N numbers: linear in the
    number of tokens.

    Args:
        width: d.
        state_size: N, states a channel.
        chunk: places of a line that are in memory at once.
        pad_mode: what lies beyond the border, for the depthwise convolution.
    """

    def __init__(self, width: int, *, state_size: int, chunk: int, pad_mode: str) -> None:
        super().__init__()
        check_whole("state_size", state_size, 1)
        check_whole("chunk", chunk, 1)
        inner, rank = 2 * width, math.ceil(width / 16)
        self.chunk = chunk
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.convolution = PaddedConv2d(inner, inner, 3, groups=inner, pad_mode=pad_mode)
        self.to_parameters = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * state_size, inner))
        self.to_step = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.step_bias = nn.Parameter(start_of_steps(DIRECTIONS, inner))
        rates = torch.arange(1.0, state_size + 1)
        self.log_decay = nn.Parameter(rates.log().repeat(DIRECTIONS, inner, 1))
        self.skip = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.project_out = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.to_parameters, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.to_step, -(rank**-0.5), rank**-0.5)

    def forward(self, u: Tensor) -> Tensor:
        """Mix `u (N, h, w, d)`."""
        x, z = self.project_in(u).chunk(2, dim=-1)
        x = functional.silu(self.convolution(x.movedim(-1, 1)))  # (N, D, h, w)
        weights = ScanWeights(self.to_parameters, self.to_step, self.step_bias, self.log_decay, self.skip)
        y = from_lines(selective_scan(to_lines(x), weights, chunk=self.chunk), x.shape[-2:])
        return self.project_out(self.norm(y) * functional.silu(z))


def to_lines(x: Tensor) -> Tensor:
    """Return `x (N, D, h, w)` as lines `(h w, N, 4, D)`: along rows, along columns, and both backwards."""
    both = torch.stack([x.flatten(2), x.transpose(2, 3).flatten(2)], dim=1)  # (N, 2, D, L)
    both = both.permute(3, 0, 1, 2)
    return torch.cat([both, both.flip(0)], dim=2)


def from_lines(lines: Tensor, size: Sequence[int]) -> Tensor:
    """Return the sum `(N, h, w, D)` of the four maps that `lines (h w, N, 4, D)` hold."""
    height, width = size
    ahead, back = lines.chunk(2, dim=2)
    rows, columns = (ahead + back.flip(0)).transpose(0, 1).unbind(2)  # (N, L, D) each
    return rows.unflatten(1, (height, width)) + columns.unflatten(1, (width, height)).transpose(1, 2)


def start_of_steps(*shape: int) -> Tensor:
    """Return biases whose softplus is spread evenly in its logarithm from 0.001 to 0.1."""
    low, high = math.log(SLOWEST), math.log(FASTEST)
    step = torch.empty(shape).uniform_(low, high).exp().clamp(min=LEAST)
    return step + (-torch.expm1(-step)).log()


class VisionBlock(nn.Module):
    """`x + SS2D(y)`, `y = LN(x)`, or in the first block `y = W [LN(x), LN(H)] + b`.

    Parameters: SS2D's, 2d, and `2 d^2 + d` in the first block.
    """

    def __init__(self, width: int, *, first: bool, state_size: int, chunk: int, pad_mode: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.join = nn.Linear(2 * width, width) if first else None
        self.mixing = SelectiveScan2d(width, state_size=state_size, chunk=chunk, pad_mode=pad_mode)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Change `x (N, h, w, d)`; the first block reads the context, of the same shape."""
        y = self.norm(x)
        if self.join is not None:
            y = self.join(torch.cat([y, self.norm(context)], dim=-1))
        return x + self.mixing(y)


class VMRNN(TokenLSTM):
    """VMRNN in form B (one cell) or D (down and up).

        Y = LN(X_t), joined with LN(H_(t-1));  O_t = Blocks(Y);  F_t = sig(O_t)
        C_t = F_t (C_(t-1) + tanh(O_t));  H_t = F_t tanh(C_t)

    Strictly sequential in time; linear in the number of tokens; in training a chunk of the scan is in memory at once.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        form: `B` or `D`.
        width: d, numbers a token.
        patch: p, side of a patch in pixels, a power of two.
        blocks: of each cell on the way down; None for the published [6] and [2, 6].
        state_size: N, states a channel.
        chunk: places of a line that are in memory at once.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = VMRNN(3, 32, width=16, blocks=[2])(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape, state[0].cell.shape
        (torch.Size([2, 12, 32, 21, 24]), torch.Size([2, 6, 6, 16]))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        form: str = "B",
        width: int = 64,
        patch: int = 4,
        blocks: Sequence[int] | None = None,
        state_size: int = 16,
        chunk: int = 128,
        pad_mode: str = "zeros",
    ) -> None:
        def make_blocks(width: int, count: int, level: int) -> list[nn.Module]:  # noqa: ARG001
            options: dict[str, Any] = {"state_size": state_size, "chunk": chunk, "pad_mode": pad_mode}
            return [VisionBlock(width, first=i == 0, **options) for i in range(count)]

        super().__init__(
            in_channels,
            hidden_channels,
            form=form,
            width=width,
            patch=patch,
            blocks=blocks,
            pad_mode=pad_mode,
            make_blocks=make_blocks,
        )
