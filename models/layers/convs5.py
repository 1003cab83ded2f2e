"""ConvS5 (Smith et al. 2023, Convolutional State Space Models for Long-Range Spatiotemporal Modeling, section 3).

A linear state space model whose inputs and outputs are maps: diagonal in the state, so that a scan in time computes
all steps at once, with the nonlinearity between layers. Supports any grid and length, and the output stage that the
paper calls standard. Stable by construction: the real parts of the eigenvalues stay below zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, check_choice, check_odd, check_whole
from models.layers.base import RecurrentLayer
from models.layers.convolution import PAD_MODES, PaddedConv2d, pad

SLOWEST, FASTEST = 1e-3, 0.1
"""Time steps at the start, drawn evenly in their logarithm."""

STABLE = -1e-4  # no eigenvalue's real part is above it
CHANNELS_A_GROUP = 16  # of the GroupNorm: 512 channels in 32 groups in the paper


class ConvS5State(NamedTuple):
    """The states of the linear system, complex `(B, P, H, W)`."""

    states: Tensor


class StateSpace(nn.Module):
    """The linear system: `x_t = A x_(t-1) + B * u_t`, `s_t = 2 Re(C * x_t)`, convolutions k x k.

        A = exp(Lambda dt);  B = (A - 1) / Lambda B_continuous                    (zero-order hold, each state)

    Of each pair of conjugate states one is kept: P of N. Parameters: `3P + 4 P U k^2`.

    Args:
        channels: U.
        state_size: N, even.
        blocks: J blocks of N / J states each begin with the same eigenvalues.
        kernel_size: k, odd.
        pad_mode: what lies beyond the border.
    """

    def __init__(
        self, channels: int, *, state_size: int, blocks: int, kernel_size: int, pad_mode: str
    ) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        check_choice("pad_mode", pad_mode, PAD_MODES)
        check_whole("state_size", state_size, 2)
        check_whole("blocks", blocks, 1)
        if state_size % (2 * blocks):
            raise ModelError(
                f"state_size must be a multiple of twice the blocks, received {state_size} states in {blocks}"
                " blocks: change one of them."
            )
        self.pad_mode, self.reach = pad_mode, kernel_size // 2
        eigenvalues, vectors = hippo(state_size // blocks)
        states, kernel = state_size // 2, (kernel_size, kernel_size)
        self.real = nn.Parameter(eigenvalues.real.repeat(blocks))
        self.imaginary = nn.Parameter(eigenvalues.imag.repeat(blocks))
        self.log_step = nn.Parameter(torch.empty(states).uniform_(math.log(SLOWEST), math.log(FASTEST)))
        basis = torch.block_diag(*[vectors] * blocks)  # (N, P)
        into = he_normal(state_size, channels, *kernel)
        out = he_normal(channels, state_size, *kernel)
        self.into = nn.Parameter(torch.view_as_real(torch.einsum("np,nuij->puij", basis.conj(), into + 0j)))
        self.out = nn.Parameter(torch.view_as_real(torch.einsum("unij,np->upij", out + 0j, basis)))

    def discrete(self) -> tuple[Tensor, Tensor]:
        """Return A `(P,)` and B `(P, U, k, k)` for one step, complex."""
        eigenvalues = torch.complex(self.real.clamp(max=STABLE), self.imaginary)
        factor = (eigenvalues * self.log_step.exp()).exp()
        into = torch.view_as_complex(self.into)
        return factor, ((factor - 1) / eigenvalues)[:, None, None, None] * into

    def forward(self, u: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Run over `u (B, T, U, H, W)` from the states `start (B, P, H, W)`; return s and the last states."""
        factor, into = self.discrete()
        driven = self._convolve(u, torch.cat([into.real, into.imag])).to(start.real.dtype)
        states = scan(factor, torch.complex(*driven.chunk(2, dim=2)), start)
        parts = torch.cat([states.real, states.imag], dim=2).to(u.dtype)
        out = self.out.unbind(-1)
        return self._convolve(parts, 2 * torch.cat([out[0], -out[1]], dim=1)), states[:, -1]

    def _convolve(self, maps: Tensor, weight: Tensor) -> Tensor:
        padded = pad(maps.flatten(0, 1), self.reach, self.pad_mode)
        return functional.conv2d(padded, weight).unflatten(0, maps.shape[:2])


def hippo(size: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues `(size / 2,)` and vectors `(size, size / 2)` of HiPPO-LegS's normal part, complex.

    Of each conjugate pair the one with the negative imaginary part (Smith et al. 2023, S5, section 4.3).
    """
    order = torch.arange(size, dtype=torch.float64)
    root = (2 * order + 1).sqrt()
    matrix = -torch.tril(root[:, None] * root, -1) - torch.diag(order + 1)
    low_rank = (order + 0.5).sqrt()
    normal = matrix + low_rank[:, None] * low_rank
    imaginary, vectors = torch.linalg.eigh(-1j * (normal - torch.diag(normal.diagonal())))
    half = size // 2
    real = normal.diagonal().mean().expand(half)
    return torch.complex(real, imaginary[:half]).to(torch.complex64), vectors[:, :half].to(torch.complex64)


def he_normal(*shape: int) -> Tensor:
    """Return normal weights `(out, in, k, k)` of variance 2 / fan in."""
    return nn.init.kaiming_normal_(torch.empty(shape))


def scan(factor: Tensor, driven: Tensor, start: Tensor) -> Tensor:
    """Return all `x_t = factor x_(t-1) + driven_t` in log2(T) operations on all steps.

    Args:
        factor: `(P,)`, the same at every step.
        driven: `(B, T, P, H, W)`.
        start: x before the first step, `(B, P, H, W)`.
    """
    power = factor[:, None, None]
    states = torch.cat([driven[:, :1] + power * start[:, None], driven[:, 1:]], dim=1)
    reach = 1
    while reach < states.shape[1]:
        later = states[:, reach:] + power * states[:, :-reach]
        states = torch.cat([states[:, :reach], later], dim=1)
        power, reach = power * power, 2 * reach
    return states


class ConvS5(RecurrentLayer):
    """One layer of ConvS5: the linear system, a nonlinear output stage, a residual.

        u_t = W X_t + b (1 x 1, where C is not F);  s = StateSpace(u)
        Y_t = GELU(GN(s_t + D * u_t));  H_t = LN(u_t + Y_t)

    Parameters, with U = F and P = state_size / 2: `3P + 4 P U k^2 + U^2 k^2 + 3U`, `2U` with norm, and `C U + U`
    where C is not F. Cost of a step: `H W U k^2 (4P + U)` multiply-adds; all steps at once, in log2(T) passes over
    the states.

    Args:
        in_channels: C, variables of the input `(B, T, C, H, W)`.
        hidden_channels: F, channels of the hidden map `(B, T, F, H, W)`.
        state_size: N, states of a pixel, real ones counted; even.
        blocks: J, blocks of states that begin alike.
        kernel_size: k of all three convolutions, odd.
        norm: `post` for LayerNorm over the channels of a pixel after the residual, as published, `pre` before the
            system, or `none`.
        pad_mode: what lies beyond the border, see `models.layers.convolution`.

    Example:
        >>> hidden, state = ConvS5(3, 32)(torch.zeros(2, 12, 3, 21, 24))
        >>> hidden.shape, state.states.shape
        (torch.Size([2, 12, 32, 21, 24]), torch.Size([2, 16, 21, 24]))
    """

    parallel_time = True

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        state_size: int = 32,
        blocks: int = 1,
        kernel_size: int = 3,
        norm: str = "post",
        pad_mode: str = "zeros",
    ) -> None:
        super().__init__(in_channels, hidden_channels)
        check_choice("norm", norm, ("post", "pre", "none"))
        channels = hidden_channels
        self.widen = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity()
        if isinstance(self.widen, nn.Conv2d) and self.widen.bias is not None:
            # Without a bias of the inputs' own size LayerNorm would hide how strong an anomaly is.
            nn.init.normal_(self.widen.bias)
        self.system = StateSpace(
            channels, state_size=state_size, blocks=blocks, kernel_size=kernel_size, pad_mode=pad_mode
        )
        self.direct = PaddedConv2d(channels, channels, kernel_size, pad_mode=pad_mode)
        self.group_norm = nn.GroupNorm(math.gcd(channels, max(1, channels // CHANNELS_A_GROUP)), channels)
        self.norm = nn.LayerNorm(channels) if norm != "none" else None
        self.norm_first = norm == "pre"

    def init_state(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvS5State:
        """Return a state of zeros, complex64 or, for float64, complex128."""
        kind = torch.complex128 if dtype == torch.float64 else torch.complex64
        shape = (batch, len(self.system.real), height, width)
        return ConvS5State(torch.zeros(shape, device=device, dtype=kind))

    def forward(self, x: Tensor, state: ConvS5State | None = None) -> tuple[Tensor, ConvS5State]:
        """Run over `x (B, T, C, H, W)`, all steps at once."""
        self._check(x, ("B", "T", "C", "H", "W"))
        batch, length = x.shape[:2]
        state = self.start(x) if state is None else state
        inputs = self.widen(x.flatten(0, 1))
        u = self._normalise(inputs) if self.norm_first else inputs
        s, last = self.system(u.unflatten(0, (batch, length)), state.states)
        hidden = inputs + functional.gelu(self.group_norm(s.flatten(0, 1) + self.direct(u)))
        hidden = hidden if self.norm_first else self._normalise(hidden)
        return hidden.unflatten(0, (batch, length)), ConvS5State(last)

    def step(self, x_t: Tensor, state: ConvS5State) -> tuple[Tensor, ConvS5State]:
        """Take one step with `x_t (B, C, H, W)`."""
        self._check(x_t, ("B", "C", "H", "W"))
        hidden, state = self(x_t[:, None], state)
        return hidden[:, 0], state

    def _normalise(self, maps: Tensor) -> Tensor:
        if self.norm is None:
            return maps
        return self.norm(maps.movedim(1, -1)).movedim(-1, 1)
