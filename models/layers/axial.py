"""Axial attention over the hidden map: along each row, then along each column.

The light form attends to at most 16 tokens a line, each the area-weighted mean of neighbouring pixels, which
makes the cost linear in H W; the exact form attends to every pixel of the line. Position enters only as a
relative bias, so that nothing is tied to a place. With tokens of more than one pixel a shift of the field is
followed exactly where it is a whole number of tokens, and nearly elsewhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.errors import check_whole

HARMONICS = 4
"""Terms of the relative bias: the finest wave has a fourth of the axis (cyclic) or half of it."""

LAYER_SCALE = 1e-2
ABSENT = -1e4  # a logit that no softmax in float32 or float64 lets through


class AxialAttention(nn.Module):
    """Refine `H (B, F, H, W)`: `H += scale_r rows(H)`, then `H += scale_c columns(H)`.

    Parameters, each axis, with width D and h heads: `2F + 4 F D + F + F + 8h` (LayerNorm, the four
    projections, output bias, layer scale, relative bias).

    Args:
        channels: F.
        width: D, inner width over all heads; rounded up to a multiple of the heads.
        heads: attention heads.
        tokens: at most so many tokens a line, or None for every pixel.
        cyclic_rows: whether longitude goes round the globe.
        cyclic_columns: whether latitude is circular (tests only).
        area_weight: `(H, W)` weights of the pixels, 0 where there is nothing to see; None for equal ones.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        heads: int,
        tokens: int | None,
        cyclic_rows: bool = False,
        cyclic_columns: bool = False,
        area_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        columns_weight = None if area_weight is None else area_weight.T
        self.rows = LineAttention(channels, width, heads, tokens, cyclic_rows, area_weight)
        self.columns = LineAttention(channels, width, heads, tokens, cyclic_columns, columns_weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Refine `hidden (B, F, H, W)`, rows first."""
        h = self.rows(hidden.permute(0, 2, 3, 1))
        h = self.columns(h.transpose(1, 2)).transpose(1, 2)
        return h.permute(0, 3, 1, 2)


class LineAttention(nn.Module):
    """Multi-head attention of every pixel to the tokens of its own line, pre-norm and residual.

        y = LN(h);  s = mean of y over the pixels of each token
        h <- h + scale * W_o softmax(q(y) k(s)^T / sqrt(d) + bias(offset)) v(s)

    W_o starts at zero and the layer scale at 1e-2, so that the layer starts as the identity.
    """

    weight: Tensor | None

    def __init__(
        self,
        channels: int,
        width: int,
        heads: int,
        tokens: int | None,
        cyclic: bool,
        weight: Tensor | None,
    ) -> None:
        super().__init__()
        check_whole("attention heads", heads, 1)
        if tokens is not None:
            check_whole("attention_tokens", tokens, 1)
        width = heads * math.ceil(width / heads)
        self.heads, self.tokens, self.cyclic = heads, tokens, cyclic
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, width, bias=False)
        self.key_value = nn.Linear(channels, 2 * width, bias=False)
        self.output = nn.Linear(width, channels)
        self.scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.bias = nn.Parameter(torch.zeros(heads, 2 * HARMONICS))
        self.register_buffer("weight", weight, persistent=False)
        self.has_holes = weight is not None and bool((weight == 0).any())
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Refine `h (B, L, N, F)`: L lines of N pixels."""
        attention, value = self._look(h)
        return h + self.scale * self.output((attention @ value).transpose(2, 3).flatten(3))

    def attention_map(self, h: Tensor) -> Tensor:
        """Return the weights `(B, L, heads, N, M)` with which each pixel attends to the tokens of its line."""
        return self._look(h)[0]

    def _look(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the tokens `(B, L, heads, N, M)` and their values `(B, L, heads, M, d)`."""
        y = self.norm(h)
        tokens, absent = self._tokens(y)
        query = self._split(self.query(y))  # (B, L, heads, N, d)
        key, value = self._split(self.key_value(tokens)).chunk(2, dim=-1)  # (B, L, heads, M, d)
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        logits = logits + relative_bias(self.bias, h.shape[2], tokens.shape[2], self.cyclic)
        if absent is not None:
            logits = logits.masked_fill(absent[:, None, None, :], ABSENT)
        return logits.softmax(-1), value

    def _split(self, y: Tensor) -> Tensor:
        """Turn `(B, L, N, heads * d)` into `(B, L, heads, N, d)`."""
        return y.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def _tokens(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens `(B, L, M, F)` of the lines and which of them are empty `(L, M)`."""
        length = y.shape[2]
        count = length if self.tokens is None else min(self.tokens, length)
        weight = y.new_ones(1, 1) if self.weight is None else self.weight.to(y.dtype)
        weight = weight.expand(-1, length)
        if count == length:
            return y, weight == 0 if self.has_holes else None
        member = membership(length, count, y)
        total = weight @ member  # (L, M)
        share = weight[:, :, None] * member / total.clamp(min=torch.finfo(y.dtype).tiny)[:, None, :]
        tokens = torch.einsum("lnm,blnf->blmf", share.expand(y.shape[1], -1, -1), y)
        return tokens, total == 0 if self.has_holes else None


def relative_bias(coefficient: Tensor, pixels: int, tokens: int, cyclic: bool) -> Tensor:
    """Return the bias `(heads, pixels, tokens)` of the logits, a short Fourier series of the offset.

    The offset is that of a pixel from the centre of a token, as a fraction of the axis. On a cyclic axis the
    series has the axis as its period, so that the bias goes round by itself; elsewhere twice the axis.

    Args:
        coefficient: `(heads, 2 * HARMONICS)`, cosines then sines.
        pixels: N, pixels of the line.
        tokens: M, tokens of the line.
        cyclic: whether the line is closed.
    """
    return torch.einsum("nmk,hk->hnm", waves(pixels, tokens, cyclic, coefficient), coefficient)


def waves(pixels: int, tokens: int, cyclic: bool, like: Tensor) -> Tensor:
    """Return the terms of the series `(pixels, tokens, 2 * HARMONICS)`, of the type and on the device of `like`."""
    pixel = (like.new_ones(pixels).cumsum(0) - 0.5) / pixels
    member = membership(pixels, tokens, like)
    centre = pixel @ member / member.sum(0)
    offset = pixel[:, None] - centre[None, :]
    wave = like.new_ones(HARMONICS).cumsum(0) * math.pi * (2 if cyclic else 1)
    angle = offset[..., None] * wave
    return torch.cat([angle.cos(), angle.sin()], -1)


def membership(pixels: int, tokens: int, like: Tensor) -> Tensor:
    """Return `(N, M)`, 1 where pixel n belongs to token m: M neighbouring groups of nearly equal size."""
    token_of_pixel = torch.arange(pixels, device=like.device) * tokens // pixels
    return nn.functional.one_hot(token_of_pixel, tokens).to(like.dtype)
