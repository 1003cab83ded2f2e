"""SimVPv2 (Tan et al. 2022, SimVP: Towards Simple yet Powerful Spatiotemporal Predictive Learning), with gSTA.

No recurrence: all steps of a window become channels of one map, which gated spatiotemporal attention mixes between a
convolutional encoder and decoder. A layer belongs to one length of window, and sees both sides of every step.
Supports any grid. The hidden maps are the decoder's features, before the published readout. Stochastic depth is not
supported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_whole
from models.layers.convolution import PaddedConv2d
from models.layers.patches import pad_up
from models.layers.whole import WholeWindow

LAYER_SCALE = 1e-2


class SpatialConvolution(nn.Module):
    """Convolution 3 x 3, GroupNorm with 2 groups, SiLU (ConvSC), keeping, halving or doubling the grid.

    Parameters, from C to F channels: `9 C F + 3F`; doubling, by four times the channels: `36 C F + 6F`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, pad_mode: str, halve: bool = False, double: bool = False
    ) -> None:
        super().__init__()
        outputs = 4 * out_channels if double else out_channels
        stride = 2 if halve else 1
        self.convolution = PaddedConv2d(in_channels, outputs, 3, stride=stride, pad_mode=pad_mode)
        self.doubles = double
        self.norm = nn.GroupNorm(math.gcd(2, out_channels), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x (N, C, H, W)`."""
        x = self.convolution(x)
        return functional.silu(self.norm(functional.pixel_shuffle(x, 2) if self.doubles else x))


class GatedAttention(nn.Module):
    """The large-kernel gate of gSTA between two 1 x 1 maps, with a shortcut.

        y = GELU(W_1 x);  [a, g] = W DW_7x7,3(DW_5x5(y));  result = x + W_2 (sig(g) a)

    A depthwise 5 x 5 and a 7 x 7 of dilation 3 reach as far as a kernel of 21. Parameters: `4 d^2 + 81 d`.
    """

    def __init__(self, width: int, pad_mode: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"groups": width, "pad_mode": pad_mode}
        self.before = nn.Conv2d(width, width, 1)
        self.near = PaddedConv2d(width, width, 5, **options)
        self.far = PaddedConv2d(width, width, 7, dilation=3, **options)
        self.split = nn.Conv2d(width, 2 * width, 1)
        self.after = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix `x (N, d, h, w)`."""
        y = functional.gelu(self.before(x))
        value, gate = self.split(self.far(self.near(y))).chunk(2, dim=1)
        return x + self.after(gate.sigmoid() * value)


class GatedBlock(nn.Module):
    """One block of gSTA (MetaBlock), to another width at its end where that differs.

        x <- x + ls_1 attention(norm(x));  x <- x + ls_2 MLP(norm(x)), with a depthwise 3 x 3 inside the MLP

    Parameters: `(4 + 2r) d^2 + (87 + 11r) d`, and `d d' + d'` for another width d'.
    """

    def __init__(self, width: int, out_width: int, *, mlp_ratio: int, norm: str, pad_mode: str) -> None:
        super().__init__()
        inner = mlp_ratio * width
        self.attention = nn.Sequential(_norm(norm, width), GatedAttention(width, pad_mode))
        self.mlp = nn.Sequential(
            _norm(norm, width),
            nn.Conv2d(width, inner, 1),
            PaddedConv2d(inner, inner, 3, groups=inner, pad_mode=pad_mode),
            nn.GELU(),
            nn.Conv2d(inner, width, 1),
        )
        self.scale = nn.Parameter(torch.full((2, width, 1, 1), LAYER_SCALE))
        self.reduce = nn.Conv2d(width, out_width, 1) if width != out_width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Change `x (N, d, h, w)` into `(N, d', h, w)`."""
        x = x + self.scale[0] * self.attention(x)
        x = x + self.scale[1] * self.mlp(x)
        return self.reduce(x)


def _norm(norm: str, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(1, width)


class SimVPv2(WholeWindow):
    """SimVPv2 as an encoder of windows: convolutions, gSTA over time and space, convolutions.

        E = S convolutions, every second one halving the grid;  Z = blocks of gSTA on (B, T F, h, w)
        H = S convolutions, doubling where E halved; the last one sees E's first map as well

    Parameters: those of the convolutions and blocks, which begin and end at T F channels. Cost of a window: `h w`
    times those of the blocks, so it grows with (T F)^2. All steps at once.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        length: T, the one length of window that the layer takes.
        width: d, channels of the inner blocks.
        spatial_layers: S, convolutions on either side.
        blocks: of gSTA, at least 2.
        mlp_ratio: r.
        norm: `group`, which treats an example alike in whatever batch and in training, or `batch`, as published.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, _ = SimVPv2(3, 8, length=12, width=16)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 8, 21, 24])
    """

    fixed_length = True

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        length: int = 12,
        width: int = 128,
        spatial_layers: int = 2,
        blocks: int = 4,
        mlp_ratio: int = 4,
        norm: str = "group",
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        for name, value, least in (("length", length, 1), ("width", width, 1), ("mlp_ratio", mlp_ratio, 1)):
            check_whole(name, value, least)
        check_whole("spatial_layers", spatial_layers, 1)
        check_whole("blocks", blocks, 2)
        check_choice("norm", norm, ("group", "batch"))
        self.length, self.pad_mode = length, pad_mode
        halving = [i % 2 == 1 for i in range(spatial_layers)]
        self.multiple = 2 ** sum(halving)
        channels = [in_channels] + [hidden_channels] * (spatial_layers - 1)
        self.encoder = nn.ModuleList(
            SpatialConvolution(channel, hidden_channels, halve=halve, pad_mode=pad_mode)
            for channel, halve in zip(channels, halving, strict=True)
        )
        self.decoder = nn.ModuleList(
            SpatialConvolution(hidden_channels, hidden_channels, double=double, pad_mode=pad_mode)
            for double in reversed(halving)
        )
        folded = length * hidden_channels
        widths = [folded, *[width] * (blocks - 1), folded]
        options: dict[str, Any] = {"mlp_ratio": mlp_ratio, "norm": norm, "pad_mode": pad_mode}
        self.blocks = nn.Sequential(*(GatedBlock(widths[i], widths[i + 1], **options) for i in range(blocks)))

    def encode(self, x: Tensor) -> Tensor:
        """Return the hidden maps `(B, T, F, H, W)` of `x (B, T, C, H, W)`.

        Raises:
            ModelError: when the window has another length than the layer.
        """
        batch, length, _, height, width = x.shape
        if length != self.length:
            raise ModelError(
                f"SimVPv2 was built for windows of {self.length} steps, received {length}: build it with"
                f" length={length}."
            )
        first, *further = self.encoder
        skip = first(pad_up(x.flatten(0, 1), self.multiple, self.pad_mode))
        maps = skip
        for layer in further:
            maps = layer(maps)
        folded = maps.unflatten(0, (batch, length)).flatten(1, 2)
        maps = self.blocks(folded).unflatten(1, (length, -1)).flatten(0, 1)
        *layers, last = self.decoder
        for layer in layers:
            maps = layer(maps)
        return last(maps + skip)[..., :height, :width].unflatten(0, (batch, length))
