"""Encoders that need a whole window at once: they see both sides of every step and carry no state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.layers.base import RecurrentLayer


class WholeWindow(RecurrentLayer):
    """A layer without a state; a subclass gives `encode`, `(B, T, C, H, W) -> (B, T, F, H, W)`."""

    causal = False
    streaming = False
    parallel_time = True
    equivariant = False

    def init_state(
        self,
        batch: int,  # noqa: ARG002
        height: int,  # noqa: ARG002
        width: int,  # noqa: ARG002
        device: torch.device | str | None = None,  # noqa: ARG002
        dtype: torch.dtype | None = None,  # noqa: ARG002
    ) -> None:
        """Return None: nothing is carried from one window to the next."""
        return

    def encode(self, x: Tensor) -> Tensor:
        """Return the hidden maps `(B, T, F, H, W)` of `x (B, T, C, H, W)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """Return the hidden maps `(B, T, F, H, W)` of the window `x (B, T, C, H, W)`, and None for the state.

        Raises:
            ModelError: as in `RecurrentLayer.forward`, and when a state is given.
        """
        self._check(x, ("B", "T", "C", "H", "W"))
        if state is not None:
            self._refuse("takes no state")
        return self.encode(x), None

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Raise ModelError: such a layer cannot stream."""
        return self._refuse("cannot go step by step")

    def _refuse(self, what: str) -> Any:
        raise ModelError(
            f"{type(self).__name__} {what}, since it sees a whole window at once: give it whole windows, or take"
            " a layer that streams, such as convlstm."
        )
