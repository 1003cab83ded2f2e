"""The factorised gate path of FAConvLSTM: bottleneck, shared multi-scale mixing, squeeze-and-excitation.

    U_t = P_x X_t + P_h H_(t-1)
    V_t = SE(SiLU(LN(sum_j DW_(k_j,d_j)(U_t))))
    [i, f, g, o] = W_g V_t + b

Tensors keep the shape `(B, C, H, W)`, but lie in memory with the channels last, because 1 x 1 projections are
then plain matrix products and depthwise convolutions are twice as fast (measured at 41 x 41).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_whole
from models.layers.convolution import PaddedConv2d


def channels_last(x: Tensor) -> Tensor:
    """View `(..., C, H, W)` as `(..., H, W, C)`."""
    return x.movedim(-3, -1)


def channels_first(x: Tensor) -> Tensor:
    """View `(..., H, W, C)` as `(..., C, H, W)`."""
    return x.movedim(-1, -3)


class SqueezeExcitation(nn.Module):
    """Scale every channel by what the whole map says: `V e`, `e = sig(W_2 relu(W_1 mean(V) + b_1) + b_2)`.

    Hu et al. 2018. The mean is weighted by cell area where weights are given. Reduction 4, at least 4 inside.
    """

    weight: Tensor | None

    def __init__(self, channels: int, area_weight: Tensor | None) -> None:
        super().__init__()
        inner = max(4, channels // 4)
        self.squeeze = nn.Linear(channels, inner)
        self.excite = nn.Linear(inner, channels)
        self.register_buffer("weight", area_weight, persistent=False)

    def forward(self, v: Tensor) -> Tensor:
        """Scale the channels of `v (B, H, W, C)`."""
        return v * self.excitation(v)[:, None, None, :]

    def excitation(self, v: Tensor) -> Tensor:
        """Return the factors e `(B, C)` of the channels."""
        return self.excite(self.squeeze(self._mean(v)).relu()).sigmoid()

    def _mean(self, v: Tensor) -> Tensor:
        if self.weight is None:
            return v.mean((1, 2))
        weight = self.weight.to(v.dtype).expand(v.shape[1:3])
        return torch.einsum("bhwc,hw->bc", v, weight / weight.sum())


class MultiScaleMixing(nn.Module):
    """The one operator M that mixes space: the sum of depthwise convolutions, `(kernel, dilation)` each.

    Parameters: `C_b sum_j k_j^2`. Without a bias: the LayerNorm that follows has one.
    """

    def __init__(self, channels: int, branches: Sequence[Sequence[int]], pad_mode: str) -> None:
        super().__init__()
        pairs = _check_branches(branches)
        self.branches = nn.ModuleList()
        for kernel, dilation in pairs:
            branch = PaddedConv2d(
                channels, channels, kernel, dilation=dilation, groups=channels, pad_mode=pad_mode, bias=False
            )
            # The sum of the branches has about the variance of its input.
            nn.init.normal_(branch.weight, std=1 / (kernel * math.sqrt(len(pairs))))
            self.branches.append(branch)

    def forward(self, u: Tensor) -> Tensor:
        """Mix `u (B, C_b, H, W)` in space."""
        return reduce(torch.add, (branch(u) for branch in self.branches))


class FactorisedGates(nn.Module):
    """All gates by bottleneck, mixing and one fused 1 x 1 projection: counterpart of `DenseGates`.

    Parameters, with C_b inner channels, R = max(4, C_b // 4) and branches of size k_j:
    `C C_b + C_b sum_j k_j^2 + 4F C_b + 4F`, and `F C_b` with a bottleneck, `2 C_b` with layer_norm,
    `2 C_b R + C_b + R` with squeeze_excitation, `8F` with gate_norm.

    Args:
        in_channels: C.
        hidden_channels: F.
        inner_channels: C_b; where it is F there is no bottleneck, and H enters the mixing as it is.
        branches: `(kernel, dilation)` of each depthwise branch.
        layer_norm: LayerNorm over the C_b channels of each pixel, after mixing.
        gate_norm: LayerNorm over the 4F gates of each pixel.
        squeeze_excitation: scale the channels by the whole map.
        area_weight: `(H, W)` weights of the pixels, or None for equal ones; their neighbours do not see what
            is at pixels of weight 0.
        pad_mode: what lies beyond the border.
    """

    seen: Tensor | None

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        inner_channels: int,
        branches: Sequence[Sequence[int]],
        layer_norm: bool,
        gate_norm: bool,
        squeeze_excitation: bool,
        area_weight: Tensor | None,
        pad_mode: str,
    ) -> None:
        super().__init__()
        gates = 4 * hidden_channels
        self.project_x = nn.Linear(in_channels, inner_channels)
        self.project_h = (
            nn.Linear(hidden_channels, inner_channels, bias=False)
            if inner_channels < hidden_channels
            else nn.Identity()
        )
        self.mixing = MultiScaleMixing(inner_channels, branches, pad_mode)
        self.norm = nn.LayerNorm(inner_channels) if layer_norm else nn.Identity()
        self.excitation = (
            SqueezeExcitation(inner_channels, area_weight) if squeeze_excitation else nn.Identity()
        )
        self.to_gates = nn.Linear(inner_channels, gates)
        self.gate_norm = nn.LayerNorm(gates) if gate_norm else nn.Identity()
        self.register_buffer("seen", seen_pixels(area_weight), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.xavier_uniform_(self.project_x.weight)
        # Without a bias of the inputs' own size LayerNorm would hide how strong an anomaly is.
        nn.init.normal_(self.project_x.bias)
        if isinstance(self.project_h, nn.Linear):
            nn.init.orthogonal_(self.project_h.weight)
        nn.init.xavier_uniform_(self.to_gates.weight)
        nn.init.zeros_(self.to_gates.bias)

    def project_input(self, x: Tensor) -> Tensor:
        """Project `x (B, T, C, H, W)` to `(B, T, C_b, H, W)`, all steps at once."""
        return channels_first(self.project_x(channels_last(x)))

    def forward(self, projected: Tensor, hidden: Tensor) -> Tensor:
        """Return the gates `(B, 4F, H, W)` from `projected (B, C_b, H, W)` and `hidden (B, F, H, W)`."""
        u = projected + channels_first(self.project_h(channels_last(hidden)))
        if self.seen is not None:
            u = u * self.seen
        v = nn.functional.silu(self.norm(channels_last(self.mixing(u))))
        v = self.excitation(v)
        return channels_first(self.gate_norm(self.to_gates(v)))


def seen_pixels(area_weight: Tensor | None) -> Tensor | None:
    """Return where pixels have any weight, in the shape of the weights; None where all have."""
    if area_weight is None or bool((area_weight > 0).all()):
        return None
    return area_weight > 0


def _check_branches(branches: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    pairs = [tuple(branch) for branch in branches]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ModelError(
            f"branches must list at least one pair [kernel, dilation], received {list(branches)!r}:"
            " write for instance [[3, 1], [3, 2], [3, 4]]."
        )
    for _, dilation in pairs:
        check_whole("the dilation of a branch", dilation, 1)
    return [(kernel, dilation) for kernel, dilation in pairs]
