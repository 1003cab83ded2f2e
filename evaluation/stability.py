"""Whether the same clusters come back: from other seeds, without one of the years, from each half of the record.

Supports any features (time, feature). Clusters of two partitions of the same days are matched one to one so that as
many days as possible agree (Hungarian assignment, Kuhn 1955). Agreement is the adjusted Rand index for a partition,
and for a cluster the days that both matched clusters hold over those that either holds (Jaccard); after Hennig
(2007) a cluster is stable from 0.75 on and dissolved under 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from evaluation.clustering import Clustering, cluster

STARTS = 5  # k-means starts of a refit; twenty find the same clusters where they are stable
STABLE, DISSOLVED = 0.75, 0.5  # mean Jaccard of a cluster


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one kind of new partition agrees with the one that is shown.

    Attributes:
        ari: adjusted Rand index of each pair of partitions, by what the pair is.
        jaccard: (partition, cluster), of the shown clusters with those matched to them; NaN where a cluster has no
            day in either.
    """

    ari: dict[str, float]
    jaccard: np.ndarray


@dataclass(frozen=True, eq=False)
class Robustness:
    """Agreement of each kind that the record allows: "seeds", "years", "halves"."""

    kinds: dict[str, Agreement]

    @property
    def per_cluster(self) -> np.ndarray | None:
        """(cluster,) mean Jaccard, each kind counting the same; None where no kind exists."""
        if not self.kinds:
            return None
        return _mean([_mean(kind.jaccard) for kind in self.kinds.values()])

    def as_dict(self) -> dict[str, Any]:
        """As in metrics.json: per kind the mean index, that of each pair, and the clusters' by number (from 1)."""
        found: dict[str, Any] = {
            name: {
                "ari": float(np.mean(list(kind.ari.values()))),
                "values": kind.ari,
                "jaccard": _by_cluster(_mean(kind.jaccard)),
            }
            for name, kind in self.kinds.items()
        }
        overall = self.per_cluster
        return found if overall is None else found | {"jaccard": _by_cluster(overall)}


def robustness(
    embeddings: Sequence[np.ndarray],
    clusterings: Sequence[Clustering],
    shown: int,
    train: np.ndarray,
    times: np.ndarray,
    *,
    seeds: Sequence[int],
    starts: int = STARTS,
    seed: int = 0,
) -> Robustness:
    """Compares the shown clusters with those of other seeds and of refits; all on the training days.

    Args:
        embeddings: (time, feature), one a seed.
        clusterings: one a seed.
        shown: place of the seed whose clusters are shown.
        train: (time,) bool, the days that k-means is fitted on.
        times: (time,) datetime64.
        seeds: the numbers of the seeds, to name the pairs.
        starts: k-means starts of each refit.
        seed: of the refits.

    Returns:
        Seeds: every pair of seeds (the clusters' agreement: the shown seed with each other one). Years: a refit
        without each calendar year, with the shown clusters. Halves: the refits of the two halves of the training
        days with each other (the clusters': the shown ones with each half). A kind that the record does not allow is
        left out.
    """
    embedding, clustering = embeddings[shown][train], clusterings[shown]
    reference, k = clustering.labels[train], len(clustering.centres)
    labelings = {number: one.labels[train] for number, one in zip(seeds, clusterings, strict=True)}
    years = {
        name: cluster(embedding, kept, k=k, n_init=starts, seed=seed).labels
        for name, kept in _without_each_year(times[train])
        if kept.sum() >= k
    }
    halves = [
        cluster(embedding, half, k=k, n_init=starts, seed=seed).labels
        for half in _halves(len(embedding))
        if half.sum() >= k
    ]
    kinds = {}
    if len(labelings) > 1:
        others = [labels for number, labels in labelings.items() if number != seeds[shown]]
        kinds["seeds"] = Agreement(_pairs(labelings), _jaccards(reference, others, k))
    if years:
        ari = {name: float(adjusted_rand_score(reference, labels)) for name, labels in years.items()}
        kinds["years"] = Agreement(ari, _jaccards(reference, list(years.values()), k))
    if len(halves) == 2:
        ari = {"first and second": float(adjusted_rand_score(*halves))}
        kinds["halves"] = Agreement(ari, _jaccards(reference, halves, k))
    return Robustness(kinds)


def match(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """(cluster of the first,): the cluster of the second that is matched to it; both (time,), labels 0 … K-1."""
    return np.asarray(linear_sum_assignment(_together(first, second, k), maximize=True)[1])


def jaccard(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """(cluster of the first,): days in it and in its match over days in either; NaN where there are none."""
    together, matched = _together(first, second, k), match(first, second, k)
    both = together[np.arange(k), matched]
    either = together.sum(axis=1) + together.sum(axis=0)[matched] - both
    return np.divide(both, either, out=np.full(k, np.nan), where=either > 0)


def _together(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(first * k + second, minlength=k * k).reshape(k, k)


def _jaccards(reference: np.ndarray, others: Sequence[np.ndarray], k: int) -> np.ndarray:
    return np.stack([jaccard(reference, other, k) for other in others])


def _pairs(labelings: dict[int, np.ndarray]) -> dict[str, float]:
    numbers = list(labelings)
    return {
        f"{numbers[i]} and {numbers[j]}": float(
            adjusted_rand_score(labelings[numbers[i]], labelings[numbers[j]])
        )
        for i in range(len(numbers))
        for j in range(i + 1, len(numbers))
    }


def _without_each_year(times: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each calendar year and the days (time,) bool that are left without it; nothing with a single year."""
    year = pd.DatetimeIndex(times).year.to_numpy()
    for one in np.unique(year):
        if (year != one).any():
            yield str(one), year != one


def _halves(days: int) -> list[np.ndarray]:
    first = np.arange(days) < days // 2
    return [first, ~first]


def _mean(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The mean over the first axis of what exists; NaN where nothing does."""
    array = np.asarray(values)
    known = np.isfinite(array)
    number = known.sum(axis=0)
    total = np.sum(np.where(known, array, 0), axis=0)
    return np.divide(total, number, out=np.full(array.shape[1:], np.nan), where=number > 0)


def _by_cluster(values: np.ndarray) -> dict[str, float]:
    return {str(i + 1): float(value) for i, value in enumerate(values) if np.isfinite(value)}
