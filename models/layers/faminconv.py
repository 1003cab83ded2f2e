"""FA-MinConv: FAConvLSTM's factorised mixing and attention with MinConv's gates, parallel in time.

The gates see the input only, so that mixing, excitation and attention act on all steps at once and nothing but the
elementwise blend goes through time. What that gives up: no mixing of the memory in space, so that a pattern cannot
travel from step to step within a layer; what attention brings from afar does stay in the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import check_choice, check_switch, check_whole
from models.layers import minimal, paths, sequence
from models.layers.axial import AxialAttention
from models.layers.faconvlstm import BRANCHES, bottleneck_channels, pixel_weight
from models.layers.minconv import MinConvLayer, memories
from models.layers.mixing import (
    MultiScaleMixing,
    SqueezeExcitation,
    channels_first,
    channels_last,
    seen_pixels,
)


class FAMinConvState(NamedTuple):
    """The memory `(B, F, H, W)`, and the steps taken so far: attention acts by that count."""

    hidden: Tensor
    steps: int


class FAMinConv(MinConvLayer):
    """Factorised, attention-augmented minimal convolutional GRU.

        U_t = P X_t + b_u
        V_t = SE(SiLU(LN(sum_j DW_(k_j,d_j)(U_t))))
        after steps K, 2K, ...: V_t += attention along rows, then += attention along columns
        k_t = W_k V_t + b_k;  c_t = W_c V_t + b_c
        z_t = sig(k_t);  h_t = (1 - z_t) h_(t-1) + z_t g(c_t);  h_0 = 0

    Parameters, with C_b inner channels, R = max(4, C_b // 4) and branches of size k_j:
    `C C_b + C_b + C_b sum_j k_j^2 + 2F (C_b + 1)`, and `2 C_b` with layer_norm, `2 C_b R + C_b + R` with
    squeeze_excitation, those of `AxialAttention` over C_b channels with attention. A step takes
    `H W [C C_b + C_b sum_j k_j^2 + 2 C_b F]` multiply-adds, and every K steps those of the attention, all steps at
    once.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        bottleneck_ratio: F / C_b; C_b is at least 4.
        branches: `(kernel, dilation)` of the depthwise branches.
        layer_norm: LayerNorm over the C_b channels of each pixel, after mixing.
        squeeze_excitation: let the mean of the whole map scale the channels.
        attention: `light` (at most `attention_tokens` tokens a line, 2 heads), `exact` (every pixel, 4 heads) or
            `none`; of width C_b.
        attention_every: K, steps from one attention to the next.
        attention_tokens: tokens a line of the light attention.
        candidate: g, `tanh`, `identity` or `positive`, see `models.layers.minimal`.
        scan: `linear`, `doubling` or `log`, see `models.layers.minconv`.
        memory: steps that the channel of the longest memory remembers at the start.
        area_weight: `(H,)` or `(H, W)` weights of the pixels in means over space, 0 where nothing is to
            be read; None for equal ones. With weights the layer belongs to one grid.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = FAMinConv(3, 32)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape, state.steps
        (torch.Size([2, 12, 32, 21, 24]), 12)
    """

    seen: Tensor | None

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        bottleneck_ratio: int = 4,
        branches: Sequence[Sequence[int]] = BRANCHES,
        layer_norm: bool = True,
        squeeze_excitation: bool = True,
        attention: str = "light",
        attention_every: int = 4,
        attention_tokens: int = 16,
        candidate: str = "tanh",
        scan: str = "linear",
        memory: float = 12.0,
        area_weight: Tensor | None = None,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels, gate="single", candidate=candidate, scan=scan)
        check_choice("attention", attention, ("light", "exact", "none"))
        check_whole("bottleneck_ratio", bottleneck_ratio, 1)
        check_whole("attention_every", attention_every, 1)
        check_switch("layer_norm", layer_norm)
        check_switch("squeeze_excitation", squeeze_excitation)
        weight = pixel_weight(area_weight)
        inner = bottleneck_channels(hidden_channels, bottleneck_ratio)
        self.fixed_grid = weight is not None
        self.grid = None if weight is None else tuple(weight.shape)
        self.project = nn.Linear(in_channels, inner)
        self.mixing = MultiScaleMixing(inner, branches, pad_mode)
        self.norm = nn.LayerNorm(inner) if layer_norm else nn.Identity()
        self.excitation = SqueezeExcitation(inner, weight) if squeeze_excitation else nn.Identity()
        self.attention_every = attention_every
        self.attention = _attention(attention, inner, attention_tokens, pad_mode, weight)
        self.to_gate = nn.Linear(inner, hidden_channels)
        self.to_candidate = nn.Linear(inner, hidden_channels)
        self.register_buffer("seen", seen_pixels(weight), persistent=False)
        self._initialise(memory)

    def _initialise(self, memory: float) -> None:
        # Without a bias of the inputs' own size LayerNorm would hide how strong an anomaly is.
        nn.init.normal_(self.project.bias)
        for linear in (self.project, self.to_gate, self.to_candidate):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.to_candidate.bias)
        with torch.no_grad():
            self.to_gate.bias.copy_(-memories(memory, self.hidden_channels))

    @classmethod
    def options_below(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Attention acts in the last layer of a stack alone, as FAConvLSTM's does."""
        return {**options, "attention": "none"}

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> FAMinConvState:
        """Return a memory of zeros, channels last in memory, with no step taken."""
        zeros = torch.zeros(batch, height, width, self.hidden_channels, device=device, dtype=dtype)
        return FAMinConvState(channels_first(zeros), 0)

    def project_input(self, x: Tensor) -> Tensor:
        """Do what needs no state: V before attention, `(B, T, C_b, H, W)`, channels last in memory."""
        u = self.project(channels_last(x)).flatten(0, 1)  # (B T, H, W, C_b)
        if self.seen is not None:
            u = u * self.seen[..., None]
        v = nn.functional.silu(self.norm(channels_last(self.mixing(channels_first(u)))))
        return channels_first(self.excitation(v).unflatten(0, x.shape[:2]))

    def forward(self, x: Tensor, state: FAMinConvState | None = None) -> tuple[Tensor, FAMinConvState]:
        """Run over `x (B, T, C, H, W)` from `state` or from zero: by compiled passes, else all steps at once."""
        self._check(x, ("B", "T", "C", "H", "W"))
        compiled = paths.obstacle_of_minimal(self, x, state) is None
        state = self.start(x) if state is None else state
        if compiled:
            hidden, last = sequence.run_minimal(self, x, state.hidden, state.steps)
            return hidden, FAMinConvState(last, state.steps + x.shape[1])
        v = channels_last(self._attend(self.project_input(x), state.steps))
        maps = self.to_gate(v), self.to_candidate(v)
        hidden, last = map(channels_first, self.remember(maps, channels_last(state.hidden)))
        return hidden, FAMinConvState(last, state.steps + x.shape[1])

    def advance(self, projected: Tensor, state: FAMinConvState) -> tuple[Tensor, FAMinConvState]:
        """Take one step with the projected input `(B, C_b, H, W)`."""
        v = channels_last(self._attend(projected[:, None], state.steps)[:, 0])
        maps = channels_first(torch.cat([self.to_gate(v), self.to_candidate(v)], dim=-1))
        hidden = minimal.step(maps, state.hidden, self.form)
        return hidden, FAMinConvState(hidden, state.steps + 1)

    def _attend(self, v: Tensor, steps: int) -> Tensor:
        """Refine those of `v (B, T, C_b, H, W)` that attention acts on, so many steps having been taken before."""
        first = -(steps + 1) % self.attention_every
        if self.attention is None or first >= v.shape[1]:
            return v
        attending = torch.arange(first, v.shape[1], self.attention_every, device=v.device)
        chosen = v[:, first :: self.attention_every]
        refined = self.attention(chosen.flatten(0, 1)).unflatten(0, chosen.shape[:2])
        return v.index_copy(1, attending, refined)


def _attention(
    kind: str, channels: int, tokens: int, pad_mode: str, weight: Tensor | None
) -> AxialAttention | None:
    if kind == "none":
        return None
    light = kind == "light"
    return AxialAttention(
        channels,
        channels,
        heads=2 if light else 4,
        tokens=tokens if light else None,
        cyclic_rows=pad_mode != "zeros",
        cyclic_columns=pad_mode == "circular",
        area_weight=weight,
    )
