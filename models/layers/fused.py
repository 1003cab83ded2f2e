"""The loops of `models.layers.sequence` by compiled passes, a call each way.

What is computed stands in `models/layers/kernels`, how its arrays lie in `layout`. Kept for the derivative of a step
are H, C, U and LN(M); gates and everything of the attention are computed again. The memory of FA-MinConv is minimal:
it has no C.
"""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import addressof, byref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.layers import native
from models.layers.blend import Excitation, Norm
from models.layers.layout import Layout
from models.layers.lines import LineParameters
from models.layers.memory import empty
from models.layers.modes import constant
from models.layers.weights import GateParameters, Parameters, Start

if TYPE_CHECKING:
    from models.layers.sequence import Plan


class Kept(NamedTuple):
    """What the derivative needs beside H: of all steps, or in a forward pass of the last ones."""

    cells: Tensor  # (T, B, H, W, F), of no step where the memory is minimal
    u: Tensor  # (T, B, H, W, C_b)
    y: Tensor  # (T, B, H, W, C_b), LN(M) without weight and bias
    rstd: Tensor  # (T, B, H, W), of M
    mean: Tensor  # (T, B, C_b padded), of the excitation, as the next two
    inner: Tensor  # (T, B, R)
    excitation: Tensor  # (T, B, C_b padded)


class _Loop(Layout):
    """What the loops forward and backward share: the whole sequence as C is told of it."""

    @property
    def minimal(self) -> bool:
        """Whether the memory is minimal."""
        return self.plan.candidate is not None

    def fields(self) -> Tensor:
        """Return the fields, whose channels may come before their pixels or after."""
        x = self.start.x
        return x if x.is_contiguous() else x.movedim(2, -1).contiguous().movedim(-1, 2)

    def sequence(self, x: Tensor, hidden_maps: Tensor, kept: Kept, maps: int, **more: Tensor | None) -> Any:
        """Return the structure of the sequence, with room for so many maps that attention refines."""
        rows, columns = map(addressof, self.lines) if self.lines else (None, None)
        channels = self.inner if self.minimal else self.channels
        arrays = {
            "x": x,
            "first_hidden": self.start.hidden.contiguous(),
            "first_cell": self.start.cell.contiguous(),
            "hidden": hidden_maps,
            "attends": _attends(self.plan.attending, self.length),
            "maps": self.map(maps, channels=channels),
            **kept._asdict(),
            **more,
        }
        first = x.is_contiguous()
        return self.passes.sequence(
            batch=self.batch,
            length=self.length,
            kept=len(kept.u),
            kept_cells=len(kept.cells),
            x_image=self.length * self.in_channels * self.pixels,
            x_step=self.in_channels * self.pixels,
            x_pixel=1 if first else self.in_channels,
            x_channel=self.pixels if first else 1,
            rows=rows,
            columns=columns,
            **{name: None if array is None else self.hold(array) for name, array in arrays.items()},
        )


class Forward(_Loop):
    """The loop forward, which keeps what the derivative needs only where one may follow."""

    def __init__(self, plan: Plan, given: Parameters, passes: native.Passes, *, keep: bool) -> None:
        super().__init__(plan, given, None, passes, keep=keep)
        steps, cells = (self.length, self.length) if keep else (1, 2)
        like = self.like
        self.kept = Kept(
            cells=self.map(0 if self.minimal else cells, channels=self.channels),
            u=self.map(steps, channels=self.inner),
            y=self.map(steps, channels=self.inner),
            rstd=empty((steps, self.batch, self.pixels), like),
            mean=like.new_zeros(steps, self.batch, self.inner_padded),
            inner=like.new_zeros(steps, self.batch, max(1, self.squeezed)),
            excitation=like.new_ones(steps, self.batch, self.inner_padded),
        )

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last cell, or the last of them where there are no cells."""
        shape = self.batch, self.length, self.height, self.width, self.channels
        hidden_maps, cells = empty(shape, self.like), self.kept.cells
        sequence = self.sequence(self.fields(), hidden_maps, self.kept, maps=1 if self.minimal else 0)
        self.call.forward(byref(self.sizes), byref(sequence))
        last = hidden_maps[:, -1] if self.minimal else cells[(self.length - 1) % len(cells)]
        return hidden_maps, last.clone()


class Backward(_Loop):
    """The loop backward."""

    def __init__(
        self, plan: Plan, given: Parameters, passes: native.Passes, hidden_maps: Tensor, kept: Kept
    ) -> None:
        self.by = _like(given)
        super().__init__(plan, given, self.by, passes, keep=True)
        self.hidden_maps, self.kept = hidden_maps, kept

    def run(self, d_hidden_maps: Tensor | None, d_last: Tensor | None) -> Parameters:
        """Take the derivatives by all parameters from those by what the loop forward returned."""
        x = self.fields()
        d_x, d_cell = torch.empty_like(x), self.map(channels=self.channels)
        d_first = d_cell if self.minimal else self.map(channels=self.channels)
        d_cell.zero_() if d_last is None else d_cell.copy_(d_last)
        sequence = self.sequence(
            x,
            self.hidden_maps,
            self.kept,
            maps=3 if self.lines else int(self.minimal),
            d_x=d_x,
            d_first=d_first,
            d_cell=d_cell,
            d_us=self.map(2, channels=self.inner),
            d_v=self.map(channels=self.inner),
            d_mean=self.like.new_zeros(self.batch, self.inner_padded),
        )
        if d_hidden_maps is not None:
            d_hidden_maps = self._pixel_by_pixel(d_hidden_maps)
            sequence.d_hidden = d_hidden_maps.data_ptr()
            names = ("d_image", "d_step", "d_pixel", "d_channel")
            for name, axis in zip(names, (0, 1, 3, 4), strict=True):
                setattr(sequence, name, d_hidden_maps.stride(axis))
        self.call.backward(byref(self.sizes), byref(sequence))
        self.finish()
        return self.by._replace(start=Start(d_x, d_first, d_cell))

    def _pixel_by_pixel(self, maps: Tensor) -> Tensor:
        """Return maps `(B, T, H, W, F)`, copied where their pixels do not lie equally far from one to the next."""
        even = maps.stride(2) == self.width * maps.stride(3) or self.height == 1
        return maps if even else empty(maps.shape, maps).copy_(maps)


def _like(given: Parameters) -> Parameters:
    """Return room for the derivatives by all parameters."""

    def room(group: Iterable[Tensor | None]) -> list[Any]:
        return [None if part is None else torch.empty(part.shape, dtype=part.dtype) for part in group]

    return given._replace(
        gates=GateParameters(*room(given.gates)),
        kernels=tuple(room(given.kernels)),
        norm=None if given.norm is None else Norm(*room(given.norm)),
        excitation=None if given.excitation is None else Excitation(*room(given.excitation)),
        lines=tuple(LineParameters(*room(line)) for line in given.lines),
    )


@constant
def _attends(attending: frozenset[int], length: int) -> Tensor:
    """Return 1 for the steps after which attention acts."""
    return torch.tensor([t in attending for t in range(length)], dtype=torch.uint8)
