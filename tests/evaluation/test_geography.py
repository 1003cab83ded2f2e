"""The domain of a map: from west to east without a break, and as wide on the page as on the ground."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import svg
from evaluation.geography import MOST_CELLS, Domain, ground, round_step
from evaluation.hatching import slanting

LATITUDE = np.array([60.0, 50.0, 40.0])


def test_a_grid_that_passes_the_date_line_is_put_together() -> None:
    domain = Domain.of(LATITUDE, np.array([-180.0, -170.0, 160.0, 170.0]))
    assert domain.longitude.tolist() == [160, 170, 180, 190]
    assert domain.columns.tolist() == [2, 3, 0, 1]
    assert domain.words() == "40° N to 60° N, 160° E to 170° W"
    values = np.arange(12.0).reshape(3, 4)
    assert domain.coarse(values)[2][0].tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize(
    "longitude",
    [np.arange(-20, 15, 1.5), np.arange(-180, 180, 2.5), np.array([-10.0, 3, 4, 9]), np.array([5.0])],
)
def test_other_grids_stay_as_they_are(longitude: np.ndarray) -> None:
    domain = Domain.of(LATITUDE, longitude)
    assert domain.longitude.tolist() == longitude.tolist()
    west, east, south, north = domain.box
    assert east > west
    assert north > south


def test_a_square_on_the_ground_is_a_square_on_the_page() -> None:
    domain = Domain.of(np.array([61.0, 59.0]), np.array([0.0, 4.0]))  # at 60 degrees a degree is half as long
    assert domain.height(100) == 100


def test_fine_grids_are_averaged_in_blocks() -> None:
    rows, columns = 2 * MOST_CELLS, 3
    values = np.arange(rows * columns, dtype=float).reshape(rows, columns)
    values[0, 1] = np.nan
    domain = Domain.of(np.linspace(60, 30, rows), np.array([0.0, 1, 2]))
    latitude, longitude, coarse = domain.coarse(values)
    assert coarse.shape == (MOST_CELLS, 3) == (len(latitude), len(longitude))
    assert coarse[1].tolist() == values[2:4].mean(axis=0).tolist()
    assert np.isnan(coarse[0]).tolist() == [False, True, False]


def test_coasts_are_drawn_once_and_only_where_there_are_any() -> None:
    def body(domain: Domain) -> str:
        with svg.styled():
            fig = svg.figure(148, 100)
            ground(fig.add_axes((0, 0, 1, 1)), domain, 148)
            return svg.draw(fig, "map", "map").body

    europe = body(Domain.of(np.linspace(60, 30, 21), np.linspace(-20, 14.5, 24)))
    ocean = body(Domain.of(np.linspace(45, 30, 21), np.linspace(-140, -125, 24)))
    point = body(Domain.of(np.array([50.0]), np.array([0.0])))
    assert (europe.count("#333333"), ocean.count("#333333"), point.count("#333333")) == (1, 0, 0)
    assert len(europe) < 8000


@pytest.mark.parametrize(("step", "expected"), [(0.9, 1), (1.1, 1.5), (11, 15), (0.03, 0.03), (9.7, 10)])
def test_round_steps(step: float, expected: float) -> None:
    assert round_step(step) == pytest.approx(expected)


def test_hatching_keeps_to_the_hatched_cells() -> None:
    domain = Domain.of(np.linspace(60, 40, 5), np.linspace(0, 40, 9))
    hatched = np.zeros((5, 9), dtype=bool)
    hatched[1:3, 2:6] = True  # 52.5 to 57.5 N between half cells: 47.5 to 57.5, 7.5 to 27.5 E
    lines = slanting(domain, hatched, 160, 80)
    assert len(lines) > 3
    assert (lines >= [7.5, 47.5]).all()
    assert (lines <= [27.5, 57.5]).all()
    down = lines[:, 1] - lines[:, 0]
    assert (down[:, 0] > 0).all()
    np.testing.assert_allclose(down[:, 1] / down[:, 0], -20 / 80 * 160 / 40)  # 45 degrees on the page


def test_hatching_of_nothing_and_of_everything() -> None:
    domain = Domain.of(np.linspace(60, 40, 5), np.linspace(0, 40, 9))
    assert len(slanting(domain, np.zeros((5, 9), dtype=bool), 160, 80)) == 0
    lines = slanting(domain, np.ones((5, 9), dtype=bool), 160, 80)
    assert lines[..., 0].min() == 0
    assert lines[..., 0].max() == 40
    assert lines[..., 1].min() >= 40
    assert lines[..., 1].max() <= 60


def test_hatching_follows_the_fields_own_order_of_columns() -> None:
    domain = Domain.of(np.linspace(60, 40, 5), np.array([-180.0, -170.0, 160.0, 170.0]))
    hatched = np.zeros((5, 4), dtype=bool)
    hatched[:, 0] = True  # 180
    assert np.abs(slanting(domain, hatched, 148, 100)[..., 0] - 180).max() <= 5
