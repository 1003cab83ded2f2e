"""Matched clusters by hand; clusters that come back and clusters that do not."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.clustering import Clustering, cluster
from evaluation.stability import Robustness, jaccard, match, robustness

DAYS = 3 * 365


def times(days: int = DAYS) -> np.ndarray:
    return np.datetime64("2001-01-01") + np.arange(days)


def separate(seed: int = 0, days: int = DAYS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 10 * np.eye(3)[np.random.default_rng(5).integers(0, 3, size=days)] + rng.normal(size=(days, 3))


def compared(embeddings: list[np.ndarray], k: int = 3, days: int = DAYS, **options: object) -> Robustness:
    train = np.arange(days) < 0.9 * days
    fitted = [cluster(one, train, k=k, n_init=5, seed=seed) for seed, one in enumerate(embeddings)]
    numbers = list(range(len(embeddings)))
    return robustness(embeddings, fitted, 0, train, times(days), seeds=numbers, **options)  # type: ignore[arg-type]


def test_matching_and_jaccard_by_hand() -> None:
    first = np.array([0, 0, 0, 1, 1, 2])
    second = np.array([2, 2, 1, 1, 1, 0])
    np.testing.assert_array_equal(match(first, second, 3), [2, 1, 0])
    np.testing.assert_allclose(jaccard(first, second, 3), [2 / 3, 2 / 3, 1])


def test_the_matching_is_one_to_one_and_the_best_overall() -> None:
    # cluster 0 has more days in 0 than in 1, but 1 has no other partner
    first = np.array([0] * 5 + [1] * 4)
    second = np.array([0] * 3 + [1] * 2 + [0] * 4)
    np.testing.assert_array_equal(match(first, second, 2), [1, 0])


def test_a_cluster_without_days_has_no_jaccard() -> None:
    found = jaccard(np.array([0, 0, 1]), np.array([1, 1, 0]), 3)
    np.testing.assert_array_equal(found, [1, 1, np.nan])


def test_separate_clusters_come_back_from_seeds_years_and_halves() -> None:
    found = compared([separate(0), separate(1), separate(2)]).as_dict()
    assert set(found) == {"seeds", "years", "halves", "jaccard"}
    assert set(found["years"]["values"]) == {"2001", "2002", "2003"}
    assert set(found["seeds"]["values"]) == {"0 and 1", "0 and 2", "1 and 2"}
    for kind in ("seeds", "years", "halves"):
        assert found[kind]["ari"] == pytest.approx(1)
        assert found[kind]["jaccard"] == pytest.approx({"1": 1, "2": 1, "3": 1})


def test_clusters_of_a_single_cloud_do_not_come_back() -> None:
    embeddings = [np.random.default_rng(seed).normal(size=(DAYS, 8)) for seed in (0, 0)]
    found = compared(embeddings, k=6)
    assert found.as_dict()["halves"]["ari"] < 0.5
    per_cluster = found.per_cluster
    assert per_cluster is not None
    assert per_cluster.min() < 0.75


def test_one_cluster_that_a_single_year_makes_is_told_from_those_that_last() -> None:
    embedding = separate()
    embedding[365:395] += [60, 60, 60]  # a month of 2002 like no other
    found = compared([embedding], k=4).as_dict()
    years = found["years"]
    assert years["jaccard"]["4"] == pytest.approx(
        2 / 3, abs=0.05
    )  # gone without 2002, there without the others
    assert min(years["values"], key=lambda name: years["values"][name]) == "2002"


def test_what_the_record_does_not_allow_is_absent() -> None:
    found = compared([separate(days=300)], days=300).as_dict()
    assert set(found) == {"halves", "jaccard"}
    nothing = robustness(
        [np.zeros((3, 1))],
        [Clustering(np.arange(3), np.zeros((3, 1)), 0.0)],
        0,
        np.ones(3, dtype=bool),
        times(3),
        seeds=[0],
    )
    assert nothing.per_cluster is None
    assert nothing.as_dict() == {}
