"""Products of many pixels with a small matrix, and convolutions of few channels, as fast as torch has them.

Of `x @ weight.T` in float32 oneDNN's linear layer takes half the time of `torch.mm` for these shapes (0.10 and 0.16
ms for 1,681 x 17 by 17 x 256 on one core of an AMD EPYC 9xx5). torch keeps it under a private name, so a version
without it gets `torch.mm`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.layers.memory import empty

THIN = 72  # C k^2 of a convolution; above it oneDNN's derivative by the input is the quicker one


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


def convolution(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Return the convolution `(N, F, H, W)` of `x (N, C, H, W)`, with a derivative quick for few channels C.

    oneDNN takes the derivative by the input as if it had 16 channels, and that by the bias slowly: a product, a sum
    of shifted maps and a sum are quicker. All tensors are of one type, on the CPU.
    """
    return _Convolution.apply(x, weight, bias, padding)


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        ahead, by_weight = [[1, 1], 2 * [ctx.padding], [1, 1], False, [0, 0], 1], [False, True, False]
        _, d_weight, _ = torch.ops.aten.convolution_backward(d_y, x, weight, None, *ahead, by_weight)
        d_x = _by_input(d_y, x, weight, ctx.padding) if ctx.needs_input_grad[0] else None
        return d_x, d_weight, d_y.sum((0, 2, 3)), None


def _by_input(d_y: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the derivative by x: what each tap of the kernel takes from it, shifted to where it takes it."""
    (count, channels, *grid), size, (height, width) = x.shape, weight.shape[-1], d_y.shape[-2:]
    rows = weight.flatten(1).T.expand(count, -1, -1)
    taken = empty((count, rows.shape[1], height * width), d_y)
    torch.bmm(rows, d_y.flatten(2), out=taken)
    taps = taken.view(count, channels, size, size, height, width)
    d_x = d_y.new_zeros(count, channels, *(points + 2 * padding for points in grid))
    for i, j in itertools.product(range(size), repeat=2):
        d_x[..., i : i + height, j : j + width].add_(taps[:, :, i, j])
    return functional.pad(d_x, 4 * [-padding])
