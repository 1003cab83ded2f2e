"""The passes in Triton against the plain path: on a GPU where there is one, else on the CPU by Triton's interpreter."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when the passes are imported, which nothing else does here
    pytest.importorskip("triton", reason="Triton is not installed")

from models.layers import build, gpu, paths, sequence
from models.layers.faconvlstm import FAConvLSTM, FAConvLSTMState
from tests.models.conftest import shake
from tests.models.test_sequence import SETTINGS, C, F, results

DEVICE = "cuda" if GPU else "cpu"
HEIGHT, WIDTH = 9, 10


@pytest.fixture(autouse=True)
def _passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything by the passes, wherever they run."""
    if not GPU:
        monkeypatch.setattr(gpu, "serves", lambda x: True)


def pair(**options: Any) -> tuple[FAConvLSTM, FAConvLSTM]:
    """A layer on the fast path and the same on the plain one, away from its start."""
    fast = shake(build("faconvlstm", C, F, path="fast", **options))
    plain = build("faconvlstm", C, F, path="plain", **options)
    plain.load_state_dict(fast.state_dict())
    return fast.to(DEVICE), plain.double()


def fields(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE, requires_grad=True)


def some_state(batch: int, height: int, width: int, steps: int) -> FAConvLSTMState:
    hidden, cell = torch.randn(2, batch, F, height, width, device=DEVICE)
    return FAConvLSTMState(hidden.requires_grad_(), cell.requires_grad_(), steps)


def in_double(x: Tensor, state: FAConvLSTMState | None) -> tuple[Tensor, FAConvLSTMState | None]:
    def double(part: Tensor) -> Tensor:
        return part.detach().double().cpu().requires_grad_()

    if state is None:
        return double(x), None
    return double(x), FAConvLSTMState(double(state.hidden), double(state.cell), state.steps)


def assert_near(options: dict[str, Any], x: Tensor, state: FAConvLSTMState | None) -> None:
    fast, plain = pair(**options)
    for ours, theirs in zip(results(fast, x, state), results(plain, *in_double(x, state)), strict=True):
        torch.testing.assert_close(ours.double().cpu(), theirs, atol=2e-4, rtol=2e-4, check_dtype=False)


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_numbers_and_derivatives_are_those_of_the_plain_path(options: dict[str, Any]):
    assert_near(options, fields(2, 3, C, HEIGHT, WIDTH), some_state(2, HEIGHT, WIDTH, steps=1))


@pytest.mark.parametrize("shape", [(1, 1, 9, 10), (1, 4, 1, 1), (2, 4, 1, 7), (3, 2, 13, 2)])
def test_any_batch_length_and_grid(shape: tuple[int, ...]):
    batch, length, height, width = shape
    assert_near({"attention_tokens": 3, "attention_every": 2}, fields(batch, length, C, height, width), None)
