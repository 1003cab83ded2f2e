"""ConvLSTM (Shi et al. 2015, Convolutional LSTM Network, equation 3).

Supports any odd kernel, peepholes with one weight a channel, or one a pixel as the original's, and all padding modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_choice, check_whole
from models.layers.base import RecurrentLayer
from models.layers.convolution import DenseGates


class ConvLSTMState(NamedTuple):
    """Hidden map and cell, each `(B, F, H, W)`."""

    hidden: Tensor
    cell: Tensor


class ConvLSTM(RecurrentLayer):
    """ConvLSTM with gates in the order i, f, g, o.

        i = sig(W_xi * X_t + W_hi * H_(t-1) + w_ci C_(t-1) + b_i)
        f = sig(W_xf * X_t + W_hf * H_(t-1) + w_cf C_(t-1) + b_f)
        g = tanh(W_xg * X_t + W_hg * H_(t-1) + b_g)
        C_t = f C_(t-1) + i g
        o = sig(W_xo * X_t + W_ho * H_(t-1) + w_co C_t + b_o)
        H_t = o tanh(C_t)

    Parameters: `k^2 (C + F) 4F + 4F`, and `3F` more with peepholes, or `3F H W`. A step takes `H W k^2 (C + F) 4F`
    multiply-adds, one step after the other. The forget gate's bias starts at 1, peepholes at 0.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        kernel_size: k, odd.
        peephole: `channel` for one peephole weight a channel; `full` for one a channel and pixel, which ties the
            layer to one grid and to its places; None for none.
        grid: `(H, W)`, which peepholes a pixel need.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = ConvLSTM(3, 8)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 8, 21, 24])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        kernel_size: int = 3,
        peephole: str | None = None,
        grid: Sequence[int] | None = None,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_choice("peephole", peephole, (None, "channel", "full"))
        self.gates = DenseGates(in_channels, hidden_channels, kernel_size, pad_mode)
        with torch.no_grad():
            self.gates.bias[hidden_channels : 2 * hidden_channels] = 1.0
        self.peephole: nn.Parameter | None = None
        if peephole is not None:
            places = _grid(grid) if peephole == "full" else (1, 1)
            self.peephole = nn.Parameter(torch.zeros(3, hidden_channels, *places))
        if peephole == "full":
            self.grid, self.fixed_grid, self.equivariant = places, True, False

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvLSTMState:
        """Return a state of zeros."""
        zeros = torch.zeros(batch, self.hidden_channels, height, width, device=device, dtype=dtype)
        return ConvLSTMState(zeros, zeros)

    def project_input(self, x: Tensor) -> Tensor:
        """Convolve the input of all steps at once: `(B, T, C, H, W) -> (B, T, 4F, H, W)`."""
        return self.gates.project_input(x)

    def advance(self, projected: Tensor, state: ConvLSTMState) -> tuple[Tensor, ConvLSTMState]:
        """Take one step with the convolved input `(B, 4F, H, W)`."""
        i, f, g, o = self.gates(projected, state.hidden).chunk(4, dim=1)
        if self.peephole is not None:
            i = i + self.peephole[0] * state.cell
            f = f + self.peephole[1] * state.cell
        cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        if self.peephole is not None:
            o = o + self.peephole[2] * cell
        hidden = o.sigmoid() * cell.tanh()
        return hidden, ConvLSTMState(hidden, cell)


def _grid(grid: Sequence[int] | None) -> tuple[int, int]:
    if grid is None or len(grid) != 2:
        raise ModelError(
            f"peephole 'full' has one weight a pixel and needs the grid, received {grid!r}: give grid=(H, W)."
        )
    for name, size in zip(("the grid's height", "the grid's width"), grid, strict=True):
        check_whole(name, size, 1)
    return grid[0], grid[1]
