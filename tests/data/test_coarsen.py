from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import coarsen, grid
from data.errors import DataError


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 5),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    extra=st.integers(0, 2),
    north=st.sampled_from([90.0, 60.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_the_area_mean_is_preserved(
    size: int, rows: int, columns: int, extra: int, north: float, seed: int
) -> None:
    latitude = north - 2.5 * np.arange(size * rows + min(extra, size - 1))
    area = grid.area_weights(latitude)
    fields = (
        np.random.default_rng(seed).normal(280, 10, (2, len(latitude), size * columns)).astype(np.float32)
    )
    coarse = coarsen.block_mean(fields, area, size)
    inside = slice(0, size * rows)
    expected = np.einsum("tij,i->t", fields[:, inside].astype(np.float64), area[inside]) / (
        area[inside].sum() * size * columns
    )
    found = np.average(coarse.mean(axis=2, dtype=np.float64), axis=1, weights=coarsen.block_areas(area, size))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 101325.0, -3e-5])
def test_a_constant_field_is_itself(value: float) -> None:
    fields = np.full((2, 9, 12), value, np.float32)
    fields[0, 0, 0] = np.nan
    found = coarsen.block_mean(fields, grid.area_weights(np.linspace(90, 70, 9)), 3)
    np.testing.assert_array_equal(found, np.full((2, 3, 4), value, np.float32))


def test_against_a_block_by_hand() -> None:
    found = coarsen.block_mean(np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32), np.array([1.0, 3.0]), 2)
    assert found == pytest.approx((1 * 1 + 2 * 1 + 3 * 3 + 4 * 3) / 8)


def test_a_coast_is_the_mean_of_what_is_there_if_that_is_half_of_the_block() -> None:
    fields = np.array([[[1, 2, 1, np.nan], [np.nan, np.nan, np.nan, np.nan]]], np.float32)
    found = coarsen.block_mean(fields, np.array([1.0, 1.0]), 2)
    assert found[0, 0, 0] == 1.5
    assert np.isnan(found[0, 0, 1])


def test_blocks_of_one_cell_change_nothing() -> None:
    fields = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    fields[1, 2, 3] = np.nan
    np.testing.assert_array_equal(coarsen.block_mean(fields, np.ones(4), 1), fields)


def test_areas_at_a_pole_are_those_of_the_cells() -> None:
    latitude = np.linspace(90, -90, 721)
    areas = coarsen.block_areas(grid.area_weights(latitude), 3)
    cap, belt = 1 - np.sin(np.deg2rad(90 - 0.625)), 2 * np.sin(np.deg2rad(0.375))
    assert areas[0] / areas[120] == pytest.approx(cap / belt, rel=2e-4)
    assert areas.mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("width", "step", "size", "words"),
    [
        (8, 2.5, 9, "dataset.coarsen=9 is more than the grid of 6 x 8 cells"),
        (144, 2.5, 5, "does not divide the 144 cells round the globe"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(width: int, step: float, size: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        coarsen.check(np.arange(6.0), -180 + step * np.arange(width), size)
