"""MinConvLSTM against published numbers, and what its exponential form comes to."""

from __future__ import annotations

import pytest
import torch

from models.cost import parameters
from models.layers import build, memory, minconv, minimal
from models.layers.minconv import MinConvState
from tests.models.conftest import shake


@pytest.mark.parametrize("gates", ["sigmoid", "exponential"])
@pytest.mark.parametrize(("channels", "hidden", "expected"), [(16, 16, 6960), (4, 4, 444)])
def test_parameters(channels: int, hidden: int, expected: int, gates: str):
    assert parameters(build("minconvlstm", channels, hidden, gates=gates)) == expected


@pytest.mark.parametrize("scan", ["linear", "doubling", "log"])
@pytest.mark.parametrize(
    ("gates", "before_activation", "expected"),
    [
        ("sigmoid", (1.0, -1.0, 2.0), 0.8916711270),
        ("exponential", (1.0, -1.0, 2.0), 0.5622464285),
        ("sigmoid", (-3.0, 2.0, -1.5), 0.1884327791),
        ("exponential", (-3.0, 2.0, -1.5), 0.1832124322),
    ],
)
def test_one_step_from_a_memory(gates: str, before_activation: tuple[float, ...], expected: float, scan: str):
    layer = build("minconvlstm", 1, 1, gates=gates, scan=scan, kernel_size=1).double()
    with torch.no_grad():
        layer.convolution.weight.zero_()
        layer.bias[:] = torch.tensor(before_activation)
    start = MinConvState(torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64))
    hidden, _ = layer(torch.randn(1, 1, 1, 1, 1, dtype=torch.float64), start)
    assert hidden.item() == pytest.approx(expected, abs=1e-9)


def test_exponential_gates_are_those_of_minconvgru():
    """Only i - f counts: the weights of the GRU's gate are W_i - W_f."""
    lstm = shake(build("minconvlstm", 2, 4, gates="exponential").double())
    gru = build("minconvgru", 2, 4).double()
    with torch.no_grad():
        for mine, theirs in ((lstm.convolution.weight, gru.convolution.weight), (lstm.bias, gru.bias)):
            f, i, c = mine.chunk(3)
            theirs.copy_(torch.cat([i - f, c]))
    x = torch.randn(2, 6, 2, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(lstm(x)[0], gru(x)[0], atol=1e-12, rtol=0)


def test_sigmoid_gates_are_not():
    """log sig(i) - log sig(f) is not linear: the same difference of i and f gives another gate."""
    layer = build("minconvlstm", 1, 1, kernel_size=1)
    with torch.no_grad():
        gates = []
        for shift in (0.0, 2.0):
            layer.bias[:] = torch.tensor([1.0 + shift, -1.0 + shift, 0.0])
            gates.append(minimal.gate_logit(layer.bias[:2], "sigmoid").item())
    assert abs(gates[0] - gates[1]) > 0.5


@pytest.mark.parametrize("gates", ["sigmoid", "exponential"])
def test_the_channels_start_with_memories_up_to_the_longest(gates: str):
    layer = build("minconvlstm", 1, 3, gates=gates, memory=27.0)
    k = minimal.gate_logit(layer.bias[:6].chunk(2), gates)
    torch.testing.assert_close(1 / k.sigmoid(), torch.tensor([3.0, 9.0, 27.0]), rtol=1e-5, atol=0)


def test_a_long_sequence_made_in_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("minconvlstm", 2, 3).double()
    x = torch.randn(2, 11, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 11, 3, 5, 6, dtype=torch.float64)

    def run() -> list[torch.Tensor]:
        hidden, state = layer(x)
        loss = (weight * hidden).sum() + state.hidden.square().sum()
        return [hidden, state.hidden, *torch.autograd.grad(loss, [x, *layer.parameters()])]

    whole = run()
    monkeypatch.setattr(minconv, "BLOCK", 0)
    monkeypatch.setattr(minconv, "PIECE", 3 * 8 * 2 * 9 * 5 * 6)  # three steps
    joins = []
    monkeypatch.setattr(minconv, "joined", lambda parts: joins.append(len(parts)) or memory.joined(parts))
    for ours, theirs in zip(run(), whole, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert joins == [4]
