"""k-means: fitted on training days, ordered by frequency, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.clustering import cluster
from evaluation.errors import EvaluationError


@pytest.fixture
def features() -> np.ndarray:
    """Three groups of 10, 40 and 20 training days, then 30 later days of the second."""
    rng = np.random.default_rng(0)
    centres = np.repeat([0.0, 10.0, 20.0, 10.0], [10, 40, 20, 30])
    return centres[:, None] + 0.1 * rng.normal(size=(100, 2))


def train_days(n: int = 70) -> np.ndarray:
    return np.arange(100) < n


def test_clusters_are_ordered_by_training_frequency(features: np.ndarray) -> None:
    found = cluster(features, train_days(), k=3)
    np.testing.assert_array_equal(found.labels, np.repeat([2, 0, 1, 0], [10, 40, 20, 30]))
    np.testing.assert_allclose(found.centres[:, 0], [10, 20, 0], atol=0.1)


def test_equally_frequent_clusters_are_ordered_alike_by_every_seed() -> None:
    groups = np.repeat([30.0, 0.0, 10.0, 20.0], [12, 12, 12, 20])
    features = np.stack([np.zeros(56), groups], axis=1)
    found = [cluster(features, np.ones(56, dtype=bool), k=4, seed=seed) for seed in range(8)]
    for clustering in found:
        np.testing.assert_allclose(clustering.centres[:, 1], [20, 0, 10, 30], atol=1e-9)
        np.testing.assert_array_equal(clustering.labels, np.repeat([3, 1, 2, 0], [12, 12, 12, 20]))


def test_inertia_is_the_squared_distance_of_training_days_to_their_centres(features: np.ndarray) -> None:
    found = cluster(features, train_days(), k=3)
    errors = features[:70] - found.centres[found.labels[:70]]
    assert found.inertia == pytest.approx(np.sum(errors**2))


def test_later_days_do_not_move_the_centres(features: np.ndarray) -> None:
    before = cluster(features, train_days(), k=3)
    features[70:] += 1000
    np.testing.assert_array_equal(cluster(features, train_days(), k=3).centres, before.centres)


def test_every_day_goes_to_its_nearest_centre(features: np.ndarray) -> None:
    found = cluster(features, train_days(), k=5, n_init=1)
    distances = np.linalg.norm(features[:, None] - found.centres[None], axis=-1)
    np.testing.assert_array_equal(found.labels, distances.argmin(axis=1))


def test_the_same_seed_gives_the_same_labels() -> None:
    noise = np.random.default_rng(1).normal(size=(100, 5))
    first, again, other = (cluster(noise, train_days(), k=6, n_init=1, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


def test_more_starts_do_not_raise_the_inertia() -> None:
    noise = np.random.default_rng(1).normal(size=(100, 5))
    one, many = (cluster(noise, train_days(), k=6, n_init=n, seed=0).inertia for n in (1, 50))
    assert many < one


def test_a_collapsed_embedding_gives_fewer_clusters_and_no_warning() -> None:
    found = cluster(np.ones((20, 3)), np.ones(20, dtype=bool), k=4)
    np.testing.assert_array_equal(found.labels, np.zeros(20))


def test_fewer_training_days_than_clusters_are_refused(features: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"k=7 needs at least 7 training days.*Received: 5"):
        cluster(features, train_days(5), k=7)
