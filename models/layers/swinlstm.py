"""SwinLSTM (Tang et al. 2023, SwinLSTM: Improving Spatiotemporal Prediction Accuracy, equations 3 to 6).

The recurrence of `models.layers.tokens` with Swin transformer blocks (Liu et al. 2021): attention inside windows,
which are shifted by half a window in every second block. Supports forms B and D and any grid: a map that no whole
number of windows covers is padded, and nothing attends to the padding. Where longitude is circular the windows go
round it. Does not follow a shift of the fields, but by whole windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_whole
from models.layers.tokens import TokenLSTM

MLP_RATIO = 4
HIDDEN_LOGIT = -1e4  # lets nothing through in float32 or float64, and nowhere gives NaN


class Axis(NamedTuple):
    """How windows lie along one axis."""

    length: int  # tokens
    window: int  # tokens a window
    shift: int  # tokens by which the windows are moved
    circular: bool

    @property
    def padded(self) -> int:
        """Tokens of all windows together."""
        return self.length + -self.length % self.window

    def regions(self, device: torch.device) -> Tensor:
        """Return for each place which region it is in, `(padded,)`, after the shift: 0 is padding.

        The last window holds what the shift has moved over the border; without a circular axis that is a region
        of its own.
        """
        place = torch.arange(self.padded, device=device)
        region = torch.where(place < self.length, 1, 0)
        if not self.circular:
            region = torch.where((place < self.shift) & (region > 0), 2, region)
        return region.roll(-self.shift)


def axis(length: int, window: int, *, shifted: bool, circular: bool) -> Axis:
    """Return the windows of an axis; one window, which is not shifted, where the axis is no longer than it."""
    if length <= window:
        return Axis(length, length, 0, circular)
    return Axis(length, window, window // 2 if shifted else 0, circular)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows of M x M tokens, with a bias for each relative position.

        softmax(q k^T / sqrt(d / heads) + bias) v, then a linear map

    Parameters: `4 d^2 + 4d + (2M - 1)^2 heads`. Cost a token: `4 d^2 + 2 M^2 d` multiply-adds.

    Args:
        width: d.
        heads: attention heads, a divisor of d.
        window: M.
        shifted: move the windows by half a window.
        pad_mode: which axes are circular.
    """

    def __init__(self, width: int, *, heads: int, window: int, shifted: bool, pad_mode: str) -> None:
        super().__init__()
        check_whole("window", window, 1)
        check_whole("heads", heads, 1)
        if width % heads:
            raise ModelError(
                f"heads must divide the width of the tokens, received {heads} heads for a width of {width}: lower"
                " heads or change width."
            )
        self.heads, self.window, self.shifted, self.pad_mode = heads, window, shifted, pad_mode
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.relative_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Let the tokens `x (N, h, w, d)` see each other."""
        height, width = x.shape[1:3]
        rows = axis(height, self.window, shifted=self.shifted, circular=self.pad_mode == "circular")
        columns = axis(width, self.window, shifted=self.shifted, circular=self.pad_mode != "zeros")
        x = functional.pad(x, (0, 0, 0, columns.padded - width, 0, rows.padded - height))
        windows = to_windows(x.roll((-rows.shift, -columns.shift), (1, 2)), rows.window, columns.window)
        mixed = self._attend(windows, rows, columns)
        x = from_windows(mixed, rows, columns).roll((rows.shift, columns.shift), (1, 2))
        return self.project(x[:, :height, :width])

    def _attend(self, windows: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Attend inside `windows (N, windows, tokens, d)`."""
        split = self.query_key_value(windows).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(3, 0, 1, 4, 2, 5)  # (N, windows, heads, tokens, d / heads) each
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        logits = logits + self._bias(rows.window, columns.window)
        separate = separated(rows, columns, windows.device)
        if separate is not None:
            logits = logits.masked_fill(separate[:, None], HIDDEN_LOGIT)
        return (logits.softmax(-1) @ value).transpose(2, 3).flatten(3)

    def _bias(self, height: int, width: int) -> Tensor:
        """Return the bias `(heads, tokens, tokens)` of windows of height x width tokens."""
        device, side = self.relative_bias.device, 2 * self.window - 1
        y = torch.arange(height, device=device).repeat_interleave(width)
        x = torch.arange(width, device=device).repeat(height)
        offset_y = y[:, None] - y + self.window - 1
        offset_x = x[:, None] - x + self.window - 1
        return self.relative_bias[offset_y * side + offset_x].permute(2, 0, 1)


def to_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Return `x (N, h, w, d)` as windows `(N, windows, height x width, d)`."""
    x = x.unflatten(2, (-1, width)).unflatten(1, (-1, height))  # (N, rows, height, columns, width, d)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(windows: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Return windows `(N, windows, tokens, d)` as a padded map `(N, h, w, d)`."""
    count = rows.padded // rows.window, columns.padded // columns.window
    x = windows.unflatten(1, count).unflatten(3, (rows.window, columns.window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def separated(rows: Axis, columns: Axis, device: torch.device) -> Tensor | None:
    """Return `(windows, tokens, tokens)`, true where a token must not see another; None where all may."""
    region = 3 * rows.regions(device)[:, None] + columns.regions(device)
    if bool((region == region[0, 0]).all()):
        return None
    members = to_windows(region[None, ..., None], rows.window, columns.window)[0, ..., 0]
    return members[:, :, None] != members[:, None, :]


class SwinBlock(nn.Module):
    """A Swin transformer block that may read a context.

        y = LN1(x), or W [LN1(x), LN1(context)] + b;  x <- x + attention(y);  x <- x + MLP(LN2(x))

    Parameters with a context: `14 d^2 + 14 d + (2M - 1)^2 heads`; without: `2 d^2 + d` fewer.
    """

    def __init__(
        self, width: int, *, heads: int, window: int, shifted: bool, reads: bool, pad_mode: str
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.join = nn.Linear(2 * width, width) if reads else None
        self.attention = WindowAttention(
            width, heads=heads, window=window, shifted=shifted, pad_mode=pad_mode
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, MLP_RATIO * width),
            nn.GELU(),
            nn.Linear(MLP_RATIO * width, width),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Change `x (N, h, w, d)`; the context has the same shape."""
        y = self.norm(x)
        if self.join is not None:
            y = self.join(torch.cat([y, self.norm(context)], dim=-1))
        x = x + self.attention(y)
        return x + self.mlp(x)


class SwinLSTM(TokenLSTM):
    """SwinLSTM in form B (one cell) or D (down and up).

        O_t = Blocks(X_t, H_(t-1));  F_t = sig(O_t)
        C_t = F_t (C_(t-1) + tanh(O_t));  H_t = F_t tanh(C_t)

    The first block reads H_(t-1), the other even ones X_t once more, the odd ones, which are shifted, only what comes
    from below. Strictly sequential in time; linear in the number of tokens.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        form: `B` or `D`.
        width: d, numbers a token.
        patch: p, side of a patch in pixels, a power of two.
        blocks: of each cell on the way down; None for [6] and the published [2, 6].
        heads: attention heads on the finest map; twice as many on each coarser one.
        window: M, side of a window in tokens.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = SwinLSTM(3, 32, width=16, blocks=[2])(torch.zeros(2, 12, 3, 21, 24))
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
        heads: int = 4,
        window: int = 4,
        pad_mode: str = "zeros",
    ) -> None:
        check_whole("heads", heads, 1)

        def make_blocks(width: int, count: int, level: int) -> list[nn.Module]:
            return [
                SwinBlock(
                    width,
                    heads=heads << level,
                    window=window,
                    shifted=i % 2 == 1,
                    reads=i % 2 == 0,
                    pad_mode=pad_mode,
                )
                for i in range(count)
            ]

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
