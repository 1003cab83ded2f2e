"""The loops of `models.layers.sequence` by torch's own operations, where no passes can be compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.layers.blend import Blend, Branches, Kept
from models.layers.cell import Cell, CellDerivative, pieces
from models.layers.lines import LineKept, Lines
from models.layers.memory import empty

if TYPE_CHECKING:
    from models.layers.sequence import Plan
    from models.layers.weights import Weights


class KeptSteps(NamedTuple):
    """What the derivative needs beside H, of all steps."""

    cells: Tensor  # (T, B, H, W, F)
    us: Tensor  # (T, B, H, W, C_b)
    blends: list[Kept]
    lines: dict[int, list[LineKept]]


class Loop:
    """What the loops forward and backward share."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        core = weights.core
        self.plan, self.weights, self.core = plan, weights, core
        self.x = core.x.permute(1, 0, 3, 4, 2).contiguous()
        self.length, self.batch, self.height, self.width, _ = self.x.shape
        self.inner = core.from_x.shape[1]
        self.pixels, self.channels = self.height * self.width, core.matrix.shape[1] // 4
        branches = Branches(weights.kernels, plan.dilations, plan.pad_mode)
        self.blend = Blend(branches, weights.norm, weights.excitation, plan.share)
        self.lines = [
            Lines(line, tokens, columns=columns)
            for line, tokens, columns in zip(weights.lines, plan.tokens, (False, True), strict=False)
        ]
        gate_bytes = 4 * self.channels * self.core.matrix.element_size()
        self.cut = list(pieces(self.batch, self.pixels, gate_bytes))
        self.v = self.map(self.inner + 1)
        self.v[..., -1] = 1

    def map(self, channels: int, *before: int) -> Tensor:
        """Return room for maps `(..., B, H, W, channels)`."""
        return empty((*before, self.batch, self.height, self.width, channels), self.x)

    def pieces(self, *maps: Tensor) -> Any:
        """Cut maps `(B, H, W, .)` into pieces `(images, pixels, .)` whose gates stay in the cache."""
        flat = [part.flatten(1, 2) for part in maps]
        return ([part[piece] for part in flat] for piece in self.cut) if len(self.cut) > 1 else [flat]


class Forward(Loop):
    """The loop forward, which keeps what the derivative needs only where one may follow."""

    def __init__(self, plan: Plan, weights: Weights, *, keep: bool) -> None:
        super().__init__(plan, weights)
        self.keep = keep
        grid = self.height, self.width
        self.hidden_maps = empty((self.batch, self.length, *grid, self.channels), self.x)
        self.cells = self.map(self.channels, self.length if keep else 2)
        self.us = self.map(self.inner, self.length)  # P_x X of all steps at once; `step` adds P_h H
        flat = self.x.flatten(0, 3), self.core.from_x
        torch.addmm(self.core.from_x_bias, *flat, out=self.us.flatten(0, 3))
        self.cell = Cell(self.core.matrix, self.core.peephole)
        self.hidden, self.before = self.core.hidden, self.core.cell
        self.kept = KeptSteps(self.cells, self.us, [], {})

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last cell."""
        for t in range(self.length):
            self.step(t)
        return self.hidden_maps, self.before.clone()

    def step(self, t: int) -> None:
        """Take step t."""
        u, cell, hidden = self.us[t], self.cells[t % len(self.cells)], self.hidden_maps[:, t]
        _add(u, self.hidden, self.core.from_hidden)
        if self.plan.seen is not None:
            u.mul_(self.plan.seen)
        kept = self.blend.forward(u, self.v[..., :-1])
        if self.keep:
            self.kept.blends.append(kept)
        for part in self.pieces(self.v, self.before, cell, hidden):
            self.cell.forward(*part)
        if t in self.plan.attending:
            kept_lines = [line.forward(hidden) for line in self.lines]
            if self.keep:
                self.kept.lines[t] = kept_lines
        self.before, self.hidden = cell, hidden


class StepByStep(ABC):
    """A loop backward that takes one step after the other."""

    length: int

    def run(self, d_hidden_maps: Tensor | None, d_cell: Tensor | None) -> Weights:
        """Take the derivatives by all weights from those by what the loop forward returned."""
        self.start(d_cell)
        for t in reversed(range(self.length)):
            self.step(t, None if d_hidden_maps is None else d_hidden_maps[:, t])
        return self.finish()

    @abstractmethod
    def start(self, d_cell: Tensor | None) -> None:
        """Take the derivative by the last cell."""

    @abstractmethod
    def step(self, t: int, d_hidden: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""

    @abstractmethod
    def finish(self) -> Weights:
        """Return the derivatives of all weights."""


class Backward(Loop, StepByStep):
    """The loop backward."""

    def __init__(self, plan: Plan, weights: Weights, hidden_maps: Tensor, kept: KeptSteps) -> None:
        super().__init__(plan, weights)
        self.hidden_maps = hidden_maps
        self.cells, self.us, self.kept, self.kept_lines = kept
        self.cell = CellDerivative(self.core.matrix, self.core.peephole)
        self.d_us, self.d_v = empty(self.us.shape, self.us), self.map(self.inner)
        from_hidden = self.core.from_hidden
        self.d_from_hidden = (
            None if from_hidden is None else from_hidden.new_zeros(self.batch, *from_hidden.shape)
        )
        self.d_hidden = self.map(self.channels)

    def start(self, d_cell: Tensor | None) -> None:
        """Take the derivative by the last cell."""
        self.d_cell = self.map(self.channels)
        _fill(self.d_cell, d_cell)

    def step(self, t: int, d_hidden: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""
        _fill(self.d_hidden, d_hidden)
        if t < self.length - 1:
            _add(self.d_hidden, self.d_us[t + 1], _turned(self.core.from_hidden))
        if t in self.plan.attending:
            for line, kept in zip(reversed(self.lines), reversed(self.kept_lines[t]), strict=True):
                line.backward(kept, self.d_hidden)
        y, a = self.blend.again(self.kept[t], self.v[..., :-1])
        before = self.cells[t - 1] if t > 0 else self.core.cell
        for part in self.pieces(self.v, before, self.cells[t], self.d_hidden, self.d_cell, self.d_v):
            self.cell.backward(*part)
        self.d_us[t] = self.blend.backward(self.us[t], self.kept[t], y, a, self.d_v)
        if self.plan.seen is not None:
            self.d_us[t].mul_(self.plan.seen)
        self._add_from_hidden(t)

    def finish(self) -> Weights:
        """Return the derivatives of all weights."""
        d_hidden = self.d_hidden.zero_()
        _add(d_hidden, self.d_us[0], _turned(self.core.from_hidden))
        x, d_u = self.x.flatten(0, 3), self.d_us.flatten(0, 3)
        d_x = torch.mm(d_u, self.core.from_x.T, out=empty(x.shape, x)).view(self.x.shape)
        core = self.core._replace(
            x=d_x.permute(1, 0, 4, 2, 3),
            hidden=d_hidden,
            cell=self.d_cell,
            from_x=x.T @ d_u,
            from_x_bias=d_u.sum(0),
            from_hidden=None if self.d_from_hidden is None else self.d_from_hidden.sum(0),
            matrix=self.cell.d_matrix,
            peephole=self.cell.d_peephole,
        )
        return self.weights._replace(
            core=core,
            kernels=tuple(self.blend.d_kernels),
            norm=self.blend.d_norm,
            excitation=self.blend.d_excitation,
            lines=tuple(line.derivatives for line in self.lines),
        )

    def _add_from_hidden(self, t: int) -> None:
        """Add to the derivative by P_h, image by image: `H_(t-1)^T dU_t`."""
        if self.d_from_hidden is not None:
            before = self.hidden_maps[:, t - 1] if t > 0 else self.core.hidden
            self.d_from_hidden.baddbmm_(before.flatten(1, 2).transpose(1, 2), self.d_us[t].flatten(1, 2))


def _fill(total: Tensor, given: Tensor | None) -> None:
    total.zero_() if given is None else total.copy_(given)


def _add(total: Tensor, x: Tensor, matrix: Tensor | None) -> None:
    """Add `x @ matrix` (or x) to `total` in place, all `(B, H, W, .)`."""
    if matrix is None:
        total.add_(x)
    else:
        total.flatten(1, 2).baddbmm_(x.flatten(1, 2), matrix.expand(len(x), -1, -1))


def _turned(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.T
