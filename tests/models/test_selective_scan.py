"""The chunked selective scan against the plain loop and numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ModelError
from models.layers.selective_scan import (
    ScanWeights,
    doubling,
    place_by_place,
    selective_scan,
)

L, B, K, D, N, R = 11, 2, 3, 4, 5, 2


def weights(states: int = N, scale: float = 1.0) -> ScanWeights:
    shapes = [(K, R + 2 * states, D), (K, D, R), (K, D), (K, D, states), (K, D)]
    return ScanWeights(*(scale * torch.randn(shape, dtype=torch.float64) for shape in shapes))


def naive(x: Tensor, given: ScanWeights) -> Tensor:
    """The equations, place by place, with torch's own derivatives."""
    states = given.log_decay.shape[-1]
    h = x.new_zeros(*x.shape[1:], states)
    ys = []
    for x_l in x:
        dt, b, c = torch.einsum("bkd,kcd->bkc", x_l, given.to_parameters).split((R, states, states), -1)
        delta = functional.softplus(torch.einsum("bkr,kdr->bkd", dt, given.to_step) + given.step_bias)
        factor = torch.exp(-delta[..., None] * given.log_decay.exp())
        h = factor * h + (delta * x_l)[..., None] * b[:, :, None, :]
        ys.append((h * c[:, :, None, :]).sum(-1) + given.skip * x_l)
    return torch.stack(ys)


def test_worked_by_hand():
    """delta = ln 2, A = -1, B = C = S = 1, x = 1, one channel with one state."""
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    given = ScanWeights(torch.tensor([[[0.0], [1.0], [1.0]]]).double(), ones, 0 * ones[0], 0 * ones, ones[0])
    y = selective_scan(torch.ones(3, 1, 1, 1, dtype=torch.float64), given, chunk=2)
    assert y.flatten().tolist() == pytest.approx([1.6931471806, 2.0397207708, 2.2130075660], abs=1e-9)


@pytest.mark.parametrize("serial", [True, False], ids=["place by place", "doubling"])
@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
def test_equals_the_plain_loop_with_its_derivatives(
    monkeypatch: pytest.MonkeyPatch, chunk: int, serial: bool
):
    monkeypatch.setattr("models.layers.selective_scan._is_serial", lambda _: serial)
    x, given = torch.randn(L, B, K, D, dtype=torch.float64), weights()
    inputs = [x, *given]
    for part in inputs:
        part.requires_grad_()
    d_y = torch.randn(L, B, K, D, dtype=torch.float64)
    ours, theirs = selective_scan(x, given, chunk=chunk), naive(x, given)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    mine, expected = (torch.autograd.grad(y, inputs, d_y) for y in (ours, theirs))
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    with torch.no_grad():
        assert torch.equal(selective_scan(x, given, chunk=chunk), ours)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 16])
def test_both_ways_of_computing_the_recurrence_agree(length: int, backwards: bool):
    factor, term = torch.rand(2, length, 3, 4, dtype=torch.float64)
    start = torch.randn(3, 4, dtype=torch.float64)
    slow = place_by_place(factor, term.clone(), start, backwards=backwards)
    torch.testing.assert_close(doubling(factor, term, start, backwards=backwards), slow, atol=1e-13, rtol=0)
    ends = slow[-1 if backwards else 0], term[-1 if backwards else 0], factor[-1 if backwards else 0]
    torch.testing.assert_close(ends[0], ends[2] * start + ends[1])


def test_derivatives_are_right():
    shapes = [(5, 1, 2, 2), (2, R + 2 * 2, 2), (2, 2, R), (2, 2), (2, 2, 2), (2, 2)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda x, *w: selective_scan(x, ScanWeights(*w), chunk=2), inputs)


def test_strong_decay_overflows_nowhere():
    x = 50 * torch.randn(40, 1, K, D)
    strong = weights(scale=10.0)
    strong = strong._replace(log_decay=strong.log_decay.clamp(-20, 8))
    given = ScanWeights(*(weight.float().requires_grad_() for weight in strong))
    y = selective_scan(x, given, chunk=16)
    assert torch.isfinite(y).all()
    y.mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in given)


def test_what_is_kept_for_the_derivative_does_not_grow_with_the_states():
    """Beyond the weights: x, and one h a chunk. The plain loop keeps several numbers a state and place."""

    def kept(states: int, chunk: int) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        x = torch.randn(64, 1, K, D, dtype=torch.float64, requires_grad=True)
        given = weights(states)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            alive = selective_scan(x, given, chunk=chunk) if chunk else naive(x, given)
        assert alive.requires_grad
        return sum(sizes.values())

    state = 32 * K * D * 8  # bytes of one h with 32 states
    assert kept(32, 0) > 64 * 2 * state
    assert kept(32, 16) < 12 * state


def test_half_precision_is_computed_in_single():
    x, given = torch.randn(L, B, K, D), ScanWeights(*(weight.float() for weight in weights()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(x, given, chunk=4), selective_scan(x, given, chunk=4).float())
        half = selective_scan(x.bfloat16(), given, chunk=4)
    assert half.dtype == torch.bfloat16
    exact = selective_scan(x.bfloat16().float(), given, chunk=4)
    torch.testing.assert_close(half.float(), exact, atol=0, rtol=2**-8)


def test_a_chunk_of_nothing():
    with pytest.raises(ModelError, match="chunk must be a whole number of at least 1, received 0"):
        selective_scan(torch.zeros(L, B, K, D).double(), weights(), chunk=0)
