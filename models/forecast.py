"""The forecast head: from the embedding of today to the embeddings of the steps that follow.

    z_(t+l) = A_l z_t + b_l + V_l SiLU(W z_t + c)          l = 1 ... L

The decoder turns them into fields. At the start A_l is the identity and V_l zero: the forecast is the embedding's
persistence. With A_l small it is climatology, so that the head can be as careful as the data ask for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import check_whole

INNER_RATIO = 4


class ForecastHead(nn.Module):
    """Embedding `(..., D)` of today to those of the next L steps `(..., L, D)`.

    Parameters: `(1 + 4) L D^2 + L D + 4 D^2 + 4 D`.

    Args:
        embedding_size: D.
        steps: L.
    """

    def __init__(self, embedding_size: int, steps: int) -> None:
        super().__init__()
        check_whole("embedding_size", embedding_size, 1)
        check_whole("forecast_steps", steps, 1)
        self.steps = steps
        self.linear = nn.Linear(embedding_size, steps * embedding_size)
        self.inner = nn.Linear(embedding_size, INNER_RATIO * embedding_size)
        self.outer = nn.Linear(INNER_RATIO * embedding_size, steps * embedding_size, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(embedding_size).repeat(steps, 1))
        nn.init.zeros_(self.linear.bias)
        nn.init.zeros_(self.outer.weight)

    def forward(self, today: Tensor) -> Tensor:
        """Return what follows `today (..., D)`."""
        ahead = self.linear(today) + self.outer(functional.silu(self.inner(today)))
        return ahead.unflatten(-1, (self.steps, -1))
