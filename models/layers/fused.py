"""The loops of `models.layers.sequence` by compiled passes: the same steps, one call each.

What a pass computes stands in `models/layers/kernels`, how its arrays lie in `layout`. Kept for the derivative of a
step are H, C, U and LN(M); gates and everything of the attention are computed again.
"""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.layers import native
from models.layers.blend import Norm
from models.layers.layout import Layout
from models.layers.lines import LineWeights
from models.layers.memory import empty

if TYPE_CHECKING:
    from models.layers.sequence import Plan, Weights


class Kept(NamedTuple):
    """What the derivative needs beside H: of all steps, or in a forward pass of the last ones."""

    cells: Tensor  # (T, B, H, W, F); no step of a minimal memory, which is H
    u: Tensor  # (T, B, H, W, C_b)
    y: Tensor  # (T, B, H, W, C_b), LN(M) without weight and bias
    rstd: Tensor  # (T, B, H, W), of M
    mean: Tensor  # (T, B, C_b padded), of the excitation, as the next two
    inner: Tensor  # (T, B, R)
    excitation: Tensor  # (T, B, C_b padded)


class _Loop(Layout):
    """What the loops forward and backward share: pointing at the maps of a step."""

    def set_hidden(self, which: str, maps: Tensor, t: int) -> None:
        """Point `hidden` or `hidden_before` at `maps[:, t]`, of `(B, T, H, W, F)`; t is -1 for H_0 `(B, H, W, F)`."""
        size = self.pixels * self.channels
        setattr(self.step_, which, maps.data_ptr() + max(t, 0) * size * self.size)
        setattr(self.step_, f"{which}_stride", size if t < 0 else size * self.length)

    def hold_kept(self, kept: Kept) -> None:
        """Note where lies what is kept of the steps."""
        self.kept = kept
        self.places = {
            name: (maps.data_ptr(), maps.shape[0], maps.stride(0) * maps.element_size())
            for name, maps in kept._asdict().items()
        }

    def set_kept(self, t: int) -> None:
        """Point at what is kept of step t."""
        for name in ("u", "y", "rstd", "mean", "inner", "excitation"):
            setattr(self.step_, name, self.place(name, t))

    def place(self, name: str, t: int) -> int:
        """Return the address of what is kept of step t, or of that of the steps kept which t falls on."""
        start, count, size = self.places[name]
        return start + t % count * size

    def set_x(self, which: str, x: Tensor, t: int) -> None:
        """Point at step t of `x (B, T, C, H, W)`, or of its derivative, which lies as that does."""
        fields = self.in_channels * self.pixels
        setattr(self.step_, which, x.data_ptr() + t * fields * self.size)
        self.step_.x_stride = self.length * fields
        self.step_.x_pixel, self.step_.x_channel = (1, self.pixels) if self.first else (self.in_channels, 1)

    def set_cells(self, t: int) -> None:
        """Point at C_t and C_(t-1), where there are any."""
        if self.plan.candidate is None:
            self.step_.cell = self.place("cells", t)
            self.step_.before = self.place("cells", t - 1) if t > 0 else self.first_cell.data_ptr()

    def starts(self) -> None:
        """Lay out the fields, whose channels may come before their pixels or after, and the first state."""
        x, self.first = self.core.x, self.core.x.is_contiguous()
        self.x = x if self.first else x.movedim(2, -1).contiguous().movedim(-1, 2)
        self.first_hidden, self.first_cell = self.core.hidden.contiguous(), self.core.cell.contiguous()

    def run_pass(self, name: str, *more: Any) -> None:
        """Call a pass on the step that is set."""
        getattr(self.call, name)(byref(self.sizes), byref(self.step_), *more)


class Forward(_Loop):
    """The loop forward, which keeps what the derivative needs only where one may follow."""

    def __init__(self, plan: Plan, weights: Weights, passes: native.Passes, *, keep: bool) -> None:
        super().__init__(plan, weights, passes, derivative=False)
        self.starts()
        steps, cells = (self.length, self.length) if keep else (1, 2)
        cells = cells if plan.candidate is None else 0
        like = self.core.matrix
        self.hidden_maps = empty((self.batch, self.length, self.height, self.width, self.channels), like)
        kept = Kept(
            cells=self.map(cells, channels=self.channels),
            u=self.map(steps, channels=self.inner),
            y=self.map(steps, channels=self.inner),
            rstd=empty((steps, self.batch, self.pixels), like),
            mean=like.new_zeros(steps, self.batch, self.wide),
            inner=like.new_zeros(steps, self.batch, max(1, self.squeezed)),
            excitation=like.new_ones(steps, self.batch, self.wide),
        )
        self.hold_kept(kept)

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last cell."""
        for t in range(self.length):
            self.step(t)
        return self.hidden_maps, self.kept.cells[(self.length - 1) % len(self.kept.cells)].clone()

    def step(self, t: int) -> None:
        """Take step t."""
        self.set_step(t)
        self.run_pass("forward")
        if t in self.plan.attending:
            self.set_hidden("refined", self.hidden_maps, t)
            for line in self.lines:
                self.run_pass("attend", byref(line))

    def set_step(self, t: int) -> None:
        """Point at everything of step t."""
        self.set_x("x", self.x, t)
        if t == 0 or len(self.kept.u) > 1:
            self.set_kept(t)
        self.set_cells(t)
        self.set_hidden("hidden", self.hidden_maps, t)
        self.set_hidden("hidden_before", self.hidden_maps if t > 0 else self.first_hidden, t - 1)


class Backward(_Loop):
    """The loop backward."""

    def __init__(
        self, plan: Plan, weights: Weights, passes: native.Passes, hidden_maps: Tensor, kept: Kept
    ) -> None:
        super().__init__(plan, weights, passes, derivative=True)
        self.starts()
        self.hidden_maps = hidden_maps
        self.hold_kept(kept)
        self.d_us = self.map(2, channels=self.inner)  # of this step and the next
        self.d_x = torch.empty_like(self.x)
        self.d_v = self.map(channels=self.inner)
        self.d_mean = self.core.matrix.new_zeros(self.batch, self.wide)
        self.maps: list[Tensor] = []

    def start(self, d_cell: Tensor | None) -> None:
        """Take the derivative by the last cell."""
        self.d_cell = self.map(channels=self.channels)
        self.d_cell.zero_() if d_cell is None else self.d_cell.copy_(d_cell)
        self.step_.d_cell, self.step_.d_v = self.d_cell.data_ptr(), self.d_v.data_ptr()

    def step(self, t: int, d_hidden: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""
        self.set_step(t, d_hidden)
        if t in self.plan.attending:
            self._attention()
        self.run_pass("backward", c_void_p(self.d_mean.data_ptr()))

    def set_step(self, t: int, d_hidden: Tensor | None) -> None:
        """Point at everything of step t."""
        self.set_x("x", self.x, t)
        self.set_x("d_x", self.d_x, t)
        self.set_kept(t)
        self.set_cells(t)
        self.set_hidden("hidden_before", self.hidden_maps if t > 0 else self.first_hidden, t - 1)
        self._set_d_hidden(d_hidden)
        self.step_.d_u = _address(self.d_us, t)
        self.step_.d_u_next = _address(self.d_us, t + 1) if t < self.length - 1 else None

    def _set_d_hidden(self, given: Tensor | None) -> None:
        """Point at the loss's derivative, which is copied where its pixels do not lie one after the other."""
        self.given = given
        if given is not None and given.stride()[1:] != (self.width * self.channels, self.channels, 1):
            self.given = self._spare(0).copy_(given)
        self.step_.d_hidden = None if self.given is None else self.given.data_ptr()
        self.step_.d_hidden_stride = 0 if self.given is None else self.given.stride(0)

    def _attention(self) -> None:
        """Go back over the attention of the step that is set."""
        before, between, d_hidden = (self._spare(number) for number in (1, 2, 3))
        rows, columns = self.lines
        self.set_hidden("hidden", before, -1)
        self.run_pass("hidden_again")
        self.set_hidden("refined", between.copy_(before), -1)
        self.run_pass("attend", byref(rows))
        self.step_.d_refined = d_hidden.data_ptr()
        self.run_pass("gather")
        self.run_pass("attend_back", byref(columns))
        self.set_hidden("refined", before, -1)
        self.run_pass("attend_back", byref(rows))
        self.step_.d_hidden, self.step_.d_u_next = d_hidden.data_ptr(), None
        self.step_.d_hidden_stride = self.pixels * self.channels

    def _spare(self, number: int) -> Tensor:
        """Return room for one map of F channels, the same for all steps."""
        while len(self.maps) <= number:
            self.maps.append(self.map(channels=self.channels))
        return self.maps[number]

    def finish(self) -> Weights:
        """Return the derivatives of all weights."""
        core = self.core
        d_core = core._replace(
            x=self.d_x,
            hidden=self.by_hidden(),
            cell=self.d_cell,
            from_x=self.total("from_x"),
            from_x_bias=self.total("from_x_bias"),
            from_hidden=None if core.from_hidden is None else self.total("from_hidden"),
            matrix=self.total("matrix"),
            peephole=None if core.peephole is None else self.total("peephole"),
        )
        norm = None if self.weights.norm is None else Norm(self.total("norm"), self.total("norm_bias"))
        lines = tuple(self._line_totals(number) for number in range(len(self.lines)))
        return self.weights._replace(
            core=d_core, kernels=self._kernels(), norm=norm, excitation=self.d_excitation, lines=lines
        )

    def by_hidden(self) -> Tensor:
        """Return the derivative by H_0."""
        d_hidden = self._spare(0)
        self.step_.d_hidden, self.step_.d_u_next = None, self.d_us.data_ptr()
        self.step_.d_refined = d_hidden.data_ptr()
        self.run_pass("gather")
        return d_hidden

    def _kernels(self) -> tuple[Tensor, ...]:
        total = self.total("kernel")
        return tuple(
            total[found].T.reshape(kernel.shape)
            for kernel, found in zip(self.weights.kernels, self.taps.of_branch, strict=True)
        )

    def _line_totals(self, number: int) -> LineWeights:
        part = {
            name: self.total(f"{name}.{number}") for name in ("project", "project_bias", "output", "bias")
        }
        output_bias = self.total(f"output_bias.{number}")
        return LineWeights(**{**part, "output": torch.cat([part["output"], output_bias[None]])})


def _address(maps: Tensor, t: int) -> int:
    """Return the address of `maps[t]`, or of that of the steps kept which t falls on."""
    return maps.data_ptr() + t % len(maps) * maps.stride(0) * maps.element_size()
