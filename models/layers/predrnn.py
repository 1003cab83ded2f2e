"""PredRNN (Wang et al. 2017 and 2022, PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning).

Layers of spatiotemporal LSTM on patches. The cell C goes through time inside a layer; the memory M goes from the
lowest layer to the highest within a step and from there to the lowest of the next step (zigzag). Supports any grid,
and the decoupling loss of the second paper as an option. The optional LayerNorm over whole maps, which would tie the
layer to one grid, and scheduled sampling, which is for forecasts, are not supported.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import check_at_least, check_whole
from models.layers.base import RecurrentLayer
from models.layers.convolution import PaddedConv2d
from models.layers.patches import check_power_of_two, pad_up


class PredRNNState(NamedTuple):
    """What PredRNN carries from one step to the next; the maps are `(B, d, h, w)`."""

    hidden: tuple[Tensor, ...]  # of each layer
    cell: tuple[Tensor, ...]  # of each layer
    memory: Tensor
    coupling: (
        Tensor  # (B,): sum over steps and layers of how alike the two memories' news were; 0 where not asked
    )
    steps: int


class STLSTMCell(nn.Module):
    """Spatiotemporal LSTM (Wang et al. 2022, equation 3), convolutions k x k without biases.

        i = sig(W_xi * X + W_hi * H),  f = sig(W_xf * X + W_hf * H + 1),  g = tanh(W_xg * X + W_hg * H)
        dC = i g;  C <- f C + dC
        i' = sig(W'_xi * X + W_mi * M),  f' = sig(W'_xf * X + W_mf * M + 1),  g' = tanh(W'_xg * X + W_mg * M)
        dM = i' g';  M <- f' M + dM
        o = sig(W_xo * X + W_ho * H + W_o * [C, M]);  H = o tanh(W_11 * [C, M])

    Parameters, from C_in to d channels: `k^2 d (7 C_in + 9 d) + 2 d^2`.
    """

    def __init__(self, in_channels: int, width: int, kernel_size: int, pad_mode: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"pad_mode": pad_mode, "bias": False}
        self.from_input = PaddedConv2d(in_channels, 7 * width, kernel_size, **options)
        self.from_hidden = PaddedConv2d(width, 4 * width, kernel_size, **options)
        self.from_memory = PaddedConv2d(width, 3 * width, kernel_size, **options)
        self.to_output = PaddedConv2d(2 * width, width, kernel_size, **options)
        self.to_hidden = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(
        self, projected: Tensor, hidden: Tensor, cell: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Take one step with the convolved input `(B, 7d, h, w)`; return H, C, M, dC and dM."""
        xi, xf, xg, yi, yf, yg, xo = projected.chunk(7, dim=1)
        hi, hf, hg, ho = self.from_hidden(hidden).chunk(4, dim=1)
        mi, mf, mg = self.from_memory(memory).chunk(3, dim=1)
        new_cell = (xi + hi).sigmoid() * (xg + hg).tanh()
        cell = (xf + hf + 1).sigmoid() * cell + new_cell
        new_memory = (yi + mi).sigmoid() * (yg + mg).tanh()
        memory = (yf + mf + 1).sigmoid() * memory + new_memory
        both = torch.cat([cell, memory], dim=1)
        hidden = (xo + ho + self.to_output(both)).sigmoid() * self.to_hidden(both).tanh()
        return hidden, cell, memory, new_cell, new_memory


class PredRNN(RecurrentLayer):
    """PredRNN: patches, a stack of `STLSTMCell` with zigzag memory, and back to the grid by a 1 x 1 convolution.

    Parameters: those of the cells (the lowest from C p^2 channels, the others from d), `d F p^2` of the last
    convolution, and `d^2` with the decoupling loss. Cost of a step: `H W / p^2` times these, so it grows with k^2 and
    d^2; sequential in time and, within a step, in the layers.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        width: d, channels of every layer.
        patch: p, side of a patch in pixels, a power of two; the patch's pixels become channels.
        layers: L.
        kernel_size: k, odd.
        decoupling_weight: weight of the decoupling loss in training (0.1 in the paper), 0 for none: the mean |cosine|
            between what is new in C and in M, both through one 1 x 1 map, as maps of each channel, over the
            channels, layers and steps.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = PredRNN(3, 32, width=16)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape, state.memory.shape
        (torch.Size([2, 12, 32, 21, 24]), torch.Size([2, 16, 6, 6]))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        width: int = 64,
        patch: int = 4,
        layers: int = 2,
        kernel_size: int = 5,
        decoupling_weight: float = 0.0,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_whole("width", width, 1)
        check_whole("layers", layers, 1)
        check_power_of_two("patch", patch)
        check_at_least("decoupling_weight", decoupling_weight, 0)
        self.width, self.patch, self.pad_mode = width, patch, pad_mode
        self.equivariant = patch == 1  # otherwise it follows a shift by whole patches
        channels = [in_channels * patch**2] + [width] * (layers - 1)
        self.cells = nn.ModuleList(STLSTMCell(channel, width, kernel_size, pad_mode) for channel in channels)
        self.to_patches = nn.Conv2d(width, hidden_channels * patch**2, 1, bias=False)
        self.decoupling_weight = float(decoupling_weight)
        self.adapter = nn.Conv2d(width, width, 1, bias=False) if decoupling_weight > 0 else None

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> PredRNNState:
        """Return a state of zeros."""
        size = (-(-height // self.patch), -(-width // self.patch))
        zeros = torch.zeros(batch, self.width, *size, device=device, dtype=dtype)
        each = (zeros,) * len(self.cells)
        return PredRNNState(each, each, zeros, zeros.new_zeros(batch), 0)

    def forward(self, x: Tensor, state: PredRNNState | None = None) -> tuple[Tensor, PredRNNState]:
        """Run over `x (B, T, C, H, W)`; patches are made and undone for all steps at once."""
        maps, state = super().forward(x, state)
        hidden = self._undo_patches(maps.flatten(0, 1), x)
        return hidden.unflatten(0, maps.shape[:2]), state

    def step(self, x_t: Tensor, state: PredRNNState) -> tuple[Tensor, PredRNNState]:
        """Take one step with `x_t (B, C, H, W)`."""
        maps, state = super().step(x_t, state)
        return self._undo_patches(maps, x_t), state

    def project_input(self, x: Tensor) -> Tensor:
        """Convolve the patches of all steps for the lowest layer: `(B, T, C, H, W) -> (B, T, 7d, h, w)`."""
        patches = functional.pixel_unshuffle(pad_up(x.flatten(0, 1), self.patch, self.pad_mode), self.patch)
        return self._cells()[0].from_input(patches).unflatten(0, x.shape[:2])

    def advance(self, projected: Tensor, state: PredRNNState) -> tuple[Tensor, PredRNNState]:
        """Take one step with the convolved patches `(B, 7d, h, w)`; return the top layer's `(B, d, h, w)`."""
        memory, coupling = state.memory, state.coupling
        hiddens: list[Tensor] = []
        cells: list[Tensor] = []
        for layer, before, cell in zip(self._cells(), state.hidden, state.cell, strict=True):
            seen = layer.from_input(hiddens[-1]) if hiddens else projected
            hidden, cell, memory, new_cell, new_memory = layer(seen, before, cell, memory)
            if self.adapter is not None:
                coupling = coupling + likeness(self.adapter(new_cell), self.adapter(new_memory))
            hiddens.append(hidden)
            cells.append(cell)
        return hiddens[-1], PredRNNState(tuple(hiddens), tuple(cells), memory, coupling, state.steps + 1)

    def penalty(self, state: PredRNNState) -> Tensor | None:
        """Return the weighted decoupling loss of the steps that led to `state`, or None where it is off."""
        if self.adapter is None:
            return None
        return self.decoupling_weight * state.coupling.mean() / (state.steps * len(self.cells))

    def _cells(self) -> list[STLSTMCell]:
        return list(self.cells)  # type: ignore[arg-type]  # a ModuleList does not say what it holds

    def _undo_patches(self, maps: Tensor, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return functional.pixel_shuffle(self.to_patches(maps), self.patch)[..., :height, :width]


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over the channels of |cosine| between the maps `a` and `b (B, d, h, w)`, `(B,)`."""
    return functional.cosine_similarity(a.flatten(2), b.flatten(2), dim=2).abs().mean(1)
