"""Clusters beside published patterns: brought to our grid, correlated by area, matched one to one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from evaluation import patterns, svg
from evaluation.errors import EvaluationError
from evaluation.fields import Fields
from evaluation.patterns import compare, regrid
from tests.evaluation.chance import make_fields
from tests.evaluation.test_maps import Model


def published(
    values: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, name: str = "z500"
) -> xr.DataArray:
    """As the reader gives them."""
    names = [f"R{i}" for i in range(len(values))]
    coords = {"regime": names, "latitude": latitude, "longitude": longitude}
    return xr.DataArray(values, dims=("regime", "latitude", "longitude"), coords=coords, name=name)


@pytest.fixture
def fields() -> Fields:
    return make_fields(np.zeros((3, 2, 11, 14)), longitude=np.linspace(-20, 19, 14))


def smooth(latitude: np.ndarray, longitude: np.ndarray, count: int = 3) -> np.ndarray:
    """Waves that differ from regime to regime (regime, latitude, longitude)."""
    phase = np.deg2rad(latitude)[:, None] * 3 + np.deg2rad(longitude) * 4
    return np.stack([np.sin((1 + i / 2) * phase + i) for i in range(count)])


def test_a_linear_field_is_regridded_exactly_and_nothing_beyond_the_border() -> None:
    latitude, longitude = np.array([70.0, 60.0, 50.0]), np.array([-30.0, -10.0, 0.0, 10.0])
    field = published((2 * latitude[:, None] - 3 * longitude)[None], latitude, longitude)
    here, there = (
        np.array([71.0, 70.0, 57.5, 50.0, 49.0]),
        np.array([-31.0, -30.0, -20.0, -5.0, 3.7, 10.0, 11.0]),
    )
    values, _ = regrid(field, here, there)
    known = np.zeros((5, 7), dtype=bool)
    known[1:4, [1, 3, 4, 5]] = True  # 20 W lies in a gap of two steps
    np.testing.assert_allclose(values[0][known], (2 * here[:, None] - 3 * there)[known])
    assert np.isnan(values[0][~known]).all()


def test_the_grid_itself_comes_back() -> None:
    latitude, longitude = np.linspace(60, 30, 11), np.linspace(-20, 19, 14)
    field = published(smooth(latitude, longitude), latitude, longitude)
    values, overlap = regrid(field, latitude, longitude)
    np.testing.assert_allclose(values, field.values, atol=1e-12)
    assert overlap == 1


def test_the_date_line_is_no_border_and_a_gap_is_one() -> None:
    longitude = np.array([-180.0, -170.0, -160.0, 160.0, 170.0])
    latitude = np.array([50.0, 40.0])
    field = published(np.broadcast_to((longitude % 360), (1, 2, 5)).astype(float), latitude, longitude)
    values, _ = regrid(field, latitude, np.array([-175.0, 165.0, 175.0, 0.0]))
    np.testing.assert_allclose(values[0, 0, :3], [185, 165, 175])
    assert np.isnan(values[0, :, 3]).all()


def test_overlap_is_a_share_of_their_area() -> None:
    latitude, longitude = np.arange(80.0, 19, -1), np.arange(-80.0, 41, 1)
    field = published(smooth(latitude, longitude), latitude, longitude)
    _, overlap = regrid(field, np.linspace(60, 30, 21), np.linspace(-20, 14.5, 24))
    bands = np.sin(np.deg2rad([60.5, 29.5, 80.5, 19.5]))
    assert overlap == pytest.approx((bands[0] - bands[1]) / (bands[2] - bands[3]) * 35 / 121, rel=1e-3)


def test_clusters_find_their_own_pattern_in_any_units(fields: Fields) -> None:
    latitude, longitude = np.arange(90.0, 19, -2), np.arange(-60.0, 61, 2.5)
    field = published(smooth(latitude, longitude), latitude, longitude)
    ours, _ = regrid(field, fields.latitude, fields.longitude)
    means = np.full((4, 2, 11, 14), np.nan)
    means[:3, 0] = 9.80665 * ours[[2, 0, 1]] + 100
    found = compare(means, fields, field, "waves")
    assert found.best.tolist() == [2, 0, 1, -1]
    np.testing.assert_allclose(found.correlation[[0, 1, 2], [2, 0, 1]], 1)
    assert found.cells == 11 * 14
    summary = found.summary()
    assert summary["match"]["1"] == {"regime": "R2", "correlation": pytest.approx(1)}
    assert set(summary["correlation"]) == {"1", "2", "3"}
    assert list(summary["correlation"]["1"]) == ["R0", "R1", "R2"]


def test_correlation_is_weighted_by_area_and_centred(fields: Fields) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 11, 14))
    means = np.zeros((1, 2, 11, 14))
    means[0, 0] = ours
    found = compare(means, fields, published(theirs[None], fields.latitude, fields.longitude), "x")
    weight = np.broadcast_to(fields.area_weight[:, None], ours.shape).ravel()
    covariance = np.cov(ours.ravel(), theirs.ravel(), aweights=weight)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert found.correlation[0, 0] == pytest.approx(expected)


def test_missing_cells_on_either_side_are_left_out(fields: Fields) -> None:
    rng = np.random.default_rng(1)
    theirs = rng.normal(size=(1, 11, 14))
    means = np.zeros((1, 2, 11, 14))
    means[0, 0] = theirs[0]
    means[0, 0, 0] = -99  # not compared: missing there
    theirs[0, 0] = np.nan
    found = compare(means, fields, published(theirs, fields.latitude, fields.longitude), "x")
    assert found.cells == 10 * 14
    assert found.correlation[0, 0] == pytest.approx(1)


def test_more_regimes_than_clusters_and_opposites_are_no_match(fields: Fields) -> None:
    theirs = smooth(fields.latitude, fields.longitude, 5)
    means = np.zeros((2, 2, 11, 14))
    means[0, 0], means[1, 0] = theirs[3], -theirs[0]
    found = compare(means, fields, published(theirs[:1], fields.latitude, fields.longitude), "x")
    assert found.best[1] == -1
    more = compare(means, fields, published(theirs, fields.latitude, fields.longitude), "x")
    assert more.best[0] == 3


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ("z500", ("z", "t850"), "z"),
        ("z", ("z500", "t850"), "z500"),
        ("z500", ("z", "z500"), "z500"),
        ("z", ("z500", "z850"), None),
        ("z500", ("z850", "t850"), None),
        ("u10", ("u", "t850"), None),
    ],
)
def test_a_field_without_a_level_is_taken_for_theirs(
    fields: Fields, theirs: str, ours: tuple[str, ...], expected: str | None
) -> None:
    named = dataclasses.replace(fields, variables=ours)
    field = published(smooth(fields.latitude, fields.longitude), fields.latitude, fields.longitude, theirs)
    if expected is None:
        with pytest.raises(EvaluationError, match=f"are of {theirs}, of which the dataset has no one field"):
            compare(np.ones((1, 2, 11, 14)), named, field, "x")
    else:
        assert compare(np.ones((1, 2, 11, 14)), named, field, "x").variable == expected


def test_what_cannot_be_compared_is_refused(fields: Fields) -> None:
    means = np.ones((1, 2, 11, 14))
    other = published(smooth(fields.latitude, fields.longitude), fields.latitude, fields.longitude, "msl")
    with pytest.raises(
        EvaluationError, match=r"patterns mine are of msl, of which .* no one field: it has z500, t850"
    ):
        compare(means, fields, other, "mine")
    latitude = np.linspace(-30, -60, 11)
    with pytest.raises(
        EvaluationError, match="patterns mine share 0 cells with the dataset's grid, and 16 are needed"
    ):
        compare(
            means, fields, published(smooth(latitude, fields.longitude), latitude, fields.longitude), "mine"
        )


def test_the_picture_outlines_the_pairs_and_tells_them(fields: Fields) -> None:
    field = published(smooth(fields.latitude, fields.longitude), fields.latitude, fields.longitude)
    means = np.zeros((2, 2, 11, 14))
    means[:, 0] = field.values[[1, 2]]
    match = compare(means, fields, field, "waves & <more>")
    with svg.styled():
        drawn = patterns.picture(Model(np.array([0, 1])), match)  # type: ignore[arg-type]
    drawing = drawn.groups[0].panels[0].drawing
    assert "cluster 1 and R1 1.00; cluster 2 and R2 1.00" in drawing.alternative
    assert "over 154 cells, which cover 100% of the published domain" in drawn.caption
    assert drawing.body.count("stroke-width: 2;") == 2
    assert "waves &amp; &lt;more&gt;" in drawing.body


def test_published_labels_give_the_published_patterns(real_data: Path) -> None:
    """Composites of ERA-Interim by the published labels, on a grid that covers a fifth of the published domain."""
    folder = real_data / "regime_labels/dorrington_era5_extended"
    with xr.open_dataset(real_data / "erai_euroatlantic_daily/z500_ei_2000-2006.nc") as opened:
        z = opened["z"].load()
    labels = pd.read_csv(folder / "daily_regimes_DJF_1950-12_2006-12.csv", index_col="date", parse_dates=True)
    day = pd.DatetimeIndex(z["time"].values).normalize()
    cycle = z.groupby("time.dayofyear").mean().rolling(dayofyear=31, center=True, min_periods=1).mean()
    anomaly = (z.groupby("time.dayofyear") - cycle).values[:, None]
    regime = labels["ccr_k7"].reindex(day).to_numpy()
    means = np.stack([anomaly[regime == state].mean(axis=0) for state in range(7)])
    fields = make_fields(
        anomaly,
        latitude=z["latitude"].values.astype(float),
        longitude=z["longitude"].values.astype(float),
        variables=("z",),
    )
    with xr.open_dataset(folder / "CCR_K7/Z500_regime_composites.nc") as opened:
        field = opened["unknown"].load()
    theirs = published(field.values[:, ::-1], field["lat"].values[::-1], field["lon"].values)
    found = compare(means, fields, theirs, "dorrington")
    assert found.best.tolist() == list(range(7))
    assert (np.diagonal(found.correlation) > 0.93).all()
    assert found.overlap == pytest.approx(0.22, abs=0.01)
