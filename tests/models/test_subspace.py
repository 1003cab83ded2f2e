"""The subspace head: reduction, temporal attention, season."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.errors import ModelError
from models.subspace import SpatialReduction, SubspaceHead, TemporalAttention, cosine_basis
from tests.models.conftest import count, shake

OPTIONS: dict[str, Any] = {
    "grid": (6, 8),
    "season_features": 4,
    "reduction": "convolution",
    "reduced_channels": 3,
    "map_size": 16,
    "temporal_attention": True,
    "heads": 2,
    "causal": False,
    "seasonal_encoding": True,
}


def head(**changes: Any) -> SubspaceHead:
    options = {**OPTIONS, **changes}
    return shake(SubspaceHead(5, 4, area_weight=torch.linspace(0.5, 1.5, options["grid"][0]), **options))


def inputs(length: int = 6, grid: tuple[int, int] = (6, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, length, 5, *grid), torch.randn(2, length, 4)


@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("reduction", ["convolution", "mean"])
def test_shape(length: int, reduction: str):
    embedding = head(reduction=reduction)(*inputs(length))
    assert embedding.shape == (2, length, 4)
    assert torch.isfinite(embedding).all()


@pytest.mark.parametrize(
    ("grid", "convolutions", "size"),
    [
        ((21, 24), 1, (11, 12)),
        ((41, 41), 2, (11, 11)),
        ((121, 240), 3, (16, 16)),
        ((5, 40), 2, (2, 10)),
        ((1, 1), 1, (1, 1)),
    ],
)
def test_the_map_is_small_whatever_the_grid(grid: tuple[int, int], convolutions: int, size: tuple[int, int]):
    reduction = SpatialReduction(5, grid, 8, 16, "zeros")
    assert len(reduction.convolutions) == convolutions
    assert reduction.size == size
    assert reduction(torch.randn(2, 5, *grid)).shape == (2, 8 * size[0] * size[1])


def test_parts_that_are_off_have_no_parameters():
    season_is_fixed = head(seasonal_encoding=False)
    assert count(head()) == count(season_is_fixed)
    without = head(temporal_attention=False)
    assert count(head()) - count(without) == 2 * 4 + 4 * 4 * 4 + 4
    assert count(without) == (5 * 3 * 9 + 3) + (3 * 3 * 4) * 4 + 4
    assert count(head(reduction="mean", temporal_attention=False)) == 5 * 4 + 4


def test_mean_weighs_by_area():
    hidden, season = inputs()
    shifted = hidden.clone()
    shifted[..., 0, :] += 1
    shifted[..., 5, :] -= 0.5 / 1.5
    same = head(reduction="mean", temporal_attention=False)
    torch.testing.assert_close(same(hidden, season), same(shifted, season), atol=1e-5, rtol=0)
    assert not torch.allclose(head()(hidden, season), head()(shifted, season))


def test_where_things_are_matters():
    hidden, season = inputs()
    moved = hidden.roll(2, -1)
    assert not torch.allclose(head()(hidden, season), head()(moved, season))


def changes_at(module: SubspaceHead, step: int) -> list[bool]:
    """Which steps of the embedding feel a change of the hidden map at `step`."""
    hidden, season = inputs()
    changed = hidden.clone()
    changed[:, step] += 1
    difference = (module(hidden, season) - module(changed, season)).abs().amax((0, 2))
    return (difference > 0).tolist()


def test_both_sides_of_a_day_are_seen_unless_causal():
    assert changes_at(head(), 3) == [True] * 6
    assert changes_at(head(causal=True), 3) == [False] * 3 + [True] * 3
    assert changes_at(head(temporal_attention=False), 3) == [False] * 3 + [True] + [False] * 2


@pytest.mark.parametrize(("switch", "feels"), [(True, True), (False, False)])
def test_the_season_is_felt_where_it_is_on(switch: bool, feels: bool):
    module = head(seasonal_encoding=switch)
    hidden, season = inputs()
    same = torch.equal(module(hidden, season), module(hidden, season + 1))
    assert same is not feels


def test_temporal_attention_starts_as_the_identity():
    attention = TemporalAttention(4, 2, 4, causal=False)
    r = torch.randn(2, 6, 4)
    assert torch.equal(attention(r, torch.randn(2, 6, 4)), r)


def test_temporal_attention_does_not_know_the_order_without_season():
    """Position enters by the season alone, so a window may be cut anywhere."""
    attention = shake(TemporalAttention(4, 2, 0, causal=False).double())
    r, season = torch.randn(2, 6, 4).double(), torch.zeros(2, 6, 4)
    order = torch.randperm(6)
    torch.testing.assert_close(attention(r[:, order], season), attention(r, season)[:, order])


def test_heads_need_not_divide_the_embedding():
    assert shake(TemporalAttention(5, 4, 4, causal=False))(
        torch.randn(2, 3, 5), torch.randn(2, 3, 4)
    ).shape == (
        2,
        3,
        5,
    )


def test_cosine_basis_is_orthonormal():
    basis = cosine_basis(6, 6)
    torch.testing.assert_close(basis @ basis.T, torch.eye(6), atol=1e-6, rtol=0)
    assert torch.equal(cosine_basis(8, 6)[6:], basis[:2])


def test_every_parameter_is_used():
    module = head()
    module(*inputs()).square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reduction": "max"}, "head.reduction must be one of convolution, mean, received 'max'"),
        ({"heads": 0}, "head.heads must be a whole number of at least 1, received 0"),
        ({"map_size": 0}, "head.map_size must be"),
        ({"reduced_channels": -1}, "head.reduced_channels must be"),
        ({"causal": "no"}, "head.causal must be true or false, received 'no'"),
        ({"temporal_attention": 1}, "head.temporal_attention must be true or false"),
        ({"seasonal_encoding": None}, "head.seasonal_encoding must be true or false"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str):
    with pytest.raises(ModelError) as caught:
        head(**changes)
    assert message in str(caught.value)
