"""k-means on embeddings: fitted on the training days, applied to the rest.

Supports any features (time, feature). Clusters are ordered by how often they occur in training: inside the
program they are called 0 … K-1, to the reader 1 … K, so that cluster 1 is the most frequent everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from evaluation.errors import EvaluationError


@dataclass(frozen=True, eq=False)
class Clustering:
    """Labels of all days, and what they come from.

    Attributes:
        labels: (time,) int, 0 … K-1.
        centres: (K, feature), in the same order.
        inertia: sum of squared distances of the training days to their centre.
    """

    labels: np.ndarray
    centres: np.ndarray
    inertia: float


def cluster(
    features: np.ndarray, train: np.ndarray, *, k: int, n_init: int = 20, seed: int = 0
) -> Clustering:
    """Fits k-means on the training days and assigns every day to its nearest centre.

    Args:
        features: (time, feature).
        train: (time,) bool, the days to fit on.
        k: number of clusters.
        n_init: starts, of which the one with the least inertia is kept.
        seed: the same seed gives the same labels.

    Raises:
        EvaluationError: with fewer training days than clusters.
    """
    if train.sum() < k:
        raise EvaluationError(
            f"k-means with k={k} needs at least {k} training days: lower cluster.k or take a longer record. "
            f"Received: {train.sum()} training days."
        )
    model = KMeans(n_clusters=k, n_init=n_init, random_state=seed % 2**32)
    with _one_thread():
        model.fit(features[train])
    order = _by_frequency(model.labels_, model.cluster_centers_)
    rank = np.empty(k, dtype=int)
    rank[order] = np.arange(k)
    return Clustering(
        labels=rank[model.predict(features)],
        centres=model.cluster_centers_[order],
        inertia=float(model.inertia_),
    )


def starts(
    features: np.ndarray, ks: Iterable[int], *, number: int, seed: int = 0
) -> dict[int, list[Clustering]]:
    """Clusterings of all days from single k-means starts, by number of clusters; clusters are in no order.

    Args:
        features: (time, feature).
        ks: numbers of clusters.
        number: of starts for each.
        seed: the same seed gives the same starts, whatever other numbers of clusters there are.
    """
    with _one_thread():
        return {
            k: [
                Clustering(model.labels_, model.cluster_centers_, float(model.inertia_))
                for one in np.random.SeedSequence([seed, k]).generate_state(number)
                for model in [KMeans(n_clusters=k, n_init=1, random_state=int(one)).fit(features)]
            ]
            for k in ks
        }


@cache
def _controller() -> ThreadpoolController:
    """Finding the libraries takes 10 ms, as long as a small k-means."""
    return ThreadpoolController()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread adds the same numbers in the same order on every machine, and does not wait on a busy one."""
    with _controller().limit(limits=1), warnings.catch_warnings():
        # A collapsed embedding has fewer distinct points than clusters; the effective rank tells the reader.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _by_frequency(labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The clusters from the most frequent on; equally frequent ones by their centres, so that no seed decides."""
    frequency = np.bincount(labels, minlength=len(centres))
    return np.lexsort((*centres.T[::-1], -frequency))
