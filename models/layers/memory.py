"""Memory for the big arrays of a sequence on the CPU: taken from the system once, then used again.

A fresh array is mapped page by page as it is first written, which on a virtual machine took as long as the
arithmetic on it (0.5 ms a MB with pages of 4 KB). So what is given back is kept for the next array of the
size, as torch itself does for the memory of a GPU, and huge pages are asked for where the system has them. What
has not been asked for the longest goes first when too much lies unused.
On other devices, for small arrays and without memory maps this is `torch.empty`.

What single operations return comes from torch's own allocator, that is from malloc, which on Linux goes to the
system for every block above a threshold, and raises the threshold when such a block is freed, up to 32 MB. So one
is taken and freed at the start, untouched: from then on blocks of that size are used again too.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

SMALLEST = 2**16  # bytes; below this torch's own allocator is as good
KEPT_SHARE = 1 / 8  # of the machine's memory that may lie unused
HUGE_PAGE = 2**21
PAGE = 2**16  # a multiple of every system's page

BLOCK = 30 * 2**20  # bytes, less than the 32 MB up to which malloc learns

_free: OrderedDict[int, list[mmap.mmap]] = OrderedDict()  # by size, that used last at the end


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return an uninitialised tensor of this shape, with the type and device of `like`.

    The memory belongs to the tensor until its last view is gone.
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST or not hasattr(mmap, "MAP_ANONYMOUS"):
        return like.new_empty(shape)
    _teach_malloc()
    unit = PAGE if size < HUGE_PAGE else HUGE_PAGE
    size = math.ceil(size / unit) * unit
    block = _free[size].pop() if _free.get(size) else _map(size)
    loan = memoryview(block)  # torch holds it as long as the storage lives
    weakref.finalize(loan, _give_back, block, size).atexit = False
    return torch.frombuffer(loan, dtype=like.dtype, count=count).view(shape)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors `(B, T_i, ...)` one after the other along the second axis, as torch.cat does."""
    return _Joined.apply(*parts) if len(parts) > 1 else parts[0]


class _Joined(Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.lengths = [part.shape[1] for part in parts]
        shape = list(parts[0].shape)
        shape[1] = sum(ctx.lengths)
        whole = empty(shape, parts[0])
        for place, part in zip(whole.split(ctx.lengths, dim=1), parts, strict=True):
            place.copy_(part)
        return whole

    @staticmethod
    def backward(ctx: Any, d_whole: Tensor) -> tuple[Tensor, ...]:
        return d_whole.split(ctx.lengths, dim=1)


@cache
def _teach_malloc() -> None:
    torch.empty(BLOCK, dtype=torch.uint8)


def release() -> None:
    """Give all memory that lies unused back to the system."""
    _free.clear()


def _map(size: int) -> mmap.mmap:
    # Private: a process that is forked must not write into this one's arrays.
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _give_back(block: mmap.mmap, size: int) -> None:
    _free.setdefault(size, []).append(block)
    _free.move_to_end(size)
    unused = sum(kept * len(blocks) for kept, blocks in _free.items())
    while unused > most_kept():
        oldest, blocks = next(iter(_free.items()))
        if blocks:
            blocks.pop()
            unused -= oldest
        else:
            del _free[oldest]


@cache
def most_kept() -> float:
    """Return how many bytes may lie unused."""
    try:
        return KEPT_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return 2**30
