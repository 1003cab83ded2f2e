"""Whether torch just computes, or also does something with what it computes; what is computed once for all calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

Given = ParamSpec("Given")
Made = TypeVar("Made")


def constant(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """Cache tensors made from sizes and types, such that training can use them whoever asks first."""
    return cache(torch.inference_mode(False)(make))  # type: ignore[return-value]  # all is hashable


def plain(*tensors: Tensor) -> bool:
    """Whether tensors are of one type and on the CPU, and what is computed of them neither cast nor transformed."""
    kinds = {(tensor.dtype, tensor.device.type) for tensor in tensors}
    cpu = len(kinds) == 1 and tensors[0].device.type == "cpu"
    return cpu and not torch.is_autocast_enabled("cpu") and not transformed()


def transformed() -> bool:
    """Whether a compiler, an exporter, torch.func, forward-mode derivatives or a counter of operations is at work.

    torch has no public question for the last three; a version without the private ones is taken not to be at work.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    functorch = getattr(torch._C, "_are_functorch_transforms_active", bool)
    modes = getattr(torch._C, "_len_torch_dispatch_stack", int)
    return bool(functorch() or modes() > 0 or getattr(forward_ad, "_current_level", -1) >= 0)
