"""The loops of `models.layers.sequence` for FA-MinConv by compiled passes: the memory is minimal, and is H.

Before the memory of a step stands V, which attention refines. It is not kept for the derivative but computed again.
"""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import TYPE_CHECKING

from torch import Tensor

from models.layers import fused, native

if TYPE_CHECKING:
    from models.layers.sequence import Plan, Weights


class Forward(fused.Forward):
    """The loop forward."""

    def __init__(self, plan: Plan, weights: Weights, passes: native.Passes, *, keep: bool) -> None:
        super().__init__(plan, weights, passes, keep=keep)
        self.v = self.map(channels=self.inner)
        self.step_.v = self.step_.refined = self.v.data_ptr()
        self.step_.refined_stride = self.pixels * self.inner

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last."""
        for t in range(self.length):
            self.step(t)
        return self.hidden_maps, self.hidden_maps[:, -1].clone()

    def step(self, t: int) -> None:
        """Take step t."""
        self.set_step(t)
        self.run_pass("blended")
        if t in self.plan.attending:
            for line in self.lines:
                self.run_pass("attend", byref(line))
        self.run_pass("memorise")


class Backward(fused.Backward):
    """The loop backward."""

    def __init__(
        self, plan: Plan, weights: Weights, passes: native.Passes, hidden_maps: Tensor, kept: fused.Kept
    ) -> None:
        super().__init__(plan, weights, passes, hidden_maps, kept)
        # Before each of the lines, and after the last.
        self.vs = [self.map(channels=self.inner) for _ in range(1 + len(self.lines))]
        self.step_.refined_stride = self.pixels * self.inner
        self.step_.d_refined = self.d_v.data_ptr()

    def step(self, t: int, d_hidden: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""
        self.set_step(t, d_hidden)
        lines = self.lines if t in self.plan.attending else []
        self.step_.v = self.vs[0].data_ptr()
        self.run_pass("blended_again")
        for line, before, after in zip(lines, self.vs[:-1], self.vs[1:], strict=False):
            self.step_.v = self.step_.refined = after.copy_(before).data_ptr()
            self.run_pass("attend", byref(line))
        self.run_pass("memorise_back")
        for line, before in reversed(list(zip(lines, self.vs, strict=False))):
            self.step_.refined = before.data_ptr()
            self.run_pass("attend_back", byref(line))
        self.run_pass("blended_back", c_void_p(self.d_mean.data_ptr()))

    def by_hidden(self) -> Tensor:
        """Return the derivative by H_0."""
        return self.d_cell
