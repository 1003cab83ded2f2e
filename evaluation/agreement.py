"""How well clusters agree with labels known from elsewhere, planted or published.

Supports labels of any type on any subset of the days (a season, say); only days that both have are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from evaluation.errors import EvaluationError


@dataclass(frozen=True, eq=False)
class Confusion:
    """Days by known label and cluster, the clusters in the order that puts the most days on the diagonal.

    Attributes:
        classes: the known labels, sorted.
        clusters: (column,) cluster of each column: those matched to the classes first, in their order, then the rest.
        counts: (class, column) days.
        matched_share: share of the days on matched pairs.
    """

    classes: tuple[str, ...]
    clusters: tuple[int, ...]
    counts: np.ndarray
    matched_share: float


def align_labels(times: np.ndarray, labels: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes (time,) of the label of each time's date, -1 where there is none, and the names that the codes stand for.

    Raises:
        EvaluationError: where a date has more than one label.
    """
    known = labels.dropna()
    dates = pd.DatetimeIndex(known.index).normalize()
    if dates.has_duplicates:
        first = dates[dates.duplicated()][0]
        raise EvaluationError(
            f"The known labels have more than one label for {first:%Y-%m-%d}: keep one a day."
        )
    classes, codes = np.unique(known.to_numpy(), return_inverse=True)
    rows = dates.get_indexer(pd.DatetimeIndex(times).normalize())
    return np.where(rows >= 0, codes[rows] if len(codes) else -1, -1), tuple(
        _name(value) for value in classes
    )


def agreement(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Adjusted Rand index (Hubert and Arabie 1985) and normalised mutual information (arithmetic mean).

    Both are 1 for the same partition; the first is 0 on average by chance and may be negative.

    Args:
        labels: (time,) clusters.
        truth: (time,) codes, -1 where unknown.

    Returns:
        {"ari", "nmi"}, empty where fewer than two days or fewer than two known labels are left.
    """
    known = truth >= 0
    if len(np.unique(truth[known])) < 2:
        return {}
    return {
        "ari": float(adjusted_rand_score(truth[known], labels[known])),
        "nmi": float(normalized_mutual_info_score(truth[known], labels[known])),
    }


def confusion(labels: np.ndarray, truth: np.ndarray, classes: tuple[str, ...], k: int) -> Confusion:
    """The confusion table with each cluster matched to at most one class (Hungarian assignment, Kuhn 1955)."""
    known = truth >= 0
    counts = np.zeros((len(classes), k), dtype=int)
    np.add.at(counts, (truth[known], labels[known]), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched = [int(column) for column in columns[np.argsort(rows)]]
    order = matched + [column for column in range(k) if column not in matched]
    on_pairs = counts[rows, columns].sum() / max(counts.sum(), 1)
    return Confusion(classes, tuple(order), counts[:, order], float(on_pairs))


def _name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
