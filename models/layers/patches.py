"""Fields as patches, and back: what the encoders that work on tokens share.

A token map is `(N, h, w, d)`: d numbers for each patch of p x p pixels. Any grid is taken: what is missing to
whole patches is added below and on the right (zeros, or the other side where an axis is circular), and cut off
again at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_whole
from models.layers.convolution import PAD_MODES

NORM_GROUPS = 16
LEAK = 0.2


def check_power_of_two(name: str, value: int) -> None:
    """Raise ModelError unless `value` is 1, 2, 4, 8, ...: patches are put together by doubling."""
    check_whole(name, value, 1)
    if value & (value - 1):
        raise ModelError(f"{name} must be a power of two, such as 4, received {value!r}: change it.")


def pad_up(x: Tensor, multiple: int, pad_mode: str) -> Tensor:
    """Pad the last two axes of `x (..., H, W)` below and on the right to multiples of `multiple`."""
    height, width = (side + -side % multiple for side in x.shape[-2:])
    x = _lengthen(x, -1, width, circular=pad_mode != "zeros")
    return _lengthen(x, -2, height, circular=pad_mode == "circular")


def _lengthen(x: Tensor, axis: int, size: int, *, circular: bool) -> Tensor:
    length = x.shape[axis]
    if size == length:
        return x
    if circular:
        return x.index_select(axis, torch.arange(size, device=x.device) % length)
    extra = list(x.shape)
    extra[axis] = size - length
    return torch.cat([x, x.new_zeros(extra)], dim=axis)


class PatchEmbedding(nn.Module):
    """`(N, C, H, W) -> (N, h, w, d)`: a linear map of each patch, then LayerNorm; `p^2 C d + 3d` parameters."""

    def __init__(self, in_channels: int, width: int, patch: int, pad_mode: str) -> None:
        super().__init__()
        check_choice("pad_mode", pad_mode, PAD_MODES)
        check_power_of_two("patch", patch)
        self.patch, self.pad_mode = patch, pad_mode
        self.project = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches of `x (N, C, H, W)`."""
        return self.norm(self.project(pad_up(x, self.patch, self.pad_mode)).movedim(1, -1))


class PatchInflation(nn.Module):
    """`(N, h, w, d) -> (N, F, H, W)`: transposed 3 x 3 convolutions of stride 2, as many as the patch needs.

    Between them GroupNorm (16 groups, or as many as divide d) and LeakyReLU. With p = 2^n there are n of them,
    with `9 d^2 + 3d` parameters each, the last one `9 d F + F`; a patch of 1 takes a plain convolution. Beyond the
    border there are zeros, whatever the axis.
    """

    def __init__(self, width: int, out_channels: int, patch: int) -> None:
        super().__init__()
        doublings = int(math.log2(patch))
        self.doublings = nn.Sequential()
        for _ in range(doublings - 1):
            self.doublings.append(_doubling(width, width))
            self.doublings.append(nn.GroupNorm(math.gcd(NORM_GROUPS, width), width))
            self.doublings.append(nn.LeakyReLU(LEAK))
        last = _doubling(width, out_channels) if doublings else nn.Conv2d(width, out_channels, 3, padding=1)
        self.doublings.append(last)

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        """Return maps of `size` (H, W) from `tokens (N, h, w, d)`."""
        height, width = size
        return self.doublings(tokens.movedim(-1, 1))[..., :height, :width]


def _doubling(in_channels: int, out_channels: int) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)


class PatchMerging(nn.Module):
    """`(N, h, w, d) -> (N, h/2, w/2, 2d)`: four neighbours in one, LayerNorm, linear; `8 d^2 + 8d` parameters."""

    def __init__(self, width: int, pad_mode: str) -> None:
        super().__init__()
        self.pad_mode = pad_mode
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge `tokens (N, h, w, d)`."""
        even = pad_up(tokens.movedim(-1, 1), 2, self.pad_mode)
        return self.reduce(self.norm(functional.pixel_unshuffle(even, 2).movedim(1, -1)))


class PatchExpansion(nn.Module):
    """`(N, h, w, d) -> (N, 2h, 2w, d/2)`: linear, one token into four, LayerNorm; `2 d^2 + d` parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width // 2)

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        """Expand `tokens (N, h, w, d)` and cut them to `size` (height, width in tokens)."""
        height, width = size
        maps = functional.pixel_shuffle(self.expand(tokens).movedim(-1, 1), 2)
        return self.norm(maps[..., :height, :width].movedim(1, -1))
