"""ConvGRU against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from models.layers import build
from tests.models.conftest import count


@pytest.mark.parametrize(("channels", "hidden", "kernel"), [(16, 16, 3), (3, 8, 5)])
def test_parameters(channels: int, hidden: int, kernel: int):
    expected = kernel**2 * (channels + hidden) * 3 * hidden + 3 * hidden
    assert count(build("convgru", channels, hidden, kernel_size=kernel)) == expected
    assert expected == 13872 or channels != 16


def test_two_steps_by_hand():
    """One pixel, one channel: the reset gate acts before the recurrent weight, the update gate lets n in."""
    layer = build("convgru", 1, 1, kernel_size=1).double()
    with torch.no_grad():
        layer.from_input.weight[:, 0, 0, 0] = torch.tensor([0.5, -0.4, 0.3], dtype=torch.float64)
        layer.bias[:] = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
        layer.from_hidden.weight[:, 0, 0, 0] = torch.tensor([0.7, 0.6], dtype=torch.float64)
        layer.from_reset.weight[:] = -0.8

    def sig(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    h, expected = 0.0, []
    for x in (1.5, -0.5):
        z, r = sig(0.5 * x + 0.7 * h + 0.1), sig(-0.4 * x + 0.6 * h + 0.2)
        h = (1 - z) * h + z * math.tanh(0.3 * x - 0.8 * (r * h) - 0.3)
        expected.append(h)
    hidden, state = layer(torch.tensor([1.5, -0.5], dtype=torch.float64).view(1, 2, 1, 1, 1))
    assert hidden.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert state.hidden.item() == pytest.approx(h, abs=1e-12)


def test_start():
    layer = build("convgru", 3, 8)
    assert not layer.bias.any()
    for recurrent in (layer.from_hidden, layer.from_reset):
        rows = recurrent.weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


def test_hidden_is_bounded():
    hidden, _ = build("convgru", 2, 4)(100 * torch.randn(1, 20, 2, 5, 6))
    assert hidden.abs().max() <= 1
