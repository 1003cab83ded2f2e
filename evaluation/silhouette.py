"""The silhouette of every day, for many labelings of the same features in one pass over the distances.

Supports the cosine and the Euclidean metric. Exact, in portions whose distances take no more than `memory` bytes,
so that memory does not grow with the square of the record; where a sample is asked for, the mean is estimated from
days drawn from every cluster, which are still held against all other days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.errors import EvaluationError

METRICS = ("euclidean", "cosine")
MEMORY = 2**28  # bytes of distances held at a time
BLOCKS_HELD = 4  # arrays of the size of a portion's distances that live at once
ROUNDING = 1e-13  # of the squared lengths: a smaller squared distance is what rounding leaves of none


def silhouettes(
    features: np.ndarray,
    labelings: Sequence[np.ndarray],
    *,
    metric: str = "euclidean",
    memory: int = MEMORY,
    sample: int | None = None,
    seed: int = 0,
) -> list[np.ndarray | None]:
    """The silhouette of every day, (b - a) / max(a, b) (Rousseeuw 1987), for each labeling.

    A day alone in its cluster counts 0.

    Args:
        features: (time, feature), the same for all labelings.
        labelings: each (time,) int.
        metric: "euclidean" or "cosine".
        memory: bytes of distances held at a time.
        sample: days drawn for each labeling, from every cluster in proportion to its size and at least one; None
            takes all days.
        seed: of the sample.

    Returns:
        (time,) for each labeling, NaN for the days that were not drawn; None where fewer than two clusters are
        present, or every day is a cluster of its own.

    Raises:
        EvaluationError: for features or labels that do not fit together or are not finite, an unknown metric or no
            sample.
    """
    check(features, labelings)
    if metric not in METRICS:
        raise EvaluationError(
            f"The silhouette's metric must be one of {', '.join(METRICS)}. Received: {metric!r}."
        )
    if sample is not None and sample < 1:
        raise EvaluationError(f"The silhouette's sample must be at least one day. Received: {sample}.")
    places = scorable(labelings)
    found: list[np.ndarray | None] = [None for _ in labelings]
    if not places:
        return found
    codes = [compact(labelings[place]) for place in places]
    drawn = [_drawn(labels, sample, np.random.default_rng([seed, i])) for i, labels in enumerate(codes)]
    rows = np.flatnonzero(np.any(drawn, axis=0))
    members = [one_hot(labels) for labels in codes]
    sums = _distance_sums(_prepared(features, metric), members, rows, metric, memory)
    for place, labels, chosen, total in zip(places, codes, drawn, sums, strict=True):
        values = np.full(len(labels), np.nan)
        values[rows] = _values(total, labels, rows)
        found[place] = np.where(chosen, values, np.nan)
    return found


def mean_silhouette(values: np.ndarray, labels: np.ndarray) -> float:
    """The mean over all days of values (time,), NaN where not drawn, with clusters (time,)."""
    weight = day_weights(values, labels)
    return float(np.sum(np.nan_to_num(values) * weight) / np.sum(weight))


def day_weights(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(time,): how many days of its cluster each drawn day stands for, 0 for the others; 1 where all were drawn."""
    codes, drawn = compact(labels), np.isfinite(values)
    share = np.bincount(codes) / np.maximum(np.bincount(codes, weights=drawn), 1)
    return np.where(drawn, share[codes], 0.0)


def check(features: np.ndarray, labelings: Sequence[np.ndarray]) -> None:
    """Refuses features (time, feature) and labelings (time,) that cannot be scored.

    Raises:
        EvaluationError: saying what does not fit.
    """
    if features.ndim != 2:
        raise EvaluationError(f"Features must have shape (time, feature). Received: shape {features.shape}.")
    for labels in labelings:
        if labels.shape != (len(features),):
            raise EvaluationError(
                f"Each labeling must have one label for each of the {len(features)} days. "
                f"Received: shape {labels.shape}."
            )
    if not np.isfinite(features).all():
        raise EvaluationError("Features to be scored must be finite: fill or leave out missing values first.")


def scorable(labelings: Sequence[np.ndarray]) -> list[int]:
    """Places of the labelings with at least two clusters, and not all days on their own."""
    return [i for i, labels in enumerate(labelings) if 2 <= len(np.unique(labels)) < len(labels)]


def compact(labels: np.ndarray) -> np.ndarray:
    """The labels as 0 … m-1, all present."""
    return np.unique(labels, return_inverse=True)[1]


def one_hot(labels: np.ndarray) -> np.ndarray:
    """(time, cluster), 1 where a day belongs to a cluster, of compact labels."""
    return np.eye(labels.max() + 1)[labels]


def _drawn(labels: np.ndarray, sample: int | None, rng: np.random.Generator) -> np.ndarray:
    """(time,) bool: all days, or a sample of them stratified by cluster."""
    drawn = np.full(len(labels), sample is None or sample >= len(labels))
    if sample is not None and not drawn.all():
        for cluster, size in enumerate(np.bincount(labels)):
            number = max(1, round(sample * size / len(labels)))
            drawn[rng.choice(np.flatnonzero(labels == cluster), number, replace=False)] = True
    return drawn


def _prepared(features: np.ndarray, metric: str) -> np.ndarray:
    """float64, of length one for the cosine (a day of zeros stays as it is), else centred, which keeps digits."""
    features = features.astype(np.float64)
    if metric == "euclidean":
        return features - features.mean(axis=0)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, length, out=features, where=length > 0)


def _distance_sums(
    features: np.ndarray, members: Sequence[np.ndarray], rows: np.ndarray, metric: str, memory: int
) -> list[np.ndarray]:
    """(row, cluster) for each labeling's members: the summed distance of each of the given days to a cluster's days.

    A product for each labeling: in one product of all, the last bits of a sum depend on what stands beside it.
    """
    sums = [np.empty((len(rows), inside.shape[1])) for inside in members]
    for part in _portions(len(rows), len(features), memory):
        distances = _distances(features, rows[part], metric)
        for total, inside in zip(sums, members, strict=True):
            total[part] = distances @ inside
        del distances  # before the next are made
    return sums


def _portions(rows: int, columns: int, memory: int) -> Iterator[slice]:
    """Slices of rows whose distances to all columns fit into memory; one row is always taken."""
    at_once = max(1, int(memory / (8 * BLOCKS_HELD * columns)))
    return (slice(start, start + at_once) for start in range(0, rows, at_once))


def _distances(features: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """(row, time), 0 from each day to itself."""
    distance = features[rows] @ features.T
    if metric == "cosine":
        np.clip(np.subtract(1, distance, out=distance), 0, 2, out=distance)
    else:
        square = np.einsum("tf,tf->t", features, features)
        distance *= -2
        both = square[rows, None] + square
        distance += both
        distance[distance < ROUNDING * both] = 0
        np.sqrt(distance, out=distance)
    distance[np.arange(len(rows)), rows] = 0
    return distance


def _values(sums: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(row,) out of the summed distances (row, cluster)."""
    places, sizes, own = np.arange(len(rows)), np.bincount(labels), labels[rows]
    a = sums[places, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[places, own] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    return np.divide(b - a, larger, out=np.zeros_like(a), where=(larger > 0) & (sizes[own] > 1))
