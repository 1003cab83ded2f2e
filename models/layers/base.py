"""The interface that all layers share: `hidden, state = layer(x, state)`.

A layer turns a sequence of fields `x (B, T, C, H, W)` into hidden maps `(B, T, F, H, W)`. The paper writes
the same cube as H x W x C x T; here it is batch-first, and nowhere else is the order changed.
What a layer carries from one step to the next is its state, a plain NamedTuple; the module keeps nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_whole


class RecurrentLayer(nn.Module):
    """A layer that goes through time step by step.

    A subclass gives `init_state`, `project_input` (the part of the work that needs no state, for all steps at
    once) and `advance` (one step), and sets the flags that differ:

    - `causal`: the hidden maps up to a step do not depend on what follows.
    - `streaming`: `step` exists.
    - `parallel_time`: all steps can be computed at once.
    - `stride`: height and width must be divisible by it.
    - `fixed_length`, `fixed_grid`: the parameters belong to one T, to one grid.
    - `equivariant`: the hidden maps follow a shift of the fields exactly where the borders are circular.

    A layer of one grid may set `grid`, against which its input is then checked (a side of 1 takes any length).
    """

    causal: bool = True
    streaming: bool = True
    parallel_time: bool = False
    stride: int = 1
    fixed_length: bool = False
    fixed_grid: bool = False
    equivariant: bool = True
    grid: tuple[int, ...] | None = None

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        check_whole("in_channels", in_channels, 1)
        check_whole("hidden_channels", hidden_channels, 1)
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels

    @classmethod
    def options_below(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a layer that lies beneath another in a stack; the same unless overridden."""
        return options

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """Return the state before the first step."""
        raise NotImplementedError

    def start(self, x: Tensor) -> Any:
        """Return the state before the first step of `x (B, T, C, H, W)`."""
        batch, _, _, height, width = x.shape
        return self.init_state(batch, height, width, x.device, x.dtype)

    def project_input(self, x: Tensor) -> Tensor:
        """Turn `x (B, T, C, H, W)` into what `advance` needs of it, `(B, T, ...)`."""
        raise NotImplementedError

    def advance(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take one step with `projected (B, ...)`; return the hidden map `(B, F, H, W)` and the new state."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run over `x (B, T, C, H, W)`, from `state` or from the initial one.

        Returns:
            The hidden maps `(B, T, F, H, W)` and the state after the last step.

        Raises:
            ModelError: when `x` has not five axes, no step, or another number of channels than the layer.
        """
        self._check(x, ("B", "T", "C", "H", "W"))
        state = self.start(x) if state is None else state
        hidden_maps = []
        # unbind and not x[:, t]: the gradient is then put together once, not once a step.
        for projected in self.project_input(x).unbind(1):
            hidden, state = self.advance(projected, state)
            hidden_maps.append(hidden)
        return torch.stack(hidden_maps, dim=1), state

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take one step with `x_t (B, C, H, W)`; return the hidden map `(B, F, H, W)` and the new state."""
        self._check(x_t, ("B", "C", "H", "W"))
        return self.advance(self.project_input(x_t[:, None])[:, 0], state)

    def penalty(self, state: Any) -> Tensor | None:
        """Return what the layer adds to the training loss, from the state after a sequence; None for nothing."""

    def _check(self, x: Tensor, axes: tuple[str, ...]) -> None:
        if x.dim() != len(axes) or 0 in x.shape:
            raise ModelError(
                f"{type(self).__name__} takes non-empty fields ({', '.join(axes)}), received the shape"
                f" {tuple(x.shape)}: bring them into this form."
            )
        if x.shape[-3] != self.in_channels:
            raise ModelError(
                f"{type(self).__name__} was built for {self.in_channels} input channels, received"
                f" {x.shape[-3]}: build it for the number of variables of the data."
            )
        grid = x.shape[-2:]
        if self.grid is not None and any(n not in (1, m) for n, m in zip(self.grid, grid, strict=True)):
            raise ModelError(
                f"{type(self).__name__} was built for a grid of {self.grid[0]} x {self.grid[1]}, received fields"
                f" of {grid[0]} x {grid[1]}: build it for the grid of the data."
            )


class Stack(RecurrentLayer):
    """Layers on top of each other, the hidden maps of one being the input of the next.

    The state is a tuple with the state of each layer, from the bottom to the top.
    """

    def __init__(self, layers: list[RecurrentLayer]) -> None:
        super().__init__(layers[0].in_channels, layers[-1].hidden_channels)
        self.layers = nn.ModuleList(layers)
        self.causal = all(layer.causal for layer in layers)
        self.streaming = all(layer.streaming for layer in layers)
        self.parallel_time = all(layer.parallel_time for layer in layers)
        self.fixed_length = any(layer.fixed_length for layer in layers)
        self.fixed_grid = any(layer.fixed_grid for layer in layers)
        self.equivariant = all(layer.equivariant for layer in layers)

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Any, ...]:
        """Return the initial state of every layer."""
        return tuple(layer.init_state(batch, height, width, device, dtype) for layer in self._layers())

    def forward(self, x: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """Run the layers one after the other, each over the whole sequence."""
        self._check(x, ("B", "T", "C", "H", "W"))
        states = [None] * len(self.layers) if state is None else state
        after = []
        for layer, layer_state in zip(self._layers(), states, strict=True):
            x, new_state = layer(x, layer_state)
            after.append(new_state)
        return x, tuple(after)

    def step(self, x_t: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Take one step through all layers."""
        after = []
        for layer, layer_state in zip(self._layers(), state, strict=True):
            x_t, new_state = layer.step(x_t, layer_state)
            after.append(new_state)
        return x_t, tuple(after)

    def penalty(self, state: tuple[Any, ...]) -> Tensor | None:
        """Return the sum of what the layers add."""
        parts = [layer.penalty(held) for layer, held in zip(self._layers(), state, strict=True)]
        added = [part for part in parts if part is not None]
        return torch.stack(added).sum() if added else None

    def _layers(self) -> list[RecurrentLayer]:
        return list(self.layers)  # type: ignore[arg-type]  # a ModuleList does not say what it holds
