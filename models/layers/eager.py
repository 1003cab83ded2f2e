"""The loops of `models.layers.sequence` by torch's own operations, with the derivative written out.

They are the loops where no passes can be compiled, and what the loops of `models.layers.gpu` are made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.layers.blend import Blend, Branches, Kept
from models.layers.cell import Cell, CellDerivative, pieces
from models.layers.lines import Lines, LineWeights, Tokens
from models.layers.memory import empty

if TYPE_CHECKING:
    from models.layers.sequence import Core, Plan, Weights

class KeptSteps(NamedTuple):
    """What the derivative needs beside H, of all steps."""

    cells: Tensor  # (T, B, H, W, F)
    us: Tensor  # (T, B, H, W, C_b)
    blends: list[Any]  # what `Forward.update` returned
    lines: dict[int, list[Any]]  # what attention along rows and columns kept


class Loop:
    """What the loops forward and backward share. Maps are of the plan's type, cells and weights of their own."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        core = _typed(weights.core, plan.dtype)
        self.plan, self.weights, self.core = plan, weights, core
        self.x = core.x.permute(1, 0, 3, 4, 2).contiguous()
        self.length, self.batch, self.height, self.width, _ = self.x.shape
        self.inner = core.from_x.shape[1]
        self.pixels, self.channels = self.height * self.width, core.matrix.shape[1] // 4
        self.branches = Branches(weights.kernels, plan.dilations, plan.pad_mode)
        self.lines = [
            self.make_lines(LineWeights(*(part.to(plan.dtype) for part in line)), tokens, columns=columns)
            for line, tokens, columns in zip(weights.lines, plan.tokens, (False, True), strict=False)
        ]
        self.prepare()

    def prepare(self) -> None:
        """Make ready what `update` and `update_back` need."""
        self.blend = Blend(self.branches, self.weights.norm, self.weights.excitation, self.plan.share)
        gate_bytes = 4 * self.channels * self.core.matrix.element_size()
        self.cut = list(pieces(self.batch, self.pixels, gate_bytes))
        self.v = self.map(self.inner + 1)
        self.v[..., -1] = 1

    def make_lines(self, weights: LineWeights, tokens: Tokens, *, columns: bool) -> Any:
        """Return what attends along rows or columns."""
        return Lines(weights, tokens, columns=columns)

    def map(self, channels: int, *before: int, like: Tensor | None = None) -> Tensor:
        """Return room for maps `(..., B, H, W, channels)` of the type of `like`, or of the plan."""
        shape = *before, self.batch, self.height, self.width, channels
        return empty(shape, self.x if like is None else like)

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
        self.cells = self.map(self.channels, self.length if keep else 2, like=self.core.cell)
        self.us = self.map(self.inner, self.length)  # P_x X of all steps at once; `step` adds P_h H
        flat = self.x.flatten(0, 3), self.core.from_x
        torch.addmm(self.core.from_x_bias, *flat, out=self.us.flatten(0, 3))
        self.hidden, self.before = self.core.hidden, self.core.cell
        self.kept = KeptSteps(self.cells, self.us, [], {})

    def prepare(self) -> None:
        super().prepare()
        self.cell = Cell(self.core.matrix, self.core.peephole)

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
        kept = self.update(u, cell, hidden)
        if self.keep:
            self.kept.blends.append(kept)
        if t in self.plan.attending:
            kept_lines = [line.forward(hidden) for line in self.lines]
            if self.keep:
                self.kept.lines[t] = kept_lines
        self.before, self.hidden = cell, hidden

    def update(self, u: Tensor, cell: Tensor, hidden: Tensor) -> Any:
        """Write C_t and H_t, all `(B, H, W, .)`; return what the derivative needs beside them."""
        kept = self.blend.forward(u, self.v[..., :-1])
        for part in self.pieces(self.v, self.before, cell, hidden):
            self.cell.forward(*part)
        return kept


class Backward(Loop):
    """The loop backward."""

    def __init__(self, plan: Plan, weights: Weights, hidden_maps: Tensor, kept: KeptSteps) -> None:
        super().__init__(plan, weights)
        self.hidden_maps = hidden_maps
        self.cells, self.us, self.kept, self.kept_lines = kept
        self.d_us = empty(self.us.shape, self.us)
        self.d_from_hidden = self.weights.core.from_hidden
        if self.d_from_hidden is not None:
            self.d_from_hidden = self.d_from_hidden.new_zeros(self.batch, *self.d_from_hidden.shape)
        self.d_hidden = self.map(self.channels)

    def prepare(self) -> None:
        super().prepare()
        self.cell = CellDerivative(self.core.matrix, self.core.peephole)
        self.d_v = self.map(self.inner)

    def start(self, d_cell: Tensor | None) -> None:
        """Take the derivative by the last cell."""
        self.d_cell = self.map(self.channels, like=self.core.cell)
        _fill(self.d_cell, d_cell)

    def step(self, t: int, d_hidden: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""
        _fill(self.d_hidden, d_hidden)
        if t < self.length - 1:
            _add(self.d_hidden, self.d_us[t + 1], _turned(self.core.from_hidden))
        if t in self.plan.attending:
            for line, kept in zip(reversed(self.lines), reversed(self.kept_lines[t]), strict=True):
                line.backward(kept, self.d_hidden)
        self.update_back(t, self.cells[t - 1] if t > 0 else self.core.cell)
        if self.plan.seen is not None:
            self.d_us[t].mul_(self.plan.seen)
        self._add_from_hidden(t)

    def update_back(self, t: int, before: Tensor) -> None:
        """Turn the derivatives by H_t and C_t into those by U_t and C_(t-1), written over that by C_t."""
        y, a = self.blend.again(self.kept[t], self.v[..., :-1])
        for part in self.pieces(self.v, before, self.cells[t], self.d_hidden, self.d_cell, self.d_v):
            self.cell.backward(*part)
        self.d_us[t] = self.blend.backward(self.us[t], self.kept[t], y, a, self.d_v)

    def finish(self) -> Weights:
        """Return the derivatives of all weights."""
        d_hidden = self.d_hidden.zero_()
        _add(d_hidden, self.d_us[0], _turned(self.core.from_hidden))
        x, d_u = self.x.flatten(0, 3), self.d_us.flatten(0, 3)
        d_x = torch.mm(d_u, self.core.from_x.T, out=empty(x.shape, x)).view(self.x.shape)
        d_core = self.core._replace(
            x=d_x.permute(1, 0, 4, 2, 3),
            hidden=d_hidden,
            cell=self.d_cell,
            from_x=x.T @ d_u,
            from_x_bias=d_u.sum(0),
            from_hidden=None if self.d_from_hidden is None else self.d_from_hidden.sum(0),
        )
        lines = tuple(line.derivatives for line in self.lines)
        return self.finish_update(self.weights._replace(core=d_core, lines=lines))

    def finish_update(self, found: Weights) -> Weights:
        """Put in the derivatives that `update_back` gathered."""
        core = found.core._replace(matrix=self.cell.d_matrix, peephole=self.cell.d_peephole)
        blend = self.blend
        return found._replace(
            core=core, kernels=tuple(blend.d_kernels), norm=blend.d_norm, excitation=blend.d_excitation
        )

    def _add_from_hidden(self, t: int) -> None:
        """Add to the derivative by P_h, image by image: `H_(t-1)^T dU_t`."""
        if self.d_from_hidden is None:
            return
        before = self.hidden_maps[:, t - 1] if t > 0 else self.core.hidden
        pair = before.flatten(1, 2).transpose(1, 2), self.d_us[t].flatten(1, 2)
        if self.d_from_hidden.dtype == before.dtype:
            self.d_from_hidden.baddbmm_(*pair)
        else:
            self.d_from_hidden.add_(torch.bmm(*pair))


def _typed(core: Core, dtype: torch.dtype) -> Core:
    """Return what is multiplied with maps, and the maps, as `dtype`."""
    from_hidden = None if core.from_hidden is None else core.from_hidden.to(dtype)
    return core._replace(
        x=core.x.to(dtype),
        hidden=core.hidden.to(dtype),
        from_x=core.from_x.to(dtype),
        from_x_bias=core.from_x_bias.to(dtype),
        from_hidden=from_hidden,
    )


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
