"""Clusters beside climate indices: known correlations, and noise that is not taken for a finding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from evaluation import svg, teleconnections
from evaluation.teleconnections import correlate, reduced_size
from tests.evaluation.chance import chain, red_noise
from tests.evaluation.test_maps import Model

DAYS = pd.date_range("2001-01-01 12:00", periods=1200, freq="D")


def daily(values: np.ndarray, days: pd.DatetimeIndex = DAYS) -> pd.Series:
    return pd.Series(values, days.normalize())


def test_an_index_that_is_the_cluster_correlates_fully() -> None:
    labels = chain(np.random.default_rng(0), len(DAYS), 3, 0.7)
    (found,) = correlate(labels, DAYS.to_numpy(), {"own": daily((labels == 1) * 5.0 - 2)}, 3)
    assert (found.name, found.step, found.n) == ("own", "daily", len(DAYS))
    assert found.correlation[1] == pytest.approx(1)
    assert found.told.all()
    assert (found.correlation[[0, 2]] < -0.3).all()
    assert found.effective[1] < len(DAYS)


def test_daily_correlations_by_hand_without_the_season() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=len(DAYS))
    values = rng.normal(size=len(DAYS)) + 0.5 * labels + 9 * DAYS.month.to_numpy()
    (found,) = correlate(labels, DAYS.to_numpy(), {"x": daily(values)}, 2)
    table = pd.DataFrame({"x": values, "y": labels == 0})
    table = table - table.groupby(DAYS.month).transform("mean")
    assert found.correlation[0] == pytest.approx(table["x"].corr(table["y"]))
    assert found.correlation[1] == pytest.approx(-found.correlation[0])
    assert found.told.all()


def test_a_common_season_is_no_correlation() -> None:
    rng = np.random.default_rng(2)
    labels = ((DAYS.month.isin([12, 1, 2])) ^ (rng.random(len(DAYS)) < 0.2)).astype(int)
    season = np.cos(2 * np.pi * DAYS.day_of_year.to_numpy() / 365.25) + 0.3 * rng.normal(size=len(DAYS))
    (found,) = correlate(labels, DAYS.to_numpy(), {"season": daily(season)}, 2)
    assert np.abs(found.correlation).max() < 0.1
    assert np.corrcoef(labels, season)[0, 1] > 0.3


def test_missing_values_and_missing_days_are_left_out() -> None:
    labels = chain(np.random.default_rng(3), len(DAYS), 2, 0.7)
    index = daily(labels.astype(float))
    index.iloc[10:30] = np.nan
    index = index.drop(index.index[50:57])
    (found,) = correlate(labels[100:], DAYS[100:].to_numpy(), {"x": index}, 2)
    assert found.n == len(DAYS) - 100
    (found,) = correlate(labels, DAYS.to_numpy(), {"x": index}, 2)
    assert found.n == len(DAYS) - 27
    assert found.correlation.tolist() == pytest.approx([-1, 1])


def test_monthly_indices_go_with_the_share_of_the_months_days() -> None:
    labels = chain(np.random.default_rng(4), len(DAYS), 2, 0.9)
    share = pd.Series(labels, DAYS).groupby(DAYS.to_period("M")).mean()
    index = pd.Series(share.to_numpy() + 20 * share.index.month.to_numpy(), share.index.to_timestamp())
    (found,) = correlate(labels, DAYS.to_numpy(), {"own": index}, 2)
    assert (found.step, found.n) == (
        "monthly",
        len(share) - 1,
    )  # the last month has 15 days only after cutting
    assert found.correlation[1] == pytest.approx(1)
    middle = pd.Series(index.to_numpy(), index.index + pd.Timedelta(days=14))
    (same,) = correlate(labels, DAYS.to_numpy(), {"own": middle}, 2)
    np.testing.assert_array_equal(same.correlation, found.correlation)


def test_an_index_of_other_years_or_without_values_comes_out_empty() -> None:
    labels = chain(np.random.default_rng(5), len(DAYS), 2, 0.9)
    other = pd.Series(1.0, pd.date_range("1950-01-01", periods=500))
    for index in (other, other.iloc[:0], other * np.nan, daily(np.ones(len(DAYS)))):
        (found,) = correlate(labels, DAYS.to_numpy(), {"x": index}, 3)
        assert np.isnan(found.correlation).all()
        assert not found.told.any()
        assert found.summary()["clusters"] == {}


def test_a_cluster_without_days_is_absent() -> None:
    labels = chain(np.random.default_rng(6), len(DAYS), 2, 0.8)
    (found,) = correlate(
        labels, DAYS.to_numpy(), {"x": daily(np.random.default_rng(7).normal(size=len(DAYS)))}, 3
    )
    assert set(found.summary()["clusters"]) == {"1", "2"}
    entry = found.summary()["clusters"]["1"]
    assert set(entry) == {"correlation", "effective_n", "p", "told"}
    assert isinstance(entry["told"], bool)


def test_the_reduced_size_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(8)
    first, second = (red_noise(rng, (20_000,), memory) for memory in (0.8, 0.5))
    follows = np.r_[False, np.ones(19_999, dtype=bool)]
    assert reduced_size(first, second, follows) == pytest.approx(20_000 * 0.6 / 1.4, rel=0.05)
    assert reduced_size(rng.normal(size=300), -np.tile([1.0, -1], 150), follows[:300]) <= 300
    assert reduced_size(first[:5], second[:5], np.zeros(5, dtype=bool)) == 5


def test_red_noise_is_told_from_zero_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(9)
    n, follows = 300, np.r_[False, np.ones(299, dtype=bool)]
    plain, reduced = [], []
    for _ in range(600):
        pair = red_noise(rng, (n, 2), np.array([0.8, 0.7]))
        first, second = (pair - pair.mean(axis=0)).T
        r = np.corrcoef(first, second)[0, 1]
        for size, held in ((n, plain), (reduced_size(first, second, follows), reduced)):
            statistic = abs(r) * np.sqrt((size - 2) / (1 - r**2))
            held.append(2 * student.sf(statistic, size - 2) < 0.05)
    assert np.mean(plain) > 0.2
    assert 0.025 < np.mean(reduced) < 0.085


def test_few_of_many_unrelated_clusters_are_told() -> None:
    rng = np.random.default_rng(10)
    found = [
        correlate(
            chain(rng, len(DAYS), 5, 0.8), DAYS.to_numpy(), {"x": daily(red_noise(rng, (len(DAYS),), 0.9))}, 5
        )[0]
        for _ in range(60)
    ]
    assert np.mean([held.told.any() for held in found]) < 0.13
    assert 0.02 < np.mean([held.p < 0.05 for held in found]) < 0.1


def test_the_picture_outlines_what_is_told() -> None:
    labels = chain(np.random.default_rng(11), len(DAYS), 2, 0.7)
    noise = daily(np.random.default_rng(12).normal(size=len(DAYS)))
    found = correlate(labels, DAYS.to_numpy(), {"own": daily(labels.astype(float)), "noise": noise}, 2)
    with svg.styled():
        drawn = teleconnections.picture(Model(labels), found)  # type: ignore[arg-type]
    assert drawn is not None
    drawing = drawn.groups[0].panels[0].drawing
    assert drawing.body.count("stroke-width: 2;") == 2
    assert drawing.alternative.endswith("own with cluster 1 −1.00; own with cluster 2 1.00")
    assert "own: 1\u202f200 days" in drawn.caption
    assert teleconnections.picture(Model(labels), ()) is None  # type: ignore[arg-type]
