"""Convolutions that keep the grid, with one padding policy for all layers, and the dense gate path.

`pad_mode` says what lies beyond the border:

- `zeros`: nothing; for a region.
- `cylinder`: longitude goes on at the other side, zeros beyond the poles; for a grid that spans the globe.
- `circular`: both axes go on at the other side; for tests of equivariance.

Only odd kernels are supported.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_odd, check_whole
from models.layers.modes import plain
from models.layers.product import THIN, convolution

PAD_MODES = ("zeros", "cylinder", "circular")


def pad(x: Tensor, amount: int, pad_mode: str) -> Tensor:
    """Pad the last two axes (latitude, longitude) of `x (B, C, H, W)` by `amount` on every side.

    Longitude is padded first, so that with `cylinder` the corners are zero.

    Raises:
        ModelError: when a circular axis has fewer points than `amount`.
    """
    if pad_mode == "zeros":
        return functional.pad(x, (amount, amount, amount, amount))
    check_reach(x.shape[-2], x.shape[-1], amount, pad_mode)
    x = functional.pad(x, (amount, amount, 0, 0), mode="circular")
    if pad_mode == "cylinder":
        return functional.pad(x, (0, 0, amount, amount))
    return functional.pad(x, (0, 0, amount, amount), mode="circular")


def check_reach(height: int, width: int, amount: int, pad_mode: str) -> None:
    """Raise a ModelError when a circular axis has fewer points than `amount`."""
    shortest = {"zeros": amount, "cylinder": width, "circular": min(height, width)}[pad_mode]
    if shortest < amount:
        raise ModelError(
            f"pad_mode '{pad_mode}' needs at least {amount} points on a circular axis for this kernel and"
            f" dilation, the grid has {shortest}: use a smaller kernel or dilation, or pad_mode 'zeros'."
        )


class PaddedConv2d(nn.Conv2d):
    """A convolution `(B, C_in, H, W) -> (B, C_out, H, W)` (every stride-th pixel) under `pad_mode`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        pad_mode: str = "zeros",
        dilation: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        check_odd("kernel_size", kernel_size)
        check_whole("dilation", dilation, 1)
        check_choice("pad_mode", pad_mode, PAD_MODES)
        self.reach = dilation * (kernel_size - 1) // 2
        self.pad_mode = pad_mode
        inner = self.reach if pad_mode == "zeros" else 0
        self.thin = stride == dilation == groups == 1 and bias and in_channels * kernel_size**2 <= THIN
        super().__init__(
            in_channels, out_channels, kernel_size, stride, inner, dilation, groups=groups, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x (B, C_in, H, W)`."""
        if self.pad_mode != "zeros" and self.reach > 0:
            x = pad(x, self.reach, self.pad_mode)
        if self.thin and torch.is_grad_enabled() and plain(x, self.weight):
            return convolution(x, self.weight, cast(Tensor, self.bias), cast(int, self.padding[0]))
        return super().forward(x)


class DenseGates(nn.Module):
    """The gates of ConvLSTM before their nonlinearities: `W_x * X_t + W_h * H_(t-1) + b`, dense k x k.

    Shi et al. 2015, equation 3, without the peepholes. Parameters: `k^2 (C + F) 4F + 4F`.
    Input weights start as Xavier's, recurrent weights orthogonal, biases zero.
    """

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: int, pad_mode: str) -> None:
        super().__init__()
        gates = 4 * hidden_channels
        self.from_input = PaddedConv2d(in_channels, gates, kernel_size, pad_mode=pad_mode)
        self.from_hidden = PaddedConv2d(hidden_channels, gates, kernel_size, pad_mode=pad_mode, bias=False)
        nn.init.xavier_uniform_(self.from_input.weight)
        nn.init.zeros_(self.bias)
        nn.init.orthogonal_(self.from_hidden.weight.flatten(1))

    @property
    def bias(self) -> Tensor:
        """The bias of the gates `(4F,)`, in the order i, f, g, o."""
        return cast(Tensor, self.from_input.bias)  # the input convolution is built with one

    def project_input(self, x: Tensor) -> Tensor:
        """Turn `x (B, T, C, H, W)` into its part of the gates `(B, T, 4F, H, W)`, all steps at once."""
        return self.from_input(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def forward(self, projected: Tensor, hidden: Tensor) -> Tensor:
        """Return the gates `(B, 4F, H, W)` of one step from `projected (B, 4F, H, W)` and `hidden`."""
        return projected + self.from_hidden(hidden)
