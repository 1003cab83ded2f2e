"""The decoder: from the embedding alone back to the fields.

    x_hat = b + sum_k z_k phi_k + conv(z)

The linear part is what a principal component analysis has, patterns phi_k on the grid. With `orthonormal`
patterns (in the loss's own area-weighted, masked inner product) the distance of two vectors is that of the two
fields that they stand for, which is what k-means needs. The convolutional part adds what is not linear in
z, and starts at zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_switch, check_whole
from models.layers.convolution import PaddedConv2d
from models.losses import loss_weight

LINEAR = ("orthonormal", "free")


class LinearPatterns(nn.Module):
    """`x_hat = b + sum_k z_k phi_k`, with patterns phi on a grid of at most `map_size` a side.

    On a larger grid the sum is interpolated, so that the number of parameters stays bounded: `(D + 1) C h w`.
    Patterns are stored times the square root of the weight, in which the inner product is the plain one.
    """

    root_weight: Tensor

    def __init__(
        self, embedding_size: int, mask: Tensor, area_weight: Tensor, *, orthonormal: bool, map_size: int
    ) -> None:
        super().__init__()
        self.grid = (mask.shape[1], mask.shape[2])
        size = (min(self.grid[0], map_size), min(self.grid[1], map_size))
        weight = functional.adaptive_avg_pool2d(loss_weight(mask, area_weight.double()), size)
        weight = weight / weight.sum()
        self.register_buffer("root_weight", weight.sqrt().float(), persistent=False)
        self.orthonormal = orthonormal
        points = weight.numel()
        seen = int((weight > 0).sum())
        if embedding_size > seen:
            raise ModelError(
                f"embedding_size must be at most the {seen} points that have data, received {embedding_size}:"
                " lower model.embedding_size."
            )
        self.pattern = nn.Parameter(torch.randn(embedding_size, points) / math.sqrt(points))
        self.offset = nn.Parameter(torch.zeros(weight.shape))

    def patterns(self) -> Tensor:
        """Return the patterns phi `(D, C, h, w)`, 0 where there are no data."""
        root = self.root_weight.to(self.pattern.dtype)
        pattern = self.pattern * (root.flatten() > 0)
        if self.orthonormal:
            pattern = orthonormal_rows(pattern)
        safe = torch.where(root > 0, root, 1)
        return pattern.unflatten(1, root.shape) / safe

    def forward(self, embedding: Tensor) -> Tensor:
        """Turn `embedding (N, D)` into fields `(N, C, H, W)`."""
        patterns = self.patterns()
        fields = self.offset + (embedding @ patterns.flatten(1)).unflatten(-1, patterns.shape[1:])
        return fields if fields.shape[-2:] == self.grid else _resize(fields, self.grid)


class ConvolutionalDetail(nn.Module):
    """What is not linear in the embedding: a coarse map, twice enlarged and convolved; zero at first."""

    def __init__(
        self, embedding_size: int, channels: int, grid: tuple[int, ...], inner: int, pad_mode: str
    ) -> None:
        super().__init__()
        self.grid = grid
        self.half_grid = tuple(math.ceil(side / 2) for side in grid)
        self.coarse = (inner, *(math.ceil(side / 4) for side in grid))
        self.expand = nn.Linear(embedding_size, math.prod(self.coarse))
        self.middle = PaddedConv2d(inner, inner, 3, pad_mode=pad_mode)
        self.last = PaddedConv2d(inner, channels, 3, pad_mode=pad_mode, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, embedding: Tensor) -> Tensor:
        """Turn `embedding (N, D)` into fields `(N, C, H, W)`."""
        maps = functional.silu(self.expand(embedding)).unflatten(1, self.coarse)
        maps = functional.silu(self.middle(_resize(maps, self.half_grid)))
        return self.last(_resize(maps, self.grid))


class Decoder(nn.Module):
    """Turn the embedding `(..., D)` into fields `(..., C, H, W)`; it sees nothing else.

    Args:
        embedding_size: D.
        mask: `(C, H, W)`, true where data exist.
        area_weight: `(H,)` cell areas.
        linear: `orthonormal` patterns or `free` ones.
        map_size: longest side of the grid on which the patterns are held.
        convolution: add the part that is not linear.
        convolution_channels: its inner channels.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.
    """

    def __init__(
        self,
        embedding_size: int,
        *,
        mask: Tensor,
        area_weight: Tensor,
        linear: str,
        map_size: int,
        convolution: bool,
        convolution_channels: int,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__()
        check_choice("decoder.linear", linear, LINEAR)
        check_switch("decoder.convolution", convolution)
        check_whole("decoder.map_size", map_size, 1)
        check_whole("decoder.convolution_channels", convolution_channels, 1)
        self.linear = LinearPatterns(
            embedding_size, mask, area_weight, orthonormal=linear == "orthonormal", map_size=map_size
        )
        self.detail = (
            ConvolutionalDetail(
                embedding_size, mask.shape[0], self.linear.grid, convolution_channels, pad_mode
            )
            if convolution
            else None
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """Decode `embedding (..., D)`."""
        flat = embedding.reshape(-1, embedding.shape[-1])
        fields = self.linear(flat)
        if self.detail is not None:
            fields = fields + self.detail(flat)
        return fields.reshape(*embedding.shape[:-1], *fields.shape[1:])


def orthonormal_rows(pattern: Tensor) -> Tensor:
    """Return rows with the same span as those of `pattern (D, P)`, orthonormal, D <= P.

    By the Cholesky factor of the D x D products, which costs far less than a QR of the P points. Rows that are
    not finite come out not finite, without an error: the loss then tells.
    """
    with torch.autocast(pattern.device.type, enabled=False):  # half precision has no Cholesky factor
        rows = functional.normalize(pattern, dim=1)
        factor = torch.linalg.cholesky_ex(rows @ rows.T).L
        return torch.linalg.solve_triangular(factor, rows, upper=False)


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
