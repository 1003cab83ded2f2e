"""The losses against answers known beforehand."""

from __future__ import annotations

import pytest
import torch

from models.errors import ModelError
from models.losses import laplacian, loss_weight, stencil_weight, weighted_mean_square


def grid(height: int = 5, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return y.double(), x.double()


def test_laplacian_of_a_linear_field_is_zero():
    y, x = grid()
    torch.testing.assert_close(laplacian(3 * x - 2 * y + 7), torch.zeros(3, 4).double())


def test_laplacian_of_a_parabola_is_its_curvature():
    y, x = grid()
    torch.testing.assert_close(laplacian(x**2 + 3 * y**2), torch.full((3, 4), 8.0).double())


def test_laplacian_of_a_wave_round_the_globe():
    """cos(2 pi x / 6) has the eigenvalue 2 cos(2 pi / 6) - 2 = -1, at the seam as elsewhere."""
    _, x = grid()
    wave = torch.cos(2 * torch.pi * x / 6)
    torch.testing.assert_close(laplacian(wave, cyclic_longitude=True), -wave[1:-1])
    assert laplacian(wave).shape == (3, 4)


def test_laplacian_keeps_leading_axes():
    field = torch.randn(2, 4, 3, 5, 6)
    torch.testing.assert_close(laplacian(field)[1, 2, 0], laplacian(field[1, 2, 0]))


def test_weight_sums_to_one_and_is_zero_under_the_mask():
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[1, 0] = False
    weight = loss_weight(mask, torch.tensor([1.0, 2.0, 3.0]))
    assert weight.sum().item() == pytest.approx(1)
    assert (weight[1, 0] == 0).all()
    assert (weight[0, 2, 0] / weight[0, 0, 0]).item() == pytest.approx(3)


def test_error_of_one_everywhere_is_one():
    weight = loss_weight(torch.ones(2, 3, 4), torch.rand(3) + 0.1)
    assert weighted_mean_square(torch.ones(5, 7, 2, 3, 4), weight).item() == pytest.approx(1)


def test_mean_square_by_hand():
    """Errors 1, 2 and a masked one, with areas 1 and 3: (1 + 3 * 4) / 4."""
    mask = torch.tensor([[[True, False], [True, False]]])
    weight = loss_weight(mask, torch.tensor([1.0, 3.0]))
    field = torch.tensor([[[1.0, torch.inf], [2.0, torch.nan]]])
    assert weighted_mean_square(field, weight).item() == pytest.approx(13 / 4)


def test_what_is_masked_has_no_gradient():
    mask = torch.tensor([[[True, False], [True, True]]])
    field = torch.randn(1, 2, 2, requires_grad=True)
    weighted_mean_square(field, loss_weight(mask, torch.ones(2))).backward()
    assert (field.grad != 0).tolist() == mask.tolist()


def test_a_stencil_needs_its_five_points():
    mask = torch.ones(1, 5, 6, dtype=torch.bool)
    mask[0, 1, 2] = False  # its own stencil and those of its neighbours fall away
    kept = stencil_weight(loss_weight(mask, torch.ones(5)))[0] > 0
    expected = torch.ones(3, 4, dtype=torch.bool)
    expected[0, 0] = expected[0, 1] = expected[0, 2] = expected[1, 1] = False
    assert torch.equal(kept, expected)
    assert stencil_weight(loss_weight(mask, torch.ones(5))).sum().item() == pytest.approx(1)


def test_a_stencil_goes_round_the_globe():
    mask = torch.ones(1, 3, 4, dtype=torch.bool)
    mask[0, 1, 0] = False
    kept = stencil_weight(loss_weight(mask, torch.ones(3)), cyclic_longitude=True)[0] > 0
    assert kept.tolist() == [[False, False, True, False]]


def test_no_whole_stencil_weighs_nothing():
    weight = stencil_weight(loss_weight(torch.ones(1, 2, 6), torch.ones(2)))
    assert weight.numel() == 0
    mask = torch.tensor([[[True, True, True], [True, False, True], [True, True, True]]])
    assert stencil_weight(loss_weight(mask, torch.ones(3))).sum() == 0


@pytest.mark.parametrize(
    ("mask", "area", "message"),
    [
        (torch.ones(3, 4), torch.ones(3), "must have the shape (C, H, W)"),
        (torch.ones(1, 3, 4), torch.ones(4), "received (1, 3, 4) and (4,)"),
        (torch.zeros(1, 3, 4), torch.ones(3), "leave no point with a positive weight"),
        (torch.ones(1, 3, 4), torch.zeros(3), "leave no point with a positive weight"),
    ],
)
def test_mistakes(mask: torch.Tensor, area: torch.Tensor, message: str):
    with pytest.raises(ModelError) as caught:
        loss_weight(mask, area)
    assert message in str(caught.value)
