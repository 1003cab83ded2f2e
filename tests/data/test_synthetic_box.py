"""The box: derivatives against fields whose derivative is known, and the coast."""

from __future__ import annotations

import numpy as np
import pytest

from data.sources.synthetic import VARIABLES, make
from data.sources.synthetic_box import Grid, land_mask

GRID = Grid.of_size(16, 24)


@pytest.fixture(scope="module")
def fields():
    return make(start="2001-01-01", end="2002-12-31", seed=0)[0]


class TestGrid:
    def test_derivatives_of_linear_fields(self):
        """One unit a degree is one unit in 111.2 km to the north, and in 111.2 km cos(latitude) to the east."""
        degree = 111_194.9
        north = GRID.latitude[:, None] * np.ones(24)
        np.testing.assert_allclose(GRID.northward(north), 1 / degree, rtol=1e-6)
        np.testing.assert_allclose(GRID.eastward(north), 0, atol=1e-15)
        east = GRID.longitude * np.ones((16, 1))
        np.testing.assert_allclose(GRID.northward(east), 0, atol=1e-15)
        expected = 1 / (degree * np.cos(np.deg2rad(north)))
        np.testing.assert_allclose(GRID.eastward(east), expected, rtol=1e-6)

    def test_coriolis_parameter(self):
        assert Grid.of_size(10, 8).coriolis[:, 0] == pytest.approx(
            1.4584e-4 * np.sin(np.deg2rad(np.arange(75, 29, -5)))
        )

    def test_bump_depends_on_distance_alone(self):
        """1 at the centre, exp(-1/2) at one radius: 9 degrees of latitude are 1000.75 km."""
        bump = GRID.bump(57, 0, 1000.754)
        row, column = 6, 16
        assert bump[row, column] == pytest.approx(1)
        for neighbour in (row - 3, row + 3):
            assert bump[neighbour, column] == pytest.approx(np.exp(-0.5), rel=1e-5)


class TestLandMask:
    def test_only_the_sea_surface_is_missing_and_always_the_same(self, fields):
        missing = fields.isnull()
        assert [name for name in VARIABLES if missing[name].any()] == ["sst"]
        assert (missing["sst"] == land_mask(GRID)).all()

    @pytest.mark.parametrize(
        ("latitude", "longitude", "land"),
        [(33, 0, True), (48, 3.75, True), (72, -41.25, True), (63, 15, True), (45, -30, False), (36, 15, False),
         (66, 0, False), (30, -60, False)],
    )  # fmt: skip
    def test_known_places(self, fields, latitude, longitude, land):
        sst = fields["sst"].sel(latitude=latitude, longitude=longitude)
        assert bool(sst.isnull().all()) == bool(sst.isnull().any()) == land

    def test_share_of_land_does_not_depend_on_the_grid(self):
        shares = [land_mask(Grid.of_size(*size)).mean() for size in ((16, 24), (31, 48), (91, 180))]
        assert np.ptp(shares) < 0.05
        assert 0.25 < shares[0] < 0.4

    def test_the_sea_does_not_freeze_through(self, fields):
        assert float(fields["sst"].min()) == pytest.approx(271.35)
