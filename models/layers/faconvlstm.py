"""FAConvLSTM: ConvLSTM with a factorised gate path and sparse axial attention.

After the paper's description (FAConvLSTM: a factorised and attention-augmented drop-in for ConvLSTM2D); what
it leaves open is decided as stated below. Every part has a switch, and a part that is off has no parameters.
The cost of a step is H W [C C_b + F C_b + C_b sum_j k_j^2 + 4 C_b F] multiply-adds, and every K steps that of
the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_choice, check_switch, check_whole
from models.layers import paths, sequence
from models.layers.axial import AxialAttention
from models.layers.base import RecurrentLayer
from models.layers.convolution import DenseGates
from models.layers.mixing import FactorisedGates

BRANCHES = ((3, 1), (3, 2), (3, 4))
"""Kernel and dilation of the depthwise branches: a reach of 1, 2 and 4 pixels for 27 weights a channel."""


class FAConvLSTMState(NamedTuple):
    """Hidden map and cell, each `(B, F, H, W)`, and the steps taken so far: attention acts by that count."""

    hidden: Tensor
    cell: Tensor
    steps: int


class FAConvLSTM(RecurrentLayer):
    """Factorised, attention-augmented ConvLSTM; gates in the order i, f, g, o.

        U_t = P_x X_t + P_h H_(t-1)
        V_t = SE(SiLU(LN(sum_j DW_(k_j,d_j)(U_t))))
        [i, f, g, o] = W_g V_t + b
        i += p_i C_(t-1);  f += p_f C_(t-1) + 1;  o += p_o C_(t-1)
        C_t = sig(f) C_(t-1) + sig(i) tanh(g);  H_t = sig(o) tanh(C_t)
        after steps K, 2K, ...: H_t += attention along rows, then += attention along columns

    The refined H_t goes on into the next step. Parameters: those of `FactorisedGates`, `3F` of the peepholes,
    those of `AxialAttention`. With `mixing="dense"` the gate path is ConvLSTM's, and with attention and
    peepholes off the layer is ConvLSTM.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        bottleneck_ratio: F / C_b; C_b is at least 4; 1 for no bottleneck.
        mixing: `depthwise` for the factorised path, `dense` for ConvLSTM's.
        branches: `(kernel, dilation)` of the depthwise branches; dense mixing takes the first one's kernel.
        layer_norm: LayerNorm over the C_b channels of each pixel, after mixing.
        gate_norm: LayerNorm over the gates of each pixel as well.
        squeeze_excitation: let the mean of the whole map scale the channels.
        peephole: let the gates see C_(t-1), one weight a channel.
        attention: `light` (at most `attention_tokens` tokens a line, width C_b, 2 heads), `exact` (every
            pixel, width F / 2, 4 heads) or `none`.
        attention_every: K, steps from one attention to the next.
        attention_tokens: tokens a line of the light attention.
        area_weight: `(H,)` or `(H, W)` weights of the pixels in means over space, 0 where nothing is to
            be read; None for equal ones. With weights the layer belongs to one grid.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.
        path: how a sequence is computed, with the same numbers to rounding: `fast` as one function with its
            derivative written out (`models.layers.sequence`), `plain` step by step from torch's modules, or
            `auto`: fast where that is possible.

    Example:
        >>> hidden, state = FAConvLSTM(3, 32)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape, state.steps
        (torch.Size([2, 12, 32, 21, 24]), 12)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        bottleneck_ratio: int = 4,
        mixing: str = "depthwise",
        branches: Sequence[Sequence[int]] = BRANCHES,
        layer_norm: bool = True,
        gate_norm: bool = False,
        squeeze_excitation: bool = True,
        peephole: bool = True,
        attention: str = "light",
        attention_every: int = 4,
        attention_tokens: int = 16,
        area_weight: Tensor | None = None,
        pad_mode: str = "zeros",
        path: str = "auto",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_choice("path", path, ("auto", "fast", "plain"))
        check_choice("mixing", mixing, ("depthwise", "dense"))
        check_choice("attention", attention, ("light", "exact", "none"))
        check_whole("bottleneck_ratio", bottleneck_ratio, 1)
        check_whole("attention_every", attention_every, 1)
        for name, value in (("layer_norm", layer_norm), ("gate_norm", gate_norm), ("peephole", peephole)):
            check_switch(name, value)
        check_switch("squeeze_excitation", squeeze_excitation)
        weight = pixel_weight(area_weight)
        inner = bottleneck_channels(hidden_channels, bottleneck_ratio)
        self.fixed_grid = weight is not None
        self.grid = None if weight is None else tuple(weight.shape)
        self.gates: DenseGates | FactorisedGates
        if mixing == "dense":
            self.gates = DenseGates(in_channels, hidden_channels, branches[0][0], pad_mode)
        else:
            self.gates = FactorisedGates(
                in_channels,
                hidden_channels,
                inner_channels=inner,
                branches=branches,
                layer_norm=layer_norm,
                gate_norm=gate_norm,
                squeeze_excitation=squeeze_excitation,
                area_weight=weight,
                pad_mode=pad_mode,
            )
        self.peephole = nn.Parameter(torch.zeros(3, hidden_channels, 1, 1)) if peephole else None
        self.path = path
        self.attention_every = attention_every
        self.attention: AxialAttention | None = None
        if attention != "none":
            light = attention == "light"
            self.attention = AxialAttention(
                hidden_channels,
                inner if light else max(1, hidden_channels // 2),
                heads=2 if light else 4,
                tokens=attention_tokens if light else None,
                cyclic_rows=pad_mode != "zeros",
                cyclic_columns=pad_mode == "circular",
                area_weight=weight,
            )

    @classmethod
    def options_below(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Attention acts in the last layer of a stack alone, because of its cost."""
        return {**options, "attention": "none"}

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> FAConvLSTMState:
        """Return a state of zeros, channels last in memory, with no step taken."""
        zeros = torch.zeros(batch, height, width, self.hidden_channels, device=device, dtype=dtype)
        zeros = zeros.permute(0, 3, 1, 2)
        return FAConvLSTMState(zeros, zeros, 0)

    def forward(self, x: Tensor, state: FAConvLSTMState | None = None) -> tuple[Tensor, FAConvLSTMState]:
        """Run over `x (B, T, C, H, W)`, from `state` or from the initial one, by the path chosen.

        Raises:
            ModelError: as in `RecurrentLayer.forward`, and where `path` is `fast` and cannot be.
        """
        obstacle = "path is 'plain'" if self.path == "plain" else paths.obstacle(self, x, state)
        if obstacle and self.path == "fast":
            raise ModelError(f"FAConvLSTM cannot take the fast path, since {obstacle}: set path to 'auto'.")
        if obstacle:
            return super().forward(x, state)
        self._check(x, ("B", "T", "C", "H", "W"))
        state = self.start(x) if state is None else state
        hidden, cell = sequence.run(self, x, state.hidden, state.cell, state.steps)
        return hidden, FAConvLSTMState(hidden[:, -1], cell, state.steps + x.shape[1])

    def project_input(self, x: Tensor) -> Tensor:
        """Do for all steps at once what needs no state: `P_x X`, `(B, T, C_b, H, W)`."""
        return self.gates.project_input(x)

    def advance(self, projected: Tensor, state: FAConvLSTMState) -> tuple[Tensor, FAConvLSTMState]:
        """Take one step with the projected input `(B, C_b, H, W)`."""
        i, f, g, o = self.gate_values(projected, state)
        cell = f * state.cell + i * g
        hidden = o * cell.tanh()
        steps = state.steps + 1
        if self.attention is not None and steps % self.attention_every == 0:
            hidden = self.attention(hidden)
        return hidden, FAConvLSTMState(hidden, cell, steps)

    def gate_values(self, projected: Tensor, state: FAConvLSTMState) -> tuple[Tensor, ...]:
        """Return sig(i), sig(f), tanh(g), sig(o) of the next step, each `(B, F, H, W)`."""
        i, f, g, o = self.gates(projected, state.hidden).chunk(4, dim=1)
        if self.peephole is not None:
            i = i + self.peephole[0] * state.cell
            f = f + self.peephole[1] * state.cell
            o = o + self.peephole[2] * state.cell
        return i.sigmoid(), (f + 1).sigmoid(), g.tanh(), o.sigmoid()


def bottleneck_channels(hidden_channels: int, ratio: int) -> int:
    """Return C_b: F / ratio, at least 4, at most F."""
    return min(hidden_channels, max(4, hidden_channels // ratio))


def pixel_weight(area_weight: Tensor | None) -> Tensor | None:
    """Return weights `(H, W)`, or `(H, 1)` where only latitude was given, checked."""
    if area_weight is None:
        return None
    weight = area_weight.detach().clone()
    if weight.dim() == 1:
        weight = weight[:, None]
    if weight.dim() != 2 or not bool((weight >= 0).all()) or not bool(weight.sum() > 0):
        raise ModelError(
            f"area_weight must have the shape (H,) or (H, W), no negative value and a positive sum, received"
            f" the shape {tuple(area_weight.shape)}: give the cell areas of the grid."
        )
    return weight
