"""Known labels by date, agreement indices, and the matched confusion table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.agreement import agreement, align_labels, confusion
from evaluation.errors import EvaluationError

DATES = pd.to_datetime(["2001-01-05 00:00", "2001-01-02 11:30", "2001-01-03 00:00", "1999-01-01 00:00"])
NOONS = pd.date_range("2001-01-01 12:00", periods=5, freq="D").to_numpy()


def test_labels_are_found_by_date_whatever_the_time_of_day() -> None:
    labels = pd.Series(["b", "a", None, "b"], DATES)
    codes, classes = align_labels(NOONS, labels)
    assert classes == ("a", "b")
    assert codes.tolist() == [-1, 0, -1, -1, 1]


def test_whole_numbers_keep_their_names() -> None:
    labels = pd.Series([3.0, np.nan, 0.0], NOONS[:3])
    codes, classes = align_labels(NOONS, labels)
    assert (classes, codes.tolist()) == (("0", "3"), [1, -1, 0, -1, -1])


def test_no_label_at_all() -> None:
    codes, classes = align_labels(NOONS, pd.Series([np.nan], NOONS[:1]))
    assert (codes.tolist(), classes) == ([-1] * 5, ())


def test_two_labels_for_a_date_are_refused() -> None:
    labels = pd.Series([1, 2], pd.DatetimeIndex(["2001-01-02 00:00", "2001-01-02 12:00"]))
    with pytest.raises(EvaluationError, match="more than one label for 2001-01-02"):
        align_labels(NOONS, labels)


def test_renamed_clusters_agree_perfectly() -> None:
    assert agreement(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 2])) == pytest.approx(
        {"ari": 1.0, "nmi": 1.0}
    )


def test_adjusted_rand_index_by_hand() -> None:
    # pairs together in both 1, in truth 2, in clusters 2, of 6; expected 2 * 2 / 6
    found = agreement(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]))
    together, expected, largest = 1, 2 * 1 / 6, (2 + 1) / 2
    assert found["ari"] == pytest.approx((together - expected) / (largest - expected))


def test_days_without_a_known_label_do_not_count() -> None:
    known = agreement(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    assert agreement(np.array([0, 1, 0, 1, 1, 1]), np.array([0, 1, 0, 1, -1, -1])) == known


@pytest.mark.parametrize("truth", [[-1, -1, -1], [1, 1, -1]])
def test_no_agreement_where_there_is_nothing_to_agree_on(truth: list[int]) -> None:
    assert agreement(np.array([0, 1, 2]), np.array(truth)) == {}


def test_confusion_is_matched_for_the_most_days() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, -1])
    labels = np.array([2, 2, 0, 0, 0, 2, 1])
    table = confusion(labels, truth, ("a", "b"), 3)
    assert table.clusters == (2, 0, 1)
    np.testing.assert_array_equal(table.counts, [[2, 1, 0], [1, 2, 0]])
    assert table.matched_share == pytest.approx(4 / 6)


def test_confusion_with_more_classes_than_clusters() -> None:
    table = confusion(np.array([0, 1, 1]), np.array([2, 0, 1]), ("a", "b", "c"), 2)
    assert sorted(table.clusters) == [0, 1]
    assert table.counts.sum() == 3
    assert table.matched_share == pytest.approx(2 / 3)
