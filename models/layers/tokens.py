"""The recurrence that SwinLSTM and VMRNN share: an LSTM whose gate is a stack of blocks over token maps.

    O_t = Blocks(X_t, H_(t-1));  F_t = sig(O_t)
    C_t = F_t (C_(t-1) + tanh(O_t));  H_t = F_t tanh(C_t)

One gate serves to forget, to let in and to let out (Tang et al. 2023, SwinLSTM, equation 5). Two forms: B, one
cell on the map of patches; D, cells on the way down to coarser maps and up again, each with its own memory.
The hidden maps come back on the grid of the fields, and no sigmoid ends them: anomalies have both signs.
Stochastic depth is not supported: a resumed training repeats an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_choice, check_whole
from models.layers.base import RecurrentLayer
from models.layers.patches import PatchEmbedding, PatchExpansion, PatchInflation, PatchMerging

BLOCKS = {"B": (6,), "D": (2, 6)}
"""Blocks of a cell, from fine to coarse, in the published models."""


class TokenState(NamedTuple):
    """Hidden tokens and cell of one cell, each `(B, h, w, d)`."""

    hidden: Tensor
    cell: Tensor


class SharedGateCell(nn.Module):
    """One cell: `(X_t, state) -> state`.

    Args:
        blocks: `blocks[0](x, H)` sees the hidden tokens; the others `blocks[i](x, context)`, where the context is
            the cell's input X_t.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, state: TokenState) -> TokenState:
        """Take one step with `x (B, h, w, d)`."""
        first, *others = self.blocks
        output = first(x, state.hidden)
        for block in others:
            output = block(output, x)
        gate = output.sigmoid()
        cell = gate * (state.cell + output.tanh())
        return TokenState(gate * cell.tanh(), cell)


class TokenLSTM(RecurrentLayer):
    """Patches, cells in form B or D, and back to the grid.

    Form D with L levels: cells of width d, 2d, ... with merging after each, then cells of width 2^L d, ..., 2d with
    expansion after each. The cells on the way up have as many blocks as those on the way down, in the same
    order, so that the coarsest has `blocks[0]`.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        form: `B` or `D`.
        width: d, numbers a token.
        patch: p, side of a patch in pixels, a power of two.
        blocks: of each cell on the way down; one number for form B; None for the published ones.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.
        make_blocks: returns the blocks of a cell, given their width, their number and the level, which counts from
            the finest cell on either way.
    """

    equivariant = False

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        form: str,
        width: int,
        patch: int,
        blocks: Sequence[int] | None,
        pad_mode: str,
        make_blocks: Callable[[int, int, int], list[nn.Module]],
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_choice("form", form, tuple(BLOCKS))
        check_whole("width", width, 1)
        counts = _check_blocks(form, BLOCKS[form] if blocks is None else blocks)
        levels = len(counts)
        self.pad_mode = pad_mode
        self.embedding = PatchEmbedding(in_channels, width, patch, pad_mode)
        self.down, self.merge = nn.ModuleList(), nn.ModuleList()
        self.up, self.expand = nn.ModuleList(), nn.ModuleList()
        for level, count in enumerate(counts):
            self.down.append(SharedGateCell(make_blocks(width << level, count, level)))
        if form == "D":
            self.merge.extend(PatchMerging(width << level, pad_mode) for level in range(levels))
            for level, count in zip(range(levels, 0, -1), counts, strict=True):
                self.up.append(SharedGateCell(make_blocks(width << level, count, level - 1)))
                self.expand.append(PatchExpansion(width << level))
        self.widths = [
            width << level for level in (*range(levels), *range(levels, levels - len(self.up), -1))
        ]
        self.inflation = PatchInflation(width, hidden_channels, patch)

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[TokenState, ...]:
        """Return a state of zeros for every cell, those on the way down first."""
        patch = self.embedding.patch
        sizes = [(-(-height // patch), -(-width // patch))]
        for _ in self.merge:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        order = [*sizes[: len(self.down)], *sizes[:0:-1]]
        zeros = [
            torch.zeros(batch, *size, numbers, device=device, dtype=dtype)
            for size, numbers in zip(order, self.widths, strict=True)
        ]
        return tuple(TokenState(zero, zero) for zero in zeros)

    def forward(
        self, x: Tensor, state: tuple[TokenState, ...] | None = None
    ) -> tuple[Tensor, tuple[TokenState, ...]]:
        """Run over `x (B, T, C, H, W)`; patches are made and undone for all steps at once."""
        tokens, state = super().forward(x, state)
        hidden = self.inflation(tokens.flatten(0, 1), x.shape[-2:])
        return hidden.unflatten(0, tokens.shape[:2]), state

    def step(self, x_t: Tensor, state: tuple[TokenState, ...]) -> tuple[Tensor, tuple[TokenState, ...]]:
        """Take one step with `x_t (B, C, H, W)`."""
        tokens, state = super().step(x_t, state)
        return self.inflation(tokens, x_t.shape[-2:]), state

    def project_input(self, x: Tensor) -> Tensor:
        """Turn `x (B, T, C, H, W)` into token maps `(B, T, h, w, d)`."""
        return self.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def advance(
        self, projected: Tensor, state: tuple[TokenState, ...]
    ) -> tuple[Tensor, tuple[TokenState, ...]]:
        """Take one step with token maps `(B, h, w, d)`; return token maps of the same size."""
        tokens, after, sizes = projected, [], []
        for level, cell in enumerate(self.down):
            after.append(cell(tokens, state[level]))
            tokens = after[-1].hidden
            if self.merge:
                sizes.append(tokens.shape[1:3])
                tokens = self.merge[level](tokens)
        for cell, expand, before in zip(self.up, self.expand, state[len(self.down) :], strict=True):
            after.append(cell(tokens, before))
            tokens = expand(after[-1].hidden, sizes.pop())
        return tokens, tuple(after)


def _check_blocks(form: str, blocks: Sequence[int]) -> list[int]:
    if isinstance(blocks, int | str) or not blocks or (form == "B" and len(blocks) > 1):
        wanted = "one number, such as [6]" if form == "B" else "a number a level, such as [2, 6]"
        raise ModelError(f"blocks of form {form} must list {wanted}, received {blocks!r}: change it.")
    for count in blocks:
        check_whole("each number of blocks", count, 1)
    return list(blocks)
