"""SimVPv2: its size, its parts and its one length of window."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.errors import ModelError
from models.layers import build
from models.layers.simvpv2 import GatedAttention, GatedBlock, SpatialConvolution
from tests.models.conftest import count, shake


@pytest.mark.parametrize(
    ("width", "ratio", "expected"), [(16, 8, 7920), (32, 8, 26080), (16, 4, 5168), (32, 4, 16480)]
)
def test_parameters_of_a_block(width: int, ratio: int, expected: int):
    for norm in ("group", "batch"):
        assert count(GatedBlock(width, width, mlp_ratio=ratio, norm=norm, pad_mode="zeros")) == expected
    wider = GatedBlock(width, 5, mlp_ratio=ratio, norm="group", pad_mode="zeros")
    assert count(wider) == expected + 5 * width + 5


@pytest.mark.parametrize(
    ("hidden", "options", "expected"),
    [
        (64, {"length": 10, "width": 512, "spatial_layers": 4, "blocks": 8, "mlp_ratio": 8}, 46_769_665),
        (32, {"length": 12, "width": 256, "spatial_layers": 2, "blocks": 8, "mlp_ratio": 8}, 12_758_305),
    ],
)
def test_parameters_of_the_published_models(hidden: int, options: dict[str, Any], expected: int):
    readout = hidden + 1  # to one variable, which an encoder does without
    with torch.device("meta"):
        assert count(build("simvpv2", 1, hidden, **options)) + readout == expected


def test_reach_of_the_gated_attention():
    """5 x 5, then 7 x 7 of dilation 3: 2 + 9 pixels on either side."""
    attention = shake(GatedAttention(4, "zeros").double())
    x = torch.randn(1, 4, 27, 27, dtype=torch.float64)
    changed = x.clone()
    changed[..., 13, 13] += 1
    moved = (attention(x) - attention(changed)).abs().sum(1)[0] > 1e-12
    rows, columns = moved.nonzero().T
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [2, 24, 2, 24]


def test_the_gate_is_the_second_half():
    attention = shake(GatedAttention(3, "zeros").double())
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        attention.split.weight[3:].zero_()
        attention.split.bias[3:] = -1000
    shortcut = x + attention.after.bias[:, None, None]
    torch.testing.assert_close(attention(x), shortcut, atol=1e-12, rtol=0)


def test_layer_scale_of_zero_leaves_a_block_the_identity():
    block = GatedBlock(4, 4, mlp_ratio=2, norm="group", pad_mode="zeros")
    assert (block.scale == 1e-2).all()
    with torch.no_grad():
        block.scale.zero_()
    x = torch.randn(2, 4, 5, 6)
    assert torch.equal(block(x), x)


def test_convolutions_halve_and_double_the_grid():
    x = torch.randn(2, 3, 8, 6)
    assert SpatialConvolution(3, 4, pad_mode="zeros", halve=True)(x).shape == (2, 4, 4, 3)
    assert SpatialConvolution(3, 4, pad_mode="zeros", double=True)(x).shape == (2, 4, 16, 12)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_any_grid_under_any_depth_of_convolutions(layers: int):
    layer = build("simvpv2", 2, 4, length=3, width=8, spatial_layers=layers, blocks=2)
    assert layer(torch.randn(1, 3, 2, 7, 9))[0].shape == (1, 3, 4, 7, 9)


def test_every_step_sees_the_whole_window():
    layer = shake(build("simvpv2", 2, 4, length=4, width=8))
    x = torch.randn(1, 4, 2, 6, 6)
    changed = x.clone()
    changed[:, 3] += 1
    assert ((layer(x)[0] - layer(changed)[0]).flatten(2).abs().sum(-1) > 0).all()


def test_with_group_norm_an_example_counts_alike_in_any_batch():
    x = torch.randn(3, 4, 2, 6, 6, dtype=torch.float64)
    for norm, alike in (("group", True), ("batch", False)):
        layer = shake(build("simvpv2", 2, 4, length=4, width=8, norm=norm).double()).train()
        whole = layer(x)[0][0]
        assert torch.allclose(layer(x[:1])[0][0], whole, atol=1e-10) is alike


def test_another_length_is_refused():
    layer = build("simvpv2", 2, 4, length=12, width=8)
    with pytest.raises(ModelError, match="built for windows of 12 steps, received 5: build it with length=5"):
        layer(torch.zeros(1, 5, 2, 6, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length must be a whole number of at least 1"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"spatial_layers": 0}, "spatial_layers must be a whole number of at least 1"),
        ({"blocks": 1}, "blocks must be a whole number of at least 2"),
        ({"mlp_ratio": 0.5}, "mlp_ratio must be a whole number of at least 1"),
        ({"norm": "layer"}, "norm must be one of group, batch, received 'layer'"),
        ({"pad_mode": "round"}, "pad_mode must be one of zeros, cylinder, circular"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build("simvpv2", 2, 4, **options)
