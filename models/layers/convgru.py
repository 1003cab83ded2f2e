"""ConvGRU (Ballas et al. 2016, Delving deeper into convolutional networks, equations 6 to 9).

Supports any odd kernel and all padding modes. Does not support the form that resets after the recurrent
convolution instead of before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.layers.base import RecurrentLayer
from models.layers.convolution import PaddedConv2d


class ConvGRUState(NamedTuple):
    """The hidden map `(B, F, H, W)`."""

    hidden: Tensor


class ConvGRU(RecurrentLayer):
    """ConvGRU with gates in the order z, r, n.

        z = sig(W_xz * X_t + W_hz * H_(t-1) + b_z)
        r = sig(W_xr * X_t + W_hr * H_(t-1) + b_r)
        n = tanh(W_xn * X_t + W_hn * (r H_(t-1)) + b_n)
        H_t = (1 - z) H_(t-1) + z n

    Parameters: `k^2 (C + F) 3F + 3F`. A step takes `H W k^2 (C + F) 3F` multiply-adds, one step after the other.
    Input weights start as Xavier's, recurrent weights orthogonal, biases zero.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        kernel_size: k, odd.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = ConvGRU(3, 8)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 8, 21, 24])
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, *, kernel_size: int = 3, pad_mode: str = "zeros"
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        gates = 3 * hidden_channels
        self.from_input = PaddedConv2d(in_channels, gates, kernel_size, pad_mode=pad_mode)
        self.from_hidden = PaddedConv2d(
            hidden_channels, 2 * hidden_channels, kernel_size, pad_mode=pad_mode, bias=False
        )
        self.from_reset = PaddedConv2d(
            hidden_channels, hidden_channels, kernel_size, pad_mode=pad_mode, bias=False
        )
        nn.init.xavier_uniform_(self.from_input.weight)
        nn.init.zeros_(self.bias)
        for recurrent in (self.from_hidden, self.from_reset):
            nn.init.orthogonal_(recurrent.weight.flatten(1))

    @property
    def bias(self) -> Tensor:
        """The bias `(3F,)`, in the order z, r, n."""
        return self.from_input.bias  # type: ignore[return-value]  # it is built with one

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvGRUState:
        """Return a hidden map of zeros."""
        return ConvGRUState(
            torch.zeros(batch, self.hidden_channels, height, width, device=device, dtype=dtype)
        )

    def project_input(self, x: Tensor) -> Tensor:
        """Convolve the input of all steps at once: `(B, T, C, H, W) -> (B, T, 3F, H, W)`."""
        return self.from_input(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def advance(self, projected: Tensor, state: ConvGRUState) -> tuple[Tensor, ConvGRUState]:
        """Take one step with the convolved input `(B, 3F, H, W)`."""
        x_gates, x_candidate = projected.split([2 * self.hidden_channels, self.hidden_channels], dim=1)
        z, r = (x_gates + self.from_hidden(state.hidden)).sigmoid().chunk(2, dim=1)
        n = (x_candidate + self.from_reset(r * state.hidden)).tanh()
        hidden = (1 - z) * state.hidden + z * n  # not lerp, which takes no mixed precision
        return hidden, ConvGRUState(hidden)
