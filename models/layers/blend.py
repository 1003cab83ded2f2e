"""V = SE(SiLU(LN(sum_j DW_j(U)))) with its derivative written out, for channels-last maps `(B, H, W, C_b)`.

The same numbers as the modules of `models.layers.mixing`. Written out because autograd's derivative of a
dilated depthwise convolution by its input takes five times as long as the same convolution with the kernel
turned round (0.35 and 0.07 ms at 41 x 41, C_b 16, batch 4), and because only two maps a step need be kept,
U and the sum of the branches.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.layers.convolution import pad

EPSILON = 1e-5  # of the LayerNorm, torch's own

_convolution_backward = torch.ops.aten.convolution_backward
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward
_silu_backward = torch.ops.aten.silu_backward


MERGED_SIDE = 9
"""Up to this side one kernel that is the sum of all branches is faster than one convolution a branch."""


class Branches(NamedTuple):
    """The depthwise kernels `(C_b, 1, k, k)`, the dilation of each, and what lies beyond the border."""

    kernels: tuple[Tensor, ...]
    dilations: tuple[int, ...]
    pad_mode: str

    def reaches(self) -> list[int]:
        """How far each branch looks."""
        return [d * (k.shape[-1] - 1) // 2 for k, d in zip(self.kernels, self.dilations, strict=True)]

    def merged(self) -> Branches:
        """Return the same operator with one kernel, where that is small enough to be faster."""
        side = 2 * max(self.reaches()) + 1
        if side > MERGED_SIDE or len(self.kernels) == 1:
            return self
        total = self.kernels[0].new_zeros(len(self.kernels[0]), 1, side, side)
        for kernel, dilation, reach in zip(self.kernels, self.dilations, self.reaches(), strict=True):
            taps = slice(side // 2 - reach, side // 2 + reach + 1, dilation)
            total[..., taps, taps] += kernel
        return Branches((total,), (1,), self.pad_mode)

    def turned(self) -> Branches:
        """Return the operator's transpose: the kernels turned round."""
        return self._replace(kernels=tuple(kernel.flip((2, 3)) for kernel in self.kernels))


class Norm(NamedTuple):
    """Weight and bias of the LayerNorm, `(C_b,)` each."""

    weight: Tensor
    bias: Tensor


class Excitation(NamedTuple):
    """The two maps of the squeeze-and-excitation."""

    squeeze: Tensor
    squeeze_bias: Tensor
    excite: Tensor
    excite_bias: Tensor


class Squeezed(NamedTuple):
    """What the excitation computed of a map, `(B, .)` each."""

    mean: Tensor
    inner: Tensor
    excitation: Tensor


class Kept(NamedTuple):
    """What one step's derivative needs: the sum of the branches M, its norm and the excitation."""

    m: Tensor  # with a norm, less its mean over the channels
    rstd: Tensor | None
    squeezed: Squeezed | None


class Blend:
    """The operator and its derivative, step by step.

    Args:
        branches: see there.
        norm: see there; None for none.
        excitation: see there; None for none.
        share: `(H, W)`, of each pixel in the excitation's mean; None for equal ones.
    """

    def __init__(
        self, branches: Branches, norm: Norm | None, excitation: Excitation | None, share: Tensor | None
    ) -> None:
        self.given, self.d_kernels = branches, [torch.zeros_like(kernel) for kernel in branches.kernels]
        self.branches, self.norm, self.excitation = branches.merged(), norm, excitation
        self.share = share
        self.transposed = self.branches.turned()
        self.d_norm = None if norm is None else Norm(*map(torch.zeros_like, norm))
        self.d_excitation = None if excitation is None else Excitation(*map(torch.zeros_like, excitation))

    def forward(self, u: Tensor, v: Tensor) -> Kept:
        """Write V from U, both `(B, H, W, C_b)`, v with any strides."""
        kept = Kept(_depthwise(u, self.branches), None, None)
        if self.norm is not None:
            kept = kept._replace(rstd=_centre(kept.m))
        _, a = self._activate(kept)
        if self.excitation is not None:
            kept = kept._replace(squeezed=self._squeeze(a, self.excitation))
        _excite(a, kept.squeezed, v)
        return kept

    def again(self, kept: Kept, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write V from what was kept; return LN(M) and SiLU(LN(M)), which `backward` needs."""
        y, a = self._activate(kept)
        _excite(a, kept.squeezed, v)
        return y, a

    def backward(self, u: Tensor, kept: Kept, y: Tensor, a: Tensor, d_v: Tensor) -> Tensor:
        """Return the derivative by U from that by V."""
        d_a = d_v
        if self.excitation is not None and kept.squeezed is not None:
            d_a = self._excitation_backward(self.excitation, kept.squeezed, a, d_v)
        d_m = _silu_backward(d_a, y)
        if self.norm is not None and kept.rstd is not None:
            d_m = self._norm_backward(self.norm, kept.m, kept.rstd, d_m)
        _gather(self.d_kernels, kernel_derivatives(u, d_m, self.given))
        return _depthwise(d_m, self.transposed)

    def _activate(self, kept: Kept) -> tuple[Tensor, Tensor]:
        y = kept.m
        if self.norm is not None and kept.rstd is not None:
            y = torch.addcmul(self.norm.bias, y * kept.rstd, self.norm.weight)
        return y, functional.silu(y)

    def _norm_backward(self, norm: Norm, centred: Tensor, rstd: Tensor, d_y: Tensor) -> Tensor:
        zero, shape = torch.zeros_like(rstd), centred.shape[-1:]
        d_m, *d_norm = _layer_norm_backward(d_y, centred, shape, zero, rstd, *norm, [True, True, True])
        _gather(self.d_norm, d_norm)
        return d_m

    def _squeeze(self, a: Tensor, excitation: Excitation) -> Squeezed:
        """Return e = sig(W_2 relu(W_1 mean(a) + b_1) + b_2), and what leads to it."""
        mean = a.mean((1, 2)) if self.share is None else torch.einsum("bhwc,hw->bc", a, self.share)
        inner = functional.linear(mean, excitation.squeeze, excitation.squeeze_bias).relu_()
        return Squeezed(
            mean, inner, functional.linear(inner, excitation.excite, excitation.excite_bias).sigmoid_()
        )

    def _excitation_backward(self, weights: Excitation, squeezed: Squeezed, a: Tensor, d_v: Tensor) -> Tensor:
        mean, inner, e = squeezed
        d_excite = (d_v * a).sum((1, 2)) * e * (1 - e)  # before the sigmoid, (B, C_b)
        d_squeeze = (d_excite @ weights.excite) * (inner > 0)
        parts = (d_squeeze.T @ mean, d_squeeze.sum(0), d_excite.T @ inner, d_excite.sum(0))
        _gather(self.d_excitation, parts)
        d_mean = (d_squeeze @ weights.squeeze)[:, None, None]
        d_a = d_v * e[:, None, None]
        if self.share is None:
            return d_a.add_(d_mean, alpha=1 / (a.shape[1] * a.shape[2]))
        return d_a.addcmul_(d_mean, self.share[:, :, None])


def _centre(m: Tensor) -> Tensor:
    """Take the mean over the channels off in place; return one over the standard deviation."""
    m.sub_(m.mean(-1, keepdim=True))
    norm = torch.linalg.vector_norm(m, dim=-1, keepdim=True)
    return norm.square_().div_(m.shape[-1]).add_(EPSILON).rsqrt_()


def _excite(a: Tensor, squeezed: Squeezed | None, v: Tensor) -> None:
    if squeezed is None:
        v.copy_(a)
    else:
        torch.mul(a, squeezed.excitation[:, None, None], out=v)


def _gather(totals: Iterable[Tensor] | None, parts: Iterable[Tensor]) -> None:
    for total, part in zip(totals or (), parts, strict=True):
        total.add_(part)


def kernel_derivatives(u: Tensor, d_m: Tensor, branches: Branches) -> list[Tensor]:
    """Return the derivative by each kernel, from U and that by M of any number of maps `(n, H, W, C_b)`."""
    derivatives = []
    for kernel, dilation, reach in zip(branches.kernels, branches.dilations, branches.reaches(), strict=True):
        maps, d_maps = u, d_m
        if branches.pad_mode == "zeros" and dilation > 1:
            maps, d_maps, dilation = _thinned(u, dilation), _thinned(d_m, dilation), 1
            reach = kernel.shape[-1] // 2
        image, inner = _padded(maps, reach, branches.pad_mode)
        form = [1, 1], [inner, inner], [dilation, dilation], False, [0, 0], len(kernel)
        d_image = d_maps.permute(0, 3, 1, 2)
        parts = _convolution_backward(d_image, image, kernel, None, *form, [False, True, False])
        derivatives.append(parts[1])
    return derivatives


def _thinned(maps: Tensor, dilation: int) -> Tensor:
    """Return every dilation-th pixel of maps `(n, H, W, C_b)` as a map of its own, zeros where one is short.

    A dilated convolution is a plain one on each of these, and the derivative by the kernel of a plain one takes
    a quarter of the time (0.09 and 0.37 ms at 41 x 41, C_b 16, batch 4).
    """
    count, height, width, channels = maps.shape
    maps = functional.pad(maps, (0, 0, 0, -width % dilation, 0, -height % dilation))
    maps = maps.view(
        count, maps.shape[1] // dilation, dilation, maps.shape[2] // dilation, dilation, channels
    )
    return maps.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def _depthwise(u: Tensor, branches: Branches) -> Tensor:
    """Return the sum of the branches of `u (B, H, W, C_b)`."""
    parts = []
    for kernel, dilation, reach in zip(branches.kernels, branches.dilations, branches.reaches(), strict=True):
        image, inner = _padded(u, reach, branches.pad_mode)
        part = functional.conv2d(image, kernel, None, 1, inner, dilation, len(kernel))
        parts.append(part.permute(0, 2, 3, 1))
    return reduce(Tensor.add_, parts)


def _padded(u: Tensor, reach: int, pad_mode: str) -> tuple[Tensor, int]:
    """Return `u` as an image `(B, C_b, H, W)`, and how many zeros the convolution has still to add."""
    image = u.permute(0, 3, 1, 2)
    if pad_mode == "zeros" or reach == 0:
        return image, reach
    return pad(image, reach, pad_mode), 0
