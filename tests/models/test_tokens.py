"""The recurrence of SwinLSTM and VMRNN against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.layers import build
from models.layers.tokens import SharedGateCell, TokenState
from tests.models.conftest import shake

GOLDEN_C = [0.5567699411, 0.9638013829, 1.2613652102]
GOLDEN_H = [0.3696063529, 0.5453460789, 0.6224525508]


class Ones(nn.Module):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return torch.ones_like(x)


class Note(nn.Module):
    """Notes what it is given; returns its input and one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        self.seen.append((x, context))
        return x + 1


def test_a_constant_gate():
    cell = SharedGateCell([Ones()])
    zeros = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    state = TokenState(zeros, zeros)
    for hidden, memory in zip(GOLDEN_H, GOLDEN_C, strict=True):
        state = cell(zeros, state)
        assert state.hidden.item() == pytest.approx(hidden, abs=1e-9)
        assert state.cell.item() == pytest.approx(memory, abs=1e-9)
    for _ in range(200):
        state = cell(zeros, state)
    gate = 1 / (1 + math.exp(-1))
    assert state.cell.item() == pytest.approx(gate * math.tanh(1) / (1 - gate), abs=1e-9)


def test_the_first_block_reads_the_hidden_tokens_and_the_others_the_input():
    blocks = [Note(), Note(), Note()]
    x, hidden, memory = (torch.randn(1, 2, 2, 3) for _ in range(3))
    state = SharedGateCell(blocks)(x, TokenState(hidden, memory))
    assert [note.seen[0][1] is other for note, other in zip(blocks, (hidden, x, x), strict=True)] == [
        True
    ] * 3
    torch.testing.assert_close(state.cell, (x + 3).sigmoid() * (memory + (x + 3).tanh()))
    torch.testing.assert_close(state.hidden, (x + 3).sigmoid() * state.cell.tanh())


@pytest.mark.parametrize("name", ["vmrnn", "swinlstm"])
def test_form_d_goes_down_and_up(name: str):
    """16 x 16 pixels in patches of 2, width 32: the published shapes."""
    options = {"heads": 1} if name == "swinlstm" else {}
    layer = build(name, 1, 1, form="D", width=32, patch=2, blocks=[1, 1], **options)
    hidden, state = layer(torch.randn(3, 1, 1, 16, 16))
    assert hidden.shape == (3, 1, 1, 16, 16)
    shapes = [tuple(part.cell.shape) for part in state]
    assert shapes == [(3, 8, 8, 32), (3, 4, 4, 64), (3, 2, 2, 128), (3, 4, 4, 64)]
    assert [tuple(part.cell.shape) for part in layer.init_state(3, 16, 16)] == shapes


@pytest.mark.parametrize("name", ["vmrnn", "swinlstm"])
@pytest.mark.parametrize("form", ["B", "D"])
def test_hidden_tokens_are_bounded_and_hidden_maps_are_not_squeezed(name: str, form: str):
    blocks = [2] if form == "B" else [1, 1]
    layer = shake(build(name, 2, 4, form=form, width=8, patch=2, blocks=blocks), 1.0)
    hidden, state = layer(10 * torch.randn(2, 6, 2, 9, 7))
    assert all(part.hidden.abs().max() < 1 for part in state)
    assert hidden.min() < 0
    assert hidden.max() > 1


@pytest.mark.parametrize("name", ["vmrnn", "swinlstm"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "C"}, "form must be one of B, D, received 'C'"),
        ({"blocks": [2, 6]}, "blocks of form B must list one number, such as [6], received [2, 6]"),
        ({"blocks": []}, "blocks of form B must list one number"),
        ({"blocks": 6}, "blocks of form B must list one number, such as [6], received 6"),
        ({"form": "D", "blocks": [2, 0]}, "each number of blocks must be a whole number of at least 1"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"patch": 6}, "patch must be a power of two"),
        ({"pad_mode": "round"}, "pad_mode must be one of zeros, cylinder, circular"),
    ],
)
def test_mistakes(name: str, options: dict[str, Any], message: str):
    with pytest.raises(ModelError) as caught:
        build(name, 2, 4, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
