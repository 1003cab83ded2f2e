"""What every layer promises, whichever it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import ModelError
from models.layers import NAMES, RecurrentLayer, build, options_of
from tests.models.conftest import shake

C, F, H, W, LENGTH = 2, 8, 5, 7, 5
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("convlstm", {}),
    ("convlstm", {"peephole": "channel", "kernel_size": 5, "pad_mode": "cylinder"}),
    ("convlstm", {"depth": 2}),
    ("faconvlstm", {"attention_every": 2}),
    ("faconvlstm", {"attention_every": 2, "path": "plain"}),
    ("faconvlstm", {"attention": "exact", "attention_every": 3, "gate_norm": True, "pad_mode": "cylinder"}),
    ("faconvlstm", {"attention": "none", "mixing": "dense", "peephole": False}),
    ("faconvlstm", {"bottleneck_ratio": 1, "layer_norm": False, "squeeze_excitation": False}),
    ("faconvlstm", {"attention_tokens": 3, "attention_every": 1, "depth": 2}),
    ("faconvlstm", {"area_weight": torch.linspace(0.5, 1.5, H), "attention_every": 2}),
    ("convlstm", {"peephole": "full", "grid": (H, W)}),
    ("convgru", {}),
    ("convgru", {"kernel_size": 5, "pad_mode": "cylinder", "depth": 2}),
    ("minconvgru", {}),
    ("minconvgru", {"scan": "log", "depth": 2}),
    ("minconvgru", {"candidate": "tanh", "scan": "doubling", "kernel_size": 5, "pad_mode": "cylinder"}),
    ("minconvlstm", {}),
    ("minconvlstm", {"gates": "exponential", "candidate": "identity"}),
    ("minconvlstm", {"scan": "log", "gates": "exponential"}),
    ("faminconv", {"attention_every": 2}),
    ("faminconv", {"attention": "exact", "attention_every": 3, "candidate": "identity", "scan": "doubling"}),
    ("faminconv", {"attention": "none", "layer_norm": False, "squeeze_excitation": False}),
    ("faminconv", {"attention_every": 2, "candidate": "positive", "scan": "log", "bottleneck_ratio": 1}),
    ("faminconv", {"area_weight": torch.linspace(0.0, 1.5, H), "attention_every": 2, "depth": 2}),
    ("vmrnn", {"width": 8, "patch": 2, "blocks": [2]}),
    ("vmrnn", {"form": "D", "width": 4, "patch": 1, "blocks": [1, 2], "state_size": 3, "chunk": 7}),
    ("swinlstm", {"width": 8, "patch": 2, "blocks": [3], "heads": 2, "window": 2}),
    ("swinlstm", {"form": "D", "width": 4, "patch": 1, "blocks": [2, 1], "heads": 2, "pad_mode": "cylinder"}),
    ("predrnn", {"width": 6, "patch": 2, "kernel_size": 3}),
    ("predrnn", {"width": 6, "patch": 1, "layers": 3, "kernel_size": 3, "pad_mode": "cylinder"}),
    ("convs5", {"state_size": 6}),
    ("convs5", {"state_size": 8, "blocks": 2, "norm": "pre", "pad_mode": "cylinder"}),
    ("simvpv2", {"length": LENGTH, "width": 8}),
    ("predformer", {"width": 8, "patch": 2, "heads": 2, "head_width": 4}),
    (
        "predformer",
        {"width": 8, "patch": 2, "variant": "tripletTST", "blocks": 3, "heads": 2, "causal": True},
    ),
]
SMALL: dict[str, dict[str, Any]] = {
    name: options for name, options in reversed(SETTINGS) if "depth" not in options
}
"""The options of the first row of each layer, for tests by name."""


IDS = [f"{name}-{i}" for i, (name, _) in enumerate(SETTINGS)]
AMOUNT = {"vmrnn": 0.1}  # more, and its rounding errors grow tenfold a step
REACH: dict[str, dict[str, Any]] = {
    name: {"branches": [[3, 1], [3, 2]]} for name in ("faconvlstm", "faminconv")
}  # on a grid of two points nothing circular reaches farther


@pytest.fixture(params=SETTINGS, ids=IDS)
def layer(request: pytest.FixtureRequest) -> RecurrentLayer:
    name, options = request.param
    return shake(build(name, C, F, **options).double(), AMOUNT.get(name, 0.3)).eval()


def fields(batch: int = 2, length: int = LENGTH) -> Tensor:
    return torch.randn(batch, length, C, H, W, dtype=torch.float64)


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return (
        []
        if state is None or isinstance(state, int)
        else [tensor for part in state for tensor in tensors(part)]
    )


def detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    if state is None or isinstance(state, int):
        return state
    parts = [detached(part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def test_every_name_is_tried_here():
    assert {name for name, _ in SETTINGS} == set(NAMES)


@pytest.mark.parametrize("length", [1, 4])
def test_shape_and_type(layer: RecurrentLayer, length: int):
    length = LENGTH if layer.fixed_length else length
    hidden, state = layer(fields(2, length))
    assert hidden.shape == (2, length, F, H, W)
    assert hidden.dtype == torch.float64
    assert torch.isfinite(hidden).all()
    assert all(len(tensor) == 2 for tensor in tensors(state))
    assert bool(tensors(state)) is layer.streaming
    single, _ = layer.float()(fields(1, length).float())
    assert single.dtype == torch.float32


def test_mixed_precision(layer: RecurrentLayer):
    x = fields().float()
    exact, _ = layer.float()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, state = layer(x)
        hidden.float().square().mean().backward()
        if layer.streaming:
            stepped, _ = layer.step(x[:, 0], state)
            assert torch.isfinite(stepped).all()
    assert (hidden - exact).abs().mean() < 0.1 * exact.abs().mean()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_step_by_step_is_the_whole(layer: RecurrentLayer):
    x = fields()
    if not layer.streaming:
        with pytest.raises(ModelError, match="cannot go step by step"):
            layer.step(x[:, 0], None)
        return
    whole, end = layer(x)
    state = layer.init_state(2, H, W, dtype=torch.float64)
    for t in range(x.shape[1]):
        hidden, state = layer.step(x[:, t], state)
        torch.testing.assert_close(hidden, whole[:, t], atol=1e-10, rtol=0)
    for mine, theirs in zip(tensors(state), tensors(end), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


def test_two_halves_are_the_whole(layer: RecurrentLayer):
    if not layer.streaming:
        with pytest.raises(ModelError, match="takes no state"):
            layer(fields(), ())
        return
    x = fields(length=7)
    whole, _ = layer(x)
    first, state = layer(x[:, :3])
    second, _ = layer(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-10, rtol=0)


def test_the_past_sees_the_future_only_where_a_layer_says_so(layer: RecurrentLayer):
    x, k = fields(), 3
    changed = x.clone()
    changed[:, k:] += 1
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.equal(before[:, :k], after[:, :k]) is layer.causal
    assert not torch.allclose(before[:, k], after[:, k])


def test_examples_of_a_batch_do_not_see_each_other(layer: RecurrentLayer):
    x = fields(batch=3)
    whole, _ = layer(x)
    for b in range(3):
        torch.testing.assert_close(layer(x[b : b + 1])[0][0], whole[b], atol=1e-10, rtol=0)


def test_every_parameter_is_used(layer: RecurrentLayer):
    hidden, _ = layer(fields())
    hidden.square().sum().backward()
    unused = [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []


def test_no_state_is_kept_between_calls(layer: RecurrentLayer):
    x = fields()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_gradient_through_a_detached_state(layer: RecurrentLayer):
    x = fields()
    _, state = layer(x)
    hidden, _ = layer(x, detached(state))
    hidden.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_gradients_are_right(name: str, options: dict[str, Any]):
    tied = {"grid": (2, 2)} if "grid" in options else {}
    tied |= {"area_weight": torch.tensor([0.5, 1.5])} if "area_weight" in options else {}
    tied |= {"kernel_size": 3} if "kernel_size" in options else {}
    tied |= {"length": 3} if "length" in options else {}
    small = shake(build(name, 1, 2, **{**options, **tied, **REACH.get(name, {})})).double().eval()
    x = torch.randn(1, 3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: small(x)[0], (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convlstm", {"peephole": "channel"}),
        ("faconvlstm", {"attention_every": 2}),
        ("faconvlstm", {"attention_every": 2, "attention": "exact"}),
        ("faconvlstm", {"attention_every": 2, "attention_tokens": 5}),
        ("convgru", {}),
        ("minconvgru", {}),
        ("minconvlstm", {"scan": "log"}),
        ("faminconv", {"attention_every": 2}),
        ("faminconv", {"attention_every": 2, "attention_tokens": 5}),
        ("predrnn", {"width": 8, "patch": 1, "kernel_size": 3}),
        ("convs5", {"state_size": 8}),
    ],
)
def test_a_shift_in_longitude_is_followed(name: str, options: dict[str, Any]):
    x = torch.randn(2, 4, C, H, 10, dtype=torch.float64)
    turned = shake(build(name, C, F, pad_mode="cylinder", **options).double())
    # Tokens of two pixels: a shift by whole tokens is followed exactly.
    torch.testing.assert_close(turned(x.roll(4, -1))[0], turned(x)[0].roll(4, -1), atol=1e-10, rtol=0)
    flat = shake(build(name, C, F, pad_mode="zeros", **options).double())
    assert not torch.allclose(flat(x.roll(4, -1))[0], flat(x)[0].roll(4, -1))


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_of_both_axes_is_followed_where_a_layer_says_so(name: str):
    side = 20 if name == "simvpv2" else 8  # its kernels reach 9 points on a grid of half the size
    x = torch.randn(1, LENGTH, C, side, side, dtype=torch.float64)
    turned = shake(build(name, C, F, **{**SMALL[name], "pad_mode": "circular"}).double()).eval()
    followed = torch.allclose(
        turned(x.roll((1, 3), (-2, -1)))[0], turned(x)[0].roll((1, 3), (-2, -1)), atol=1e-10, rtol=0
    )
    assert followed is turned.equivariant


FLAGS = {  # causal, streaming, parallel in time, fixed length, equivariant
    "convlstm": (True, True, False, False, True),
    "convgru": (True, True, False, False, True),
    "faconvlstm": (True, True, False, False, True),
    "faminconv": (True, True, True, False, True),
    "minconvgru": (True, True, True, False, True),
    "minconvlstm": (True, True, True, False, True),
    "vmrnn": (True, True, False, False, False),
    "swinlstm": (True, True, False, False, False),
    "predrnn": (True, True, False, False, False),
    "convs5": (True, True, True, False, True),
    "simvpv2": (False, False, True, True, False),
    "predformer": (False, False, True, False, False),
}


@pytest.mark.parametrize("name", NAMES)
def test_flags(name: str):
    for layer in (build(name, C, F, **SMALL[name]), build(name, C, F, depth=2, **SMALL[name])):
        flags = layer.causal, layer.streaming, layer.parallel_time, layer.fixed_length, layer.equivariant
        assert flags == FLAGS[name]
        assert (layer.stride, layer.fixed_grid) == (1, False)


@pytest.mark.parametrize("name", NAMES)
def test_any_grid_and_length(name: str):
    layer = build(name, C, F, **SMALL[name])
    for height, width, length in ((3, 20, 2), (20, 3, 5), (1, 1, 1)):
        length = LENGTH if layer.fixed_length else length
        assert layer(torch.randn(1, length, C, height, width))[0].shape == (1, length, F, height, width)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("faconvlstn", 2, 8), "There is no layer 'faconvlstn': did you mean 'faconvlstm'?"),
        (
            lambda: build("convlstm", 2, 8, kernal_size=3),
            "The layer 'convlstm' has no option 'kernal_size': did you mean 'kernel_size'?",
        ),
        (lambda: build("convlstm", 2, 8, kernel_size=4), "kernel_size must be an odd whole number"),
        (lambda: build("convlstm", 2, 8, peephole="all"), "peephole must be one of null, channel, full"),
        (lambda: build("convlstm", 2, 8, peephole="full"), "needs the grid, received None: give grid=(H, W)"),
        (
            lambda: build("convlstm", 2, 8, peephole="full", grid=(5, 7))(torch.zeros(1, 2, 2, 6, 7)),
            "ConvLSTM was built for a grid of 5 x 7, received fields of 6 x 7",
        ),
        (lambda: build("convgru", 2, 8, kernel_size=2), "kernel_size must be an odd whole number"),
        (lambda: build("minconvgru", 2, 8, scan="prefix"), "scan must be one of linear, doubling, log"),
        (lambda: build("minconvgru", 2, 8, candidate="relu"), "candidate must be one of positive, tanh"),
        (
            lambda: build("faminconv", 2, 8, scan="log"),
            "scan 'log' takes logarithms, and candidate 'tanh' has negative values",
        ),
        (lambda: build("minconvlstm", 2, 8, gates="soft"), "gates must be one of sigmoid, exponential"),
        (
            lambda: build("minconvlstm", 2, 8, memory=1),
            "memory must be a number of at least 1.01, received 1",
        ),
        (lambda: build("convlstm", 2, 8, pad_mode="round"), "pad_mode must be one of zeros, cylinder"),
        (lambda: build("convlstm", 0, 8), "in_channels must be a whole number of at least 1, received 0"),
        (lambda: build("convlstm", 2, 8.5), "hidden_channels must be a whole number of at least 1"),
        (lambda: build("convlstm", 2, 8, depth=0), "depth must be a whole number of at least 1"),
        (lambda: build("convlstm", 2, 8)(torch.zeros(1, 2, 8, 8)), "takes non-empty fields"),
        (lambda: build("convlstm", 2, 8)(torch.zeros(1, 0, 2, 8, 8)), "takes non-empty fields"),
        (
            lambda: build("convlstm", 2, 8)(torch.zeros(1, 2, 3, 8, 8)),
            "built for 2 input channels, received 3",
        ),
        (lambda: build("faconvlstm", 2, 8, bottleneck_ratio=0), "bottleneck_ratio must be a whole number"),
        (lambda: build("faconvlstm", 2, 8, mixing="wide"), "mixing must be one of depthwise, dense"),
        (lambda: build("faconvlstm", 2, 8, attention="full"), "attention must be one of light, exact, none"),
        (lambda: build("faconvlstm", 2, 8, attention_every=0), "attention_every must be a whole number"),
        (lambda: build("faconvlstm", 2, 8, attention_tokens=0), "attention_tokens must be a whole number"),
        (lambda: build("faconvlstm", 2, 8, branches=[]), "branches must list at least one pair"),
        (lambda: build("faconvlstm", 2, 8, branches=[[3]]), "branches must list at least one pair"),
        (lambda: build("faconvlstm", 2, 8, branches=[[3, 0]]), "the dilation of a branch must be"),
        (lambda: build("faconvlstm", 2, 8, branches=[[2, 1]]), "kernel_size must be an odd whole number"),
        (lambda: build("faconvlstm", 2, 8, layer_norm=1), "layer_norm must be true or false"),
        (lambda: build("faconvlstm", 2, 8, area_weight=torch.zeros(5)), "area_weight must have the shape"),
        (
            lambda: build("faconvlstm", 2, 8, area_weight=torch.ones(5))(torch.zeros(1, 2, 2, 6, 8)),
            "FAConvLSTM was built for a grid of 5 x 1, received fields of 6 x 8",
        ),
        (
            lambda: build("faconvlstm", 2, 8, pad_mode="cylinder")(torch.zeros(1, 2, 2, 6, 3)),
            "pad_mode 'cylinder' needs at least 4 points on a circular axis",
        ),
    ],
)
def test_mistakes_are_told_in_one_sentence(call: Any, message: str):
    with pytest.raises(ModelError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_can_be_listed():
    assert options_of("convlstm") == ("kernel_size", "peephole", "grid", "pad_mode")
