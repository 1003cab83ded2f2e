"""How the arrays of FAConvLSTM's compiled passes lie in memory.

Addresses of parameters and of the derivatives by them, and room: for the weights that C makes of the parameters, with
rows padded to whole vectors, for each thread, and for each thread's sums. The structures are those of
`models/layers/kernels/passes.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import addressof, byref, c_void_p
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.layers import native
from models.layers.axial import HARMONICS, waves
from models.layers.convolution import PAD_MODES, check_reach
from models.layers.lines import LineParameters, Tokens
from models.layers.memory import empty
from models.layers.modes import constant
from models.layers.weights import Parameters

if TYPE_CHECKING:
    from models.layers.sequence import Plan

PIXELS_A_THREAD = 64  # below this a thread more costs more than it does


class Taps(NamedTuple):
    """All branches as one list of taps."""

    places: Tensor  # (taps, 2) int64, rows and columns away
    kernel: Tensor  # (taps, C_b)
    of_branch: tuple[Tensor, ...]  # (k k,), which tap each weight of a branch belongs to


def taps_of(kernels: Sequence[Tensor], dilations: Sequence[int]) -> Taps:
    """Return the taps of the branches; where two meet their weights are added."""
    sides = tuple(kernel.shape[-1] for kernel in kernels)
    places, of_branch = _places(sides, tuple(dilations), kernels[0].device)
    total = kernels[0].new_zeros(len(places), len(kernels[0]))
    for kernel, tap in zip(kernels, of_branch, strict=True):
        total.index_add_(0, tap, kernel.flatten(1).T)
    return Taps(places, total, of_branch)


@constant
def _places(
    sides: tuple[int, ...], dilations: tuple[int, ...], device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...]]:
    known: dict[tuple[int, int], int] = {}
    of_branch = []
    for side, dilation in zip(sides, dilations, strict=True):
        away = [dilation * (k - side // 2) for k in range(side)]
        found = [known.setdefault((y, x), len(known)) for y in away for x in away]
        of_branch.append(torch.tensor(found, device=device))
    places = torch.tensor(list(known), device=device)
    return places, tuple(of_branch)


@constant
def _branches(sides: tuple[int, ...], dilations: tuple[int, ...]) -> tuple[dict[str, Tensor], int]:
    """Return the fields of Plan that say what the one kernel is merged of, and how far it reaches."""
    places, of_branch = _places(sides, dilations, torch.device("cpu"))
    taps = torch.tensor([len(found) for found in of_branch])
    reach = int(places.abs().max())
    return {"places": places, "branch_taps": taps, "tap_of": torch.cat(of_branch)}, reach


class Layout:
    """What the loops forward and backward share: all that C is told but the sequence itself.

    Args:
        plan: see there.
        given: the parameters.
        by: room for the derivatives by them, all but the start, which `finish` writes; None in a loop forward.
        passes: what is compiled.
        keep: whether a derivative may follow.
    """

    def __init__(
        self, plan: Plan, given: Parameters, by: Parameters | None, passes: native.Passes, *, keep: bool
    ) -> None:
        self.plan, self.start, self.call, self.passes = plan, given.start, passes.library, passes
        self.batch, self.length, self.in_channels, self.height, self.width = self.start.x.shape
        self.pixels, self.channels = self.height * self.width, self.start.hidden.shape[-1]
        self.like, self.inner = given.gates.from_x, len(given.gates.from_x)
        self.inner_padded = math.ceil(self.inner / passes.lanes) * passes.lanes
        self.squeezed = 0 if given.excitation is None else len(given.excitation.squeeze)
        self.held: list[Any] = []  # while C knows their addresses
        self.sizes = passes.plan(**self._sizes(given, keep=keep), **self._constants(given))
        self.sizes.given = self._parameters(given)
        self.sizes.by = None if by is None else self._parameters(by)
        self.lines = []
        for number, tokens in enumerate(plan.tokens[: len(given.lines)]):
            line = self._line(tokens, given.lines[number], columns=number == 1)
            line.given = self._line_parameters(given.lines[number])
            line.by = None if by is None else self._line_parameters(by.lines[number])
            self.lines.append(line)
        self.told: list[Any] = [byref(self.sizes), *map(byref, self.lines), None, None][:3]
        self._ready()

    def _ready(self) -> None:
        """Have the passes' weights made of the parameters."""
        parts = self.sizes, *self.lines
        self.call.prepare(*self.told)
        self.sizes.rooms = self.hold(empty((self.sizes.threads, self.sizes.room), self.like))
        self.sizes.sums = self.hold(self.like.new_empty(self.sizes.threads, self.batch, self.inner_padded))
        weights = self.like.new_zeros(sum(part.weights for part in parts))
        totals = self.like.new_zeros(self.sizes.threads * sum(part.apart for part in parts))
        self.call.ready(*self.told, c_void_p(self.hold(weights)), c_void_p(self.hold(totals)))

    def finish(self) -> None:
        """Write the derivatives by the parameters, from the sums of all threads."""
        self.call.finish(*self.told)

    def _sizes(self, given: Parameters, *, keep: bool) -> dict[str, Any]:
        minimal = self.plan.candidate is not None
        return {
            "batch": self.batch,
            "height": self.height,
            "width": self.width,
            "in_channels": self.in_channels,
            "channels": self.channels,
            "inner": self.inner,
            "squeezed": self.squeezed,
            "branches": len(given.kernels),
            "pad_mode": PAD_MODES.index(self.plan.pad_mode),
            "normed": given.norm is not None,
            "kept": keep,
            "recurrent": not minimal,
            "candidate": self.plan.candidate or 0,
            **native.team(self.batch * self.pixels, PIXELS_A_THREAD),
        }

    def _constants(self, given: Parameters) -> dict[str, int | None]:
        """Return what is the same for all parameters, but `_sizes`."""
        sides = tuple(kernel.shape[-1] for kernel in given.kernels)
        branches, reach = _branches(sides, self.plan.dilations)
        check_reach(self.height, self.width, reach, self.plan.pad_mode)
        dtype, (share, seen) = self.like.dtype, (self.plan.share, self.plan.seen)
        return {
            "taps": len(branches["places"]),
            "reach": reach,
            **{name: self.hold(part) for name, part in branches.items()},
            "share": self.hold(
                _filled(1 / self.pixels, self.pixels, dtype) if share is None else share.contiguous()
            ),
            "seen": None if seen is None else self.hold(seen.to(dtype).contiguous()),
        }

    def _parameters(self, of: Parameters) -> int:
        """Return the address of a structure of parameters, or of derivatives."""
        groups = [of.gates._asdict()]
        if of.norm is not None:
            groups.append({"norm": of.norm.weight, "norm_bias": of.norm.bias})
        if of.excitation is not None:
            groups.append(of.excitation._asdict())
        kernels = (c_void_p * len(of.kernels))(*(self.hold(kernel.contiguous()) for kernel in of.kernels))
        structure = self.passes.parameters(kernels=addressof(kernels), **self._addresses(*groups))
        self.held += [kernels, structure]
        return addressof(structure)

    def _line_parameters(self, of: LineParameters) -> int:
        structure = self.passes.line_parameters(**self._addresses(of._asdict()))
        self.held.append(structure)
        return addressof(structure)

    def _addresses(self, *groups: dict[str, Tensor | None]) -> dict[str, int | None]:
        return {
            name: None if tensor is None else self.hold(tensor.contiguous())
            for group in groups
            for name, tensor in group.items()
        }

    def _line(self, tokens: Tokens, given: LineParameters, *, columns: bool) -> Any:
        pixels, count, dtype = tokens.pixels, tokens.number, self.like.dtype
        absent = None if tokens.absent is None else tokens.absent.to(torch.uint8).contiguous()
        own = len(absent) if absent is not None else 1 if tokens.share is None else len(tokens.share)
        share = _filled(1, own * pixels, dtype) if tokens.of_pixel is None else tokens.of_pixel
        return self.passes.lines(
            lines=self.width if columns else self.height,
            pixels=pixels,
            line_stride=1 if columns else self.width,
            pixel_stride=self.width if columns else 1,
            channels=given.query.shape[1],
            tokens=count,
            heads=len(given.bias),
            width=len(given.query),
            waves=2 * HARMONICS,
            own_shares=own > 1,
            wave=self.hold(_waves(pixels, count, tokens.cyclic, self.passes.wide_lanes, dtype)),
            token=self.hold(_token_of(pixels, count)),
            share=self.hold(share.contiguous()),
            absent=None if absent is None else self.hold(absent),
        )

    def hold(self, tensor: Tensor) -> int:
        """Keep a tensor and return its address."""
        self.held.append(tensor)
        return tensor.data_ptr()

    def map(self, *before: int, channels: int) -> Tensor:
        """Return room for maps `(..., B, H, W, channels)`."""
        return empty((*before, self.batch, self.height, self.width, channels), self.like)


@constant
def _filled(value: float, count: int, dtype: torch.dtype) -> Tensor:
    return torch.full((count,), value, dtype=dtype)


@constant
def _token_of(pixels: int, count: int) -> Tensor:
    """Return the token that each pixel of a line is in."""
    return torch.arange(pixels) * count // pixels


@constant
def _waves(pixels: int, count: int, cyclic: bool, lanes: int, dtype: torch.dtype) -> Tensor:
    """Return the terms of the relative bias, `(terms, M, N padded)`."""
    found = waves(pixels, count, cyclic, torch.empty(0, dtype=dtype)).permute(2, 1, 0)
    return functional.pad(found, (0, -pixels % lanes)).contiguous()
