"""How the arrays of FAConvLSTM's compiled passes lie in memory.

Weights with rows padded to whole vectors, room for each thread, and the derivatives of the weights, one for each
thread, added up at the end in order. The structures are those of `models/layers/kernels/passes.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import byref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.layers import native
from models.layers.blend import Norm
from models.layers.convolution import PAD_MODES, check_reach
from models.layers.lines import LineWeights, Tokens
from models.layers.memory import empty
from models.layers.modes import constant

if TYPE_CHECKING:
    from models.layers.sequence import Plan, Weights

PIXELS_A_THREAD = 64  # below this a thread more costs more than it does


class Taps(NamedTuple):
    """All branches as one list of taps."""

    places: Tensor  # (taps, 2) int64, rows and columns away
    kernel: Tensor  # (taps, C_b)
    of_branch: tuple[Tensor, ...]  # (k k,), which tap each weight of a branch belongs to
    reach: int  # the farthest place's rows or columns


def taps_of(kernels: Sequence[Tensor], dilations: Sequence[int]) -> Taps:
    """Return the taps of the branches; where two meet their weights are added."""
    sides = tuple(kernel.shape[-1] for kernel in kernels)
    places, of_branch, reach = _places(sides, tuple(dilations), kernels[0].device)
    total = kernels[0].new_zeros(len(places), len(kernels[0]))
    for kernel, tap in zip(kernels, of_branch, strict=True):
        total.index_add_(0, tap, kernel.flatten(1).T)
    return Taps(places, total, of_branch, reach)


@constant
def _places(
    sides: tuple[int, ...], dilations: tuple[int, ...], device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...], int]:
    known: dict[tuple[int, int], int] = {}
    of_branch = []
    for side, dilation in zip(sides, dilations, strict=True):
        away = [dilation * (k - side // 2) for k in range(side)]
        found = [known.setdefault((y, x), len(known)) for y in away for x in away]
        of_branch.append(torch.tensor(found, device=device))
    places = torch.tensor(list(known), device=device)
    return places, tuple(of_branch), int(places.abs().max())


class Layout:
    """What the loops forward and backward share: all that C is told but the sequence itself."""

    def __init__(
        self, plan: Plan, weights: Weights, passes: native.Passes, *, keep: bool, derivative: bool
    ) -> None:
        core = weights.core
        self.plan, self.weights, self.core, self.call = plan, weights, core, passes.library
        self.lanes, self.wide_lanes = passes.lanes, passes.wide_lanes
        self.batch, self.length, self.in_channels, self.height, self.width = core.x.shape
        self.pixels, self.channels = self.height * self.width, core.hidden.shape[-1]
        self.inner = core.from_x.shape[1]
        self.inner_padded = math.ceil(self.inner / self.lanes) * self.lanes
        self.squeezed = 0 if weights.excitation is None else len(weights.excitation.squeeze)
        self.team = native.team(self.batch * self.pixels, PIXELS_A_THREAD)
        self.threads = self.team["threads"]
        self.taps = taps_of(weights.kernels, plan.dilations)
        self.new_line, self.new_sequence = passes.lines, passes.sequence
        self.held: list[Tensor] = []  # while C knows their addresses
        self.totals: dict[str, Tensor] = {}
        self.keep, self.derivative = keep, derivative
        self.sizes = passes.plan(**self._sizes(), **self._weights())
        self.lines = [
            self._line(line, tokens, columns=columns)
            for line, tokens, columns in zip(weights.lines, plan.tokens, (False, True), strict=False)
        ]
        lines: list[Any] = [byref(line) for line in self.lines] or [None, None]
        self.call.prepare(byref(self.sizes), *lines)
        self.sizes.rooms = self.hold(empty((self.threads, self.sizes.room), core.matrix))
        self.sizes.sums = self.hold(core.matrix.new_empty(self.threads, self.batch, self.inner_padded))
        if derivative:
            self._totals()

    def _sizes(self) -> dict[str, Any]:
        check_reach(self.height, self.width, self.taps.reach, self.plan.pad_mode)
        return {
            "batch": self.batch,
            "height": self.height,
            "width": self.width,
            "in_channels": self.in_channels,
            "channels": self.channels,
            "inner": self.inner,
            "squeezed": self.squeezed,
            "taps": len(self.taps.places),
            "reach": self.taps.reach,
            "pad_mode": PAD_MODES.index(self.plan.pad_mode),
            "normed": self.weights.norm is not None,
            "kept": self.keep,
            "recurrent": self.plan.candidate is None,
            "candidate": self.plan.candidate or 0,
            **self.team,
        }

    def _weights(self) -> dict[str, int | None]:
        core, dtype = self.core, self.core.matrix.dtype
        one, zero = _filled(1, self.inner, dtype), _filled(0, self.inner, dtype)
        norm = self.weights.norm or Norm(one, zero)
        peephole = (
            _filled(0, 3 * self.channels, dtype).view(3, -1) if core.peephole is None else core.peephole
        )
        seen = None if self.plan.seen is None else self.plan.seen.to(dtype).contiguous()
        share = _filled(1 / self.pixels, self.pixels, dtype) if self.plan.share is None else self.plan.share
        matrix = self._padded(core.matrix)
        if self.channels % self.lanes:
            # A row more, since a whole vector is read from the last gate's last channels.
            matrix = functional.pad(matrix, (0, 0, 0, 1))
        found = {
            "from_x": self._padded(core.from_x),
            "from_x_bias": self._padded(core.from_x_bias),
            "from_hidden": None if core.from_hidden is None else self._padded(core.from_hidden),
            "matrix": matrix,
            "peephole": self._padded(peephole),
            "places": self.taps.places,
            "kernel": self._padded(self.taps.kernel),
            "norm": self._padded(norm.weight),
            "norm_bias": self._padded(norm.bias),
            "present": self._padded(one),
            "share": share.contiguous(),
            "seen": seen,
        }
        if self.derivative:
            found["to_x"], found["to_v"] = self._padded(core.from_x.T), self._padded(core.matrix[:-1].T)
            found["to_hidden"] = None if core.from_hidden is None else self._padded(core.from_hidden.T)
        if self.weights.excitation is not None:
            found |= {name: part.contiguous() for name, part in self.weights.excitation._asdict().items()}
        return {name: None if part is None else self.hold(part) for name, part in found.items()}

    def _line(self, weights: LineWeights, tokens: Tokens, *, columns: bool) -> Any:
        heads, pixels, count = weights.bias.shape
        lines, width = self.width if columns else self.height, weights.project.shape[1] // 3
        absent = None if tokens.absent is None else tokens.absent.to(torch.uint8).contiguous()
        own = len(absent) if absent is not None else 1 if tokens.share is None else len(tokens.share)
        share = tokens.of_pixel
        if share is None:
            share = _filled(1, own * pixels, weights.bias.dtype)
        turned: dict[str, int] = {}
        if self.derivative:
            turned["from_output"] = self.hold(self._padded(weights.output[:-1].T, self.wide_lanes))
            turned["from_project"] = self.hold(self._padded(weights.project.T, self.wide_lanes))
        return self.new_line(
            lines=lines,
            pixels=pixels,
            line_stride=1 if columns else self.width,
            pixel_stride=self.width if columns else 1,
            channels=weights.output.shape[1],
            tokens=count,
            heads=heads,
            width=width,
            own_shares=own > 1,
            project=self.hold(self._padded(weights.project, self.wide_lanes)),
            project_bias=self.hold(self._padded(weights.project_bias, self.wide_lanes)),
            output=self.hold(self._padded(weights.output, self.wide_lanes)),
            bias=self.hold(self._padded(weights.bias.transpose(1, 2), self.wide_lanes)),
            token=self.hold(_token_of(pixels, count)),
            share=self.hold(share.contiguous()),
            absent=None if absent is None else self.hold(absent),
            **turned,
        )

    def _totals(self) -> None:
        """Give the derivatives of the weights their arrays of zeros."""
        self._total(self.sizes, "from_x", self.in_channels, self.inner)
        self._total(self.sizes, "from_x_bias", self.inner)
        self._total(self.sizes, "from_hidden", self.channels, self.inner)
        self._total(self.sizes, "matrix", *self.core.matrix.shape)
        self._total(self.sizes, "peephole", 3, self.channels)
        self._total(self.sizes, "kernel", len(self.taps.places), self.inner)
        self._total(self.sizes, "norm", self.inner)
        self._total(self.sizes, "norm_bias", self.inner)
        if self.weights.excitation is not None:
            for name, part in self.weights.excitation._asdict().items():
                self._total(self.sizes, name, *part.shape, lanes=1)
        for number, (line, weights) in enumerate(zip(self.lines, self.weights.lines, strict=True)):
            for name, shape in {
                "project": weights.project.shape,
                "project_bias": weights.project_bias.shape,
                "output": weights.output.shape,
                "bias": weights.bias.transpose(1, 2).shape,
            }.items():
                self._total(line, name, *shape, group=number, lanes=self.wide_lanes)

    def _total(
        self, structure: Any, name: str, *shape: int, group: int | None = None, lanes: int | None = None
    ) -> None:
        lanes = lanes or self.lanes
        row = math.ceil(shape[-1] / lanes) * lanes
        total = self.core.matrix.new_zeros(self.threads, *shape[:-1], row)
        self.totals[name if group is None else f"{name}.{group}"] = total[..., : shape[-1]]
        setattr(structure, f"d_{name}", self.hold(total))

    def total(self, name: str) -> Tensor:
        """Return the derivative by a weight, added up over the threads."""
        return self.totals[name].sum(0)

    def hold(self, tensor: Tensor) -> int:
        """Keep a contiguous tensor and return its address."""
        self.held.append(tensor)
        return tensor.data_ptr()

    def _padded(self, rows: Tensor, lanes: int | None = None) -> Tensor:
        """Fill rows with zeros up to whole vectors."""
        missing = -rows.shape[-1] % (lanes or self.lanes)
        return (functional.pad(rows, (0, missing)) if missing else rows).contiguous()

    def map(self, *before: int, channels: int) -> Tensor:
        """Return room for maps `(..., B, H, W, channels)`."""
        return empty((*before, self.batch, self.height, self.width, channels), self.core.matrix)


@constant
def _filled(value: float, count: int, dtype: torch.dtype) -> Tensor:
    return torch.full((count,), value, dtype=dtype)


@constant
def _token_of(pixels: int, count: int) -> Tensor:
    """Return the token that each pixel of a line is in."""
    return torch.arange(pixels) * count // pixels
