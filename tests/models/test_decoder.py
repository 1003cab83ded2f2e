"""The decoder: patterns, their geometry, and what it may see."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from models.decoder import Decoder, orthonormal_rows
from models.errors import ModelError
from models.losses import loss_weight, weighted_mean_square
from tests.models.conftest import HEIGHT, VARIABLES, WIDTH, land_mask, shake

AREA = torch.linspace(0.5, 1.5, HEIGHT)
OPTIONS: dict[str, Any] = {
    "linear": "orthonormal",
    "map_size": 48,
    "convolution": True,
    "convolution_channels": 3,
}


def decoder(size: int = 4, **changes: Any) -> Decoder:
    return Decoder(size, mask=land_mask(), area_weight=AREA, **{**OPTIONS, **changes})


def test_shape_follows_the_leading_axes():
    module = decoder()
    for leading in ((), (3,), (2, 5)):
        assert module(torch.randn(*leading, 4)).shape == (*leading, VARIABLES, HEIGHT, WIDTH)


def test_it_sees_the_embedding_only():
    assert list(inspect.signature(Decoder.forward).parameters) == ["self", "embedding"]
    module = shake(decoder())
    z = torch.randn(2, 5, 4)
    torch.testing.assert_close(module(z)[1, 3], module(z[1, 3]))


def test_rows_become_orthonormal_and_keep_their_span():
    rows = torch.randn(4, 30, dtype=torch.float64)
    made = orthonormal_rows(rows)
    torch.testing.assert_close(made @ made.T, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(rows @ made.T @ made, rows)


def test_rows_that_are_not_finite_raise_nothing():
    rows = torch.randn(4, 30)
    rows[2, 3] = torch.nan
    assert not torch.isfinite(orthonormal_rows(rows)).all()


def test_distance_of_embeddings_is_distance_of_fields():
    """In the inner product of the loss, so that Euclidean k-means on embeddings is k-means on fields."""
    module = decoder(convolution=False)
    with torch.no_grad():
        module.linear.pattern.normal_()
    z = torch.randn(5, 4)
    weight = loss_weight(land_mask(), AREA)
    fields = module(z)
    for other in range(1, 5):
        distance = weighted_mean_square(fields[0] - fields[other], weight)
        torch.testing.assert_close(distance, (z[0] - z[other]).square().sum(), rtol=1e-4, atol=1e-5)


def test_free_patterns_are_not_orthonormal():
    module = decoder(convolution=False, linear="free")
    with torch.no_grad():
        module.linear.pattern.mul_(3)
    doubled = decoder(convolution=False)
    doubled.load_state_dict(module.state_dict())
    z = torch.randn(5, 4)
    assert not torch.allclose(module(z), doubled(z))


def test_linear_is_linear_and_detail_starts_at_zero():
    module = decoder()
    z, other = torch.randn(4), torch.randn(4)
    torch.testing.assert_close(module(z + other), module(z) + module(other) - module(torch.zeros(4)))
    shake(module)
    assert not torch.allclose(module(z + other), module(z) + module(other) - module(torch.zeros(4)))


def test_nothing_is_painted_where_there_are_no_data():
    fields = decoder(convolution=False)(torch.randn(3, 4))
    assert (fields[:, ~land_mask()] == 0).all()


def test_a_large_grid_has_bounded_patterns():
    mask = torch.ones(2, 60, 100, dtype=torch.bool)
    module = Decoder(4, mask=mask, area_weight=torch.ones(60), **{**OPTIONS, "map_size": 20})
    assert module.linear.pattern.shape == (4, 2 * 20 * 20)
    assert module(torch.randn(3, 4)).shape == (3, 2, 60, 100)


def test_every_parameter_is_used():
    module = shake(decoder())
    module(torch.randn(3, 4)).square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear": "pca"}, "decoder.linear must be one of orthonormal, free, received 'pca'"),
        ({"convolution": "yes"}, "decoder.convolution must be true or false"),
        ({"map_size": 0}, "decoder.map_size must be a whole number of at least 1"),
        ({"convolution_channels": 0}, "decoder.convolution_channels must be a whole number"),
        ({"size": 97}, "embedding_size must be at most the 90 points that have data, received 97"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str):
    with pytest.raises(ModelError) as caught:
        decoder(**changes)
    assert message in str(caught.value)
