"""The matrix product of many pixels with a small matrix, `x @ weight.T`, as fast as torch has it.

In float32 oneDNN's linear layer takes half the time of `torch.mm` for these shapes (0.10 and 0.16 ms for
1,681 x 17 by 17 x 256 on one core of an AMD EPYC 9xx5). torch keeps it under a private name, so a version
without it gets `torch.mm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.layers.memory import empty


def _onednn() -> Callable[..., Any] | None:
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_linear = _onednn()


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x @ weight.T (n, M)` of `x (n, K)` and `weight (M, K)`; no derivative is recorded."""
    if _linear is None or x.dtype != torch.float32 or x.is_cuda or not torch.backends.mkldnn.enabled:
        return torch.mm(x, weight.T)
    return _linear(x, weight, None, "none", [], "")


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `x @ weight.T + bias (..., M)` of `x (..., K)`, as nn.Linear, with a derivative quick for many pixels.

    By a small matrix `x.T @ dy` takes a seventh of the time of `dy.T @ x`, which autograd takes (3.1 and 20.6 ms for
    215,168 x 8 and 32). All tensors are of one type, on the CPU.
    """
    return _Affine.apply(x, weight, bias)


class _Affine(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = empty((*x.shape[:-1], len(weight)), x)
        torch.addmm(bias, x.flatten(0, -2), weight.T, out=y.flatten(0, -2))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        d, d_x = d_y.flatten(0, -2), empty(x.shape, x)
        torch.mm(d, weight, out=d_x.flatten(0, -2))
        return d_x, (x.flatten(0, -2).T @ d).T, d.sum(0)
