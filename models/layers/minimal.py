"""The memory of the minimal convolutional recurrences: gates that see the input only.

    z_t = sig(k_t);  h_t = (1 - z_t) h_(t-1) + z_t g(c_t)

MinConvGRU, both forms of MinConvLSTM and FA-MinConv differ in what k and c are made of, and in nothing else:

    gate `single`       k                             from k, c
    gate `exponential`  k = i - f                     from f, i, c
    gate `sigmoid`      k = log sig(i) - log sig(f)   from f, i, c

The candidate g is positive in the paper, `c + 0.5` for c >= 0 and `sig(c)` below, which the scan in the logarithm
needs; `tanh` and `identity` have both signs. h is a mean of its start and the candidates so far, and stays within
their range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.layers import scan, sweep
from models.layers.memory import empty

GATES = ("single", "exponential", "sigmoid")
CANDIDATES = ("positive", "tanh", "identity")
SCANS = ("linear", "doubling", "log")
HALF = (torch.float16, torch.bfloat16)


class Form(NamedTuple):
    """The gate, one of GATES, and the candidate, one of CANDIDATES."""

    gate: str
    candidate: str

    @property
    def parts(self) -> int:
        """How many maps the memory is made from."""
        return 2 if self.gate == "single" else 3

    @property
    def places(self) -> tuple[int, int]:
        """By which compiled passes know them."""
        return GATES.index(self.gate), CANDIDATES.index(self.candidate)


def candidate(c: Tensor, kind: str) -> Tensor:
    """Return g(c), elementwise."""
    if kind == "positive":
        return torch.where(c >= 0, c + 0.5, c.sigmoid())
    return 2 * (2 * c).sigmoid() - 1 if kind == "tanh" else c  # sig takes a tenth of the time of torch's tanh


def log_candidate(c: Tensor) -> Tensor:
    """Return the logarithm of the positive candidate."""
    return torch.where(c >= 0, (c.clamp(min=0) + 0.5).log(), functional.logsigmoid(c.clamp(max=0)))


def gate_logit(gates: Sequence[Tensor], gate: str) -> Tensor:
    """Return k from what it is made of."""
    if gate == "single":
        return gates[0]
    f, i = gates
    return i - f if gate == "exponential" else functional.logsigmoid(i) - functional.logsigmoid(f)


def step(maps: Tensor, before: Tensor, form: Form) -> Tensor:
    """Take one step of the memory `(B, F, H, W)` with the maps `(B, n F, H, W)` that it is made from.

    In half precision the step is taken in float32.
    """
    maps = maps.float() if maps.dtype in HALF else maps
    *gates, c = maps.chunk(form.parts, dim=1)
    return torch.lerp(
        before.to(maps.dtype), candidate(c, form.candidate), gate_logit(gates, form.gate).sigmoid()
    )


def remember(
    parts: Sequence[Tensor], start: Tensor, form: Form, *, scan_by: str, fused: bool
) -> tuple[Tensor, Tensor]:
    """Return h `(B, T, ...)` for all steps, and the last of it `(B, ...)`, to start from again.

    In half precision the scan is computed in float32.

    Args:
        parts: the maps that the memory is made from, in the order of `Form`, each `(B, T, ...)`; or all of them as
            one tensor, one after the other along its third axis.
        start: h_0 `(B, ...)`.
        form: gate and candidate.
        scan_by: `linear`, `doubling` or `log`, see `models.layers.scan`.
        fused: whether `linear` may go step by step with its derivative written out, which is for CPUs.
    """
    with torch.autocast(start.device.type, enabled=False):
        if parts[0].dtype in HALF:
            parts = [part.float() for part in parts]
        start = start.to(parts[0].dtype).contiguous()
        if scan_by == "linear" and fused:
            return _Memory.apply(form, start, *parts)
        *gates, c = _separate(parts, form)
        k = gate_logit(gates, form.gate)
        if scan_by == "log":
            h = scan.log_scan(-functional.softplus(k), log_candidate(c) - functional.softplus(-k), start)
        else:
            z = k.sigmoid()
            h = scan.doubling(1 - z, z * candidate(c, form.candidate), start)
        return h, h[:, -1]


def _separate(parts: Sequence[Tensor], form: Form) -> Sequence[Tensor]:
    return parts if len(parts) > 1 else parts[0].chunk(form.parts, dim=2)


class _Memory(Function):
    """h step by step, so that what a step needs stays in the cache; the gates are computed again backwards."""

    @staticmethod
    def forward(ctx: Any, form: Form, start: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        maps = _separate(parts, form)
        h = empty(maps[-1].shape, start)
        compiled = sweep.passes(start, parts)
        if compiled is None:
            _forward(form, start, h, maps)
        else:
            sweep.forward(compiled, form.places, start, h, maps)
        ctx.form = form
        ctx.save_for_backward(start, h, *parts)
        ctx.set_materialize_grads(False)
        return h, h[:, -1].clone()  # a view would have the derivative of all of h written for it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        start, h, *parts = ctx.saved_tensors
        d_parts = [empty(part.shape, part) for part in parts]
        maps, d_maps = _separate(parts, ctx.form), _separate(d_parts, ctx.form)
        d_start = torch.zeros_like(start)
        if d_last is not None:
            d_start.copy_(d_last)
        d_h = start.new_zeros(()).expand_as(h) if d_h is None else d_h
        compiled = sweep.passes(start, parts)
        if compiled is None:
            _backward(ctx.form, start, h, maps, d_h, d_start, d_maps)
        else:
            sweep.backward(compiled, ctx.form.places, start, h, maps, d_h, d_start, d_maps)
        return None, d_start, *d_parts


def _forward(form: Form, start: Tensor, h: Tensor, maps: Sequence[Tensor]) -> None:
    """Write h."""
    *gates, c = maps
    z, g = torch.empty_like(start), torch.empty_like(start)
    before = start
    for t in range(c.shape[1]):
        _gate([part[:, t] for part in gates], form.gate, z)
        _candidate(c[:, t], form.candidate, g)
        before = torch.lerp(before, g, z, out=h[:, t])


def _backward(
    form: Form,
    start: Tensor,
    h: Tensor,
    maps: Sequence[Tensor],
    d_h: Tensor,
    later: Tensor,
    d_maps: Sequence[Tensor],
) -> None:
    """Write the derivatives by the maps, and that by the start in place of `later`, that by the last h."""
    (*gates, c), (*d_gates, d_c) = maps, d_maps
    z, g, d = (torch.empty_like(start) for _ in range(3))
    for t in reversed(range(c.shape[1])):
        now = [part[:, t] for part in gates]
        torch.add(d_h[:, t], later, out=d)
        _gate(now, form.gate, z)
        _candidate(c[:, t], form.candidate, g)
        torch.mul(d, z, out=later)  # by g
        _candidate_backward(later, c[:, t], g, form.candidate, d_c[:, t])
        g.sub_(h[:, t - 1] if t else start).mul_(d)  # by z
        _gate_backward(g, z, now, form.gate, [part[:, t] for part in d_gates])
        torch.sub(d, later, out=later)


def _gate(gates: Sequence[Tensor], gate: str, out: Tensor) -> None:
    """Write z."""
    if gate == "single":
        torch.sigmoid(gates[0], out=out)
        return
    f, i = gates
    if gate == "sigmoid":
        f, i = functional.logsigmoid(f), functional.logsigmoid(i)
    torch.sub(i, f, out=out).sigmoid_()


def _gate_backward(d: Tensor, z: Tensor, gates: Sequence[Tensor], gate: str, out: Sequence[Tensor]) -> None:
    """Write the derivative by what k is made of, from that by z."""
    torch.ops.aten.sigmoid_backward(d, z, grad_input=out[-1])
    if gate == "single":
        return
    torch.neg(out[1], out=out[0])
    if gate == "sigmoid":
        for part, d_part in zip(gates, out, strict=True):
            d_part.mul_(part.neg().sigmoid_())


def _candidate(c: Tensor, kind: str, out: Tensor) -> None:
    """Write g(c)."""
    if kind == "positive":  # of the two branches each is the greater where it holds
        torch.sigmoid(c, out=out)
        torch.maximum(out, c + 0.5, out=out)
    elif kind == "tanh":
        torch.mul(c, 2, out=out).sigmoid_().mul_(2).sub_(1)
    else:
        out.copy_(c)


def _candidate_backward(d: Tensor, c: Tensor, g: Tensor, kind: str, out: Tensor) -> None:
    """Write the derivative by c, from that by g(c)."""
    if kind == "positive":
        # torch.where takes twenty times as long: apart, then together.
        above = torch.ops.aten.threshold_backward(d, c, -torch.finfo(c.dtype).tiny)
        torch.ops.aten.sigmoid_backward(d - above, g, grad_input=out).add_(above)
    elif kind == "tanh":
        torch.ops.aten.tanh_backward(d, g, grad_input=out)
    else:
        out.copy_(d)
