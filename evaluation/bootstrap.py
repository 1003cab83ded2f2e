"""How scores would differ on other years: a moving-block bootstrap over time (Künsch 1989).

Supports the three indices of internal validity, agreement with known labels, and shares of variance. One drawing of
blocks serves all models and seeds, so that differences between models are taken on the same days. Labels are those
of the clusters as fitted: what a new fit on other years would change is the business of evaluation/stability.py.
The silhouette of a day is kept as it is on the whole record; centres are those of the drawn days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy
from sklearn.utils.extmath import randomized_svd

from evaluation.autocorrelation import block_length, effective_size
from evaluation.silhouette import compact, day_weights

LEADING = 10  # principal components whose memory decides the length of a block
LARGEST_GRAM = 2048  # days up to which features that outnumber them are turned into as many as there are days
HELD = 2**26  # bytes of centres held at a time


@dataclass(frozen=True, eq=False)
class Blocks:
    """Resamples of the days of one period.

    Attributes:
        length: of a block, in steps.
        effective_size: days that count as independent.
        weights: (resample, time) float32, how often each day was drawn; each row adds up to the number of days.
    """

    length: int
    effective_size: float
    weights: np.ndarray

    @property
    def days(self) -> int:
        """The number of days."""
        return self.weights.shape[1]


def draw(features: np.ndarray, segment: np.ndarray, *, resamples: int, seed: int) -> Blocks:
    """Draws blocks of days with replacement; no block goes across the border of a segment.

    The length of a block, and the effective sample size, are those of the leading principal components, averaged by
    their variance. A segment shorter than a block is drawn as a whole.

    Args:
        features: (time, feature) of the period, as the weighted anomalies.
        segment: (time,) int, one number for each stretch without a gap.
        resamples: how many.
        seed: the same seed gives the same resamples.
    """
    length, size = _memory(features, segment)
    starts, ends = _blocks(segment, length)
    rng = np.random.default_rng(seed)
    weights = np.stack([_weights(rng, starts, ends, len(segment)) for _ in range(resamples)])
    return Blocks(length, size, weights)


def resampled_scores(
    features: np.ndarray,
    labelings: Sequence[np.ndarray],
    blocks: Blocks,
    silhouettes: Sequence[np.ndarray | None],
) -> list[dict[str, np.ndarray]]:
    """Silhouette, Davies-Bouldin and Calinski-Harabasz of each labeling in each resample.

    Args:
        features: (time, feature), the same for all labelings.
        labelings: each (time,) int.
        blocks: drawn on the same days.
        silhouettes: (time,) of each labeling, as evaluation.silhouette gives them; None where there is no index.

    Returns:
        (resample,) by index, NaN where a resample has fewer than two clusters; empty where there is no index.
    """
    compressed = _compressed(features)
    found: list[dict[str, np.ndarray]] = []
    for labels, values in zip(labelings, silhouettes, strict=True):
        if values is None:
            found.append({})
            continue
        stands_for = day_weights(values, labels).astype(np.float32)
        total = blocks.weights @ (stands_for * np.nan_to_num(values).astype(np.float32))
        davies_bouldin, calinski_harabasz = _centre_scores(compressed, compact(labels), blocks.weights)
        with np.errstate(invalid="ignore", divide="ignore"):  # no drawn day in the resample: NaN
            silhouette = total / (blocks.weights @ stands_for)
        found.append(
            {
                "silhouette": silhouette.astype(np.float64),
                "davies_bouldin": davies_bouldin,
                "calinski_harabasz": calinski_harabasz,
            }
        )
    return found


def resampled_agreement(labels: np.ndarray, truth: np.ndarray, blocks: Blocks) -> dict[str, np.ndarray]:
    """Adjusted Rand index and normalised mutual information of each resample.

    Args:
        labels: (time,) clusters.
        truth: (time,) codes, -1 where unknown.
        blocks: drawn on the same days.

    Returns:
        (resample,) by index, NaN where a resample has a single known label or none; empty where the record has.
    """
    known = truth >= 0
    if len(np.unique(truth[known])) < 2:
        return {}
    rows, columns = compact(truth[known]), compact(labels[known])
    shape = rows.max() + 1, columns.max() + 1
    pairs = np.eye(shape[0] * shape[1], dtype=np.float32)[rows * shape[1] + columns]
    counts = (blocks.weights[:, known] @ pairs).astype(np.float64).reshape(-1, *shape)
    usable = (counts.sum(axis=2) > 0).sum(axis=1) > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {"ari": _rand(counts), "nmi": _information(counts)}
    return {index: np.where(usable, values, np.nan) for index, values in found.items()}


def resampled_ratio(errors: np.ndarray, totals: np.ndarray, blocks: Blocks) -> np.ndarray:
    """(resample,): 1 - sum of errors / sum of totals, both (time,): a share of explained variance."""
    return 1 - (blocks.weights @ errors) / (blocks.weights @ totals)


def _memory(features: np.ndarray, segment: np.ndarray) -> tuple[int, float]:
    """Block length and effective sample size, averaged over the leading components by their variance."""
    centred = features - features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    size = min(LEADING, *centred.shape)
    left, spread, _ = randomized_svd(centred, size, random_state=0)
    variance = spread**2
    if len(segment) < 2 or variance.sum() <= np.finfo(np.float32).eps * np.sum(np.square(features)):
        return 1, float(len(segment))
    lengths = [block_length(component, segment) for component in left.T]
    sizes = [effective_size(component, segment) for component in left.T]
    return int(np.ceil(np.average(lengths, weights=variance))), float(np.average(sizes, weights=variance))


def _blocks(segment: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """First day and day after the last of every admissible block."""
    days = np.arange(len(segment))
    first = np.flatnonzero(np.concatenate([[True], np.diff(segment) != 0]))
    place = np.searchsorted(first, days, side="right") - 1
    after = np.append(first[1:], len(segment))[place]
    whole = days + length <= after
    short = (days == first[place]) & (after - days < length)
    return days[whole | short], np.minimum(days + length, after)[whole | short]


def _weights(rng: np.random.Generator, starts: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """(time,): blocks are drawn until they hold n days; the last one is cut."""
    chosen = rng.integers(len(starts), size=n // int((ends - starts).min()) + 1)
    lengths = (ends - starts)[chosen]
    needed = int(np.searchsorted(np.cumsum(lengths), n)) + 1
    chosen, lengths = chosen[:needed], lengths[:needed]
    lengths[-1] -= lengths.sum() - n
    edges = np.zeros(n + 1, dtype=np.float32)
    np.add.at(edges, starts[chosen], 1)
    np.add.at(edges, starts[chosen] + lengths, -1)
    return np.cumsum(edges)[:n]


def _compressed(features: np.ndarray) -> np.ndarray:
    """(time, at most time) float32 features with the same distances between days; centred."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    if centred.shape[1] > len(centred) and len(centred) <= LARGEST_GRAM:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        centred = vectors * np.sqrt(np.clip(values, 0, None))
    return np.ascontiguousarray(centred, dtype=np.float32)


def _centre_scores(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Davies-Bouldin and Calinski-Harabasz (resample,) with the centres of the drawn days."""
    at_once = max(1, HELD // (4 * features.shape[1] * (labels.max() + 1)))
    parts = [
        _portion_scores(features, labels, weights[start : start + at_once])
        for start in range(0, len(weights), at_once)
    ]
    davies_bouldin, calinski_harabasz = zip(*parts, strict=True)
    return np.concatenate(davies_bouldin), np.concatenate(calinski_harabasz)


def _portion_scores(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    k = labels.max() + 1
    centres = np.zeros((len(weights), k, features.shape[1]), dtype=np.float32)
    sizes, distance, square = (np.zeros((len(weights), k)) for _ in range(3))
    for c in range(k):
        drawn, days = weights[:, labels == c], features[labels == c]
        sizes[:, c] = drawn.sum(axis=1)
        centres[:, c] = drawn @ days / np.maximum(sizes[:, c, None], 1).astype(np.float32)
        squares = -2 * centres[:, c] @ days.T
        squares += np.sum(days**2, axis=1)
        squares += np.sum(centres[:, c] ** 2, axis=1)[:, None]
        squares = np.maximum(squares, 0, out=squares)
        square[:, c] = np.einsum("rt,rt->r", drawn, squares)
        distance[:, c] = np.einsum("rt,rt->r", drawn, np.sqrt(squares, out=squares))
    return _davies_bouldin(centres, sizes, distance), _calinski_harabasz(centres, sizes, square)


def _davies_bouldin(centres: np.ndarray, sizes: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(resample,), see evaluation.validity; a cluster of which no day was drawn is passed over."""
    gram = (centres @ centres.transpose(0, 2, 1)).astype(np.float64)
    square = np.diagonal(gram, axis1=1, axis2=2)
    apart = np.sqrt(np.maximum(square[:, :, None] + square[:, None] - 2 * gram, 0))
    present = sizes > 0
    apart[~(present[:, :, None] & present[:, None])] = np.inf
    apart[apart == 0] = np.inf
    apart[:, range(sizes.shape[1]), range(sizes.shape[1])] = np.inf
    scatter = distance / np.maximum(sizes, 1)
    worst = np.max((scatter[:, :, None] + scatter[:, None]) / apart, axis=2)
    number = present.sum(axis=1)
    return np.where(number > 1, np.sum(worst * present, axis=1) / np.maximum(number, 1), np.nan)


def _calinski_harabasz(centres: np.ndarray, sizes: np.ndarray, square: np.ndarray) -> np.ndarray:
    """(resample,), see evaluation.validity."""
    n = sizes.sum(axis=1)
    middle = np.einsum("rk,rkf->rf", sizes.astype(np.float32), centres) / n[:, None]
    between = np.sum(sizes * np.sum((centres - middle[:, None]) ** 2, axis=2), axis=1)
    number, within = (sizes > 0).sum(axis=1), square.sum(axis=1)
    below = within * (number - 1)
    ratio = between * (n - number) / np.where(below > 0, below, 1.0)
    return np.where(number > 1, np.where(within > 0, ratio, 1.0), np.nan)


def _rand(counts: np.ndarray) -> np.ndarray:
    """(resample,) adjusted Rand index (Hubert and Arabie 1985, equation 5) of tables (resample, row, column)."""
    rows, columns, n = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    pairs = (counts * (counts - 1)).sum(axis=(1, 2))
    in_rows, in_columns = (rows * (rows - 1)).sum(axis=1), (columns * (columns - 1)).sum(axis=1)
    expected = in_rows * in_columns / (n * (n - 1))
    largest = (in_rows + in_columns) / 2
    return np.where(largest == expected, 1.0, (pairs - expected) / (largest - expected))


def _information(counts: np.ndarray) -> np.ndarray:
    """(resample,) mutual information over the mean of the two entropies, of tables (resample, row, column)."""
    share = counts / counts.sum(axis=(1, 2), keepdims=True)
    rows, columns = share.sum(axis=2), share.sum(axis=1)
    of_rows, of_columns = -xlogy(rows, rows).sum(axis=1), -xlogy(columns, columns).sum(axis=1)
    together = -xlogy(share, share).sum(axis=(1, 2))
    return np.clip((of_rows + of_columns - together) / ((of_rows + of_columns) / 2), 0, 1)
