"""PredFormer (Tang et al. 2024, PredFormer: Transformers Are Effective Spatial-Temporal Predictive Learners).

No recurrence: patches of all steps are tokens, which gated transformer blocks mix in time, in space or in both.
Supports every published arrangement, any grid and any length: the place encoding is a fixed function, computed for
the tokens at hand. Sees both sides of every step unless causal. Dropout and stochastic depth are not supported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_switch, check_whole
from models.layers.convolution import PAD_MODES
from models.layers.patches import check_power_of_two, pad_up
from models.layers.whole import WholeWindow

PATTERNS = {
    "full": "A",
    "facST": "ST",
    "facTS": "TS",
    "binaryTS": "TS",
    "binaryST": "ST",
    "tripletTST": "TST",
    "tripletSTS": "STS",
    "quadrupletTSST": "TSST",
    "quadrupletSTTS": "STTS",
}
"""What each block mixes, which is repeated: T time, S space, A all at once; fac- does all of one, then the other."""


def arrangement(variant: str, blocks: int) -> list[tuple[str, int]]:
    """Return what is mixed by each transformer, and its depth.

    Raises:
        ModelError: for a number of blocks that the pattern does not divide.
    """
    check_choice("variant", variant, tuple(PATTERNS))
    check_whole("blocks", blocks, 1)
    pattern = PATTERNS[variant]
    if blocks % len(pattern):
        raise ModelError(
            f"blocks must be a multiple of {len(pattern)} for the variant {variant}, received {blocks}: change it."
        )
    times = blocks // len(pattern)
    if variant in ("full", "facST", "facTS"):
        return [(axis, times) for axis in pattern]
    return [(axis, 1) for axis in pattern * times]


class GatedTransformer(nn.Module):
    """A transformer of gated blocks over sequences `(N, tokens, d)`, LayerNorm at its end.

        x <- x + attention(LN(x));  x <- x + W_2 (SiLU(W_g LN(x) + b_g) (W_x LN(x) + b_x)) + b_2

    Parameters of depth 1, with inner width I and m = mlp_ratio d: `4 d I + 3 d m + 2m + 8d`.
    """

    def __init__(self, width: int, depth: int, *, heads: int, head_width: int, mlp_ratio: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(Attention(width, heads, head_width))
            self.layers.append(SwiGLU(width, mlp_ratio * width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Change `x (N, tokens, d)`; causal: a token sees itself and what is before it."""
        for attention, mlp in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + attention(x, causal)
            x = x + mlp(x)
        return self.norm(x)


class Attention(nn.Module):
    """Multi-head self-attention after a LayerNorm; queries, keys and values without biases."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.project = nn.Linear(heads * head_width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """Return what the tokens of `x (N, tokens, d)` read."""
        split = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (N, heads, tokens, head_width) each
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.project(mixed.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """The gated two-layer map of a token (Shazeer 2020) after a LayerNorm."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.project = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map the tokens of `x (N, tokens, d)`."""
        y = self.norm(x)
        return self.project(functional.silu(self.gate(y)) * self.value(y))


class PredFormer(WholeWindow):
    """PredFormer as an encoder of windows: patches, transformers over time and space, patches back to the grid.

    Parameters: `(C p^2 + 1) d` in, those of the transformers, `2d + (d + 1) F p^2` out. Cost of a window with n
    tokens a step: T n times the transformers' matrices, and `2 I T^2 n` for each attention in time, `2 I T n^2` in
    space, `2 I (T n)^2` over all. All steps at once.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        variant: how time and space alternate, one of `PATTERNS`; facTS is the paper's best for weather.
        width: d, numbers a token.
        patch: p, side of a patch in pixels, a power of two.
        blocks: gated blocks in all, a multiple of the variant's letters.
        heads: attention heads.
        head_width: numbers a head; I = heads x head_width.
        mlp_ratio: inner width of the gated map, in widths.
        causal: attention in time sees only the past; not for the variant full.
        pad_mode: what lies beyond the border where patches do not cover it, see `models.layers.convolution`.

    Example:
        >>> hidden, _ = PredFormer(3, 32)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 32, 21, 24])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        variant: str = "facTS",
        width: int = 64,
        patch: int = 4,
        blocks: int = 4,
        heads: int = 4,
        head_width: int = 16,
        mlp_ratio: int = 2,
        causal: bool = False,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        for name, value in (("width", width), ("heads", heads), ("head_width", head_width)):
            check_whole(name, value, 1)
        check_whole("mlp_ratio", mlp_ratio, 1)
        check_power_of_two("patch", patch)
        check_choice("pad_mode", pad_mode, PAD_MODES)
        check_switch("causal", causal)
        if causal and variant == "full":
            raise ModelError("The variant full cannot be causal: choose another variant or causal false.")
        self.causal, self.patch, self.pad_mode = causal, patch, pad_mode
        self.embedding = nn.Linear(in_channels * patch**2, width)
        options: dict[str, Any] = {"heads": heads, "head_width": head_width, "mlp_ratio": mlp_ratio}
        order = arrangement(variant, blocks)
        self.mixes = "".join(axis for axis, _ in order)
        self.transformers = nn.ModuleList(GatedTransformer(width, depth, **options) for _, depth in order)
        self.readout = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden_channels * patch**2))

    def encode(self, x: Tensor) -> Tensor:
        """Return the hidden maps `(B, T, F, H, W)` of `x (B, T, C, H, W)`."""
        height, width = x.shape[-2:]
        patches = functional.pixel_unshuffle(pad_up(x, self.patch, self.pad_mode), self.patch)
        tokens = self.embedding(patches.movedim(2, -1))  # (B, T, h, w, d)
        rows, columns = tokens.shape[2:4]
        tokens = tokens.flatten(2, 3)
        tokens = tokens + places(tokens).unflatten(0, tokens.shape[1:3])
        for axis, transformer in zip(self.mixes, self.transformers, strict=True):
            tokens = self._mix(axis, transformer, tokens)
        maps = self.readout(tokens).unflatten(2, (rows, columns)).movedim(-1, 2)
        return functional.pixel_shuffle(maps, self.patch)[..., :height, :width]

    def _mix(self, axis: str, transformer: nn.Module, tokens: Tensor) -> Tensor:
        """Mix `tokens (B, T, n, d)` along time, space or both."""
        batch, length = tokens.shape[:2]
        if axis == "S":
            return transformer(tokens.flatten(0, 1)).unflatten(0, (batch, length))
        if axis == "A":
            return transformer(tokens.flatten(1, 2)).unflatten(1, (length, -1))
        mixed = transformer(tokens.transpose(1, 2).flatten(0, 1), self.causal)
        return mixed.unflatten(0, (batch, -1)).transpose(1, 2)


def places(tokens: Tensor) -> Tensor:
    """Return the encoding `(T n, d)` of the places of `tokens (B, T, n, d)`, counted step by step.

    Vaswani et al. 2017, section 3.5: sines in the even, cosines in the odd numbers, wavelengths from 2 pi to
    20,000 pi.
    """
    _, length, count, width = tokens.shape
    place = torch.arange(length * count, device=tokens.device, dtype=torch.float64)
    pairs = torch.arange(0, width, 2, device=tokens.device, dtype=torch.float64)
    angle = place[:, None] * torch.exp(-math.log(10000.0) / width * pairs)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(tokens.dtype)
