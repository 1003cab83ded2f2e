"""PredFormer: its size, what each arrangement mixes, and the places of its tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.layers import build
from models.layers.predformer import PATTERNS, GatedTransformer, arrangement, places
from tests.models.conftest import count, shake

MOVING_DIGITS = {"width": 256, "patch": 8, "heads": 8, "head_width": 32, "mlp_ratio": 4}
WEATHER = {"width": 256, "patch": 4, "heads": 8, "head_width": 32, "mlp_ratio": 2}
SMALL = {"width": 8, "patch": 2, "heads": 2, "head_width": 4}


def test_parameters_of_a_transformer():
    transformer = GatedTransformer(32, 1, heads=1, head_width=32, mlp_ratio=2)
    assert count(transformer) == 10624


@pytest.mark.parametrize(
    ("variant", "blocks", "options", "expected"),
    [
        ("quadrupletTSST", 24, MOVING_DIGITS, 25_297_728),
        ("binaryTS", 24, MOVING_DIGITS, 25_297_728),
        ("tripletTST", 24, MOVING_DIGITS, 25_297_728),
        ("facTS", 24, MOVING_DIGITS, 25_286_464),
        ("full", 24, MOVING_DIGITS, 25_285_952),
        ("quadrupletTSST", 8, WEATHER, 5_276_432),
        ("tripletTST", 9, WEATHER, 5_934_864),
        ("facTS", 8, WEATHER, 5_273_360),
    ],
)
def test_parameters_of_the_published_models(
    variant: str, blocks: int, options: dict[str, Any], expected: int
):
    with torch.device("meta"):
        assert count(build("predformer", 1, 1, variant=variant, blocks=blocks, **options)) == expected


def test_arrangements():
    assert arrangement("facTS", 6) == [("T", 3), ("S", 3)]
    assert arrangement("full", 5) == [("A", 5)]
    assert arrangement("binaryST", 4) == [("S", 1), ("T", 1), ("S", 1), ("T", 1)]
    assert arrangement("quadrupletTSST", 4) == [("T", 1), ("S", 1), ("S", 1), ("T", 1)]


@pytest.mark.parametrize("variant", PATTERNS)
def test_every_arrangement_runs_and_uses_all_it_has(variant: str):
    layer = shake(build("predformer", 2, 4, variant=variant, blocks=12, **SMALL))
    hidden, state = layer(torch.randn(2, 3, 2, 5, 6))
    assert hidden.shape == (2, 3, 4, 5, 6)
    assert state is None
    hidden.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def reached(mixes: str) -> list[list[bool]]:
    """Which (step, token) changes with the second token of the second step, under one transformer."""
    layer = build("predformer", 1, 1, **SMALL)
    transformer = shake(GatedTransformer(8, 1, heads=2, head_width=4, mlp_ratio=1).double())
    tokens = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[0, 1, 1] += torch.randn(8)
    before, after = (layer._mix(mixes, transformer, given) for given in (tokens, changed))
    return ((before - after).abs().sum(-1)[0] > 0).tolist()


def test_what_each_kind_of_attention_mixes():
    here, column, row = [False, True, False, False], [False] * 4, [True] * 4
    assert reached("T") == [here, here, here]
    assert reached("S") == [column, row, column]
    assert reached("A") == [row, row, row]


def test_a_causal_one_does_not_see_the_future():
    x = torch.randn(1, 4, 2, 5, 6)
    changed = x.clone()
    changed[:, 2:] += 1
    for causal in (True, False):
        layer = shake(build("predformer", 2, 4, causal=causal, **SMALL))
        assert layer.causal is causal
        assert torch.equal(layer(x)[0][:, :2], layer(changed)[0][:, :2]) is causal


def test_one_token_by_the_equations():
    """Attention of a single token reads that token."""
    transformer = shake(GatedTransformer(4, 1, heads=2, head_width=3, mlp_ratio=2).double())
    attention, mlp = transformer.layers
    x = torch.randn(4, dtype=torch.float64)
    value = (attention.query_key_value.weight @ attention.norm(x))[12:]
    y = x + attention.project(value)
    z = mlp.norm(y)
    y = y + mlp.project(functional.silu(mlp.gate(z)) * mlp.value(z))
    torch.testing.assert_close(
        transformer(x.view(1, 1, 4)).flatten(), transformer.norm(y), atol=1e-12, rtol=0
    )


def test_attention_by_the_equations():
    transformer = shake(GatedTransformer(4, 1, heads=2, head_width=3, mlp_ratio=2).double())
    attention = transformer.layers[0]
    x = torch.randn(5, 4, dtype=torch.float64)
    query, key, value = attention.query_key_value(attention.norm(x)).view(5, 3, 2, 3).unbind(1)
    logits = torch.einsum("qhc,khc->hqk", query, key) / math.sqrt(3)
    mixed = torch.einsum("hqk,khc->qhc", logits.softmax(-1), value).flatten(1)
    torch.testing.assert_close(attention(x[None], False)[0], attention.project(mixed), atol=1e-12, rtol=1e-12)


def test_places_are_counted_step_by_step():
    code = places(torch.zeros(2, 3, 5, 6))
    assert code.shape == (15, 6)
    for place in (0, 7, 14):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            expected = [math.sin(angle), math.cos(angle)]
            assert code[place, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected, abs=1e-6)
    assert places(torch.zeros(1, 2, 2, 5)).shape == (4, 5)
    torch.testing.assert_close(places(torch.zeros(1, 2, 2, 1)).flatten(), torch.arange(4.0).sin())


def test_patches_come_back_where_they_were():
    """With transformers of no effect, token (i, j) decides patch (i, j) of the hidden map alone."""
    layer = build("predformer", 1, 1, **SMALL)
    layer._mix = lambda *given: given[-1]
    x = torch.randn(1, 1, 1, 6, 8)
    changed = x.clone()
    changed[..., 2, 5] += 1
    moved = (layer(x)[0] != layer(changed)[0])[0, 0, 0].nonzero()
    assert moved.tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "TSST"}, "variant must be one of full, facST, facTS"),
        ({"variant": "tripletTST", "blocks": 4}, "blocks must be a multiple of 3 for the variant tripletTST"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"variant": "full", "causal": True}, "The variant full cannot be causal"),
        ({"causal": 1}, "causal must be true or false"),
        ({"heads": 0}, "heads must be a whole number of at least 1"),
        ({"mlp_ratio": 0}, "mlp_ratio must be a whole number of at least 1"),
        ({"patch": 3}, "patch must be a power of two"),
        ({"pad_mode": "round"}, "pad_mode must be one of zeros, cylinder, circular"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build("predformer", 2, 4, **options)


@pytest.mark.parametrize("name", ["predformer", "simvpv2"])
def test_a_whole_window_has_neither_state_nor_steps(name: str):
    layer = build(name, 2, 4, width=8)
    assert layer.init_state(1, 6, 6) is None
    with pytest.raises(ModelError, match="takes no state, since it sees a whole window at once"):
        layer(torch.zeros(1, 12, 2, 6, 6), (torch.zeros(1),))
    with pytest.raises(ModelError, match="cannot go step by step"):
        layer.step(torch.zeros(1, 2, 6, 6), None)
