"""What training minimises: masked, area-weighted reconstruction error, and the roughness of that error.

    reconstruction = sum w (x_hat - x)^2 / sum w          w = mask * cell area
    laplacian      = sum v |lap(x_hat - x)|^2 / sum v     v = w where all five points of the stencil exist

Fields are `(..., C, H, W)`. The Laplacian is the 5-point one in grid steps, without metric terms: it is a
penalty on roughness, not a physical quantity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.errors import ModelError


def loss_weight(mask: Tensor, area_weight: Tensor) -> Tensor:
    """Return the weight of every point `(C, H, W)`, summing to 1, from `mask (C, H, W)` and area `(H,)`.

    Raises:
        ModelError: when the shapes do not fit or no point carries weight.
    """
    if mask.dim() != 3 or area_weight.shape != mask.shape[1:2]:
        raise ModelError(
            f"The mask must have the shape (C, H, W) and the area weights (H,), received {tuple(mask.shape)}"
            f" and {tuple(area_weight.shape)}: give both on the grid of the data."
        )
    weight = mask.to(area_weight.dtype) * area_weight[:, None]
    if not bool((area_weight > 0).all()) or not bool(weight.sum() > 0):
        raise ModelError(
            "The mask and the area weights leave no point with a positive weight: check that the data are not"
            " missing everywhere and that cell areas are positive."
        )
    return weight / weight.sum()


def weighted_mean_square(field: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over all leading axes of `sum weight field^2`, for `field (..., C, H, W)`."""
    # where, and not a product alone: what lies under the mask may be anything, even not a number.
    square = torch.where(weight > 0, field, 0).square()
    return (square * weight).sum((-3, -2, -1)).mean()


def laplacian(field: Tensor, cyclic_longitude: bool = False) -> Tensor:
    """Return the 5-point Laplacian of `field (..., H, W)` in grid steps.

    Rows shrink by 2, and columns too unless longitude goes round: `(..., H-2, W-2)` or `(..., H-2, W)`.
    """
    north, south, west, east, centre = _stencil(field, cyclic_longitude)
    return north + south + west + east - 4 * centre


def stencil_weight(weight: Tensor, cyclic_longitude: bool = False) -> Tensor:
    """Return the weight of every 5-point stencil, summing to 1, on the grid of `laplacian`'s result.

    A stencil counts, with the weight of its centre, where all its five points do. Where no stencil is whole
    all weights are 0.

    Args:
        weight: `(C, H, W)`, that of `loss_weight`.
        cyclic_longitude: whether the last column is the first one's neighbour.
    """
    points = _stencil(weight, cyclic_longitude)
    whole = torch.stack([point > 0 for point in points]).all(0)
    kept = points[-1] * whole
    return kept / kept.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _stencil(field: Tensor, cyclic_longitude: bool) -> tuple[Tensor, ...]:
    """Return the north, south, west and east neighbours and the centre, all of one shape."""
    if cyclic_longitude:
        field = torch.cat([field[..., -1:], field, field[..., :1]], dim=-1)
    return (
        field[..., :-2, 1:-1],
        field[..., 2:, 1:-1],
        field[..., 1:-1, :-2],
        field[..., 1:-1, 2:],
        field[..., 1:-1, 1:-1],
    )
