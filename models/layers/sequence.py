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
from models.layers.convolution import PaddedConv2d
from models.layers.lines import LineParameters, Tokens, line_parameters, tokens_of
from models.layers.mixing import FactorisedGates, SqueezeExcitation
from models.layers.weights import GateParameters, Parameters, Start, by_parameters, prepare

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
        start = Start(x, hidden.movedim(-3, -1), cell.movedim(-3, -1).to(_sum_type(dtype)))
        path = GateParameters(
            from_x=gates.project_x.weight,
            from_x_bias=gates.project_x.bias,
            from_hidden=gates.project_h.weight if isinstance(gates.project_h, nn.Linear) else None,
            gates=gates.to_gates.weight,
            gates_bias=gates.to_gates.bias,
            candidate=None,
            candidate_bias=None,
            peephole=layer.peephole,
        )
        plan = _plan(gates, layer, x, steps, dtype)
        hidden_maps, last_cell = _run(plan, start, path, gates, layer.attention)
    return hidden_maps.movedim(-1, -3), last_cell.movedim(-1, -3).to(cell.dtype)


def run_minimal(layer: FAMinConv, x: Tensor, hidden: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Run FA-MinConv over `x (B, T, C, H, W)`, as `run` does; return the hidden maps and the last of them."""
    with torch.autocast(x.device.type, enabled=False):
        hidden = hidden.movedim(-3, -1)
        path = GateParameters(
            from_x=layer.project.weight,
            from_x_bias=layer.project.bias,
            from_hidden=None,
            gates=layer.to_gate.weight,
            gates_bias=layer.to_gate.bias,
            candidate=layer.to_candidate.weight,
            candidate_bias=layer.to_candidate.bias,
            peephole=None,
        )
        plan = _plan(layer, layer, x, steps, x.dtype)._replace(candidate=layer.form.places[1])
        hidden_maps, last = _run(plan, Start(x, hidden, hidden.detach()), path, layer, layer.attention)
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
    plan: Plan,
    start: Start,
    path: GateParameters,
    gates: FactorisedGates | FAMinConv,
    attention: AxialAttention | None,
) -> tuple[Tensor, Tensor]:
    excitation = None
    if isinstance(gates.excitation, SqueezeExcitation):
        squeeze, excite = gates.excitation.squeeze, gates.excitation.excite
        excitation = Excitation(squeeze.weight, squeeze.bias, excite.weight, excite.bias)
    lines: tuple[LineParameters, ...] = ()
    if attention is not None and plan.attending:
        lines = line_parameters(attention.rows), line_parameters(attention.columns)
    given = Parameters(
        start=start,
        gates=path,
        kernels=tuple(branch.weight for branch in _branches(gates)),
        norm=Norm(gates.norm.weight, gates.norm.bias) if isinstance(gates.norm, nn.LayerNorm) else None,
        excitation=excitation,
        lines=lines,
    )
    if not torch.is_grad_enabled():
        return _forward(plan, given, _passes(given), keep=False).run()
    flat, form = given.flat()
    return _Sequence.apply(plan, form, *flat)


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type of cells and sums: float32 for maps of 16 bits."""
    return torch.promote_types(dtype, torch.float32)


def _factorised(layer: FAConvLSTM) -> FactorisedGates:
    return layer.gates  # type: ignore[return-value]  # the caller has seen to it


class _Sequence(Function):
    """`(fields, H_0, C_0, parameters) -> (H_1 ... H_T, C_T)`; all maps are channels-last."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, form: tuple[int, ...], *flat: Any) -> tuple[Tensor, Tensor]:
        given = Parameters.restored(flat, form)
        ctx.passes = _passes(given)
        loop = _forward(plan, given, ctx.passes, keep=True)
        ctx.weights = None if isinstance(loop, fused.Forward) else loop.weights
        hidden_maps, last_cell = loop.run()
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.form, ctx.kept = plan, form, loop.kept
        ctx.save_for_backward(hidden_maps, *flat)
        return hidden_maps, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden_maps: Tensor | None, d_cell: Tensor | None) -> tuple[Any, ...]:
        hidden_maps, *flat = ctx.saved_tensors
        given, of = Parameters.restored(flat, ctx.form), (d_hidden_maps, d_cell)
        with torch.autocast(hidden_maps.device.type, enabled=False), torch.cuda.device_of(hidden_maps):
            if ctx.weights is None:
                by = fused.Backward(ctx.plan, given, ctx.passes, hidden_maps, ctx.kept).run(*of)
            else:
                loop = gpu.Backward if gpu.serves(hidden_maps) else eager.Backward
                by_weights = loop(ctx.plan, ctx.weights, hidden_maps, ctx.kept).run(*of)
                by = by_parameters(given, ctx.plan.tokens, by_weights)
        return None, None, *by.flat()[0]


def _passes(given: Parameters) -> native.Passes | None:
    """Return the passes compiled from C, or None where there are none: then torch's operations do the same."""
    if gpu.serves(given.start.x):
        return None
    inner, channels = len(given.gates.from_x), given.start.hidden.shape[-1]
    return native.passes(given.start.x.dtype, torch.get_num_threads(), inner, channels)


def _forward(
    plan: Plan, given: Parameters, passes: native.Passes | None, *, keep: bool
) -> eager.Forward | fused.Forward | gpu.Forward:
    if passes is not None:
        return fused.Forward(plan, given, passes, keep=keep)
    loop = gpu.Forward if gpu.serves(given.start.x) else eager.Forward
    return loop(plan, prepare(given, plan.tokens), keep=keep)
