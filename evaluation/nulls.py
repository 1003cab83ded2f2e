"""Are the clusters more than chance? Indices of the record held against those of surrogates, for K = 2 … 10.

Supports any encoder: whatever turns fields into an embedding is frozen, and the record and every surrogate go
through it and are clustered with the same k-means settings. Silhouette, Davies-Bouldin and Calinski-Harabasz in the
embedding and in data space, and the classifiability index in the embedding. What decides is the silhouette in the
embedding with the K that was asked for; docs/calibration.md says how often it errs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.clustering import Clustering, starts
from evaluation.silhouette import MEMORY
from evaluation.surrogates import KINDS
from evaluation.validity import HIGHER_IS_BETTER, score_labelings

SWEEP = range(2, 11)
STARTS = 5  # single k-means starts: the best gives the clusters, all of them the classifiability
LEVEL = 0.05
SPACE, INDEX = "embedding", "silhouette"  # what decides the verdict
BAND = (5, 95)  # percentiles of the surrogates that are given

Scores = dict[str, dict[str, float]]  # by space and index


def score(
    embeddings: Mapping[str, np.ndarray],
    data: np.ndarray,
    ks: Iterable[int],
    *,
    n_init: int = STARTS,
    seed: int = 0,
    memory: int = MEMORY,
) -> dict[str, dict[str, Scores]]:
    """All indices of one record, seen through several encoders, for each number of clusters.

    Args:
        embeddings: (time, feature) by encoder; each is clustered.
        data: (time, cell), the common space of the same days, in which the labels are scored as well.
        ks: numbers of clusters.
        n_init: k-means starts for each.
        seed: of the starts.
        memory: bytes of distances held at a time.

    Returns:
        by encoder, the scores by number of clusters (as text), space ("embedding", "data") and index. Absent where
        fewer than two clusters are found.
    """
    ks = [k for k in ks if k < len(data)]
    runs = {name: starts(embedding, ks, number=n_init, seed=seed) for name, embedding in embeddings.items()}
    labels = {name: [_best(found[k]).labels for k in ks] for name, found in runs.items()}
    every = [one for of_encoder in labels.values() for one in of_encoder]
    common = iter(score_labelings(data, every, silhouette_metric="cosine", memory=memory))
    scores: dict[str, dict[str, Scores]] = {name: {} for name in embeddings}
    for name, embedding in embeddings.items():
        for k, own in zip(ks, score_labelings(embedding, labels[name], memory=memory), strict=True):
            outside = next(common)
            if own:
                repeats = classifiability([one.centres for one in runs[name][k]], embedding.mean(axis=0))
                scores[name][str(k)] = {"embedding": own | {"classifiability": repeats}, "data": outside}
    return scores


def classifiability(partitions: Sequence[np.ndarray], middle: np.ndarray) -> float:
    """How far repeated k-means leads to the same clusters (Michelangeli, Vautard and Legras 1995, section 2c).

    For two partitions: the pattern correlation of each cluster with the most like it in the other, of which the worst
    is taken; the mean of that over all pairs of partitions. 1 where every start finds the same clusters.

    Args:
        partitions: the centres (cluster, feature) that each start found; at least two.
        middle: (feature,) the mean over the days, from which patterns are departures.
    """
    patterns = [_unit(centres - middle) for centres in partitions]
    return float(
        np.mean(
            [
                ((a @ b.T).max(axis=1).min() + (a @ b.T).max(axis=0).min()) / 2
                for a, b in combinations(patterns, 2)
            ]
        )
    )


def compare(
    reference: Mapping[str, Scores], surrogates: Mapping[str, Sequence[Mapping[str, Scores]]], k: int
) -> dict[str, Any]:
    """The reference held against the surrogates of each kind, and the verdict for k clusters.

    One-sided, with the larger p of the kinds: p = (1 + surrogates at least as good) / (1 + surrogates).

    Args:
        reference: scores of the real record, as `score` gives them.
        surrogates: by kind, the scores of each surrogate.
        k: the number of clusters that was asked for.

    Returns:
        {"by_k": {"2": {space: {index: {"value", "p", kind: {"p", "mean", "low", "high"}}}}},
        "verdict": {"k", "space", "index", "p", "level", "beyond_chance"}}; an index that the record has not is
        absent, and so is the verdict where the one that decides is.
    """
    by_k: dict[str, Any] = {}
    for number, spaces in reference.items():
        for space, indices in spaces.items():
            for index, value in indices.items():
                others = {kind: _values(found, number, space, index) for kind, found in surrogates.items()}
                if all(len(values) for values in others.values()):
                    by_k.setdefault(number, {}).setdefault(space, {})[index] = _entry(value, others, index)
    decides = by_k.get(str(k), {}).get(SPACE, {}).get(INDEX)
    return {"by_k": by_k} | ({} if decides is None else {"verdict": _verdict(k, decides["p"])})


def plan(surrogates: int) -> list[tuple[str, int]]:
    """Kind and number of every surrogate, the kinds by turns."""
    return [(kind, number) for number in range(surrogates) for kind in KINDS]


def _best(found: Sequence[Clustering]) -> Clustering:
    return min(found, key=lambda one: one.inertia)


def _unit(patterns: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(patterns, axis=1, keepdims=True)
    return np.divide(patterns, length, out=np.zeros_like(patterns), where=length > 0)


def _values(found: Sequence[Mapping[str, Scores]], number: str, space: str, index: str) -> np.ndarray:
    """(surrogate,), without those whose embedding has collapsed and has no such index."""
    spaces = [one[number][space] for one in found if number in one]
    return np.array([indices[index] for indices in spaces if index in indices])


def _entry(value: float, surrogates: Mapping[str, np.ndarray], index: str) -> dict[str, Any]:
    kinds = {kind: _against(value, found, index) for kind, found in surrogates.items()}
    return {"value": value, "p": max(kind["p"] for kind in kinds.values()), **kinds}


def _against(value: float, known: np.ndarray, index: str) -> dict[str, float]:
    """One-sided p, mean and band of the surrogates that have the index."""
    sign = 1 if HIGHER_IS_BETTER[index] else -1
    p = (1 + int(np.sum(sign * known >= sign * value))) / (1 + len(known))
    low, high = np.percentile(known, BAND)
    return {"p": p, "mean": float(known.mean()), "low": float(low), "high": float(high)}


def _verdict(k: int, p: float) -> dict[str, Any]:
    return {
        "k": k,
        "space": SPACE,
        "index": INDEX,
        "p": p,
        "level": LEVEL,
        "beyond_chance": bool(p <= LEVEL),
    }
