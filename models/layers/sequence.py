"""FAConvLSTM over a whole sequence as one differentiable function, for CPUs.

The loop of `FAConvLSTM.forward` with the derivative written out: no graph of single operations, hidden maps
written where they are returned, the same room for all steps, gates computed again instead of stored. A step is made
of compiled passes (`fused`, `native`) where there is a C compiler, and else of torch's operations, below. Same
numbers and derivatives as the plain loop, to rounding. Supports every switch of the factorised gate path but
the LayerNorm over the gates, and both forms of attention. Does not support derivatives of derivatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.layers import fused, native
from models.layers.blend import Blend, Branches, Excitation, Kept, Norm
from models.layers.cell import Cell, CellDerivative, gate_matrix, pieces
from models.layers.convolution import PaddedConv2d
from models.layers.lines import LineKept, Lines, LineWeights, Tokens, line_weights, tokens_of
from models.layers.memory import empty
from models.layers.mixing import FactorisedGates, SqueezeExcitation

if TYPE_CHECKING:
    from models.layers.faconvlstm import FAConvLSTM


_ZERO = torch.zeros(())


class Plan(NamedTuple):
    """What the derivative is not taken by."""

    attending: frozenset[int]  # the steps of this sequence after which attention acts
    tokens: tuple[Tokens, ...]  # of the rows, of the columns
    dilations: tuple[int, ...]
    pad_mode: str
    share: Tensor | None  # of each pixel in the excitation's mean, (H, W)
    seen: Tensor | None  # (H, W, 1), false for pixels that no other may see; None where all are seen


class Core(NamedTuple):
    """Input, state and the weights that every step uses, ready to use; None for a part that is off."""

    x: Tensor  # (B, T, C, H, W)
    hidden: Tensor  # (B, H, W, F), before the first step
    cell: Tensor  # (B, H, W, F)
    from_x: Tensor  # (C, C_b), P_x
    from_x_bias: Tensor  # (C_b,)
    from_hidden: Tensor | None  # (F, C_b), P_h
    matrix: Tensor  # (C_b + 1, 4F), see gate_matrix
    peephole: Tensor | None  # (3, F)


class Weights(NamedTuple):
    """All tensors that the derivative is taken by."""

    core: Core
    kernels: tuple[Tensor, ...]
    norm: Norm | None
    excitation: Excitation | None
    lines: tuple[LineWeights, ...]  # rows and columns; none where no step attends


def run(layer: FAConvLSTM, x: Tensor, hidden: Tensor, cell: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Run a layer with factorised gates over `x (B, T, C, H, W)`.

    Args:
        layer: the layer.
        x: the fields.
        hidden: H before the first step, `(B, F, H, W)`.
        cell: C before the first step, `(B, F, H, W)`.
        steps: steps taken before.

    Returns:
        The hidden maps `(B, T, F, H, W)` and the last cell `(B, F, H, W)`, channels last in memory.
    """
    with torch.autocast("cpu", enabled=False):
        return _run(layer, x, hidden, cell, steps)


def _run(layer: FAConvLSTM, x: Tensor, hidden: Tensor, cell: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    plan = _plan(layer, x, steps)
    weights = _weights(layer, x, hidden, cell, bool(plan.attending))
    if torch.is_grad_enabled():
        flat, form = _flatten(weights)
        hidden_maps, last_cell = _Sequence.apply(plan, form, *flat)
    else:
        hidden_maps, last_cell = _loop(plan, weights, _passes(weights), keep=False).run()
    return hidden_maps.movedim(-1, -3), last_cell.movedim(-1, -3)


def _plan(layer: FAConvLSTM, x: Tensor, steps: int) -> Plan:
    gates, attention, (height, width) = _factorised(layer), layer.attention, x.shape[-2:]
    attending: frozenset[int] = frozenset()
    tokens: tuple[Tokens, ...] = ()
    if attention is not None:
        every = layer.attention_every
        attending = frozenset(t for t in range(x.shape[1]) if (steps + t + 1) % every == 0)
        tokens = tokens_of(attention.rows, height, width, x), tokens_of(attention.columns, width, height, x)
    weight = gates.excitation.weight if isinstance(gates.excitation, SqueezeExcitation) else None
    if weight is not None:
        weight = weight.to(x.dtype).expand(height, width)
    branches = [branch for branch in gates.mixing.branches if isinstance(branch, PaddedConv2d)]
    return Plan(
        attending=attending,
        tokens=tokens,
        dilations=tuple(branch.dilation[0] for branch in branches),
        pad_mode=branches[0].pad_mode,
        share=None if weight is None else weight / weight.sum(),
        seen=None if gates.seen is None else gates.seen.expand(height, width)[..., None],
    )


def _weights(layer: FAConvLSTM, x: Tensor, hidden: Tensor, cell: Tensor, attends: bool) -> Weights:
    gates, attention, excitation = _factorised(layer), layer.attention, None
    if isinstance(gates.excitation, SqueezeExcitation):
        squeeze, excite = gates.excitation.squeeze, gates.excitation.excite
        excitation = Excitation(squeeze.weight, squeeze.bias, excite.weight, excite.bias)
    core = Core(
        x=x,
        hidden=hidden.movedim(-3, -1),
        cell=cell.movedim(-3, -1),
        from_x=gates.project_x.weight.T,
        from_x_bias=gates.project_x.bias,
        from_hidden=gates.project_h.weight.T if isinstance(gates.project_h, nn.Linear) else None,
        matrix=gate_matrix(gates.to_gates.weight, gates.to_gates.bias),
        peephole=None if layer.peephole is None else layer.peephole.flatten(1),
    )
    lines: tuple[LineWeights, ...] = ()
    if attention is not None and attends:
        height, width = x.shape[-2:]
        lines = line_weights(attention.rows, width), line_weights(attention.columns, height)
    return Weights(
        core=core,
        kernels=tuple(branch.weight for branch in gates.mixing.branches if isinstance(branch, PaddedConv2d)),
        norm=Norm(gates.norm.weight, gates.norm.bias) if isinstance(gates.norm, nn.LayerNorm) else None,
        excitation=excitation,
        lines=lines,
    )


def _factorised(layer: FAConvLSTM) -> FactorisedGates:
    return layer.gates  # type: ignore[return-value]  # the caller has seen to it


def _flatten(weights: Weights) -> tuple[list[Tensor | None], tuple[int, ...]]:
    """Return all tensors in one row, as `Function.apply` takes them, and what `_restore` needs."""
    groups = (weights.core, weights.kernels, weights.norm or (), weights.excitation or (), *weights.lines)
    return [tensor for group in groups for tensor in group], tuple(len(group) for group in groups)


def _restore(flat: tuple[Any, ...], form: tuple[int, ...]) -> Weights:
    left = list(flat)
    groups = [[left.pop(0) for _ in range(size)] for size in form]
    core, kernels, norm, excitation, *lines = groups
    return Weights(
        core=Core(*core),
        kernels=tuple(kernels),
        norm=Norm(*norm) if norm else None,
        excitation=Excitation(*excitation) if excitation else None,
        lines=tuple(LineWeights(*line) for line in lines),
    )


class _Sequence(Function):
    """`(P_x X, H_0, C_0, weights) -> (H_1 ... H_T, C_T)`; all maps are channels-last."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, form: tuple[int, ...], *flat: Any) -> tuple[Tensor, Tensor]:
        weights = _restore(flat, form)
        ctx.passes = _passes(weights)
        loop = _loop(plan, weights, ctx.passes, keep=True)
        hidden_maps, last_cell = loop.run()
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.form, ctx.kept = plan, form, loop.kept
        ctx.save_for_backward(hidden_maps, *flat)
        return hidden_maps, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden_maps: Tensor | None, d_cell: Tensor | None) -> tuple[Any, ...]:
        hidden_maps, *flat = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            weights = _restore(tuple(flat), ctx.form)
            loop = _loop_back(ctx.plan, weights, ctx.passes, hidden_maps, ctx.kept)
            loop.start(d_cell)
            for t in reversed(range(loop.length)):
                loop.step(t, None if d_hidden_maps is None else d_hidden_maps[:, t])
            return None, None, *_flatten(loop.finish())[0]


def _passes(weights: Weights) -> native.Passes | None:
    """Return the compiled passes, or None where there are none: then torch's operations do the same."""
    return native.passes(weights.core.x.dtype, torch.get_num_threads(), weights.core.from_x.shape[1])


def _loop(
    plan: Plan, weights: Weights, passes: native.Passes | None, *, keep: bool
) -> _Forward | fused.Forward:
    if passes is None:
        return _Forward(plan, weights, keep=keep)
    return fused.Forward(plan, weights, passes, keep=keep)


def _loop_back(
    plan: Plan, weights: Weights, passes: native.Passes | None, hidden_maps: Tensor, kept: Any
) -> _Backward | fused.Backward:
    if passes is None:
        return _Backward(plan, weights, hidden_maps, kept)
    return fused.Backward(plan, weights, passes, hidden_maps, kept)


class _Kept(NamedTuple):
    """What the derivative needs beside H, of all steps."""

    cells: Tensor  # (T, B, H, W, F)
    us: Tensor  # (T, B, H, W, C_b)
    blends: list[Kept]
    lines: dict[int, list[LineKept]]


class _Loop:
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
        gate_bytes = 4 * self.channels * core.matrix.element_size()
        self.cut = list(pieces(self.batch, self.pixels, gate_bytes))
        self.v = self.empty(self.inner + 1)
        self.v[..., -1] = 1

    def empty(self, channels: int) -> Tensor:
        """Return room for one step's maps."""
        return empty((self.batch, self.height, self.width, channels), self.core.matrix)

    def pieces(self, *maps: Tensor) -> Any:
        """Cut maps `(B, H, W, .)` into pieces `(images, pixels, .)` whose gates stay in the cache."""
        flat = [part.flatten(1, 2) for part in maps]
        return ([part[piece] for part in flat] for piece in self.cut) if len(self.cut) > 1 else [flat]


class _Forward(_Loop):
    """The loop forward, which keeps what the derivative needs only where one may follow."""

    def __init__(self, plan: Plan, weights: Weights, *, keep: bool) -> None:
        super().__init__(plan, weights)
        self.keep = keep
        grid = self.height, self.width
        self.hidden_maps = empty((self.batch, self.length, *grid, self.channels), self.v)
        cells = self.length if keep else 2
        self.cells = empty((cells, self.batch, *grid, self.channels), self.v)
        self.us = empty(
            (self.length, self.batch, *grid, self.inner), self.v
        )  # P_x X of all steps at once; `step` adds P_h H
        flat = self.x.flatten(0, 3), self.core.from_x
        torch.addmm(self.core.from_x_bias, *flat, out=self.us.flatten(0, 3))
        self.cell = Cell(self.core.matrix, self.core.peephole)
        self.hidden, self.before = self.core.hidden, self.core.cell
        self.kept = _Kept(self.cells, self.us, [], {})

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last cell."""
        for t in range(self.length):
            self.step(t)
        return self.hidden_maps, self.before.clone()

    def step(self, t: int) -> None:
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


class _Backward(_Loop):
    def __init__(self, plan: Plan, weights: Weights, hidden_maps: Tensor, kept: _Kept) -> None:
        super().__init__(plan, weights)
        self.hidden_maps = hidden_maps
        self.cells, self.us, self.kept, self.kept_lines = kept
        self.cell = CellDerivative(self.core.matrix, self.core.peephole)
        self.d_us = empty(self.us.shape, self.us)
        self.d_v = self.empty(self.inner)
        from_hidden = self.core.from_hidden
        self.d_from_hidden = (
            None if from_hidden is None else from_hidden.new_zeros(self.batch, *from_hidden.shape)
        )
        self.d_hidden = self.empty(self.channels)

    def start(self, d_cell: Tensor | None) -> None:
        self.d_cell = self.empty(self.channels).copy_(_ZERO if d_cell is None else d_cell)

    def step(self, t: int, d_hidden: Tensor | None) -> None:
        self.d_hidden.copy_(_ZERO if d_hidden is None else d_hidden)
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
        core = Core(
            x=d_x.permute(1, 0, 4, 2, 3),
            hidden=d_hidden,
            cell=self.d_cell,
            from_x=x.T @ d_u,
            from_x_bias=d_u.sum(0),
            from_hidden=None if self.d_from_hidden is None else self.d_from_hidden.sum(0),
            matrix=self.cell.d_matrix,
            peephole=self.cell.d_peephole,
        )
        blend, lines = self.blend, tuple(line.derivatives for line in self.lines)
        return Weights(core, tuple(blend.d_kernels), blend.d_norm, blend.d_excitation, lines)

    def _add_from_hidden(self, t: int) -> None:
        """Add to the derivative by P_h, image by image: `H_(t-1)^T dU_t`."""
        if self.d_from_hidden is not None:
            before = self.hidden_maps[:, t - 1] if t > 0 else self.core.hidden
            self.d_from_hidden.baddbmm_(before.flatten(1, 2).transpose(1, 2), self.d_us[t].flatten(1, 2))


def _add(total: Tensor, x: Tensor, matrix: Tensor | None) -> None:
    """Add `x @ matrix` (or x) to `total` in place, all `(B, H, W, .)`."""
    if matrix is None:
        total.add_(x)
    else:
        total.flatten(1, 2).baddbmm_(x.flatten(1, 2), matrix.expand(len(x), -1, -1))


def _turned(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.T
