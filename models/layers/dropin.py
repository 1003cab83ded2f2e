"""Layers with the arguments that users of Keras's ConvLSTM2D know, under PyTorch's conventions.

    - layer = ConvLSTM2D(7, 64, kernel_size=3, return_sequences=True)
    + layer = FAConvLSTM2D(7, 64, kernel_size=3, return_sequences=True)

Input `(B, T, C, H, W)`, output `(B, T, F, H, W)` or the last step's `(B, F, H, W)`. The grid is kept ("same"
padding), strides are not supported, and every other option of the layer underneath can be given by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_switch
from models.layers.base import RecurrentLayer
from models.layers.convlstm import ConvLSTM
from models.layers.faconvlstm import FAConvLSTM


class Recurrent2D(nn.Module):
    """What `ConvLSTM2D` and `FAConvLSTM2D` share.

    Args:
        layer: the layer underneath.
        return_sequences: return the hidden maps of all steps, else of the last alone.
        return_state: return the state as well, `(output, state)`, fit for the next call's `state`.
        go_backwards: go through time from the last step to the first; the output is in that order.
        stateful: start from the state in which the last call ended, without its derivative; see `reset_state`.
        dropout: share of the input to drop, the same points at every step of a sequence.
        recurrent_dropout: share of the hidden map to drop where the next step reads it, likewise. Takes the
            plain path, step by step, while training.
    """

    def __init__(
        self,
        layer: RecurrentLayer,
        *,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        dropout: float,
        recurrent_dropout: float,
    ) -> None:
        super().__init__()
        switches = {"return_sequences": return_sequences, "return_state": return_state}
        for name, value in {**switches, "go_backwards": go_backwards, "stateful": stateful}.items():
            check_switch(name, value)
        for name, share in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= share < 1:
                raise ModelError(f"{name} must be at least 0 and less than 1, received {share!r}: change it.")
        self.layer = layer
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful = go_backwards, stateful
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.state: Any = None

    def forward(self, x: Tensor, state: Any = None) -> Tensor | tuple[Tensor, Any]:
        """Run over `x (B, T, C, H, W)`, from `state`, or the kept one where stateful, or the initial one."""
        state = self.state if state is None and self.stateful else state
        x = x.flip(1) if self.go_backwards else x
        if self.training and self.dropout > 0:
            x = x * functional.dropout(torch.ones_like(x[:, :1]), self.dropout)
        if self.training and self.recurrent_dropout > 0:
            hidden, state = self._run_with_dropout(x, state)
        else:
            hidden, state = self.layer(x, state)
        if self.stateful:
            self.state = _detached(state)
        output = hidden if self.return_sequences else hidden[:, -1]
        return (output, state) if self.return_state else output

    def reset_state(self) -> None:
        """Forget the state that a stateful layer keeps."""
        self.state = None

    def _run_with_dropout(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = self.layer.start(x) if state is None else state
        kept = functional.dropout(torch.ones_like(state.hidden), self.recurrent_dropout)
        maps = []
        for x_t in x.unbind(1):
            hidden, state = self.layer.step(x_t, state._replace(hidden=state.hidden * kept))
            maps.append(hidden)
        return torch.stack(maps, dim=1), state


class ConvLSTM2D(Recurrent2D):
    """`ConvLSTM` with the arguments of Keras's ConvLSTM2D; see `Recurrent2D`.

    Args:
        in_channels: C.
        hidden_channels: F, Keras's filters.
        kernel_size: side of the kernels, odd.
        return_sequences: see `Recurrent2D`, as the arguments that follow.
        return_state: see there.
        go_backwards: see there.
        stateful: see there.
        dropout: see there.
        recurrent_dropout: see there.
        options: of `ConvLSTM`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            ConvLSTM(in_channels, hidden_channels, kernel_size=kernel_size, **options),
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
        )


class FAConvLSTM2D(Recurrent2D):
    """`FAConvLSTM` with the arguments of Keras's ConvLSTM2D; see `Recurrent2D`.

    Args:
        in_channels: C.
        hidden_channels: F, Keras's filters.
        kernel_size: side of the depthwise kernels, odd; one for all branches or one each.
        dilation: of the branches; one number for one branch.
        return_sequences: see `Recurrent2D`, as the arguments that follow.
        return_state: see there.
        go_backwards: see there.
        stateful: see there.
        dropout: see there.
        recurrent_dropout: see there.
        options: of `FAConvLSTM`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | Sequence[int] = 3,
        *,
        dilation: int | Sequence[int] = (1, 2, 4),
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        branches = _branches(kernel_size, dilation)
        super().__init__(
            FAConvLSTM(in_channels, hidden_channels, branches=branches, **options),
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
        )


def _branches(kernel_size: int | Sequence[int], dilation: int | Sequence[int]) -> list[tuple[int, int]]:
    dilations = [dilation] if isinstance(dilation, int) else list(dilation)
    kernels = [kernel_size] * len(dilations) if isinstance(kernel_size, int) else list(kernel_size)
    if len(kernels) != len(dilations):
        raise ModelError(
            f"kernel_size and dilation must name as many branches, received {kernels} and {dilations}:"
            " give one number, or one a branch."
        )
    return list(zip(kernels, dilations, strict=True))


def _detached(state: Any) -> Any:
    return type(state)(*(part.detach() if isinstance(part, Tensor) else part for part in state))
