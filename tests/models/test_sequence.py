"""The fast path of FAConvLSTM against the plain one: the same numbers and the same derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.layers import build, cell, native, paths
from models.layers.faconvlstm import FAConvLSTM, FAConvLSTMState
from tests.models.conftest import holes, shake

C, F = 3, 8
HEIGHT, WIDTH = 9, 10


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "every step": {"attention_every": 1, "attention_tokens": 3},
    "exact": {"attention": "exact", "attention_every": 2},
    "no attention": {"attention": "none"},
    "no peephole": {"peephole": False},
    "no norm": {"layer_norm": False},
    "no excitation": {"squeeze_excitation": False},
    "no bottleneck": {"bottleneck_ratio": 1},
    "nothing": {
        "attention": "none",
        "peephole": False,
        "layer_norm": False,
        "squeeze_excitation": False,
        "branches": [[1, 1]],
    },
    "wide branches": {"branches": [[5, 1], [3, 3], [7, 2]]},
    "holes": {"area_weight": holes(HEIGHT, WIDTH), "attention_every": 2, "attention_tokens": 4},
    "holes, exact": {"area_weight": holes(HEIGHT, WIDTH), "attention_every": 2, "attention": "exact"},
    "latitude": {"area_weight": torch.linspace(0.5, 1.5, HEIGHT), "attention_every": 2},
    "cylinder": {"pad_mode": "cylinder", "attention_every": 2, "attention_tokens": 5},
    "circular": {"pad_mode": "circular", "attention_every": 2},
}


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def _passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything by the compiled passes, where there are any, and by torch's operations."""
    if request.param == "torch":
        monkeypatch.setenv(native.SWITCH, "0")
    elif native.passes(torch.float64, 1) is None:
        pytest.skip("there are no compiled passes here")


def pair(channels: int = F, **options: Any) -> tuple[FAConvLSTM, FAConvLSTM]:
    """A layer on the fast path and the same on the plain one, in float64, away from its start."""
    fast = shake(build("faconvlstm", C, channels, path="fast", **options).double())
    plain = build("faconvlstm", C, channels, path="plain", **options).double()
    plain.load_state_dict(fast.state_dict())
    return fast, plain


def some_state(batch: int, height: int, width: int, steps: int) -> FAConvLSTMState:
    hidden, cell_ = torch.randn(2, batch, F, height, width, dtype=torch.float64)
    return FAConvLSTMState(hidden.requires_grad_(), cell_.requires_grad_(), steps)


def results(layer: FAConvLSTM, x: Tensor, state: FAConvLSTMState | None) -> list[Tensor]:
    """Hidden maps and last state, then the derivatives of a random sum of them by everything."""
    hidden, after = layer(x, state)
    outputs = [hidden, after.hidden, after.cell]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in outputs]
    inputs = [x, *layer.parameters(), *([] if state is None else [state.hidden, state.cell])]
    found = torch.autograd.grad(outputs, inputs, weights, allow_unused=True)
    assert after.steps == x.shape[1] + (0 if state is None else state.steps)
    return [*outputs, *(torch.zeros(()) if part is None else part for part in found)]


def assert_equal(options: dict[str, Any], x: Tensor, state: FAConvLSTMState | None) -> None:
    fast, plain = pair(**options)
    for ours, theirs in zip(results(fast, x, state), results(plain, x, state), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11, check_dtype=False)


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_numbers_and_derivatives_are_those_of_the_plain_path(options: dict[str, Any]):
    x = torch.randn(3, 5, C, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    assert_equal(options, x, some_state(3, HEIGHT, WIDTH, steps=3))


@pytest.mark.parametrize("shape", [(1, 1, 9, 10), (1, 8, 1, 1), (2, 4, 1, 7), (4, 4, 13, 2), (2, 1, 5, 5)])
def test_any_batch_length_and_grid(shape: tuple[int, ...]):
    batch, length, height, width = shape
    x = torch.randn(batch, length, C, height, width, dtype=torch.float64, requires_grad=True)
    assert_equal({"attention_tokens": 3}, x, None)


@pytest.mark.parametrize("channels", [6, 12, 20, 36, 40, 64])
def test_rows_that_fill_vectors_and_rows_that_do_not(channels: int):
    x = torch.randn(2, 3, C, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    assert_equal({"channels": channels, "attention_every": 2}, x, None)


@pytest.mark.parametrize("rows", [1, 7, 90, 200, 10**6])
def test_pieces_of_any_size(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cell, "PIECE_BYTES", rows * 4 * F * 8)
    x = torch.randn(3, 4, C, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    assert_equal({}, x, None)


def test_pieces_cover_every_pixel_once():
    for batch, pixels, wanted in ((3, 10, 4), (5, 10, 25), (1, 1, 1), (2, 7, 7), (4, 6, 1000)):
        seen = torch.zeros(batch, pixels, dtype=torch.int64)
        for piece in cell.pieces(batch, pixels, cell.PIECE_BYTES // wanted):
            seen[piece] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("options", [{"attention_every": 1, "attention_tokens": 2}, {"layer_norm": False}])
def test_gradcheck(options: dict[str, Any]):
    layer = shake(FAConvLSTM(1, 4, path="fast", branches=[[3, 1]], **options).double())
    x = torch.randn(1, 2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        for name, parameter in zip(names, parameters, strict=True):
            _replace(layer, name, parameter)
        hidden, state = layer(x)
        return torch.cat([hidden.flatten(), state.cell.flatten()])

    parameters = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]
    # Along random directions: as sharp, and a tenth of the time of every element by itself.
    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def _replace(layer: nn.Module, name: str, value: Tensor) -> None:
    *path, last = name.split(".")
    module = layer.get_submodule(".".join(path))
    module._parameters.pop(last, None)
    setattr(module, last, value)


def test_float32_differs_by_rounding():
    fast, plain = (layer.float() for layer in pair(attention_every=2))
    x = torch.randn(2, 8, C, HEIGHT, WIDTH, requires_grad=True)
    for ours, theirs in zip(results(fast, x, None), results(plain, x, None), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def test_what_needs_no_derivative_gets_none():
    fast, plain = pair()
    x = torch.randn(2, 5, C, HEIGHT, WIDTH, dtype=torch.float64)
    for layer in (fast, plain):
        layer.requires_grad_(False)
        layer.peephole.requires_grad_(True)
        layer.attention.rows.query.weight.requires_grad_(True)
        layer(x)[0].square().sum().backward()
    assert {name for name, parameter in fast.named_parameters() if parameter.grad is not None} == {
        "peephole",
        "attention.rows.query.weight",
    }
    torch.testing.assert_close(fast.peephole.grad, plain.peephole.grad)
    torch.testing.assert_close(fast.attention.rows.query.weight.grad, plain.attention.rows.query.weight.grad)


def test_a_derivative_by_the_last_cell_alone():
    fast, plain = pair()
    x = torch.randn(2, 4, C, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    parts = [torch.autograd.grad(layer(x)[1].cell.sum(), x)[0] for layer in (fast, plain)]
    torch.testing.assert_close(*parts)


def test_backward_twice_gives_the_same_and_leaves_the_outputs():
    fast, _ = pair(attention_every=2)
    x = torch.randn(2, 4, C, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    hidden, _ = fast(x)
    before = hidden.detach().clone()
    first = torch.autograd.grad(hidden.square().sum(), x, retain_graph=True)[0]
    second = torch.autograd.grad(hidden.square().sum(), x)[0]
    assert torch.equal(first, second)
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("name", ["faconvlstm", "faminconv"])
@pytest.mark.parametrize(
    "options", [{}, {"layer_norm": False}, {"squeeze_excitation": False}, {"bottleneck_ratio": 1}]
)
def test_what_needs_no_derivative_gives_the_same(name: str, options: dict[str, Any]):
    layer = shake(build(name, C, F, attention_every=2, **options).double())
    x = torch.randn(2, 5, C, HEIGHT, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        quick = layer(x)[0]
    torch.testing.assert_close(quick, layer(x)[0].detach(), atol=1e-12, rtol=1e-12)


def test_results_survive_further_calls():
    """The memory of one call is not used again while something of it is held."""
    fast = FAConvLSTM(C, 32, path="fast")
    x = torch.randn(2, 4, C, 40, 40)
    with torch.no_grad():
        last = fast(x)[1].hidden
        kept = last.clone()
        for _ in range(3):
            fast(x + 1)
    assert torch.equal(last, kept)


def test_steps_in_the_open_and_sequences_mix():
    fast, plain = pair(attention_every=3)
    x = torch.randn(2, 7, C, HEIGHT, WIDTH, dtype=torch.float64)
    whole, _ = plain(x)
    first, state = fast(x[:, :2])
    second, state = fast.step(x[:, 2], state)
    third, _ = fast(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second[:, None], third], 1), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mixing": "dense"}, "mixing is dense or gate_norm is on"),
        ({"gate_norm": True}, "mixing is dense or gate_norm is on"),
    ],
)
def test_where_fast_cannot_be_it_says_so(options: dict[str, Any], why: str):
    x = torch.randn(1, 2, C, 5, 5)
    with pytest.raises(ModelError, match=why):
        build("faconvlstm", C, F, path="fast", **options)(x)
    assert build("faconvlstm", C, F, **options)(x)[0].shape == (1, 2, F, 5, 5)


# torch's own forward-mode derivatives do so on their first use.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_where_fast_cannot_be_auto_takes_the_plain_path():
    layer = build("faconvlstm", C, F)
    x = torch.randn(1, 2, C, 5, 5)
    plain = build("faconvlstm", C, F, path="plain")
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.bfloat16()(x.bfloat16())[0], plain.bfloat16()(x.bfloat16())[0])
    layer.float()
    _, tangent = torch.func.jvp(lambda x: layer(x)[0], (x,), (torch.ones_like(x),))
    assert torch.isfinite(tangent).all()
    mapped = torch.func.vmap(lambda x: layer(x)[0])(x[None])
    torch.testing.assert_close(mapped[0], layer(x)[0])
    assert paths.obstacle(layer, x, None) is None


def test_the_plain_path_has_derivatives_of_derivatives():
    layer = shake(FAConvLSTM(1, 4, path="plain", branches=[[3, 1]], attention_every=1).double())
    x = torch.randn(1, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_hooks_are_called():
    layer = build("faconvlstm", C, F, attention_every=2)
    calls: list[int] = []
    layer.attention.register_forward_hook(lambda *_: calls.append(1))
    layer(torch.randn(1, 4, C, 5, 5))
    assert len(calls) == 2


def test_autocast_leaves_the_fast_path_in_full_precision():
    layer = build("faconvlstm", C, F, path="fast")
    x = torch.randn(1, 4, C, 5, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, _ = layer(x)
        within = torch.autograd.grad(hidden.sum(), x)[0]
    expected = layer(x)[0]
    assert torch.equal(hidden, expected)
    assert torch.equal(within, torch.autograd.grad(expected.sum(), x)[0])
