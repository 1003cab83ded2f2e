"""The gates and the cell of FAConvLSTM with their derivative written out, in place, piece by piece.

    [i, f, g, o] = W_g V_t + b
    i += p_i C_(t-1);  f += p_f C_(t-1) + 1;  o += p_o C_(t-1)
    C_t = sig(f) C_(t-1) + sig(i) tanh(g);  H_t = sig(o) tanh(C_t)

Nearly all the time of a step goes here, into passes over the 4F gates of every pixel. Hence: a piece of pixels
at a time, whose gates stay in the cache; the gates are computed again in the derivative and never stored;
b and the forget gate's 1 are one more row of the matrix, against a column of ones in V; and

    tanh(x) = 1 - 2 sig(-2x)

throughout, because torch's sigmoid takes a tenth of the time of its tanh on a CPU (0.23 and 2.3 ns an element
in float32). The factor -2 of g stands in the matrix, so that one sigmoid serves all gates.
Maps are channels-last, `(images, pixels, channels)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from models.layers.memory import empty
from models.layers.modes import constant
from models.layers.product import product

PIECE_BYTES = 2**22
"""Memory of the gates of one piece; smaller pieces cost more in calls than they gain in the cache."""

_sigmoid_backward = (
    torch.ops.aten.sigmoid_backward.grad_input
)  # derivative times sig(x) (1 - sig(x)), in place


class Piece(NamedTuple):
    """A part of the pixels: images, and pixels within each of them."""

    images: slice
    pixels: slice


def pieces(batch: int, pixels: int, pixel_bytes: int) -> Iterator[Piece]:
    """Cut `batch` images of `pixels` into pieces of about `PIECE_BYTES`: several images, or parts of one."""
    wanted = max(1, PIECE_BYTES // pixel_bytes)
    images = max(1, wanted // pixels)
    parts = -(-pixels // wanted)
    rows = -(-pixels // parts)
    for image in range(0, batch, images):
        for row in range(0, pixels, rows):
            yield Piece(slice(image, min(image + images, batch)), slice(row, min(row + rows, pixels)))


def gate_matrix(weight: Tensor, bias: Tensor) -> Tensor:
    """Return `(C_b + 1, 4F)`: W_g transposed, and b with the forget gate's 1 as the last row; g times -2."""
    forget, factor = _of_gates(len(bias) // 4, bias.dtype, bias.device)
    return torch.cat([weight.T, (bias + forget)[None]]) * factor


def gate_matrix_back(d_matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives by the weight and the bias of `gate_matrix` from that by the matrix."""
    d_rows = d_matrix * _of_gates(d_matrix.shape[1] // 4, d_matrix.dtype, d_matrix.device)[1]
    return d_rows[:-1].T, d_rows[-1]


@constant
def _of_gates(channels: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return what is added to the bias, and what all is multiplied by, `(4F,)` each."""
    rows = torch.tensor([[0, 1, 0, 0], [1, 1, -2, 1]], dtype=dtype, device=device)
    return rows.repeat_interleave(channels, dim=1).unbind()


class Cell:
    """One step of gates and cell for pieces of pixels, and its derivative.

    Args:
        matrix: `(C_b + 1, 4F)`, see `gate_matrix`.
        peephole: `(3, F)` for i, f, o, or None.
    """

    def __init__(self, matrix: Tensor, peephole: Tensor | None) -> None:
        self.matrix, self.peephole = matrix, peephole
        self.channels = matrix.shape[1] // 4
        self.to_gates = matrix.T.contiguous()
        self.rooms = [matrix.new_empty(0)] * 2

    def forward(self, v: Tensor, before: Tensor, cell: Tensor, hidden: Tensor) -> None:
        """Write C_t and H_t.

        Args:
            v: `(images, pixels, C_b + 1)`, V with a column of ones.
            before: `(images, pixels, F)`, C_(t-1).
            cell: C_t, written.
            hidden: H_t, written.
        """
        i, f, s, o = self._gates(v, before).unbind(2)
        spare = self._room(before, 0)
        torch.addcmul(i, i, s, value=-2, out=spare)  # i (1 - 2s)
        torch.addcmul(spare, f, before, out=cell)
        s = torch.mul(cell, -2, out=spare).sigmoid_()
        torch.addcmul(o, o, s, value=-2, out=hidden)  # o (1 - 2s)

    def _gates(self, v: Tensor, before: Tensor) -> Tensor:
        """Return sig(i), sig(f), sig(-2g), sig(o) as `(images, pixels, 4, F)`."""
        z = product(v.flatten(0, 1), self.to_gates).view(*v.shape[:2], 4, -1)
        if self.peephole is not None:
            for gate, weight in zip((0, 1, 3), self.peephole, strict=True):
                z[:, :, gate].addcmul_(weight, before)
        return z.sigmoid_()

    def _room(self, like: Tensor, number: int) -> Tensor:
        """Return room for one map of a piece, the same at every call."""
        if self.rooms[number].numel() < like.numel():
            self.rooms[number] = empty((like.numel(),), like)
        return self.rooms[number][: like.numel()].view(like.shape)


class CellDerivative(Cell):
    """The derivative of `Cell`; gathers that of the matrix and the peepholes over all pieces and steps."""

    def __init__(self, matrix: Tensor, peephole: Tensor | None) -> None:
        super().__init__(matrix, peephole)
        one = matrix.new_ones(self.channels)
        self.factor = torch.cat([one, one, -2 * one, one])  # of s = sig(-2g) in C_t
        self.to_v = (matrix[:-1] * self.factor).contiguous()
        self._d_matrix = torch.zeros_like(matrix)
        self.d_peephole = None if peephole is None else torch.zeros_like(peephole)

    @property
    def d_matrix(self) -> Tensor:
        """The derivative by the matrix."""
        return self._d_matrix * self.factor

    def backward(
        self, v: Tensor, before: Tensor, cell: Tensor, d_hidden: Tensor, d_cell: Tensor, d_v: Tensor
    ) -> None:
        """Turn the derivatives by H_t and C_t into those by V and C_(t-1).

        Args:
            v: `(images, pixels, C_b + 1)`, as in `forward`.
            before: C_(t-1).
            cell: C_t.
            d_hidden: by H_t.
            d_cell: by C_t; overwritten with that by C_(t-1).
            d_v: `(images, pixels, C_b)`, by V; written.
        """
        gates = self._gates(v, before)
        i, f, s, o = gates.unbind(2)
        spare, more = self._room(before, 0), self._room(before, 1)
        # H_t = o (1 - 2 s_c), s_c = sig(-2 C_t)
        s_c = torch.mul(cell, -2, out=spare).sigmoid_()
        torch.mul(d_hidden, o, out=more)
        d_cell.add_(_sigmoid_backward(more, s_c, grad_input=more), alpha=4)
        torch.addcmul(d_hidden, d_hidden, s_c, value=-2, out=more)
        d_o = _sigmoid_backward(more, o, grad_input=o)
        # C_t = f C_(t-1) + i (1 - 2s)
        torch.addcmul(d_cell, d_cell, s, value=-2, out=more)
        torch.mul(d_cell, i, out=spare)
        _sigmoid_backward(
            spare, s, grad_input=s
        )  # by s without its factor -2, which `to_v` and `d_matrix` have
        d_i = _sigmoid_backward(more, i, grad_input=i)
        torch.mul(d_cell, before, out=more)
        d_cell.mul_(f)
        d_f = _sigmoid_backward(more, f, grad_input=f)
        if self.peephole is not None and self.d_peephole is not None:
            for d_gate, weight, total in zip((d_i, d_f, d_o), self.peephole, self.d_peephole, strict=True):
                d_cell.addcmul_(weight, d_gate)
                total.add_(torch.mul(d_gate, before, out=more).sum((0, 1)))
        d_z = gates.view(-1, 4 * self.channels)  # overwritten gate by gate
        self._d_matrix.add_(product(v.flatten(0, 1).T, d_z.T))
        d_v.copy_(product(d_z, self.to_v).view(d_v.shape))
