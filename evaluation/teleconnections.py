"""How the occurrence of clusters goes with climate indices such as the NAO and Niño 3.4.

Supports daily indices, which are set beside the days in and out of a cluster, and monthly ones, which are set beside
the share of each month's days. Both sides lose their mean of each calendar month first, so that a common season is
no correlation. Does not support lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from evaluation import units
from evaluation.heat import heat
from evaluation.pictures import Group, Panel, Picture
from evaluation.results import ModelResult

RATE = 0.05  # of false discoveries among the clusters of an index
HALF_A_MONTH = 15  # days; months with fewer are left out
FEWEST = 8  # steps, and independent ones, from which on a correlation is tested
MONTHLY = pd.Timedelta(days=20)  # usual distance of two values from which on an index is monthly


@dataclass(frozen=True, eq=False)
class Teleconnection:
    """One index beside all clusters.

    Attributes:
        name: of the index.
        step: "daily" or "monthly".
        n: steps for which both are known.
        correlation: (cluster,), NaN where there is none.
        effective: (cluster,) steps that count as independent.
        p: (cluster,) two-sided.
        told: (cluster,) bool, told from zero at the rate of false discoveries.
    """

    name: str
    step: str
    n: int
    correlation: np.ndarray
    effective: np.ndarray
    p: np.ndarray
    told: np.ndarray

    def summary(self) -> dict[str, Any]:
        """For metrics.json, clusters numbered from 1; those without a correlation are absent."""
        clusters = {
            str(c + 1): {
                "correlation": float(self.correlation[c]),
                "effective_n": float(self.effective[c]),
                "p": float(self.p[c]),
                "told": bool(self.told[c]),
            }
            for c in np.flatnonzero(np.isfinite(self.p))
        }
        return {"step": self.step, "n": self.n, "clusters": clusters}


def correlate(
    labels: np.ndarray,
    times: np.ndarray,
    indices: Mapping[str, pd.Series],
    k: int,
    *,
    rate: float = RATE,
) -> tuple[Teleconnection, ...]:
    """Each index beside each cluster; indices that have no value in the record come out without correlations.

    Args:
        labels: (time,) clusters 0 … k-1.
        times: (time,) datetime64 of days.
        indices: by name; values by date, NaN where missing.
        k: number of clusters.
        rate: of false discoveries among the clusters of an index (Benjamini and Hochberg 1995).
    """
    return tuple(_beside(name, index, labels, times, k, rate) for name, index in indices.items())


def reduced_size(first: np.ndarray, second: np.ndarray, follows: np.ndarray) -> float:
    """Steps of two series (time,) that count as independent for their correlation.

    n (1 - r1 r2) / (1 + r1 r2) with their lag-1 autocorrelations (Bretherton et al. 1999, eq. 31); at most n.

    Args:
        first: without its mean.
        second: without its mean.
        follows: (time,) bool, whether a step is the one after the step before; false for the first.
    """
    n = len(first)
    now, before = np.flatnonzero(follows), np.flatnonzero(follows) - 1
    if len(now) == 0:
        return float(n)
    product = 1.0
    for series in (first, second):
        size = np.sqrt(np.sum(series[now] ** 2) * np.sum(series[before] ** 2))
        product *= float(np.sum(series[now] * series[before]) / size) if size > 0 else 0.0
    return min(n * (1 - product) / (1 + product), float(n))


def picture(model: ModelResult, found: Sequence[Teleconnection]) -> Picture | None:
    """All correlations as a table of squares, those told from zero outlined; None without an index."""
    if not found:
        return None
    values = np.stack([held.correlation for held in found], axis=1)
    told = np.stack([held.told for held in found], axis=1)
    drawing = heat(
        values,
        [f"cluster {c + 1}" for c in range(len(values))],
        [held.name for held in found],
        heading="correlation",
        words=f"{model.title}, correlation of clusters with indices: {_words(found)}",
        key=f"{model.label}-tele",
        outlined=told,
    )
    sizes = "; ".join(f"{held.name}: {units.number(held.n, 0)} {_steps(held)}" for held in found)
    caption = (
        f"Correlation of the occurrence of each cluster of {model.title} (seed {model.seeds[model.shown]}) with "
        f"climate indices, both without their mean of the calendar month ({sizes}). Outlined: told from zero, with "
        "degrees of freedom reduced for autocorrelation and 5% of false discoveries among the clusters."
    )
    key = f"{model.label}-teleconnections"
    return Picture(key, f"{model.title}: teleconnections", caption, (Group((Panel(drawing),)),), 1)


def _beside(
    name: str, index: pd.Series, labels: np.ndarray, times: np.ndarray, k: int, rate: float
) -> Teleconnection:
    index = index.dropna()
    monthly = len(index) > 1 and index.index.to_series().diff().median() > MONTHLY
    occurrence, steps = _monthly(labels, times, k) if monthly else _daily(labels, times, k)
    known = pd.PeriodIndex(index.index, freq=steps.freq)
    common = steps.isin(known)
    values = index.groupby(known).mean().reindex(steps[common]).to_numpy(dtype=np.float64)
    correlation, effective, p = _tests(occurrence[common], values, steps[common])
    told = np.zeros(k, dtype=bool)
    tested = np.isfinite(p)
    if tested.any():
        told[tested] = false_discovery_control(p[tested]) <= rate
    step = "monthly" if monthly else "daily"
    return Teleconnection(name, step, int(common.sum()), correlation, effective, p, told)


def _daily(labels: np.ndarray, times: np.ndarray, k: int) -> tuple[np.ndarray, pd.PeriodIndex]:
    """Share of each day's steps (day, cluster), mostly 0 or 1, and the days."""
    days, place, size = np.unique(
        pd.DatetimeIndex(times).normalize(), return_inverse=True, return_counts=True
    )
    counts = np.zeros((len(days), k))
    np.add.at(counts, (place, labels), 1)
    return counts / size[:, None], pd.PeriodIndex(days, freq="D")


def _monthly(labels: np.ndarray, times: np.ndarray, k: int) -> tuple[np.ndarray, pd.PeriodIndex]:
    """Share of each month's days (month, cluster), and the months that have half of their days."""
    shares, days = _daily(labels, times, k)
    months = days.asfreq("M")
    means = pd.DataFrame(shares).groupby(months)
    enough = means.size() >= HALF_A_MONTH
    found = means.mean()[enough]
    return found.to_numpy(), pd.PeriodIndex(found.index, freq="M")


def _tests(
    occurrence: np.ndarray, values: np.ndarray, steps: pd.PeriodIndex
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlation, effective size and p-value (cluster,) of occurrence (step, cluster) and values (step,)."""
    correlation, effective, p = np.full((3, occurrence.shape[1]), np.nan)
    if len(values) < FEWEST:
        return correlation, effective, p
    month = steps.month.to_numpy()
    follows = np.r_[False, np.diff(steps.asi8) == 1]
    index = _without_season(values, month)
    lost = len(np.unique(month)) - 1  # a mean for each calendar month instead of one for all
    for cluster in range(occurrence.shape[1]):
        present = _without_season(occurrence[:, cluster], month)
        size = np.sqrt(np.sum(present**2) * np.sum(index**2))
        if size > 0:
            correlation[cluster] = np.clip(np.sum(present * index) / size, -1, 1)
            share = reduced_size(present, index, follows) / len(values)
            effective[cluster] = share * (len(values) - lost)
            p[cluster] = _p_value(correlation[cluster], effective[cluster])
    return correlation, effective, p


def _without_season(values: np.ndarray, month: np.ndarray) -> np.ndarray:
    """Departures from the mean of each calendar month."""
    total, number = np.bincount(month, weights=values), np.bincount(month)
    departure = values - (total / np.maximum(number, 1))[month]
    return np.where(np.abs(departure) < 1e-12, 0, departure)


def _p_value(correlation: float, effective: float) -> float:
    """Two-sided, by Student's t with n - 2 degrees of freedom; NaN with too few independent steps."""
    if effective < FEWEST:
        return np.nan
    left = max(1 - correlation**2, 1e-15)
    return float(2 * student.sf(abs(correlation) * np.sqrt((effective - 2) / left), effective - 2))


def _steps(held: Teleconnection) -> str:
    return "days" if held.step == "daily" else "months"


def _words(found: Sequence[Teleconnection]) -> str:
    told = [
        f"{held.name} with cluster {c + 1} {units.number(held.correlation[c], 2)}"
        for held in found
        for c in np.flatnonzero(held.told)
    ]
    return "; ".join(told) if told else "none is told from zero"
