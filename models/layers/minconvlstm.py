"""MinConvLSTM (arXiv 2508.03614): a convolutional LSTM whose gates see the input only, parallel in time.

Supports sigmoid and exponential gates, any odd kernel, candidates of one sign or both, two scans, and all padding
modes. There is no output gate, no tanh of the memory and no cell beside the hidden map. Does not repeat the
reference's start, see `models.layers.minconvgru`.
"""

from __future__ import annotations

import torch

from models.errors import check_choice
from models.layers.minconv import ConvolvedLayer, memories

GATES = ("sigmoid", "exponential")


class MinConvLSTM(ConvolvedLayer):
    """Minimal convolutional LSTM; channels of the convolution in the order f, i, c.

        [f_t, i_t, c_t] = W * X_t + b
        sigmoid:      f' = sig(f_t) / (sig(f_t) + sig(i_t)),  i' = 1 - f'
        exponential:  f' = e^(f_t) / (e^(f_t) + e^(i_t)),     i' = 1 - f'
        h_t = f' h_(t-1) + i' g(c_t);  h_0 = 0
        g(c) = c + 0.5 where c >= 0, sig(c) elsewhere

    Either way i' = sig(k), with `k = log sig(i) - log sig(f)` or `k = i - f`. With exponential gates the layer is
    MinConvGRU with the weights of k being W_i - W_f, in half as many parameters again; they need no stabiliser,
    since their ratio is all that is used.

    Parameters: `3F (k^2 C + 1)`. A step takes `H W k^2 C 3F` multiply-adds, for all steps at once.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        kernel_size: k, odd.
        gates: `sigmoid` or `exponential`.
        candidate: g, `positive` (as above), `tanh` or `identity`.
        scan: `linear`, `doubling` or `log`, see `models.layers.minconv`.
        memory: steps that the channel of the longest memory remembers at the start.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = MinConvLSTM(3, 8)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape
        torch.Size([2, 12, 8, 21, 24])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        kernel_size: int = 3,
        gates: str = "sigmoid",
        candidate: str = "positive",
        scan: str = "linear",
        memory: float = 12.0,
        pad_mode: str = "zeros",
    ) -> None:
        check_choice("gates", gates, GATES)
        super().__init__(
            in_channels,
            hidden_channels,
            maps=3,  # f, i, c
            kernel_size=kernel_size,
            pad_mode=pad_mode,
            gate=gates,
            candidate=candidate,
            scan=scan,
        )
        # sig(m) / sig(-m) = e^m = e^(m / 2) / e^(-m / 2), which is to be tau - 1.
        start = memories(memory, hidden_channels) / (1 if gates == "sigmoid" else 2)
        with torch.no_grad():
            self.bias.copy_(torch.cat([start, -start, torch.zeros_like(start)]))
