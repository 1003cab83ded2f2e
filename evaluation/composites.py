"""Composites of clusters in physical units, and where they are told from zero.

Supports any number of variables with missing cells, and records with gaps. The test takes the clusters as given:
it says how far a composite could be an accident of the days that happened to be in the record, not whether there
are clusters at all.

Days follow each other too closely to count one by one, so whole blocks of days are drawn anew (moving-block
bootstrap, Künsch 1989). A composite is a mean, whose spread over endlessly many such draws has a closed form: the
variance of the sums over all blocks. That is what is used here; no random numbers are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from evaluation import regimes
from evaluation.autocorrelation import block_length
from evaluation.fields import Fields

RATE = 0.05  # share of false discoveries among the cells of a map that are told from zero
CHUNK = 2**22  # values (time, cell) worked on at a time


@dataclass(frozen=True, eq=False)
class Composites:
    """Mean anomalies of clusters, tested against zero cell by cell.

    Attributes:
        means: (cluster, variable, latitude, longitude) in physical units; NaN where masked or without days.
        p: of the same shape, two-sided, before false discoveries are counted; NaN where the mean is.
        told: of the same shape, bool: told from zero with at most `rate` false discoveries on its map.
        days: (cluster,).
        block_steps: length of the blocks.
        rate: of false discoveries.
    """

    means: np.ndarray
    p: np.ndarray
    told: np.ndarray
    days: np.ndarray
    block_steps: int
    rate: float

    def told_share(self, area_weight: np.ndarray) -> np.ndarray:
        """(cluster, variable): share of the known area that is told from zero, NaN where nothing is known."""
        return area_share(self.told, np.isfinite(self.means), area_weight)


def composites(
    labels: np.ndarray, fields: Fields, k: int, *, block_steps: int | None = None, rate: float = RATE
) -> Composites:
    """Composites of the clusters 0 … k-1 and where they are told from zero.

    Within each map, false discoveries are controlled by the step-up procedure of Benjamini and Hochberg (1995), as
    Wilks (2016) asks of maps; it stays valid for neighbouring cells that go together.

    Args:
        labels: (time,) clusters of the fields' days.
        fields: whose anomalies from the training mean are averaged.
        k: number of clusters.
        block_steps: length of the blocks; None: by the autocorrelation, see usual_block.
        rate: share of false discoveries that is allowed.
    """
    anomaly = fields.cells(fields.x) - fields.train_mean[fields.mask].astype(np.float32)
    segment = regimes.segments(fields.times, fields.split)
    block = usual_block(anomaly, labels, segment) if block_steps is None else block_steps
    stays = _stays(labels, segment, k, block)
    means = np.full((k, anomaly.shape[1]), np.nan)
    p = np.full_like(means, np.nan)
    for cluster in np.unique(labels):
        means[cluster], error = _mean_and_error(anomaly, labels == cluster, fields.train, block)
        p[cluster] = _p_value(means[cluster], error, stays[cluster])
    means, p = (_on_grid(values, fields.mask) for values in (means, p))
    return Composites(
        means=means * fields.scale,
        p=p,
        told=_told(p, rate),
        days=np.bincount(labels, minlength=k),
        block_steps=block,
        rate=rate,
    )


def usual_block(anomaly: np.ndarray, labels: np.ndarray, segment: np.ndarray) -> int:
    """Length in steps of the blocks, from the autocorrelation of what moves the composites, averaged over clusters.

    For each cluster that is how strongly each of its days (time, cell) resembles the composite, around the mean, and
    0 on the other days.
    """
    lengths = []
    for cluster in np.unique(labels):
        inside = labels == cluster
        strength = inside * (anomaly @ anomaly[inside].mean(axis=0))
        lengths.append(block_length(strength - inside * strength[inside].mean(), segment))
    return int(np.ceil(np.mean(lengths)))


def area_share(chosen: np.ndarray, known: np.ndarray, area_weight: np.ndarray) -> np.ndarray:
    """(...): share of the area of the known cells (..., latitude, longitude) that the chosen ones among them hold."""
    area = known * area_weight[:, None]
    total = area.sum(axis=(-2, -1))
    held = (area * chosen).sum(axis=(-2, -1))
    return np.divide(held, total, out=np.full(np.shape(total), np.nan), where=total > 0)


def _mean_and_error(
    anomaly: np.ndarray, inside: np.ndarray, train: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over some days (cell,), and its standard error under the moving-block bootstrap of all days.

    The mean is the ratio of two sums over days, which is linearised: a day in the cluster moves it by its distance
    from the mean over the number of days. A training day moves it back, since anomalies are from the training mean.
    With b = n / block blocks, the variance of a sum is b times the mean square of the sums over all n - block + 1
    blocks (Künsch 1989), here around their mean.
    """
    n = len(inside)
    block = min(block, max(n // 2, 1))
    means, variances = [], []
    for cells in _chunks(anomaly):
        mean = cells[inside].mean(axis=0, dtype=np.float64)
        moved = np.zeros((n + 1, cells.shape[1]))
        moved[1:] = np.where(inside[:, None], (cells - mean) / inside.sum(), 0)
        moved[1:][train] -= cells[train] / train.sum()
        np.cumsum(moved, axis=0, out=moved)
        means.append(mean)
        variances.append((moved[block:] - moved[:-block]).var(axis=0) * n / block)
    return np.concatenate(means), np.sqrt(np.concatenate(variances))


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Columns of the values, so many at a time that memory is bounded."""
    step = max(CHUNK // len(values), 1)
    for first in range(0, values.shape[1], step):
        yield values[:, first : first + step]


def _stays(labels: np.ndarray, segment: np.ndarray, k: int, block: int) -> np.ndarray:
    """(cluster,): how many separate pieces of evidence there are: spells, but no more than blocks with such days."""
    spells = np.bincount(regimes.spells(labels, segment)[0], minlength=k)
    pairs = np.unique(np.stack([labels, np.arange(len(labels)) // block]), axis=1)
    return np.minimum(spells, np.bincount(pairs[0], minlength=k))


def _p_value(mean: np.ndarray, error: np.ndarray, stays: int) -> np.ndarray:
    """Two-sided, by Student's t with one degree of freedom fewer than pieces of evidence; 1 with a single piece."""
    if stays < 2:
        return np.ones_like(mean)
    error = error * np.sqrt(stays / (stays - 1))
    size = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return 2 * student.sf(size, stays - 1)


def _told(p: np.ndarray, rate: float) -> np.ndarray:
    """Told from zero at the rate of false discoveries, each map (latitude, longitude) for itself."""
    told = np.zeros(p.shape, dtype=bool)
    for place in np.ndindex(p.shape[:2]):
        known = np.isfinite(p[place])
        if known.any():
            told[place][known] = false_discovery_control(p[place][known]) <= rate
    return told


def _on_grid(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(cluster, variable, latitude, longitude) out of (cluster, cell), NaN where there is no cell."""
    grid = np.full((len(values), *mask.shape), np.nan)
    grid[:, mask] = values
    return grid
