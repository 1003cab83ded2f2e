"""The selective scan of Mamba (Gu and Dao 2023, section 3) in plain torch, in memory bounded by a chunk.

    [dt_l, B_l, C_l] = W x_l;  delta_l = softplus(W' dt_l + b)
    h_l = exp(delta_l A) h_(l-1) + delta_l B_l x_l;  y_l = <C_l, h_l> + S x_l

B enters by the simple (Euler) step delta B, as published, and not by the exact zero-order hold. h has N numbers for
each channel, so that to keep all of it would take several N times the memory of x. Here the line is cut into chunks,
only x and the h before each chunk are kept, and the derivative, which is written out, computes the rest again. On a
CPU the recurrence goes place by place, one operation each, example by example, so that a chunk stays in the cache;
elsewhere by doubling, since a launch costs more there than the arithmetic. Neither divides nor takes the difference
of large logarithms, so that no decay can overflow. Derivatives of derivatives are not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.errors import check_whole
from models.layers.memory import empty


class ScanWeights(NamedTuple):
    """What K scans need, each of D channels with N states and steps of rank R."""

    to_parameters: Tensor  # W (K, R + 2N, D)
    to_step: Tensor  # W' (K, D, R)
    step_bias: Tensor  # b (K, D)
    log_decay: Tensor  # log(-A) (K, D, N)
    skip: Tensor  # S (K, D)


def selective_scan(x: Tensor, weights: ScanWeights, *, chunk: int) -> Tensor:
    """Scan `x (L, B, K, D)` along its first axis; the other axes are parallel.

    Args:
        x: K lines of L places.
        weights: of the K scans.
        chunk: places in a chunk; what is in memory at once grows with it, what is kept with L / chunk.

    Returns:
        y, as x. Half precision is computed in float32.

    Raises:
        ModelError: when chunk is no whole number of at least 1.
    """
    check_whole("chunk", chunk, 1)
    kind = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        single, weights = x.to(kind), ScanWeights(*(weight.to(kind) for weight in weights))
        y = _Scan.apply(chunk, single, *weights[:4]) + weights.skip * single
    return y.to(x.dtype)


def _parameters(x: Tensor, to_parameters: Tensor, to_step: Tensor, step_bias: Tensor) -> tuple[Tensor, ...]:
    """Return delta `(L, B, K, D)`, B and C `(L, B, K, N)` of the places of `x (L, B, K, D)`."""
    rank = to_step.shape[-1]
    states = (to_parameters.shape[1] - rank) // 2
    found = torch.einsum("lbkd,kcd->lbkc", x, to_parameters)
    step, b, c = found.split((rank, states, states), dim=-1)
    step = torch.einsum("lbkr,kdr->lbkd", step, to_step) + step_bias
    return functional.softplus(step), b, c


class _Scan(Function):
    """`(x, W, W', b, log(-A)) -> y` without the skip."""

    @staticmethod
    def forward(ctx: Any, chunk: int, *inputs: Tensor) -> Tensor:
        x, decay = inputs[0], -inputs[-1].exp()
        delta, b, c = _parameters(*inputs[:-1])
        y = torch.empty_like(x)
        starts = x.new_zeros(-(-len(x) // chunk) + 1, *x.shape[1:], decay.shape[-1])
        for number, part in _parts(x, chunk):
            factor, h = _unroll(delta[part], x[part], b[part], decay, starts[number, part[1]])
            y[part] = _over_states(h, c[part][..., None, :], factor)
            starts[number + 1, part[1]] = h[-1]
        ctx.chunk = chunk
        ctx.save_for_backward(*inputs, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Any, ...]:
        x, *matrices, log_decay, starts = ctx.saved_tensors
        leaves = [tensor.detach().requires_grad_() for tensor in (x, *matrices)]
        with torch.autocast(d_y.device.type, enabled=False):
            with torch.enable_grad():
                found = _parameters(*leaves)
            parameters = [tensor.detach() for tensor in found]
            decay = -log_decay.exp()
            d_found, d_x, d_decay = _derivative(ctx.chunk, x, parameters, decay, starts, d_y)
            d_leaves = torch.autograd.grad(found, leaves, d_found)
        return None, d_x + d_leaves[0], *d_leaves[1:], d_decay * decay


def _derivative(
    chunk: int, x: Tensor, parameters: Sequence[Tensor], decay: Tensor, starts: Tensor, d_y: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the derivatives by delta, B and C, by x where it stands beside them, and by A."""
    delta, b, c = parameters
    d_delta, d_b, d_c, d_x = (torch.empty_like(tensor) for tensor in (delta, b, c, x))
    d_decay, later = torch.zeros_like(decay), torch.zeros_like(starts[0])
    for number, part in reversed(_parts(x, chunk)):
        start, pushed = starts[number, part[1]], delta[part] * x[part]
        factor, h = _unroll(delta[part], x[part], b[part], decay, start)
        d_c[part] = (d_y[part][..., None, :] @ h).squeeze(-2)
        d_h = torch.mul(d_y[part][..., None], c[part][..., None, :], out=empty(h.shape, h))
        following = torch.cat([factor[1:], torch.ones_like(factor[:1])])
        d_h = _recurrence(following, d_h, later[part[1]], backwards=True)
        later[part[1]] = factor[0] * d_h[0]
        d_b[part] = (pushed[..., None, :] @ d_h).squeeze(-2)
        d_pushed = _over_states(d_h, b[part][..., None, :], following)
        d_h[1:] *= h[:-1]
        d_h[0] *= start
        d_h *= factor  # now the derivative by delta A
        d_decay += torch.mul(d_h, delta[part][..., None], out=h).sum((0, 1))
        d_delta[part] = d_pushed * x[part] + _over_states(d_h, decay, h)
        d_x[part] = d_pushed * delta[part]
    return [d_delta, d_b, d_c], d_x, d_decay


def _parts(x: Tensor, chunk: int) -> list[tuple[int, tuple[slice, slice]]]:
    """Return the number of a chunk, its places, and the examples that go together, chunk after chunk."""
    length, batch = x.shape[:2]
    group = 1 if _is_serial(x) else batch
    return [
        (first // chunk, (slice(first, first + chunk), slice(e, e + group)))
        for first in range(0, length, chunk)
        for e in range(0, batch, group)
    ]


def _unroll(delta: Tensor, x: Tensor, b: Tensor, decay: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors exp(delta A) and all h of a part, `(Q, G, K, D, N)` each."""
    shape = (*delta.shape, decay.shape[-1])
    factor = torch.mul(delta[..., None], decay, out=empty(shape, delta)).exp_()
    term = torch.mul((delta * x)[..., None], b[..., None, :], out=empty(shape, delta))
    return factor, _recurrence(factor, term, start)


def _over_states(a: Tensor, b: Tensor, room: Tensor) -> Tensor:
    """Return the sum of `a b` over the last axis; `room` is overwritten with the products."""
    return torch.mul(a, b, out=room) @ a.new_ones(a.shape[-1])  # a fifth of the time of many small products


def _recurrence(factor: Tensor, term: Tensor, start: Tensor, *, backwards: bool = False) -> Tensor:
    """Return all `h_l = factor_l h_(l-1) + term_l`, in place of the terms on a CPU."""
    run = place_by_place if _is_serial(term) else doubling
    return run(factor, term, start, backwards=backwards)


def _is_serial(x: Tensor) -> bool:
    """Whether many small operations cost no more than a few large ones where `x` lies."""
    return x.device.type == "cpu"


def place_by_place(factor: Tensor, term: Tensor, start: Tensor, *, backwards: bool = False) -> Tensor:
    """Compute the recurrence in place of `term`; `backwards` goes from the last place to the first."""
    pairs = list(zip(factor.unbind(), term.unbind(), strict=True))
    before = start
    for rate, h in reversed(pairs) if backwards else pairs:
        before = h.addcmul_(rate, before)
    return term


def doubling(factor: Tensor, term: Tensor, start: Tensor, *, backwards: bool = False) -> Tensor:
    """Compute the same in log2(L) operations on all places (Hillis and Steele 1986)."""
    factor, h = (part.flip(0) if backwards else part for part in (factor, term))
    h = torch.cat([h[:1] + factor[:1] * start, h[1:]])
    reach = 1
    while reach < len(h):
        h = torch.cat([h[:reach], torch.addcmul(h[reach:], factor[reach:], h[:-reach])])
        factor = torch.cat([factor[:reach], factor[reach:] * factor[:-reach]])
        reach *= 2
    return h.flip(0) if backwards else h
