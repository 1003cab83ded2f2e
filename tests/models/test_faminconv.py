"""FA-MinConv: its size, how far and when it sees, what is masked, and that its compiled passes say the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.cost import parameters
from models.layers import build, fused, native, paths
from models.layers.axial import AxialAttention
from models.layers.faminconv import FAMinConv, FAMinConvState
from tests.models.conftest import holes, shake

HEIGHT, WIDTH = 9, 10


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "every step": {"attention_every": 1, "attention_tokens": 3, "candidate": "positive"},
    "exact": {"attention": "exact", "candidate": "identity"},
    "nothing": {"attention": "none", "layer_norm": False, "squeeze_excitation": False, "branches": [[1, 1]]},
    "no bottleneck": {"bottleneck_ratio": 1},
    "holes": {"area_weight": holes(HEIGHT, WIDTH), "attention_tokens": 4},
    "latitude, cylinder": {"area_weight": torch.linspace(0.5, 1.5, HEIGHT), "pad_mode": "cylinder"},
}


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


def results(layer: FAMinConv, x: Tensor, start: Tensor, *, whole: bool = True) -> list[Tensor]:
    """Hidden maps and the last, after three steps before; then the derivatives of a sum of them by everything."""
    hidden, state = layer(x, FAMinConvState(start, 3))
    assert state.steps == 3 + x.shape[1]
    outputs = [hidden, state.hidden] if whole else [state.hidden]
    weights = [torch.linspace(-1, 1, part.numel(), dtype=x.dtype).view(part.shape) for part in outputs]
    found = torch.autograd.grad(outputs, [x, start, *layer.parameters()], weights, allow_unused=True)
    return [hidden, state.hidden, *(torch.zeros(()) if part is None else part for part in found)]


def both_ways(layer: FAMinConv, x: Tensor, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The results of the compiled passes and of torch's operations."""
    start = torch.rand(len(x), layer.hidden_channels, *x.shape[-2:], dtype=x.dtype, requires_grad=True)
    if paths.obstacle_of_minimal(layer, x, None) is not None:
        pytest.skip("there are no compiled passes here")
    compiled = results(layer, x, start, **options)
    with pytest.MonkeyPatch.context() as context:
        context.setenv(native.SWITCH, "0")
        return compiled, results(layer, x, start, **options)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_compiled_or_not_it_is_the_same(
    options: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
):
    team = native.team
    monkeypatch.setattr(native, "team", lambda *work: {**team(*work), "threads": threads})
    layer = shake(build("faminconv", 3, 8, **{"attention_every": 2, **options}).double())
    x = torch.randn(3, 5, 3, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    for ours, theirs in zip(*both_ways(layer, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("channels", [3, 5, 13, 32, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_channels(channels: int, dtype: torch.dtype):
    layer = shake(build("faminconv", 3, channels, attention_every=2, attention_tokens=3), 0.1).to(dtype)
    x = torch.randn(2, 4, 3, 7, 8, dtype=dtype, requires_grad=True)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for ours, theirs in zip(*both_ways(layer, x), strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max().clamp(min=1e-2)


@pytest.mark.parametrize("shape", [(1, 1, 9, 10), (1, 8, 1, 1), (2, 4, 1, 7), (4, 4, 13, 2)])
def test_any_batch_length_and_grid(shape: tuple[int, ...]):
    batch, length, *grid = shape
    layer = shake(build("faminconv", 3, 8, attention_tokens=3).double())
    x = torch.randn(batch, length, 3, *grid, dtype=torch.float64, requires_grad=True)
    for ours, theirs in zip(*both_ways(layer, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


def test_the_last_map_alone_has_the_derivative_of_the_whole():
    layer = shake(build("faminconv", 3, 8, attention_every=2).double())
    x = torch.randn(2, 4, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    for ours, theirs in zip(*both_ways(layer, x, whole=False), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_told_in_its_example_and_from_its_step_on(value: float):
    layer = shake(build("faminconv", 3, 8, attention_every=2))
    x = torch.randn(2, 5, 3, 6, 7)
    x[0, 1, 2, 4, 5] = value
    hidden, _ = layer(x.requires_grad_())
    assert torch.isfinite(hidden[0, 0]).all()
    assert torch.isfinite(hidden[1]).all()
    assert not torch.isfinite(hidden[0, 1:]).flatten(1).all(1).any()
    hidden.sum().backward()
    assert not torch.isfinite(layer.to_gate.weight.grad).all()


def test_two_runs_give_the_same_bits():
    layer = shake(build("faminconv", 3, 32, attention_every=2))
    x = torch.randn(2, 5, 3, HEIGHT, 20, requires_grad=True)
    start = torch.zeros(2, 32, HEIGHT, 20, requires_grad=True)
    first, second = results(layer, x, start), results(layer, x, start)
    assert all(torch.equal(ours, again) for ours, again in zip(first, second, strict=True))


def test_where_the_compiled_passes_are_taken(monkeypatch: pytest.MonkeyPatch):
    taken: list[int] = []
    run = fused.Forward.run
    monkeypatch.setattr(fused.Forward, "run", lambda self: (taken.append(self.length), run(self))[1])
    layer, x = build("faminconv", 3, 8, attention_every=2), torch.randn(1, 3, 3, 5, 6)
    if paths.obstacle_of_minimal(layer, x, None) is not None:
        pytest.skip("there are no compiled passes here")
    layer(x)
    assert taken == [3]
    called: list[int] = []
    handle = layer.attention.register_forward_hook(lambda *_: called.append(1))
    layer(x)
    handle.remove()
    build("faminconv", 3, 8, scan="doubling")(x)
    torch.func.vmap(lambda x: layer(x)[0])(x[None])
    assert called == [1]
    assert taken == [3]
