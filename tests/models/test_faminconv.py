"""FA-MinConv: its size, how far and when it sees, and what is masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.cost import parameters
from models.layers import build
from models.layers.axial import AxialAttention
from models.layers.product import affine
from tests.models.conftest import shake


def touched(layer: torch.nn.Module, x: Tensor, step: int) -> Tensor:
    """Whether `(T, H, W)` hidden maps change where the middle pixel of one step does."""
    changed = x.clone()
    changed[:, step, :, x.shape[-2] // 2, x.shape[-1] // 2] += 1
    return (layer(x)[0] - layer(changed)[0])[0].abs().amax(1) > 0


def test_parameters():
    """C 7, F 32, C_b 8, three 3 x 3 branches: 856, LayerNorm 16, excitation 76."""
    core = {"attention": "none"}
    bare = {**core, "layer_norm": False, "squeeze_excitation": False}
    assert parameters(build("faminconv", 7, 32, **bare)) == 7 * 8 + 8 + 8 * 27 + 2 * 32 * 9 == 856
    assert parameters(build("faminconv", 7, 32, **core)) == 856 + 16 + 76
    attention = parameters(AxialAttention(8, 8, heads=2, tokens=16))
    assert parameters(build("faminconv", 7, 32)) == 948 + attention


def test_without_attention_and_excitation_a_change_reaches_four_pixels_and_stays_there():
    layer = shake(build("faminconv", 2, 8, attention="none", squeeze_excitation=False))
    found = touched(layer, torch.randn(1, 4, 2, 13, 15), step=1)
    assert not found[0].any()
    for t in (1, 2, 3):
        assert found[t].nonzero().aminmax(dim=0).min.tolist() == [2, 3]
        assert found[t].nonzero().aminmax(dim=0).max.tolist() == [10, 11]


def test_what_attention_brings_stays_in_the_memory():
    layer = shake(build("faminconv", 2, 8, squeeze_excitation=False, attention_every=3))
    x = torch.randn(1, 5, 2, 13, 15)
    assert not touched(layer, x, step=1)[1:].all()  # attention acts at step 2 alone
    found = touched(layer, x, step=2)
    assert not found[:2].any()
    assert found[2:].all()


def test_attention_less_often_than_there_are_steps_is_none():
    layer = shake(build("faminconv", 2, 8, attention_every=6))
    without = build("faminconv", 2, 8, attention="none")
    kept = {name: value for name, value in layer.state_dict().items() if not name.startswith("attention.")}
    without.load_state_dict(kept)
    x = torch.randn(1, 6, 2, 5, 7)
    assert torch.equal(layer(x[:, :5])[0], without(x[:, :5])[0])
    assert not torch.equal(layer(x)[0][:, 5], without(x)[0][:, 5])
    _, state = layer(x[:, :5])
    assert state.steps == 5
    torch.testing.assert_close(layer.step(x[:, 5], state)[0], layer(x)[0][:, 5])


def test_pixels_of_no_weight_are_read_by_nobody():
    weight = torch.ones(6, 8)
    weight[2, 3] = 0
    layer = shake(build("faminconv", 2, 8, area_weight=weight, attention_every=1, attention_tokens=4))
    x = torch.randn(1, 3, 2, 6, 8)
    changed = x.clone()
    changed[..., 2, 3] += 5
    hidden, other = layer(x)[0], layer(changed)[0]
    assert torch.equal(hidden[..., weight > 0], other[..., weight > 0])


@pytest.mark.parametrize("candidate", ["tanh", "positive"])
def test_hidden_is_bounded(candidate: str):
    hidden, _ = build("faminconv", 2, 8, candidate=candidate)(100 * torch.randn(1, 20, 2, 5, 6))
    assert hidden.max() <= 1 or candidate == "positive"
    assert hidden.min() >= (-1 if candidate == "tanh" else 0)


def test_the_quick_linear_layer_is_torch_s():
    v, linear = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.nn.Linear(5, 7).double()
    ways = affine(v.requires_grad_(), linear.weight, linear.bias), linear(v)
    found = [(y, *torch.autograd.grad(y.square().sum(), (v, *linear.parameters()))) for y in ways]
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)
