"""The memory of `models.layers.minimal` by compiled passes, see `models/layers/kernels/sweep.h`: a call each way.

The maps that the memory is made from `(B, T, ...)`, one after the other in the order of `minimal.Form`, lie alike, a
step's numbers without gaps; start and derivatives by single steps have no gaps at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from typing import Any

from torch import Tensor

from models.layers import native

NUMBERS_A_THREAD = 2**13  # of a step, below which a thread more is not started
BLOCK = 2**10  # numbers of a map that go through all steps at a time, in the first-level cache


def passes(start: Tensor, parts: Sequence[Tensor]) -> native.Passes | None:
    """Return what is compiled for the memory that starts so; None where there is nothing, or parts have gaps."""
    gaps = not all(part.is_contiguous() for part in parts) or start.numel() == 0
    return None if gaps else native.passes(start.dtype, threads=1)  # `team` sees to more


def forward(
    call: native.Passes, form: tuple[int, int], start: Tensor, h: Tensor, maps: Sequence[Tensor]
) -> None:
    """Write `h (B, T, ...)`, given the places of gate and candidate in the lists of `minimal`."""
    call.library.remember(byref(_plan(call, start)), byref(_sweep(call, form, start, h, maps)))


def backward(
    call: native.Passes,
    form: tuple[int, int],
    start: Tensor,
    h: Tensor,
    maps: Sequence[Tensor],
    d_h: Tensor,
    d_last: Tensor,
    d_maps: Sequence[Tensor],
) -> None:
    """Write the derivatives by the maps, which lie as they do, and that by `start` in place of `d_last`."""
    d_h = d_h if d_h[0, 0].is_contiguous() else d_h.contiguous()
    told = _sweep(call, form, start, h, maps)
    told.d_h, told.d_h_example, told.d_h_step = d_h.data_ptr(), d_h.stride(0), d_h.stride(1)
    told.d_first, told.d_second, told.d_c = _addresses(d_maps)
    told.d_last = d_last.data_ptr()
    call.library.remember_back(byref(_plan(call, start)), byref(told))


def _sweep(
    call: native.Passes, form: tuple[int, int], start: Tensor, h: Tensor, maps: Sequence[Tensor]
) -> Any:
    first, second, c = _addresses(maps)
    return call.sweep(
        length=h.shape[1],
        gate=form[0],
        candidate=form[1],
        map_example=maps[0].stride(0),
        map_step=maps[0].stride(1),
        first=first,
        second=second,
        c=c,
        start=start.data_ptr(),
        h=h.data_ptr(),
    )


def _addresses(maps: Sequence[Tensor]) -> tuple[int, int | None, int]:
    """Return the addresses of k, nothing and c, or of f, i and c."""
    first, *second, c = (one.data_ptr() for one in maps)
    return first, second[0] if second else None, c


def _plan(call: native.Passes, start: Tensor) -> Any:
    """Return the Plan of maps that are one row each."""
    size = start[0].numel()
    team = native.team(start.numel(), NUMBERS_A_THREAD)
    return call.plan(batch=len(start), height=1, width=size, block=BLOCK, **team)
