"""Composites, spells, transitions and seasons of short sequences worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evaluation import regimes

LABELS = np.array([0, 0, 1, 1, 1, 0])
SEGMENT = np.array([0, 0, 0, 0, 1, 1])


def test_composites_are_means_and_missing_for_empty_clusters() -> None:
    x = np.arange(12.0).reshape(6, 2)
    means = regimes.composites(x, LABELS, 3)
    np.testing.assert_allclose(means[:2], [[4, 5], [6, 7]])
    assert np.isnan(means[2]).all()


def test_segments_break_at_gaps_and_at_borders_of_splits() -> None:
    days = pd.to_datetime(["2001-01-01", "2001-01-02", "2001-01-04", "2001-01-05", "2001-01-06"]).to_numpy()
    assert regimes.segments(days, np.array([0, 0, 0, 0, 2])).tolist() == [0, 0, 1, 1, 2]
    assert regimes.segments(days[:1], np.array([0])).tolist() == [0]


def test_spells_end_where_the_segment_ends() -> None:
    clusters, lengths = regimes.spells(LABELS, SEGMENT)
    assert (clusters.tolist(), lengths.tolist()) == ([0, 1, 1, 0], [2, 2, 1, 1])
    means = regimes.mean_spells(LABELS, SEGMENT, 3)
    assert means[:2].tolist() == [1.5, 1.5]
    assert np.isnan(means[2])


def test_transitions_are_shares_of_the_days_of_a_cluster() -> None:
    matrix = regimes.transition_matrix(LABELS, SEGMENT, 3)
    np.testing.assert_allclose(matrix[:2], [[0.5, 0.5, 0], [0.5, 0.5, 0]])
    assert np.isnan(matrix[2]).all()


def test_frequencies_by_period_and_month() -> None:
    np.testing.assert_allclose(regimes.frequency(LABELS, 3), [0.5, 0.5, 0])
    times = pd.to_datetime(
        ["2001-01-01", "2001-01-02", "2002-01-01", "2001-12-31", "2001-12-30", "2001-12-29"]
    )
    monthly = regimes.monthly_frequency(LABELS, times.to_numpy(), 2)
    np.testing.assert_allclose(monthly[[0, 11]], [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    assert np.isnan(monthly[1:11]).all()


def test_frequencies_by_year_and_which_years_are_whole() -> None:
    times = pd.date_range("2000-11-01", "2003-03-31", freq="D").to_numpy()
    labels = (pd.DatetimeIndex(times).month == 12).astype(int)
    years, days, share = regimes.yearly_frequency(labels, times, 3)
    assert years.tolist() == [2000, 2001, 2002, 2003]
    assert days.tolist() == [61, 365, 365, 90]
    np.testing.assert_allclose(share[:, 1], [31 / 61, 31 / 365, 31 / 365, 0])
    np.testing.assert_allclose(share.sum(axis=1), 1)
    assert regimes.whole_years(np.array([90, 365, 365, 366])).tolist() == [False, True, True, True]
    assert regimes.whole_years(np.array([90, 91, 90])).all()  # a record of winters
