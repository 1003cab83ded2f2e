from __future__ import annotations

import numpy as np
import pytest

from data import grid


def test_cell_areas_of_a_global_grid_with_poles_are_exact() -> None:
    latitude = np.linspace(90, -90, 181)
    weights = grid.area_weights(latitude)
    # by hand: the polar cap of half a degree against the belt of one degree on the equator
    cap, belt = 1 - np.sin(np.deg2rad(89.5)), 2 * np.sin(np.deg2rad(0.5))
    assert weights[0] / weights[90] == pytest.approx(cap / belt, rel=1e-12)
    assert weights.mean() == pytest.approx(1)


def test_area_mean_of_sin_squared_latitude_is_a_third() -> None:
    latitude = np.linspace(89.5, -89.5, 180)
    mean = np.average(np.sin(np.deg2rad(latitude)) ** 2, weights=grid.area_weights(latitude))
    assert mean == pytest.approx(1 / 3, abs=1e-4)


def test_weights_do_not_depend_on_direction() -> None:
    latitude = np.arange(60, 29, -1.5)
    np.testing.assert_allclose(grid.area_weights(latitude), grid.area_weights(latitude[::-1])[::-1])


def test_one_latitude_has_weight_one() -> None:
    assert grid.area_weights(np.array([50.0])) == pytest.approx([1])


@pytest.mark.parametrize(
    ("longitude", "cyclic"),
    [
        (np.arange(-180, 180, 2.5), True),
        (np.arange(-180, 177.5, 2.5), False),
        (np.arange(-80, 40, 2.5), False),
        (np.array([0.0]), False),
        (np.array([0.0, 180.0]), True),
        (np.array([0.0, 120.0]), False),
        (np.array([0.0, 100.0, 240.0]), False),  # uneven
        (np.arange(0, 360, 2.5) * 1.01, False),  # 3.6 degrees beyond
    ],
)
def test_cyclic(longitude: np.ndarray, cyclic: bool) -> None:
    assert grid.is_cyclic(longitude) is cyclic
