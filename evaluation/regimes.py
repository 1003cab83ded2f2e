"""What clusters look like as weather regimes: composites, frequency, spells, transitions, seasons.

Supports labels (time,) of 0 … K-1. Nothing is counted across a gap in time or the border of a split.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

WHOLE = 0.8  # share of the usual year's days from which on a year is compared with others


def composites(x: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(cluster, ...): the mean of x (time, ...) over the days of each cluster, NaN for a cluster without days."""
    means = np.full((k, *x.shape[1:]), np.nan)
    for cluster in np.unique(labels):
        means[cluster] = x[labels == cluster].mean(axis=0, dtype=np.float64)
    return means


def segments(times: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(time,) int that rises by one wherever a step is missing or the split changes."""
    steps = np.diff(times)
    if len(steps) == 0:
        return np.zeros(len(times), dtype=int)
    usual = pd.Series(steps).mode()[0].to_timedelta64()
    breaks = (steps != usual) | (np.diff(split) != 0)
    return np.concatenate([[0], np.cumsum(breaks)])


def frequency(labels: np.ndarray, k: int) -> np.ndarray:
    """(cluster,): the share of the days in each cluster."""
    return np.bincount(labels, minlength=k) / len(labels)


def spells(labels: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cluster and length in steps of every uninterrupted stay. A spell cut off by a segment's end counts as it is."""
    starts = np.concatenate([[True], (np.diff(labels) != 0) | (np.diff(segment) != 0)])
    first = np.flatnonzero(starts)
    return labels[first], np.diff(np.append(first, len(labels)))


def mean_spells(labels: np.ndarray, segment: np.ndarray, k: int) -> np.ndarray:
    """(cluster,): mean length of stay in steps, NaN for a cluster without days."""
    clusters, lengths = spells(labels, segment)
    total = np.bincount(clusters, weights=lengths, minlength=k)
    number = np.bincount(clusters, minlength=k)
    return np.divide(total, number, out=np.full(k, np.nan), where=number > 0)


def transition_matrix(labels: np.ndarray, segment: np.ndarray, k: int) -> np.ndarray:
    """(from, to): the share of the days of a cluster that are followed by each cluster; rows without days are NaN."""
    follows = segment[1:] == segment[:-1]
    counts = np.zeros((k, k))
    np.add.at(counts, (labels[:-1][follows], labels[1:][follows]), 1)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full((k, k), np.nan), where=total > 0)


def monthly_frequency(labels: np.ndarray, times: np.ndarray, k: int) -> np.ndarray:
    """(month, cluster): the share of the days of each calendar month in each cluster; months without days are NaN."""
    month = pd.DatetimeIndex(times).month.to_numpy() - 1
    counts = np.zeros((12, k))
    np.add.at(counts, (month, labels), 1)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full((12, k), np.nan), where=total > 0)


def yearly_frequency(
    labels: np.ndarray, times: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calendar years (year,) that have days, their number of days (year,), and shares (year, cluster) of those."""
    years, place = np.unique(pd.DatetimeIndex(times).year.to_numpy(), return_inverse=True)
    counts = np.zeros((len(years), k))
    np.add.at(counts, (place, labels), 1)
    days = counts.sum(axis=1)
    return years, days.astype(int), counts / days[:, None]


def whole_years(days: np.ndarray) -> np.ndarray:
    """(year,) bool: years with at least WHOLE of the days of the usual year, which may be a season only."""
    return days >= WHOLE * np.median(days)
