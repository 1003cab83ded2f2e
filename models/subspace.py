"""The subspace head: from hidden maps to one short vector a time step.

    r_t = W flatten(reduce(H_t))                      strided convolutions, then a linear map to D
    z   = r + attention(LN(r) + P season)             over the steps of the window

The spatial reduction is learned because a global mean would throw away where things are, which is what
regimes are. The map from the flattened hidden map makes the head belong to one grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import check_choice, check_switch, check_whole
from models.layers.convolution import PaddedConv2d

REDUCTIONS = ("convolution", "mean")


class SpatialReduction(nn.Module):
    """Strided 3 x 3 convolutions to a few channels, pooled to at most `map_size` a side, then flattened.

    At least one convolution of stride 2, and as many as bring the map to `map_size`, but no more than three;
    what is larger still is averaged.
    """

    def __init__(
        self, channels: int, grid: Sequence[int], reduced: int, map_size: int, pad_mode: str
    ) -> None:
        super().__init__()
        height, width = grid
        self.convolutions = nn.ModuleList()
        while not self.convolutions or (max(height, width) > map_size and len(self.convolutions) < 3):
            self.convolutions.append(PaddedConv2d(channels, reduced, 3, stride=2, pad_mode=pad_mode))
            channels, height, width = reduced, math.ceil(height / 2), math.ceil(width / 2)
        self.size = (min(height, map_size), min(width, map_size))
        self.out_features = reduced * self.size[0] * self.size[1]

    def forward(self, maps: Tensor) -> Tensor:
        """Reduce `maps (N, F, H, W)` to `(N, out_features)`."""
        first, *further = self.convolutions
        maps = first(maps)
        for convolution in further:
            maps = convolution(functional.silu(maps))
        return functional.adaptive_avg_pool2d(maps, self.size).flatten(1)


class AreaMean(nn.Module):
    """The area-weighted mean of each channel: what is left where the learned reduction is switched off."""

    def __init__(self, channels: int, area_weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("share", area_weight / area_weight.sum(), persistent=False)
        self.out_features = channels

    share: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Reduce `maps (N, F, H, W)` to `(N, F)`."""
        return torch.einsum("nfhw,h->nf", maps, self.share.to(maps.dtype)) / maps.shape[-1]


class TemporalAttention(nn.Module):
    """Self-attention over the steps of a window: `z = r + W_o heads(LN(r) + P season)`.

    P is fixed, not learned: the cosine basis, which spreads every seasonal feature over all D components.
    Without `season_features` there is no seasonal term. With `causal` a step sees only itself and the past.
    W_o starts at zero. Parameters, with D rounded up to D' for the heads: `2 D + 4 D D' + D`.
    """

    basis: Tensor | None

    def __init__(self, size: int, heads: int, season_features: int, causal: bool) -> None:
        super().__init__()
        width = heads * math.ceil(size / heads)
        self.heads, self.causal = heads, causal
        self.norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * width, bias=False)
        self.output = nn.Linear(width, size)
        basis = cosine_basis(season_features, size) if season_features else None
        self.register_buffer("basis", basis, persistent=False)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, r: Tensor, season: Tensor) -> Tensor:
        """Refine `r (B, T, D)` with `season (B, T, S)`."""
        y = self.norm(r)
        if self.basis is not None:
            y = y + season.to(r.dtype) @ self.basis.to(r.dtype)
        heads = self.query_key_value(y).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, heads, d)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.causal:
            future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=r.device).triu(1)
            logits = logits.masked_fill(future, -torch.inf)
        attended = (logits.softmax(-1) @ value).transpose(1, 2).flatten(2)  # (B, T, D')
        return r + self.output(attended)


def cosine_basis(count: int, size: int) -> Tensor:
    """Return `(count, size)`: rows of the orthonormal cosine basis (DCT-II) of length `size`, repeating."""
    row = torch.arange(count, dtype=torch.float64)[:, None] % size
    position = torch.arange(size, dtype=torch.float64)[None, :] + 0.5
    basis = torch.cos(math.pi * row * position / size) * math.sqrt(2 / size)
    return torch.where(row == 0, basis / math.sqrt(2), basis).float()


class SubspaceHead(nn.Module):
    """Turn hidden maps `(B, T, F, H, W)` into the embedding `(B, T, D)`.

    Args:
        channels: F, channels of the hidden maps.
        embedding_size: D.
        area_weight: `(H,)` cell areas; used by the mean alone.
        grid: `(H, W)`.
        season_features: S, features of the seasonal encoding in the batch.
        reduction: `convolution` (learned) or `mean` (area-weighted mean over the map).
        reduced_channels: channels of the strided convolutions.
        map_size: longest side of the map that is flattened.
        temporal_attention: let the steps of a window see each other.
        heads: heads of the temporal attention.
        causal: temporal attention sees only the past.
        seasonal_encoding: tell the temporal attention the season.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.
    """

    def __init__(
        self,
        channels: int,
        embedding_size: int,
        *,
        area_weight: Tensor,
        grid: Sequence[int],
        season_features: int,
        reduction: str,
        reduced_channels: int,
        map_size: int,
        temporal_attention: bool,
        heads: int,
        causal: bool,
        seasonal_encoding: bool,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__()
        check_choice("head.reduction", reduction, REDUCTIONS)
        check_whole("embedding_size", embedding_size, 1)
        for key, whole in (("reduced_channels", reduced_channels), ("map_size", map_size), ("heads", heads)):
            check_whole(f"head.{key}", whole, 1)
        check_switch("head.temporal_attention", temporal_attention)
        check_switch("head.causal", causal)
        check_switch("head.seasonal_encoding", seasonal_encoding)
        self.reduce: SpatialReduction | AreaMean = (
            AreaMean(channels, area_weight)
            if reduction == "mean"
            else SpatialReduction(channels, grid, reduced_channels, map_size, pad_mode)
        )
        self.project = nn.Linear(self.reduce.out_features, embedding_size)
        season = season_features if seasonal_encoding else 0
        self.attention = (
            TemporalAttention(embedding_size, heads, season, causal) if temporal_attention else None
        )

    def forward(self, hidden: Tensor, season: Tensor) -> Tensor:
        """Embed `hidden (B, T, F, H, W)` with the seasonal encoding `season (B, T, S)`."""
        reduced = self.reduce(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        embedding = self.project(reduced)
        return embedding if self.attention is None else self.attention(embedding, season)
