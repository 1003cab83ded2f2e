"""Internal validity of clusters, and whether an embedding has collapsed.

Supports Silhouette (cosine or Euclidean; evaluation/silhouette.py), Davies-Bouldin and Calinski-Harabasz (Euclidean,
their definition) of many labelings of the same features in passes over portions of the days. An index of fewer than
two clusters does not exist and is absent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.silhouette import (
    MEMORY,
    ROUNDING,
    check,
    compact,
    mean_silhouette,
    one_hot,
    scorable,
    silhouettes,
)

DAYS_AT_ONCE = 1024  # whose deviations from the mean are held
LARGEST_COVARIANCE = 1024  # days and features beyond which the eigenvalues would take longer than the rest
COLLAPSED = 2.0  # effective rank under which an embedding counts as collapsed
HIGHER_IS_BETTER = {
    "silhouette": True,
    "davies_bouldin": False,
    "calinski_harabasz": True,
    "classifiability": True,
    "explained_variance": True,
    "ari": True,
    "nmi": True,
}


def score_labelings(
    features: np.ndarray,
    labelings: Sequence[np.ndarray],
    *,
    silhouette_metric: str = "euclidean",
    memory: int = MEMORY,
    sample: int | None = None,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Silhouette, Davies-Bouldin and Calinski-Harabasz of each labeling.

    Args:
        features: (time, feature), the same for all labelings.
        labelings: each (time,) int.
        silhouette_metric: "euclidean" or "cosine".
        memory: bytes of distances held at a time.
        sample: days from which the silhouette is estimated; None takes all.
        seed: of the sample.

    Returns:
        A dict of the three indices for each labeling, empty where fewer than two clusters are present (or where every
        day is a cluster of its own).

    Raises:
        EvaluationError: for features or labels that do not fit together or are not finite, or an unknown metric.
    """
    by_day = silhouettes(
        features, labelings, metric=silhouette_metric, memory=memory, sample=sample, seed=seed
    )
    scores = centre_scores(features, labelings)
    return [
        {} if values is None else {"silhouette": mean_silhouette(values, labels), **indices}
        for values, labels, indices in zip(by_day, labelings, scores, strict=True)
    ]


def centre_scores(features: np.ndarray, labelings: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Davies-Bouldin (1979) and Calinski-Harabasz (1974) of each labeling, in two passes over the days.

        DB = mean_i max_j (s_i + s_j) / d_ij      s: mean distance of a cluster's days to its centre, d: of centres
        CH = (B / (k - 1)) / (W / (n - k))        B, W: sums of squares between and within clusters

    Args:
        features: (time, feature), the same for all labelings.
        labelings: each (time,) int.

    Returns:
        {"davies_bouldin", "calinski_harabasz"} for each labeling, empty where they do not exist.

    Raises:
        EvaluationError: for features or labels that do not fit together or are not finite.
    """
    check(features, labelings)
    places = scorable(labelings)
    scores: list[dict[str, float]] = [{} for _ in labelings]
    if not places:
        return scores
    codes = [compact(labelings[place]) for place in places]
    about = _about_centres(features, [one_hot(labels) for labels in codes])
    for place, (sizes, centres, distance, square) in zip(places, about, strict=True):
        scores[place] = {
            "davies_bouldin": davies_bouldin(centres, distance / sizes),
            "calinski_harabasz": calinski_harabasz(centres, sizes, square.sum()),
        }
    return scores


def davies_bouldin(centres: np.ndarray, scatter: np.ndarray) -> float:
    """Davies-Bouldin of centres (cluster, feature) and the mean distance of the days to theirs (cluster,).

    Two clusters with the same centre are passed over, and clusters without any spread give 0, as in scikit-learn.
    """
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    if np.allclose(scatter, 0) or np.allclose(apart, 0):
        return 0.0
    apart[apart == 0] = np.inf
    return float(np.mean(np.max((scatter[:, None] + scatter[None]) / apart, axis=1)))


def calinski_harabasz(centres: np.ndarray, sizes: np.ndarray, within: float) -> float:
    """Calinski-Harabasz of centres (cluster, feature) of so many days (cluster,) and the sum of squares within.

    Clusters without any spread give 1, as in scikit-learn.
    """
    k, n = len(sizes), sizes.sum()
    between = np.sum(sizes * np.sum((centres - sizes @ centres / n) ** 2, axis=1))
    return 1.0 if within == 0 else float(between * (n - k) / (within * (k - 1)))


def spread(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean distance between cluster centres and root mean square distance of the days to theirs (Euclidean).

    Empty with fewer than two clusters.
    """
    present, codes = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return {}
    ((sizes, centres, _, square),) = _about_centres(features, [one_hot(codes)])
    between = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    return {
        "centre_distance": float(between[np.triu_indices(len(present), 1)].mean()),
        "rms_to_centre": float(np.sqrt(square.sum() / sizes.sum())),
    }


def effective_rank(features: np.ndarray) -> float | None:
    """exp of the entropy of the normalised eigenvalues of the covariance (Roy and Vetterli 2007).

    Between 1 (all variance along one direction, or none at all) and the number of features. None where neither days
    nor features are few enough for an eigenvalue decomposition.
    """
    if min(features.shape) > LARGEST_COVARIANCE:
        return None
    centred = features - features.mean(axis=0, dtype=np.float64)
    gram = centred.T @ centred if features.shape[1] <= features.shape[0] else centred @ centred.T
    eigenvalues = np.clip(np.linalg.eigvalsh(gram), 0, None)
    total = eigenvalues.sum()
    if total == 0:
        return 1.0
    share = eigenvalues[eigenvalues > 0] / total
    return float(np.exp(-np.sum(share * np.log(share))))


def _about_centres(
    features: np.ndarray, members: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """What two passes over the days tell of the clusters of each labeling's members (time, cluster).

    Returns:
        For each labeling: number of days, centre (cluster, feature) as departure from the mean of all days, and the
        summed distance and squared distance of the cluster's days to it.
    """
    middle = features.mean(axis=0, dtype=np.float64)
    parts = [slice(start, start + DAYS_AT_ONCE) for start in range(0, len(features), DAYS_AT_ONCE)]
    sizes = [inside.sum(axis=0) for inside in members]
    centres = [np.zeros((len(size), features.shape[1])) for size in sizes]
    for part in parts:
        deviation = features[part] - middle
        for inside, centre in zip(members, centres, strict=True):
            centre += inside[part].T @ deviation
    found = []
    for size, centre in zip(sizes, centres, strict=True):
        centre /= size[:, None]
        found.append((size, centre, np.zeros(len(size)), np.zeros(len(size))))
    for part in parts:
        deviation = features[part] - middle
        length = np.sum(deviation**2, axis=1)[:, None]
        for inside, (_, centre, distance, square) in zip(members, found, strict=True):
            both = length + np.sum(centre**2, axis=1)
            squares = both - 2 * (deviation @ centre.T)
            squares = np.where(squares < ROUNDING * both, 0, squares) * inside[part]
            distance += np.sqrt(squares).sum(axis=0)
            square += squares.sum(axis=0)
    return found
