"""FAConvLSTM and FA-MinConv over a whole sequence as one differentiable function.

The loop of `FAConvLSTM.forward` with the derivative written out: no graph of single operations, hidden maps
written where they are returned, the same room for all steps, gates computed again instead of stored. A step is made
of passes: compiled from C where there is a compiler (`fused`, `native`), on a GPU in Triton (`gpu`), else of torch's
operations (`eager`); those of FA-MinConv are compiled from C alone. Same numbers and derivatives as the plain
loop, to rounding. Supports every switch of the factorised gate path but the LayerNorm over the gates, and
both forms of attention. Does not support derivatives of derivatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.layers import eager, fused, gpu, native
from models.layers.blend import Excitation, Norm
from models.layers.cell import gate_matrix
from models.layers.convolution import PaddedConv2d
from models.layers.lines import LineWeights, Tokens, line_weights, tokens_of
from models.layers.mixing import FactorisedGates, SqueezeExcitation

if TYPE_CHECKING:
    from models.layers.axial import AxialAttention
    from models.layers.faconvlstm import FAConvLSTM
    from models.layers.faminconv import FAMinConv


class Plan(NamedTuple):
    """What the derivative is not taken by."""

    attending: frozenset[int]  # the steps of this sequence after which attention acts
    tokens: tuple[Tokens, ...]  # of the rows, of the columns
    dilations: tuple[int, ...]
    pad_mode: str
    share: Tensor | None  # of each pixel in the excitation's mean, (H, W)
    seen: Tensor | None  # (H, W, 1), false for pixels that no other may see; None where all are seen
    dtype: torch.dtype  # of maps and of what is multiplied with them
    candidate: int | None = None  # of a minimal memory, its place in minimal.CANDIDATES; None for a cell


class Core(NamedTuple):
    """Input, state and the weights that every step uses, ready to use; None for a part that is off."""

    x: Tensor  # (B, T, C, H, W)
    hidden: Tensor  # (B, H, W, F), before the first step
    cell: Tensor  # (B, H, W, F); of a minimal memory it is H
    from_x: Tensor  # (C, C_b), P_x
    from_x_bias: Tensor  # (C_b,)
    from_hidden: Tensor | None  # (F, C_b), P_h
    matrix: Tensor  # (C_b + 1, 4F), see gate_matrix; (C_b + 1, 2F) to k and c of a minimal memory
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
    dtype, gates = map_type(x), _factorised(layer)
    with torch.autocast(x.device.type, enabled=False), torch.cuda.device_of(x):
        core = Core(
            x=x,
            hidden=hidden.movedim(-3, -1),
            cell=cell.movedim(-3, -1).to(_sum_type(dtype)),
            from_x=gates.project_x.weight.T,
            from_x_bias=gates.project_x.bias,
            from_hidden=gates.project_h.weight.T if isinstance(gates.project_h, nn.Linear) else None,
            matrix=gate_matrix(gates.to_gates.weight, gates.to_gates.bias),
            peephole=None if layer.peephole is None else layer.peephole.flatten(1),
        )
        hidden_maps, last_cell = _run(_plan(gates, layer, x, steps, dtype), core, gates, layer.attention)
    return hidden_maps.movedim(-1, -3), last_cell.movedim(-1, -3).to(cell.dtype)


def run_minimal(layer: FAMinConv, x: Tensor, hidden: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Run FA-MinConv over `x (B, T, C, H, W)`, as `run` does; return the hidden maps and the last of them."""
    with torch.autocast(x.device.type, enabled=False):
        maps, hidden = (layer.to_gate, layer.to_candidate), hidden.movedim(-3, -1)
        core = Core(
            x=x,
            hidden=hidden,
            cell=hidden.detach(),
            from_x=layer.project.weight.T,
            from_x_bias=layer.project.bias,
            from_hidden=None,
            matrix=torch.cat([torch.cat([part.weight.T, part.bias[None]]) for part in maps], dim=1),
            peephole=None,
        )
        plan = _plan(layer, layer, x, steps, x.dtype)._replace(candidate=layer.form.places[1])
        hidden_maps, last = _run(plan, core, layer, layer.attention)
    return hidden_maps.movedim(-1, -3), last.movedim(-1, -3)


def map_type(x: Tensor) -> torch.dtype:
    """Return the type of maps: on a GPU that of autocast where it is on, else that of the fields."""
    if x.is_cuda and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return x.dtype


def _plan(
    gates: FactorisedGates | FAMinConv,
    layer: FAConvLSTM | FAMinConv,
    x: Tensor,
    steps: int,
    dtype: torch.dtype,
) -> Plan:
    attention, (height, width) = layer.attention, x.shape[-2:]
    attending: frozenset[int] = frozenset()
    tokens: tuple[Tokens, ...] = ()
    if attention is not None:
        every = layer.attention_every
        attending = frozenset(t for t in range(x.shape[1]) if (steps + t + 1) % every == 0)
        like = x.new_empty(0, dtype=dtype)
        tokens = (
            tokens_of(attention.rows, height, width, like),
            tokens_of(attention.columns, width, height, like),
        )
    weight = gates.excitation.weight if isinstance(gates.excitation, SqueezeExcitation) else None
    if weight is not None:
        weight = weight.to(_sum_type(dtype)).expand(height, width)
    branches = _branches(gates)
    return Plan(
        attending=attending,
        tokens=tokens,
        dilations=tuple(branch.dilation[0] for branch in branches),
        pad_mode=branches[0].pad_mode,
        share=None if weight is None else weight / weight.sum(),
        seen=None if gates.seen is None else gates.seen.expand(height, width)[..., None],
        dtype=dtype,
    )


def _branches(gates: FactorisedGates | FAMinConv) -> list[PaddedConv2d]:
    return [branch for branch in gates.mixing.branches if isinstance(branch, PaddedConv2d)]


def _run(
    plan: Plan, core: Core, gates: FactorisedGates | FAMinConv, attention: AxialAttention | None
) -> tuple[Tensor, Tensor]:
    excitation = None
    if isinstance(gates.excitation, SqueezeExcitation):
        squeeze, excite = gates.excitation.squeeze, gates.excitation.excite
        excitation = Excitation(squeeze.weight, squeeze.bias, excite.weight, excite.bias)
    lines: tuple[LineWeights, ...] = ()
    if attention is not None and plan.attending:
        height, width = core.x.shape[-2:]
        lines = line_weights(attention.rows, width), line_weights(attention.columns, height)
    weights = Weights(
        core=core,
        kernels=tuple(branch.weight for branch in _branches(gates)),
        norm=Norm(gates.norm.weight, gates.norm.bias) if isinstance(gates.norm, nn.LayerNorm) else None,
        excitation=excitation,
        lines=lines,
    )
    if not torch.is_grad_enabled():
        return _forward(plan, weights, _passes(weights), keep=False).run()
    flat, form = _flatten(weights)
    return _Sequence.apply(plan, form, *flat)


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type of cells and sums: float32 for maps of 16 bits."""
    return torch.promote_types(dtype, torch.float32)


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
    """`(fields, H_0, C_0, weights) -> (H_1 ... H_T, C_T)`; all maps are channels-last."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, form: tuple[int, ...], *flat: Any) -> tuple[Tensor, Tensor]:
        weights = _restore(flat, form)
        ctx.passes = _passes(weights)
        loop = _forward(plan, weights, ctx.passes, keep=True)
        hidden_maps, last_cell = loop.run()
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.form, ctx.kept = plan, form, loop.kept
        ctx.save_for_backward(hidden_maps, *flat)
        return hidden_maps, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden_maps: Tensor | None, d_cell: Tensor | None) -> tuple[Any, ...]:
        hidden_maps, *flat = ctx.saved_tensors
        with torch.autocast(hidden_maps.device.type, enabled=False), torch.cuda.device_of(hidden_maps):
            weights = _restore(tuple(flat), ctx.form)
            loop = _backward(ctx.plan, weights, ctx.passes, hidden_maps, ctx.kept)
            return None, None, *_flatten(loop.run(d_hidden_maps, d_cell))[0]


def _passes(weights: Weights) -> native.Passes | None:
    """Return the passes compiled from C, or None where there are none: then torch's operations do the same."""
    if gpu.serves(weights.core.x):
        return None
    core, threads = weights.core, torch.get_num_threads()
    return native.passes(core.x.dtype, threads, core.from_x.shape[1], core.hidden.shape[-1])


def _forward(
    plan: Plan, weights: Weights, passes: native.Passes | None, *, keep: bool
) -> eager.Forward | fused.Forward | gpu.Forward:
    if gpu.serves(weights.core.x):
        return gpu.Forward(plan, weights, keep=keep)
    if passes is None:
        return eager.Forward(plan, weights, keep=keep)
    return fused.Forward(plan, weights, passes, keep=keep)


def _backward(
    plan: Plan, weights: Weights, passes: native.Passes | None, hidden_maps: Tensor, kept: Any
) -> eager.Backward | fused.Backward | gpu.Backward:
    if gpu.serves(weights.core.x):
        return gpu.Backward(plan, weights, hidden_maps, kept)
    if passes is None:
        return eager.Backward(plan, weights, hidden_maps, kept)
    return fused.Backward(plan, weights, passes, hidden_maps, kept)
