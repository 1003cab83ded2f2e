"""MinConvGRU (arXiv 2508.03614): a convolutional GRU whose gate sees the input only, parallel in time.

Supports any odd kernel, candidates of one sign or both, two scans, and all padding modes. Does not repeat the
reference's start: its parallel form maps the start, and a state carried on, by g once more, so that it disagrees with
its own step.
"""

from __future__ import annotations

import torch
from torch import nn

from models.layers.minconv import ConvolvedLayer, memories


class MinConvGRU(ConvolvedLayer):
    """Minimal convolutional GRU; channels of the convolution in the order k, c.

        [k_t, c_t] = W * X_t + b
        z_t = sig(k_t);  h_t = (1 - z_t) h_(t-1) + z_t g(c_t);  h_0 = 0
        g(c) = c + 0.5 where c >= 0, sig(c) elsewhere

    Parameters: `2F (k^2 C + 1)`. A step takes `H W k^2 C 2F` multiply-adds, for all steps at once; nothing but the
    elementwise blend goes through time. One layer sees (k - 1) / 2 pixels around each, at every step.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        kernel_size: k, odd.
        candidate: g, `positive` (as above), `tanh` or `identity`.
        scan: `linear`, `doubling` or `log`, see `models.layers.minconv`.
        memory: steps that the channel of the longest memory remembers at the start.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = MinConvGRU(3, 8)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 8, 21, 24])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        kernel_size: int = 3,
        candidate: str = "positive",
        scan: str = "linear",
        memory: float = 12.0,
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels,
            hidden_channels,
            maps=2,  # k, c
            kernel_size=kernel_size,
            pad_mode=pad_mode,
            gate="single",
            candidate=candidate,
            scan=scan,
        )
        with torch.no_grad():
            nn.init.zeros_(self.bias)
            self.bias[:hidden_channels] = -memories(memory, hidden_channels)
