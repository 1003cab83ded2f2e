"""Coastlines: where they come from, that they are cut at the date line, and clipped to a box."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation import coastlines
from evaluation.coastlines import FILE, within


def length(lines: list[np.ndarray]) -> float:
    """In degrees of latitude and longitude alike."""
    return sum(float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines)


def test_the_file_is_small_and_says_where_it_comes_from() -> None:
    held = json.loads(FILE.read_text(encoding="utf-8"))
    assert FILE.stat().st_size < 100_000
    assert "Natural Earth" in held["source"]
    assert "Public domain" in held["licence"]
    assert held["type"] == "MultiLineString"


def test_no_line_leaves_the_globe_or_runs_round_it_or_along_the_date_line() -> None:
    segments, _ = coastlines._segments()
    assert np.abs(segments[..., 0]).max() == 180
    assert np.abs(segments[..., 1]).max() < 90
    assert np.abs(np.diff(segments[..., 0], axis=1)).max() < 10
    assert not (np.abs(segments[..., 0]) == 180).all(axis=1).any()


def test_iceland_is_a_ring_and_the_middle_of_the_pacific_is_empty() -> None:
    (ring,) = within(-26, -12, 62.8, 67)
    np.testing.assert_array_equal(ring[0], ring[-1])
    inside = (ring > [-25, 63]).all() and (ring < [-13, 67]).all()
    assert inside
    assert within(-140, -125, 30, 45) == []


def test_lines_end_at_the_border_of_the_box() -> None:
    west, east, south, north = -20.0, 14.5, 30.0, 60.0
    lines = within(west, east, south, north)
    points = np.concatenate(lines)
    assert (points >= [west - 1e-9, south - 1e-9]).all()
    assert (points <= [east + 1e-9, north + 1e-9]).all()
    for line in lines:
        for x, y in (line[0], line[-1]):
            at_border = np.isclose([x, x, y, y], [west, east, south, north]).any()
            assert at_border or np.array_equal(line[0], line[-1])


@pytest.mark.parametrize("middle", [-100.0, 0.0, 33.3, 179.0])
def test_two_halves_hold_what_the_whole_holds(middle: float) -> None:
    whole = length(within(-180, 180, -90, 90))
    halves = length(within(-180, middle, -90, 90)) + length(within(middle, 180, -90, 90))
    assert halves == pytest.approx(whole, rel=1e-9)
    assert whole > 4000


def test_a_box_across_the_date_line_joins_both_sides() -> None:
    lines = within(160, 200, 50, 75)
    east, west = within(160, 180, 50, 75), within(-180, -160, 50, 75)
    assert length(lines) == pytest.approx(length(east) + length(west), rel=1e-9)
    points = np.concatenate(lines)
    assert points[:, 0].min() >= 160
    assert points[:, 0].max() <= 200
    assert {bool(x > 180) for x in points[:, 0]} == {True, False}


def test_clipping_by_hand() -> None:
    segments = np.array(
        [[[-1, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 3]], [[5, 5], [6, 6]], [[0.2, 9], [0.2, -9]]]
    )
    follows = np.array([False, True, False, False])
    first, second = coastlines._clipped(segments, follows, np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(first, [[0, 0.5], [0.5, 0.5], [0.5, 1]])
    np.testing.assert_allclose(second, [[0.2, 1], [0.2, 0]])


def test_less_detail_is_fewer_points_near_the_same_line() -> None:
    box = -60.0, 30.0, 30.0, 75.0
    fine, coarse = within(*box), within(*box, detail=1.0)
    points = np.concatenate(coarse)
    assert len(points) < 0.85 * sum(map(len, fine))
    of_fine = {tuple(point) for point in np.concatenate(fine)}
    assert all(tuple(point) in of_fine for point in points)
    assert length(coarse) > 0.7 * length(fine)
