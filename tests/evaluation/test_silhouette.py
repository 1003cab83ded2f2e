"""The silhouette of single days against scikit-learn and by hand; bounded memory; samples; what is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from evaluation.errors import EvaluationError
from evaluation.silhouette import day_weights, mean_silhouette, silhouettes

BY_HAND = np.array([[0.0], [2.0], [5.0]])


def some(days: int = 300, features: int = 6, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, k, size=days)
    return rng.normal(size=(days, features)) + 2 * np.eye(k, features)[labels], labels


def test_three_points_by_hand() -> None:
    # of the pair: a = 2 and b = 5, then a = 2 and b = 3; the third is alone
    (values,) = silhouettes(BY_HAND, [np.array([4, 4, 9])])
    assert values is not None
    np.testing.assert_allclose(values, [3 / 5, 1 / 3, 0])
    assert mean_silhouette(values, np.array([4, 4, 9])) == pytest.approx((3 / 5 + 1 / 3) / 3)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_each_day_as_in_scikit_learn(metric: str) -> None:
    features, labels = some()
    features += 100  # far from the origin, digits must not be lost
    (values,) = silhouettes(features, [labels], metric=metric, memory=50000)
    np.testing.assert_allclose(values, silhouette_samples(features, labels, metric=metric), atol=1e-7)


def test_memory_stays_within_what_was_set() -> None:
    features, labels = some(days=2000)
    peaks = []
    for memory in (2**20, 2**25):
        tracemalloc.start()
        silhouettes(features, [labels], memory=memory)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    kept = 8 * 2000 * (2 * features.shape[1] + 8 * 4)  # copies of the features; clusters, sums and values
    assert peaks[0] < 2**20 + kept
    assert 2**24 < peaks[1] < 2**25 + kept  # and what is allowed is used


def test_a_sample_is_stratified_seeded_and_close() -> None:
    features, labels = some(days=3000)
    labels[:2] = 7  # a cluster of two is in the sample too
    (exact,) = silhouettes(features, [labels])
    (values,) = silhouettes(features, [labels], sample=600, seed=1)
    assert exact is not None
    assert values is not None
    drawn = np.isfinite(values)
    np.testing.assert_allclose(values[drawn], exact[drawn], atol=1e-10)  # held against all other days
    for cluster in (0, 1, 2, 3):
        share = np.mean(drawn[labels == cluster])
        assert share == pytest.approx(0.2, abs=0.002)
    assert drawn[:2].sum() == 1
    assert day_weights(values, labels).sum() == pytest.approx(3000)
    (again,) = silhouettes(features, [labels], sample=600, seed=1)
    (other,) = silhouettes(features, [labels], sample=600, seed=2)
    np.testing.assert_array_equal(again, values)
    assert not np.array_equal(np.isfinite(other), drawn)  # type: ignore[arg-type]


def test_estimates_from_samples_scatter_about_the_exact_mean() -> None:
    features, labels = some(days=800)
    exact = silhouettes(features, [labels])[0]
    found = [silhouettes(features, [labels], sample=200, seed=seed)[0] for seed in range(30)]
    means = [mean_silhouette(values, labels) for values in found]  # type: ignore[arg-type]
    assert np.std(means) > 0
    error = 4 * np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(mean_silhouette(exact, labels), abs=error)  # type: ignore[arg-type]


def test_a_sample_as_large_as_the_record_is_exact() -> None:
    features, labels = some(days=50)
    (values,) = silhouettes(features, [labels], sample=50)
    np.testing.assert_array_equal(values, silhouettes(features, [labels])[0])


def test_identical_days_have_no_distance() -> None:
    features = np.repeat([[0.1, 0.2, 0.3], [5.1, 0.7, 0.9]], 4, axis=0)
    (values,) = silhouettes(features, [np.array([0, 0, 1, 1, 2, 2, 2, 2])])
    np.testing.assert_array_equal(values, [0, 0, 0, 0, 1, 1, 1, 1])


def test_what_cannot_be_scored_is_refused_in_a_sentence() -> None:
    labels = np.array([0, 0, 1])
    with pytest.raises(EvaluationError, match=r"one of euclidean, cosine.*manhattan"):
        silhouettes(BY_HAND, [labels], metric="manhattan")
    with pytest.raises(EvaluationError, match=r"at least one day. Received: 0"):
        silhouettes(BY_HAND, [labels], sample=0)
    with pytest.raises(EvaluationError, match=r"each of the 3 days.*shape \(2,\)"):
        silhouettes(BY_HAND, [labels, labels[:2]])
    with pytest.raises(EvaluationError, match=r"shape \(time, feature\).*shape \(3,\)"):
        silhouettes(BY_HAND[:, 0], [labels])
    with pytest.raises(EvaluationError, match="must be finite"):
        silhouettes(np.array([[0.0], [np.nan], [1.0]]), [labels])
