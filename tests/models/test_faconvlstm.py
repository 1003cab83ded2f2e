"""FAConvLSTM: its parts, their switches, and what they reach."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.layers import build
from models.layers.faconvlstm import FAConvLSTM
from tests.models.conftest import count, shake


def formula(c: int, f: int, ratio: int = 4, taps: int = 27, **off: Any) -> int:
    """The number of parameters, from the equations alone."""
    b = min(f, max(4, f // ratio))
    r = max(4, b // 4)
    parts = {
        "projections": c * b + b + (f * b if b < f else 0),
        "mixing": taps * b,
        "gates": 4 * f * b + 4 * f,
        "layer_norm": 2 * b,
        "squeeze_excitation": b * r + r + r * b + b,
        "peephole": 3 * f,
    }
    return sum(size for part, size in parts.items() if off.get(part, True))


@pytest.mark.parametrize(("c", "f", "ratio"), [(7, 32, 4), (3, 64, 2), (3, 64, 8), (2, 8, 1), (2, 8, 4)])
def test_parameters_of_the_core(c: int, f: int, ratio: int):
    layer = build("faconvlstm", c, f, bottleneck_ratio=ratio, attention="none")
    assert count(layer) == formula(c, f, ratio)


def test_the_core_is_a_twentieth_of_convlstm():
    assert formula(7, 32) == count(build("faconvlstm", 7, 32, attention="none")) == 1876
    assert count(build("convlstm", 7, 32)) == 45056


@pytest.mark.parametrize("part", ["layer_norm", "squeeze_excitation", "peephole"])
def test_a_part_that_is_off_has_no_parameters(part: str):
    layer = build("faconvlstm", 3, 16, attention="none", **{part: False})
    assert count(layer) == formula(3, 16, **{part: False})


@pytest.mark.parametrize(("attention", "width", "heads"), [("light", 8, 2), ("exact", 16, 4)])
def test_parameters_of_the_attention(attention: str, width: int, heads: int):
    f = 32
    layer = build("faconvlstm", 3, f, attention=attention)
    one_axis = 2 * f + 3 * f * width + width * f + f + f + 8 * heads
    assert count(layer) == formula(3, f) + 2 * one_axis


def test_only_the_last_of_a_stack_attends():
    stack = build("faconvlstm", 3, 16, depth=3)
    assert [layer.attention is not None for layer in stack.layers] == [False, False, True]


def test_branches_add_their_taps():
    one = build("faconvlstm", 3, 16, branches=[[3, 1]])
    two = build("faconvlstm", 3, 16, branches=[[3, 1], [5, 2]])
    assert count(two) - count(one) == 25 * 4


def test_one_step_by_the_equations():
    """One step without attention, written out pixel by pixel with other operations than the layer's."""
    layer = shake(build("faconvlstm", 2, 8, bottleneck_ratio=2, attention="none").double())
    x = torch.randn(1, 1, 2, 4, 5, dtype=torch.float64)
    before = layer.init_state(1, 4, 5, dtype=torch.float64)
    before = before._replace(hidden=torch.randn_like(before.hidden), cell=torch.randn_like(before.cell))
    hidden, after = layer(x, before)

    gates = layer.gates
    u = torch.einsum("bc,chw->bhw", gates.project_x.weight, x[0, 0]) + gates.project_x.bias[:, None, None]
    u = u + torch.einsum("bf,fhw->bhw", gates.project_h.weight, before.hidden[0])
    mixed = torch.zeros_like(u)
    for branch in gates.mixing.branches:
        reach = branch.dilation[0]
        padded = torch.nn.functional.pad(u, (reach,) * 4)
        for dy in range(3):
            for dx in range(3):
                piece = padded[:, dy * reach : dy * reach + 4, dx * reach : dx * reach + 5]
                mixed += branch.weight[:, 0, dy, dx, None, None] * piece
    centred = mixed - mixed.mean(0)
    normal = centred / (centred.square().mean(0) + 1e-5).sqrt()
    normal = normal * gates.norm.weight[:, None, None] + gates.norm.bias[:, None, None]
    v = normal * normal.sigmoid()
    squeezed = (gates.excitation.squeeze.weight @ v.mean((1, 2)) + gates.excitation.squeeze.bias).relu()
    v = (
        v
        * (gates.excitation.excite.weight @ squeezed + gates.excitation.excite.bias).sigmoid()[:, None, None]
    )
    z = torch.einsum("gb,bhw->ghw", gates.to_gates.weight, v) + gates.to_gates.bias[:, None, None]
    i, f, g, o = z[:8], z[8:16], z[16:24], z[24:]
    old = before.cell[0]
    i, f, o = i + layer.peephole[0] * old, f + layer.peephole[1] * old + 1, o + layer.peephole[2] * old
    cell = f.sigmoid() * old + i.sigmoid() * g.tanh()
    torch.testing.assert_close(after.cell[0], cell)
    torch.testing.assert_close(hidden[0, 0], o.sigmoid() * cell.tanh())


def test_dense_without_extras_is_convlstm():
    """The drop-in claim: the same weights give the same hidden maps; ConvLSTM's forget bias of 1 is here +1."""
    ours = build("faconvlstm", 3, 8, mixing="dense", attention="none", peephole=False).double()
    theirs = shake(build("convlstm", 3, 8).double())
    ours.gates.load_state_dict(theirs.gates.state_dict())
    with torch.no_grad():
        ours.gates.bias[8:16] -= 1
    x = torch.randn(2, 6, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], atol=1e-12, rtol=0)
    assert count(ours) == count(theirs)


def test_peepholes_of_zero_are_none():
    layer = build("faconvlstm", 2, 8).double()
    off = build("faconvlstm", 2, 8, peephole=False).double()
    off.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "peephole"})
    x = torch.randn(1, 6, 2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], off(x)[0], atol=1e-12, rtol=0)


def test_squeeze_excitation_of_one_is_none():
    layer = build("faconvlstm", 2, 8).double()
    off = build("faconvlstm", 2, 8, squeeze_excitation=False).double()
    off.load_state_dict({k: v for k, v in layer.state_dict().items() if "excitation" not in k})
    with torch.no_grad():
        layer.gates.excitation.excite.weight.zero_()
        layer.gates.excitation.excite.bias.fill_(60.0)  # sig(60) = 1 in float64
    x = torch.randn(1, 6, 2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], off(x)[0], atol=1e-12, rtol=0)


def test_attention_rarer_than_the_sequence_is_off():
    layer = shake(build("faconvlstm", 2, 8, attention_every=7))
    off = build("faconvlstm", 2, 8, attention="none")
    off.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("attention")})
    x = torch.randn(1, 7, 2, 5, 6)
    assert torch.equal(layer(x)[0][:, :6], off(x)[0][:, :6])
    assert not torch.allclose(layer(x)[0][:, 6], off(x)[0][:, 6])


def test_attention_starts_as_the_identity():
    layer = build("faconvlstm", 2, 8, attention_every=1)
    off = build("faconvlstm", 2, 8, attention="none")
    off.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("attention")})
    x = torch.randn(1, 4, 2, 5, 6)
    assert torch.equal(layer(x)[0], off(x)[0])


def test_attention_goes_by_the_absolute_step():
    layer = shake(build("faconvlstm", 2, 8, attention_every=4))
    _, state = layer(torch.randn(1, 6, 2, 5, 6))
    assert state.steps == 6
    calls: list[int] = []
    layer.attention.register_forward_hook(lambda *_: calls.append(1))
    _, state = layer(torch.randn(1, 1, 2, 5, 6), state)
    assert (state.steps, len(calls)) == (7, 0)
    _, state = layer(torch.randn(1, 1, 2, 5, 6), state)
    assert (state.steps, len(calls)) == (8, 1)


def reach(layer: FAConvLSTM, size: int = 15) -> Tensor:
    """Which pixels of H_1 feel a change of the middle pixel of X_1."""
    x = torch.randn(1, 1, 2, size, size, dtype=torch.float64)
    changed = x.clone()
    changed[..., size // 2, size // 2] += 1
    difference = (layer(x)[0] - layer(changed)[0])[0, 0].abs().amax(0)
    return difference > 1e-12


def test_reach_of_the_mixing_is_four_pixels():
    layer = shake(build("faconvlstm", 2, 8, squeeze_excitation=False).double())
    touched = reach(layer).nonzero()
    assert touched.min() == 7 - 4
    assert touched.max() == 7 + 4
    assert not reach(layer).all()


@pytest.mark.parametrize(
    "options",
    [
        {"squeeze_excitation": False, "attention_every": 1},
        {"squeeze_excitation": False, "attention_every": 1, "attention": "exact"},
        {"squeeze_excitation": True, "attention": "none"},
    ],
)
def test_attention_and_excitation_reach_everything(options: dict[str, Any]):
    assert reach(shake(build("faconvlstm", 2, 8, **options).double())).all()


def test_excitation_weighs_by_area():
    """A pixel of nearly no weight changes nothing in the excitation of the others."""
    weight = torch.ones(5, 6)
    weight[0] = 1e-30
    layer = shake(build("faconvlstm", 2, 8, attention="none", branches=[[1, 1]], area_weight=weight).double())
    x = torch.randn(1, 1, 2, 5, 6, dtype=torch.float64)
    changed = x.clone()
    changed[..., 0, :] += 5
    torch.testing.assert_close(layer(x)[0][..., 1:, :], layer(changed)[0][..., 1:, :], atol=1e-12, rtol=0)
    assert not torch.allclose(layer(x)[0][..., 0, :], layer(changed)[0][..., 0, :])


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_missing_points_are_not_read(path: str):
    """What stands at pixels of no weight reaches nothing, by no way and at no step."""
    weight = torch.ones(6, 7)
    weight[1:3, 2:6] = 0
    layer = shake(build("faconvlstm", 2, 8, attention_every=2, area_weight=weight, path=path).double())
    x = torch.randn(2, 6, 2, 6, 7, dtype=torch.float64)
    changed = x.clone()
    changed[..., 1:3, 2:6] += 5
    assert torch.equal(layer(x)[0], layer(changed)[0])
    seeing = shake(build("faconvlstm", 2, 8, attention_every=2, area_weight=weight + 1, path=path).double())
    assert not torch.allclose(seeing(x)[0], seeing(changed)[0])


def test_equal_areas_are_no_areas():
    plain = shake(build("faconvlstm", 2, 8, attention_every=1, attention_tokens=3).double())
    for weight in (torch.ones(5), torch.full((5, 7), 0.3)):
        weighted = build(
            "faconvlstm", 2, 8, attention_every=1, attention_tokens=3, area_weight=weight.double()
        ).double()
        weighted.load_state_dict(plain.state_dict())
        assert weighted.fixed_grid
        x = torch.randn(1, 3, 2, 5, 7, dtype=torch.float64)
        torch.testing.assert_close(weighted(x)[0], plain(x)[0], atol=1e-10, rtol=0)


def test_hidden_is_bounded_without_attention():
    hidden, _ = build("faconvlstm", 2, 8, attention="none")(100 * torch.randn(1, 20, 2, 5, 6))
    assert hidden.abs().max() < 1


def test_forget_gate_starts_open():
    """With all weights zero the cell decays by sig(1) a step."""
    layer = build("faconvlstm", 2, 8, attention="none").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    state = layer.init_state(1, 3, 3, dtype=torch.float64)
    state = state._replace(cell=torch.ones_like(state.cell))
    _, state = layer(torch.randn(1, 2, 2, 3, 3, dtype=torch.float64), state)
    decay = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(state.cell, torch.full_like(state.cell, decay**2), atol=1e-12, rtol=0)
