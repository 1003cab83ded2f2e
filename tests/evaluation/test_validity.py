"""The indices against scikit-learn and against four points worked by hand; collapse."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from evaluation import validity
from evaluation.validity import effective_rank, score_labelings, spread

FOUR_POINTS = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
TWO_PAIRS = np.array([0, 0, 1, 1])


def test_four_points_by_hand() -> None:
    # a = 1 and b = (4 + sqrt 17) / 2 for every point; scatter 0.5 and centres 4 apart; between 16, within 1
    b = (4 + np.sqrt(17)) / 2
    (scores,) = score_labelings(FOUR_POINTS, [TWO_PAIRS])
    assert scores["silhouette"] == pytest.approx((b - 1) / b)
    assert scores["davies_bouldin"] == pytest.approx((0.5 + 0.5) / 4)
    assert scores["calinski_harabasz"] == pytest.approx((16 / 1) / (1 / 2))


def test_which_scores_are_better() -> None:
    """What separates well is better than what does not, by every index."""
    good, bad = score_labelings(FOUR_POINTS * 10, [TWO_PAIRS, np.array([0, 1, 0, 1])])
    assert {index: good[index] > bad[index] for index in good} == {
        index: validity.HIGHER_IS_BETTER[index] for index in good
    }
    assert all(
        validity.HIGHER_IS_BETTER[index] for index in ("explained_variance", "ari", "nmi", "classifiability")
    )


def test_calinski_harabasz_does_not_depend_on_where_the_centres_are_counted_from() -> None:
    centres, sizes = np.array([[0.0, 1.0], [4.0, 1.0], [2.0, 5.0]]), np.array([3.0, 5.0, 9.0])
    assert validity.calinski_harabasz(centres + 7, sizes, 2.5) == pytest.approx(
        validity.calinski_harabasz(centres, sizes, 2.5)
    )


def test_cosine_silhouette_by_hand() -> None:
    # two directions at right angles: distance 0 within, 1 between
    points = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    (scores,) = score_labelings(points, [TWO_PAIRS], silhouette_metric="cosine")
    assert scores["silhouette"] == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("memory", "days_at_once"), [(2**28, 1024), (10000, 40), (1, 1)])
def test_many_labelings_as_scikit_learn_scores_each(
    metric: str, memory: int, days_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validity, "DAYS_AT_ONCE", days_at_once)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 12)) + 3
    labelings = [rng.integers(0, k, size=150) for k in (2, 5, 7)]
    labelings.append(np.where(np.arange(150) == 3, 9, labelings[0] * 4))  # a day alone, and numbers left out
    found = score_labelings(features, labelings, silhouette_metric=metric, memory=memory)
    for labels, scores in zip(labelings, found, strict=True):
        assert scores["silhouette"] == pytest.approx(
            silhouette_score(features, labels, metric=metric), abs=1e-12
        )
        assert scores["davies_bouldin"] == pytest.approx(davies_bouldin_score(features, labels))
        assert scores["calinski_harabasz"] == pytest.approx(calinski_harabasz_score(features, labels))


def test_single_precision_features_lose_nothing_that_is_shown() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.uniform(size=(200, 50)).astype(np.float32), rng.integers(0, 4, size=200)
    (scores,) = score_labelings(features, [labels], silhouette_metric="cosine")
    exact = silhouette_score(features.astype(float), labels, metric="cosine")
    assert scores["silhouette"] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [3, 1, 2, 0]])
def test_no_score_without_two_clusters_or_with_every_day_alone(labels: list[int]) -> None:
    assert score_labelings(FOUR_POINTS, [np.array(labels), TWO_PAIRS])[0] == {}


def test_identical_days_in_different_clusters_score_zero() -> None:
    points = np.ones((4, 2))
    points[3] = 2
    (scores,) = score_labelings(points, [np.array([0, 1, 0, 1])])
    assert scores["silhouette"] == pytest.approx(silhouette_score(points, [0, 1, 0, 1]))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 2]])
def test_points_without_spread_and_centres_that_coincide_are_scored_as_in_scikit_learn(
    labels: list[int],
) -> None:
    points = np.repeat(np.array([[1.0, 2.0, 3.0], [4.0, 1.0, 0.5], [-7.0, 0.3, 0.1]]), 2, axis=0)
    (scores,) = validity.centre_scores(points, [np.array(labels)])
    assert scores["davies_bouldin"] == pytest.approx(davies_bouldin_score(points, labels))
    assert scores["calinski_harabasz"] == pytest.approx(calinski_harabasz_score(points, labels))


def test_spread_by_hand() -> None:
    assert spread(FOUR_POINTS, TWO_PAIRS) == pytest.approx({"centre_distance": 4.0, "rms_to_centre": 0.5})
    assert spread(FOUR_POINTS, np.zeros(4, dtype=int)) == {}


def test_effective_rank_of_equal_and_of_unequal_directions() -> None:
    axes = np.concatenate([np.eye(5), -np.eye(5)])
    assert effective_rank(axes) == pytest.approx(5.0)
    # variances 3 : 1, entropy of (3/4, 1/4)
    unequal = np.array([[np.sqrt(3), 0], [-np.sqrt(3), 0], [0, 1], [0, -1]])
    assert effective_rank(unequal) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_effective_rank_of_collapsed_embeddings() -> None:
    line = np.linspace(0, 1, 50)[:, None] * np.array([1.0, 2.0, 3.0]) + 7
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(np.full((50, 3), 2.5)) == 1.0


def test_effective_rank_is_the_same_from_days_or_features() -> None:
    wide = np.random.default_rng(0).normal(size=(20, 60))
    eigenvalues = np.linalg.eigvalsh(np.cov(wide.T))
    share = eigenvalues[eigenvalues > 1e-9] / eigenvalues.sum()
    assert effective_rank(wide) == pytest.approx(np.exp(-np.sum(share * np.log(share))))


def test_effective_rank_is_left_out_where_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validity, "LARGEST_COVARIANCE", 10)
    assert effective_rank(np.zeros((11, 11))) is None
    assert effective_rank(np.zeros((11, 10))) == 1.0
