"""ConvLSTM against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from models.layers import build
from tests.models.conftest import count, shake

GOLDEN_C = [0.3807970780, 0.6591820486, 0.8626977694]
GOLDEN_H = [0.1816997422, 0.2889094062, 0.3488225112]


@pytest.mark.parametrize(
    ("channels", "hidden", "kernel", "peephole", "expected"),
    [(3, 8, 3, None, 3200), (3, 8, 3, "channel", 3224), (16, 16, 3, None, 18496), (7, 32, 3, None, 45056)],
)
def test_parameters(channels: int, hidden: int, kernel: int, peephole: str | None, expected: int):
    assert count(build("convlstm", channels, hidden, kernel_size=kernel, peephole=peephole)) == expected


def test_constant_gates():
    """i = o = sig(0), f = sig(1), g = tanh(1), whatever the input."""
    layer = build("convlstm", 2, 3).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.gates.bias[3:9] = 1.0
    x = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    hidden, state = layer(x)
    for t in range(3):
        torch.testing.assert_close(
            hidden[:, t], torch.full_like(hidden[:, t], GOLDEN_H[t]), atol=1e-9, rtol=0
        )
        _, state = layer(x[:, : t + 1])
        torch.testing.assert_close(state.cell, torch.full_like(state.cell, GOLDEN_C[t]), atol=1e-9, rtol=0)


def test_peepholes_look_at_the_right_cell():
    """One pixel, one channel, two steps by hand: i and f see the old cell, o the new one."""
    layer = build("convlstm", 1, 1, kernel_size=1, peephole="channel").double()
    with torch.no_grad():
        layer.gates.from_input.weight.zero_()
        layer.gates.from_hidden.weight.zero_()
        layer.gates.bias[:] = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
        layer.peephole[:, 0, 0, 0] = torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64)

    def sig(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    cell, expected = 0.0, 0.0
    for _ in range(2):
        cell = sig(0.2 + 0.6 * cell) * cell + sig(0.1 + 0.5 * cell) * math.tanh(0.3)
        expected = sig(0.4 + 0.7 * cell) * math.tanh(cell)
    hidden, _ = layer(torch.randn(1, 2, 1, 1, 1, dtype=torch.float64))
    assert hidden[0, 1].item() == pytest.approx(expected, abs=1e-12)


def test_peepholes_a_pixel():
    """`3F H W` weights; with equal ones everywhere the layer is that of one weight a channel."""
    full = build("convlstm", 3, 8, peephole="full", grid=(16, 16))
    assert count(full) == 9344
    assert full.fixed_grid
    channel = shake(build("convlstm", 3, 8, peephole="channel"))
    full.gates.load_state_dict(channel.gates.state_dict())
    x = torch.randn(1, 4, 3, 16, 16)
    with torch.no_grad():
        full.peephole.copy_(channel.peephole.expand_as(full.peephole))
        torch.testing.assert_close(full(x)[0], channel(x)[0])
        full.peephole[:, :, 3, 5] += 1
        changed = (full(x)[0] - channel(x)[0])[0, 0].abs().amax(0) > 1e-6
    assert changed.nonzero().tolist() == [[3, 5]]


def test_peepholes_of_zero_are_none():
    with_peephole = build("convlstm", 2, 4, peephole="channel")
    without = build("convlstm", 2, 4)
    without.gates.load_state_dict(with_peephole.gates.state_dict())
    x = torch.randn(1, 3, 2, 5, 6)
    assert torch.equal(with_peephole(x)[0], without(x)[0])


def test_start():
    layer = build("convlstm", 3, 8)
    i, f, g, o = layer.gates.bias.chunk(4)
    assert (f == 1).all()
    assert not torch.cat([i, g, o]).any()
    recurrent = layer.gates.from_hidden.weight.flatten(1)  # 32 rows of 72
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(32), atol=1e-5, rtol=0)


def test_hidden_is_bounded():
    hidden, _ = build("convlstm", 2, 4)(100 * torch.randn(1, 20, 2, 5, 6))
    assert hidden.abs().max() < 1
