"""Attention along the lines of a map with its derivative written out, in place, for maps `(B, H, W, F)`.

The same numbers as `models.layers.axial.LineAttention`:

    y = LN(h);  [q, k, v] = W y + b;  k, v <- their means over the tokens of the line
    h <- h + W_o softmax(q k^T + bias) v + b_o

What does not change from step to step is prepared once: the norm's weight and bias, 1 / sqrt(d), the layer
scale and the means are all in two matrices. Passes over F channels are what costs, so means over tokens are
taken of keys and values, which are narrower, and the norm's derivative is put together in D channels: with
columns of W that sum to zero,

    dL/dh = r (W^T dL/dq - y (dL/dq . W y) / F),        r = 1 / standard deviation

torch's own LayerNorm took as long as the rest of this (0.47 ms at 4 x 41 x 41 x 64; mean, difference and norm
0.11).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from models.layers.axial import ABSENT, membership, waves
from models.layers.memory import empty
from models.layers.modes import constant
from models.layers.product import product

if TYPE_CHECKING:
    from models.layers.axial import LineAttention

EPSILON = 1e-5  # of the LayerNorm, torch's own

_softmax_backward = torch.ops.aten._softmax_backward_data


class LineParameters(NamedTuple):
    """The parameters of `LineAttention`, by which the derivative is taken."""

    query: Tensor  # (D, F)
    key_value: Tensor  # (2D, F), k and v head by head
    norm: Tensor  # (F,)
    norm_bias: Tensor  # (F,)
    output: Tensor  # (F, D)
    output_bias: Tensor  # (F,)
    scale: Tensor  # (F,)
    bias: Tensor  # (heads, terms)


class LineWeights(NamedTuple):
    """What every step uses, for the lines of one direction; D is the width over all heads."""

    project: Tensor  # (F, 3D), to q, k and v; columns sum to zero
    project_bias: Tensor  # (3D,)
    output: Tensor  # (D + 1, F), W_o and b_o times the layer scale
    bias: Tensor  # (heads, N, M), relative position


class Tokens(NamedTuple):
    """How pixels make the tokens of their line, N the M."""

    pixels: int  # N
    number: int  # M
    cyclic: bool
    share: Tensor | None  # (L or 1, M, N), of each pixel in each token; None where every pixel is one
    of_pixel: Tensor | None  # (L or 1, N), of each pixel in its own token
    absent: Tensor | None  # (L or 1, M), true for tokens with nothing in them; None for none


class LineKept(NamedTuple):
    """What the derivative needs of one call."""

    centred: Tensor  # (B H W, F), h less its mean over the channels
    rstd: Tensor  # (B H W, 1)
    projected: Tensor  # (B L, N, 3D)
    key_value: Tensor  # (B L, M, 2D)
    attention: Tensor  # (heads, B L, N, M)
    attended: Tensor  # (B H W, D + 1), with a column of ones


def line_parameters(module: LineAttention) -> LineParameters:
    """Return the parameters of `module`."""
    return LineParameters(
        query=module.query.weight,
        key_value=module.key_value.weight,
        norm=module.norm.weight,
        norm_bias=module.norm.bias,
        output=module.output.weight,
        output_bias=module.output.bias,
        scale=module.scale,
        bias=module.bias,
    )


def line_weights(given: LineParameters, tokens: Tokens) -> LineWeights:
    """Prepare the weights for lines of such tokens."""
    project = _project(given)
    scaled = project * given.norm
    return LineWeights(
        project=(scaled - scaled.mean(1, keepdim=True)).T,
        project_bias=project.mv(given.norm_bias),
        output=torch.cat([given.output.T, given.output_bias[None]]) * given.scale,
        bias=(given.bias @ _waves_of(given, tokens)).view(-1, tokens.pixels, tokens.number),
    )


def line_weights_back(given: LineParameters, tokens: Tokens, by: LineWeights) -> LineParameters:
    """Return the derivatives by the parameters from those by the weights."""
    given = LineParameters(*(part.to(by.project.dtype) for part in given))
    project, width = _project(given), len(given.query)
    _, place, factor = _rows_of(given)
    d_scaled = by.project.T - by.project.mean(0)[:, None]
    d_project = torch.addr(d_scaled * given.norm, by.project_bias, given.norm_bias).mul_(factor)
    d_rows = d_project.index_select(0, place)
    output = torch.cat([given.output.T, given.output_bias[None]])
    d_output = by.output * given.scale
    return LineParameters(
        query=d_rows[:width],
        key_value=d_rows[width:],
        norm=(d_scaled * project).sum(0),
        norm_bias=by.project_bias @ project,
        output=d_output[:-1].T,
        output_bias=d_output[-1],
        scale=(by.output * output).sum(0),
        bias=by.bias.flatten(1) @ _waves_of(given, tokens).T,
    )


def _project(given: LineParameters) -> Tensor:
    """Return W before the norm's weight is in it, `(3D, F)`."""
    order, _, factor = _rows_of(given)
    return torch.cat([given.query, given.key_value]).index_select(0, order) * factor


def _rows_of(given: LineParameters) -> tuple[Tensor, Tensor, Tensor]:
    heads, query = len(given.bias), given.query
    return _rows(heads, len(query) // heads, query.dtype, query.device)


@constant
def _rows(heads: int, size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return which rows of q, and of k and v head by head, make q, k, v of all heads.

    And in which place each of them is then, and what they are multiplied by: 1 / sqrt(size) for q.
    """
    width = heads * size
    rows = torch.arange(3 * width, device=device)
    key_value = rows[width:].view(heads, 2, size).transpose(0, 1).flatten()
    order = torch.cat([rows[:width], key_value])
    factor = torch.ones(3 * width, 1, dtype=dtype, device=device)
    factor[:width] /= math.sqrt(size)
    return order, order.argsort(), factor


def _waves_of(given: LineParameters, tokens: Tokens) -> Tensor:
    return _waves(tokens.pixels, tokens.number, tokens.cyclic, given.bias.dtype, given.bias.device)


@constant
def _waves(pixels: int, tokens: int, cyclic: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the terms of the bias, `(terms, N M)`."""
    return waves(pixels, tokens, cyclic, torch.empty(0, dtype=dtype, device=device)).flatten(0, 1).T


def tokens_of(module: LineAttention, lines: int, pixels: int, like: Tensor) -> Tokens:
    """Return the tokens of so many lines of so many pixels."""
    count = pixels if module.tokens is None else min(module.tokens, pixels)
    if module.weight is None:
        return _even_tokens(pixels, count, module.cyclic, like.dtype, like.device)
    weight = module.weight.to(torch.promote_types(like.dtype, torch.float32)).expand(lines, pixels)
    form = pixels, count, module.cyclic
    if count == pixels:
        return Tokens(*form, None, None, weight == 0 if module.has_holes else None)
    share = _share(weight, count).to(like.dtype)
    return Tokens(*form, share, share.sum(1), share.sum(2) == 0 if module.has_holes else None)


@constant
def _even_tokens(pixels: int, count: int, cyclic: bool, dtype: torch.dtype, device: torch.device) -> Tokens:
    if count == pixels:
        return Tokens(pixels, count, cyclic, None, None, None)
    share = _share(torch.ones(1, pixels, dtype=dtype, device=device), count)
    return Tokens(pixels, count, cyclic, share, share.sum(1), None)


def _share(weight: Tensor, count: int) -> Tensor:
    """Return the share of each pixel in its token, `(lines, M, N)`, by the pixels' weights `(lines, N)`."""
    member = membership(weight.shape[1], count, weight)
    total = (weight @ member).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight[:, :, None] * member / total[:, None, :]).transpose(1, 2).contiguous()


class Lines:
    """Attention along rows or columns, and its derivative; gathers that of the weights over all steps.

    Args:
        weights: see there.
        tokens: see there.
        columns: whether the lines are the columns.
    """

    def __init__(self, weights: LineWeights, tokens: Tokens, *, columns: bool) -> None:
        self.weights, self.columns = weights, columns
        self.share, self.absent = tokens.share, tokens.absent
        self.heads = weights.bias.shape[0]
        self.width = weights.project.shape[1] // 3
        size = self.width // self.heads
        self.parts = [slice(head * size, (head + 1) * size) for head in range(self.heads)]
        self.project = weights.project.T.contiguous()
        self.from_output = weights.output[:-1].contiguous()
        sums = torch.promote_types(weights.project.dtype, torch.float32)
        self.derivatives = LineWeights(*(torch.zeros_like(part, dtype=sums) for part in weights))

    def forward(self, h: Tensor) -> LineKept:
        """Refine the map `h (B, H, W, F)` in place."""
        weights, width, grid = self.weights, self.width, h.shape[:3]
        centred, rstd = _normalise(h)
        projected = product(centred, self.project)
        projected = self._lines(projected.mul_(rstd).add_(weights.project_bias), grid)
        key_value = self._tokens(projected[..., width:])
        logits = empty((self.heads, *projected.shape[:2], key_value.shape[1]), h)
        for head, part in enumerate(self.parts):
            query, key = projected[..., part], key_value[..., part].transpose(1, 2)
            torch.baddbmm(weights.bias[head], query, key, out=logits[head])
        self._fill_absent(logits, ABSENT)
        attention = logits.softmax(-1)
        attended = empty((*projected.shape[:2], width + 1), h)
        attended[..., -1] = 1
        for head, part in enumerate(self.parts):
            attended[..., part] = torch.bmm(attention[head], key_value[..., width:][..., part])
        attended = self._pixels(attended, grid)
        _add_product(h, attended, weights.output)
        return LineKept(centred, rstd, projected, key_value, attention, attended)

    def backward(self, kept: LineKept, d: Tensor) -> None:
        """Turn the derivative by the refined map, `(B, H, W, F)`, into that by the map before, in place."""
        weights, width, grid, total = self.weights, self.width, d.shape[:3], self.derivatives
        flat = d.view(-1, d.shape[3])
        total.output.add_(product(kept.attended.T, flat.T))
        d_attended = self._lines(product(flat, self.from_output), grid)
        d_projected = self._pixels(self._attention_backward(kept, d_attended), grid)
        response = torch.sub(self._pixels(kept.projected, grid), weights.project_bias, out=_room(d_projected))
        slope = response.mul_(d_projected).mean(1, keepdim=True).mul_(3 * width / d.shape[3])
        total.project_bias.add_(d_projected.sum(0))
        d_projected = d_projected.mul_(kept.rstd)
        total.project.add_(product(kept.centred.T, d_projected.T))
        flat.addmm_(d_projected, weights.project.T)
        flat.addcmul_(kept.centred, slope.mul_(kept.rstd).mul_(kept.rstd), value=-1)

    def _attention_backward(self, kept: LineKept, d_attended: Tensor) -> Tensor:
        """Return the derivative by q, k and v of all pixels, `(B L, N, 3D)`."""
        width = self.width
        d_projected, d_key_value = _room(kept.projected), _room(kept.key_value)
        for head, part in enumerate(self.parts):
            attention, d_part = kept.attention[head], d_attended[..., part]
            query, key, value = (
                kept.projected[..., part], kept.key_value[..., part], kept.key_value[..., width:][..., part]
            )  # fmt: skip
            d_attention = torch.bmm(d_part, value.transpose(1, 2))
            d_logits = _softmax_backward(d_attention, attention, -1, attention.dtype)
            self._fill_absent(d_logits[None], 0)
            self.derivatives.bias[head].add_(d_logits.sum(0))
            d_projected[..., part] = torch.bmm(d_logits, key)
            d_key_value[..., part] = torch.bmm(d_logits.transpose(1, 2), query)
            d_key_value[..., width:][..., part] = torch.bmm(attention.transpose(1, 2), d_part)
        d_projected[..., width:] = self._tokens(d_key_value, back=True)
        return d_projected

    def _fill_absent(self, logits: Tensor, value: float) -> None:
        """Overwrite the tokens with nothing in them in `logits (heads, B L, N, M)`."""
        if self.absent is not None:
            logits.unflatten(1, (-1, len(self.absent))).masked_fill_(self.absent[:, None, :], value)

    def _tokens(self, lines: Tensor, back: bool = False) -> Tensor:
        """Return the means over tokens `(B L, M, .)` of lines `(B L, N, .)`, or, back, the transpose."""
        if self.share is None:
            return lines
        own, count = len(self.share), len(lines)
        shares = self.share.expand(count, -1, -1) if own == 1 else self.share.repeat(count // own, 1, 1)
        return torch.bmm(shares.transpose(1, 2) if back else shares, lines)

    def _lines(self, flat: Tensor, grid: torch.Size) -> Tensor:
        """Turn `(B H W, .)` into lines `(B L, N, .)`."""
        images = flat.view(*grid, -1)
        return (_copied(images.transpose(1, 2)) if self.columns else images).flatten(0, 1)

    def _pixels(self, lines: Tensor, grid: torch.Size) -> Tensor:
        """Turn lines `(B L, N, .)` into `(B H W, .)`."""
        if not self.columns:
            return lines.flatten(0, 1)
        batch, height, row = grid
        return _copied(lines.view(batch, row, height, -1).transpose(1, 2)).flatten(0, 2)


def _room(like: Tensor) -> Tensor:
    return empty(like.shape, like)


def _copied(x: Tensor) -> Tensor:
    return _room(x).copy_(x)


def _normalise(h: Tensor) -> tuple[Tensor, Tensor]:
    """Return `h (..., F)` less its mean `(n, F)`, and one over its standard deviation `(n, 1)`."""
    centred = torch.sub(h, h.mean(-1, keepdim=True), out=_room(h)).view(-1, h.shape[-1])
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return centred, norm.square_().div_(h.shape[-1]).add_(EPSILON).rsqrt_()


def _add_product(h: Tensor, x: Tensor, matrix: Tensor) -> None:
    """Add `x @ matrix` to the map `h (B, H, W, F)` in place; x is `(B H W, .)`."""
    images = h.flatten(1, 2)
    images.baddbmm_(x.view(len(h), -1, x.shape[1]), matrix.expand(len(h), -1, -1))
