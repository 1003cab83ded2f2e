"""ConvS5: its eigenvalues, its linear system and its scan."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ModelError
from models.layers import build
from models.layers.convs5 import StateSpace, hippo, scan
from tests.models.conftest import count, shake


@pytest.mark.parametrize(("norm", "expected"), [("none", 2928), ("post", 2944), ("pre", 2944)])
def test_parameters(norm: str, expected: int):
    assert count(build("convs5", 8, 8, state_size=16, norm=norm)) == expected
    assert count(build("convs5", 3, 8, state_size=16, norm=norm)) == expected + 3 * 8 + 8


def test_parameters_of_the_system():
    assert count(StateSpace(8, state_size=16, blocks=1, kernel_size=3, pad_mode="zeros")) == 2328


@pytest.mark.parametrize(
    ("size", "expected"), [(4, [4.603293, 0.556501]), (8, [19.85741, 5.35421, 1.95779, 0.42749])]
)
def test_eigenvalues_of_hippo(size: int, expected: list[float]):
    eigenvalues, vectors = hippo(size)
    assert (-eigenvalues.imag).tolist() == pytest.approx(expected, abs=1e-5)
    assert eigenvalues.real.tolist() == pytest.approx([-0.5] * (size // 2), abs=1e-6)
    torch.testing.assert_close(vectors.mH @ vectors, torch.eye(size // 2) + 0j, atol=1e-5, rtol=0)


def test_eigenvectors_of_hippo():
    """Two states, by hand: A = [[-1, 0], [-r, -2]], P P^T = [[1, r], [r, 3]] / 2, r = sqrt(3)."""
    root = 3**0.5
    normal = torch.tensor([[-1, 0], [-root, -2]]) + torch.tensor([[1, root], [root, 3]]) / 2
    eigenvalues, vectors = hippo(2)
    torch.testing.assert_close((normal + 0j) @ vectors, vectors * eigenvalues, atol=1e-6, rtol=0)


def test_blocks_begin_alike():
    system = StateSpace(2, state_size=8, blocks=2, kernel_size=1, pad_mode="zeros")
    assert torch.equal(system.imaginary[:2], system.imaginary[2:])
    assert torch.equal(system.imaginary[:2], hippo(4)[0].imag)


def test_zero_order_hold():
    """Lambda = -1, dt = 0.1: exp(-0.1), and 1 - exp(-0.1) times the continuous weight."""
    system = scalar_system()
    factor, into = system.discrete()
    assert factor.tolist() == pytest.approx([0.9048374180], abs=1e-9)
    assert into.flatten().tolist() == pytest.approx([0.0951625820], abs=1e-9)


def scalar_system() -> StateSpace:
    system = StateSpace(1, state_size=2, blocks=1, kernel_size=1, pad_mode="zeros").double()
    with torch.no_grad():
        system.real.fill_(-1)
        system.imaginary.zero_()
        system.log_step.fill_(0.1).log_()
        for weight in (system.into, system.out):
            weight.zero_()
            weight[..., 0] = 1
    return system


def test_unstable_eigenvalues_are_held_below_zero():
    system = scalar_system()
    with torch.no_grad():
        system.real.fill_(3.0)
        system.imaginary.fill_(2.0)
    assert system.discrete()[0].abs().max() < 1


@pytest.mark.parametrize("length", [1, 2, 5, 8, 13])
def test_the_scan_is_the_loop(length: int):
    factor = 0.9 * torch.randn(3, dtype=torch.complex128)
    driven = torch.randn(2, length, 3, 2, 2, dtype=torch.complex128)
    state = start = torch.randn(2, 3, 2, 2, dtype=torch.complex128)
    states = scan(factor, driven, start)
    for t in range(length):
        state = factor[:, None, None] * state + driven[:, t]
        torch.testing.assert_close(states[:, t], state, atol=1e-11, rtol=1e-11)


def random_system(pad_mode: str = "zeros") -> StateSpace:
    return shake(StateSpace(2, state_size=6, blocks=1, kernel_size=3, pad_mode=pad_mode).double())


def start_of(batch: int) -> Tensor:
    return torch.randn(batch, 3, 4, 5, dtype=torch.complex128)


def test_response_to_an_impulse():
    """s_n = 2 Re(C * A^n B * u) with complex convolutions, written out."""
    system = random_system()
    u = torch.zeros(1, 4, 2, 4, 5, dtype=torch.float64)
    u[:, 0] = torch.randn(2, 4, 5)
    s, _ = system(u, torch.zeros(1, 3, 4, 5, dtype=torch.complex128))
    factor, into = system.discrete()
    out = torch.view_as_complex(system.out)
    driven = functional.conv2d(u[:, 0] + 0j, into, padding=1)
    for n in range(4):
        expected = 2 * functional.conv2d(factor[:, None, None] ** n * driven, out, padding=1).real
        torch.testing.assert_close(s[:, n], expected, atol=1e-12, rtol=1e-12)


def test_the_system_is_linear():
    system = random_system()
    u, v = torch.randn(2, 1, 6, 2, 4, 5, dtype=torch.float64)
    a, b = start_of(1), start_of(1)
    together, last = system(2 * u - 3 * v, 2 * a - 3 * b)
    (s, s_last), (r, r_last) = system(u, a), system(v, b)
    torch.testing.assert_close(together, 2 * s - 3 * r, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(last, 2 * s_last - 3 * r_last, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("norm", ["post", "pre", "none"])
def test_one_pixel_by_the_equations(norm: str):
    layer = shake(build("convs5", 1, 2, state_size=2, kernel_size=1, norm=norm).double())
    x = torch.randn(1, 1, 1, 1, 1, dtype=torch.float64)
    u = inputs = (layer.widen.weight.flatten() * x.flatten() + layer.widen.bias).detach()
    if norm == "pre":
        u = layer.norm(u)
    _, into = layer.system.discrete()
    state = into[..., 0, 0] @ (u + 0j)
    s = 2 * (torch.view_as_complex(layer.system.out)[..., 0, 0] @ state).real
    stage = s + layer.direct.weight[..., 0, 0] @ u + layer.direct.bias
    stage = functional.group_norm(stage[None], 1, layer.group_norm.weight, layer.group_norm.bias)[0]
    hidden = inputs + functional.gelu(stage)
    expected = layer.norm(hidden) if norm == "post" else hidden
    torch.testing.assert_close(layer(x)[0].flatten(), expected, atol=1e-10, rtol=1e-10)


def test_the_state_is_as_precise_as_the_input():
    for dtype, kind in ((torch.float32, torch.complex64), (torch.float64, torch.complex128)):
        _, state = build("convs5", 2, 4).to(dtype)(torch.randn(1, 3, 2, 4, 4, dtype=dtype))
        assert state.states.dtype == kind
    with torch.autocast("cpu", torch.bfloat16):
        hidden, state = build("convs5", 2, 4)(torch.randn(1, 3, 2, 4, 4))
    assert state.states.dtype == torch.complex64
    assert torch.isfinite(hidden).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"state_size": 7},
            "state_size must be a multiple of twice the blocks, received 7 states in 1 blocks",
        ),
        ({"state_size": 12, "blocks": 4}, "received 12 states in 4 blocks: change one of them"),
        ({"state_size": 0}, "state_size must be a whole number of at least 2"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"kernel_size": 2}, "kernel_size must be an odd whole number"),
        ({"norm": "layer"}, "norm must be one of post, pre, none, received 'layer'"),
        ({"pad_mode": "round"}, "pad_mode must be one of zeros, cylinder, circular"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build("convs5", 2, 4, **options)
