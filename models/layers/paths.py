"""Where the fast path of FAConvLSTM and FA-MinConv, `models.layers.sequence`, can be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.layers import gpu, native
from models.layers.mixing import FactorisedGates
from models.layers.modes import transformed

if TYPE_CHECKING:
    from models.layers.faconvlstm import FAConvLSTM, FAConvLSTMState
    from models.layers.faminconv import FAMinConv, FAMinConvState


def obstacle(layer: FAConvLSTM, x: Tensor, state: FAConvLSTMState | None) -> str | None:
    """Say why FAConvLSTM's fast path cannot be taken here, in a clause; None where it can."""
    if not isinstance(layer.gates, FactorisedGates) or isinstance(layer.gates.gate_norm, nn.LayerNorm):
        return "mixing is dense or gate_norm is on"
    inner = layer.gates.project_x.out_features
    return _obstacle(layer, inner, [x, *(() if state is None else (state.hidden, state.cell))])


def obstacle_of_minimal(layer: FAMinConv, x: Tensor, state: FAMinConvState | None) -> str | None:
    """Say why FA-MinConv's cannot."""
    if layer.scan != "linear":
        return "scan is not 'linear'"
    inner = layer.project.out_features
    found = _obstacle(layer, inner, [x, *(() if state is None else (state.hidden,))])
    sizes = torch.get_num_threads(), inner, layer.hidden_channels
    if found is None and (x.is_cuda or native.passes(x.dtype, *sizes) is None):
        return "there are no compiled passes"
    return found


def _obstacle(layer: nn.Module, inner: int, tensors: list[Tensor]) -> str | None:
    """Say why with such tensors, of which the fields are the first, neither can."""
    if transformed():
        return "the layer is being compiled, exported, counted or transformed"
    x, modules = tensors[0], [layer]
    for module in modules:  # as layer.modules(), in less time
        if module._modules:
            modules += [part for part in module._modules.values() if part is not None]
        if module._parameters:
            tensors += [parameter for parameter in module._parameters.values() if parameter is not None]
        if (module._forward_hooks or module._forward_pre_hooks) and module is not layer:
            return "a part of the layer has a hook, which the fast path would not call"
    if len({tensor.device for tensor in tensors}) > 1 or x.device.type not in ("cpu", "cuda"):
        return "not all tensors are on the CPU, or on one GPU that is programmed as NVIDIA's are"
    if x.is_cuda:
        if any(tensor.dtype not in gpu.TYPES for tensor in tensors):
            return "on a GPU tensors must have at most 32 bits"
        if inner > gpu.MOST_INNER:
            return f"on a GPU the bottleneck may have {gpu.MOST_INNER} channels"
        if gpu.obstacle():
            return gpu.obstacle()
    elif len({tensor.dtype for tensor in tensors}) > 1 or x.dtype not in (torch.float32, torch.float64):
        return "not all tensors are float32, or all float64"
    if x.dim() != 5 or x.numel() == 0 or not {*map(type, tensors)} <= {Tensor, nn.Parameter}:
        return "the input is no plain tensor (B, T, C, H, W)"
    return None
