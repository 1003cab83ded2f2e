from __future__ import annotations

import numpy as np
import pytest

from data import region
from data.errors import DataError

LATITUDE = np.arange(90, -90.1, -2.5)
GLOBE = np.arange(-180, 180, 2.5)


def taken(longitude: np.ndarray, found: region.Cut) -> np.ndarray:
    return np.concatenate([longitude[part] for part in found.columns])


def test_a_box_takes_the_cells_on_its_edges() -> None:
    found = region.cut(LATITUDE, GLOBE, [60, -20, 30, 15])
    assert (found.latitude[0], found.latitude[-1]) == (60, 30)
    assert (found.longitude[0], found.longitude[-1], len(found.longitude)) == (-20, 15, 15)
    np.testing.assert_array_equal(LATITUDE[found.rows], found.latitude)
    np.testing.assert_array_equal(taken(GLOBE, found), found.longitude)


@pytest.mark.parametrize("box", [[60, 150, 20, -120], [60, 150, 20, 240], [60, -210, 20, -120]])
def test_a_box_across_the_date_line_is_in_one_piece(box: list[float]) -> None:
    found = region.cut(LATITUDE, GLOBE, box)
    np.testing.assert_array_equal(found.longitude, np.arange(150, 240.1, 2.5))
    np.testing.assert_array_equal((taken(GLOBE, found) + 360) % 360, found.longitude)


@pytest.mark.parametrize(("west", "first"), [(0, 0), (-180, -180), (30, 30), (-31, -30)])
def test_the_whole_globe_from_any_meridian(west: float, first: float) -> None:
    found = region.cut(LATITUDE, GLOBE, [90, west, -90, west + 360])
    assert found.longitude[0] == first
    np.testing.assert_array_equal(np.diff(found.longitude), 2.5)
    assert sorted(taken(GLOBE, found)) == GLOBE.tolist()


def test_poles_and_a_single_point() -> None:
    assert region.cut(LATITUDE, GLOBE, [90, -180, 90, 180]).latitude.tolist() == [90]
    assert region.cut(LATITUDE, GLOBE, [-90, 0, -90, 0]).longitude.tolist() == [0]


def test_longitudes_of_float32_belong_to_the_box() -> None:
    longitude = np.arange(-20, 15.1, 0.1).astype(np.float32)
    found = region.cut(LATITUDE, longitude, [60, -19.9, 30, 14.9])
    assert len(found.longitude) == len(longitude) - 2


def test_without_a_box_a_record_across_the_date_line_is_put_together() -> None:
    longitude = np.concatenate([np.arange(-180, -119, 2.5), np.arange(150, 180, 2.5)])
    found = region.cut(LATITUDE, longitude, None)
    np.testing.assert_array_equal(found.longitude, np.arange(150, 240.1, 2.5))


@pytest.mark.parametrize(
    "longitude", [GLOBE, np.array([5.0]), np.array([5.0, 9.0]), np.array([-10.0, 0, 20, 31])]
)
def test_without_a_box_nothing_else_changes(longitude: np.ndarray) -> None:
    np.testing.assert_array_equal(region.cut(LATITUDE, longitude, None).longitude, longitude)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([30, -20, 60, 15], "must be .north,west,south,east."),
        ([30, -20, 15], "must be .north,west,south,east."),
        ([95, -20, 15, 0], "must be .north,west,south,east."),
        ([60, -700, 15, 0], "west and east must be longitudes"),
        ([60, -180, 15, 181], "west and east must be longitudes at most 360 degrees apart"),
        ([60.9, 1.1, 60.1, 1.2], "holds no point of the record's grid .latitude 60 to 30"),
        ([70, -20, 30, 15], "reaches beyond the record"),
        ([60, -40, 30, 15], "reaches beyond the record"),
        ([60, 10, 30, -10], "reaches beyond the record"),
    ],
)
def test_a_box_that_does_not_fit_is_refused(box: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        region.cut(np.arange(60, 29, -2.5), np.arange(-20, 15.1, 2.5), box)
