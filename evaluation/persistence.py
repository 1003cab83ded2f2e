"""Spells, transitions and years of clusters against what chance makes of them.

Supports two kinds of chance (evaluation/simulation.py): a Markov chain, which tells whether spells remember how long
they have lasted, and red noise in the embedding, which tells whether there is more to persistence and transitions
than that weather changes slowly. A statistic differs where its two-sided p-value, its rank among the simulations,
passes the control of false discoveries (Benjamini and Hochberg 1995) among the clusters or pairs of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from evaluation import regimes
from evaluation.simulation import MarkovChain, RedNoise

SIMULATIONS = 500
RATE = 0.05  # of false discoveries
BAND = (0.025, 0.975)  # of the simulations
LONGEST = 30  # steps; longer spells count as such
ROUNDING = 1e-12
FEWEST_YEARS = 3  # whole ones, from which on their spread is compared


@dataclass(frozen=True, eq=False)
class Comparison:
    """One statistic beside its simulations; all arrays have its shape, NaN where it does not exist.

    Attributes:
        observed: its value.
        low: 2.5% of the simulations are below.
        high: 2.5% of the simulations are above.
        p: two-sided.
        differs: bool, at the rate of false discoveries among all that have a p-value.
    """

    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    differs: np.ndarray

    def by_cluster(self) -> dict[str, dict[str, Any]]:
        """For metrics.json: the entries of a statistic (cluster,), numbered from 1, without those that are NaN."""
        return {str(c + 1): self.entry(c) for c in range(len(self.observed)) if np.isfinite(self.p[c])}

    def entry(self, *place: int) -> dict[str, Any]:
        """One value with all that belongs to it."""
        named = {name: float(getattr(self, name)[place]) for name in ("observed", "low", "high", "p")}
        return named | {"differs": bool(self.differs[place])}


@dataclass(frozen=True, eq=False)
class Against:
    """The record against one kind of chance.

    Attributes:
        frequency: (cluster,) share of the days.
        mean_spell: (cluster,) steps.
        transition: (from, to) share of the days.
        yearly_spread: (cluster,) standard deviation of the yearly shares over whole years; NaN with fewer than 3.
        survival: (cluster, step) share of the spells that last at least 1, 2, … LONGEST steps.
        spells_p: (cluster,) of the largest distance of that curve from what is usual, one-sided: of the Markov chain
            from the curve without memory, of red noise from the simulations' mean.
        spells_differ: (cluster,) bool.
    """

    frequency: Comparison
    mean_spell: Comparison
    transition: Comparison
    yearly_spread: Comparison
    survival: Comparison
    spells_p: np.ndarray
    spells_differ: np.ndarray

    def summary(self) -> dict[str, Any]:
        """What both kinds of chance can be asked, for metrics.json."""
        known = [c for c in range(len(self.spells_p)) if np.isfinite(self.spells_p[c])]
        return {
            "mean_spell": self.mean_spell.by_cluster(),
            "spell_distribution": {
                str(c + 1): {"p": float(self.spells_p[c]), "differs": bool(self.spells_differ[c])}
                for c in known
            },
            "yearly_spread": self.yearly_spread.by_cluster(),
        }


@dataclass(frozen=True, eq=False)
class Persistence:
    """The record against both kinds of chance.

    Attributes:
        markov: against a Markov chain of the same transition probabilities.
        ar1: against an AR(1) process of the same covariance and lag-1 autocorrelation, put to the same centres.
        simulations: of each.
        components_share: share of the embedding's variance that the AR(1) process has.
    """

    markov: Against
    ar1: Against
    simulations: int
    components_share: float

    def summary(self) -> dict[str, Any]:
        """For metrics.json."""
        pairs = self.ar1.transition
        rows: dict[str, dict[str, Any]] = {}
        for row, column in np.argwhere(np.isfinite(pairs.p)):
            rows.setdefault(str(row + 1), {})[str(column + 1)] = pairs.entry(row, column)
        more = {"frequency": self.ar1.frequency.by_cluster(), "transition": rows}
        return {
            "simulations": self.simulations,
            "components_share": self.components_share,
            "markov": self.markov.summary(),
            "ar1": self.ar1.summary() | more,
        }


@dataclass(frozen=True, eq=False)
class _Statistics:
    """Of many records (record, …); the names are those of Against."""

    frequency: np.ndarray
    mean_spell: np.ndarray
    transition: np.ndarray
    yearly_spread: np.ndarray
    survival: np.ndarray


def persistence(
    labels: np.ndarray,
    embedding: np.ndarray,
    centres: np.ndarray,
    segment: np.ndarray,
    times: np.ndarray,
    *,
    simulations: int = SIMULATIONS,
    seed: int = 0,
) -> Persistence:
    """Compares spells, transitions and years of a record of clusters with simulated ones.

    Args:
        labels: (time,) clusters 0 … K-1.
        embedding: (time, feature), of which they are the clusters.
        centres: (K, feature).
        segment: (time,), see regimes.segments.
        times: (time,) datetime64.
        simulations: of each kind; p-values are at least 2 / (simulations + 1).
        seed: the same seed gives the same p-values.
    """
    k = len(centres)
    found = _statistics(labels[None], segment, times, k)
    rng = np.random.default_rng(seed)
    noise = RedNoise(embedding, centres, segment)
    markov, ar1 = (
        _gather(_statistics(some, segment, times, k) for some in chance.draw(simulations, rng))
        for chance in (MarkovChain(labels, segment, k), noise)
    )
    return Persistence(
        markov=_against(found, markov, memoryless=True),
        ar1=_against(found, ar1, memoryless=False),
        simulations=simulations,
        components_share=noise.share,
    )


def _statistics(labels: np.ndarray, segment: np.ndarray, times: np.ndarray, k: int) -> _Statistics:
    """All statistics of records (record, time)."""
    records, days = labels.shape
    base = np.arange(records)[:, None] * k
    counts = np.bincount((base + labels).ravel(), minlength=records * k).reshape(records, k)
    mean_spell, survival = _spells(labels, segment, k)
    return _Statistics(
        frequency=counts / days,
        mean_spell=mean_spell,
        transition=_transitions(labels, segment, k),
        yearly_spread=_yearly_spread(labels, times, k),
        survival=survival,
    )


def _spells(labels: np.ndarray, segment: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean spell (record, cluster) and survival (record, cluster, step), NaN for clusters without days."""
    records, days = labels.shape
    starts = np.ones(labels.shape, dtype=bool)
    starts[:, 1:] = (np.diff(labels, axis=1) != 0) | (np.diff(segment) != 0)
    first = np.flatnonzero(starts)
    lengths = np.diff(np.append(first, labels.size))
    owner = first // days * k + labels.ravel()[first]
    size = records * k
    capped = np.bincount(owner * (LONGEST + 1) + np.minimum(lengths, LONGEST), minlength=size * (LONGEST + 1))
    lasting = capped.reshape(records, k, LONGEST + 1)[..., :0:-1].cumsum(axis=-1)[..., ::-1]
    total = np.bincount(owner, weights=lengths, minlength=size).reshape(records, k)
    return _share(total, lasting[..., 0]), _share(lasting, lasting[..., :1])


def _transitions(labels: np.ndarray, segment: np.ndarray, k: int) -> np.ndarray:
    """(record, from, to); rows without days are NaN."""
    follows = segment[1:] == segment[:-1]
    codes = (np.arange(len(labels))[:, None] * k + labels[:, :-1]) * k + labels[:, 1:]
    counts = np.bincount(codes[:, follows].ravel(), minlength=len(labels) * k * k).reshape(-1, k, k)
    return _share(counts, counts.sum(axis=2, keepdims=True))


def _yearly_spread(labels: np.ndarray, times: np.ndarray, k: int) -> np.ndarray:
    """(record, cluster): standard deviation over whole years of the share of the year's days."""
    _, year = np.unique(pd.DatetimeIndex(times).year.to_numpy(), return_inverse=True)
    days = np.bincount(year)
    whole = regimes.whole_years(days)
    if whole.sum() < FEWEST_YEARS:
        return np.full((len(labels), k), np.nan)
    codes = (np.arange(len(labels))[:, None] * len(days) + year) * k + labels
    counts = np.bincount(codes.ravel(), minlength=len(labels) * len(days) * k).reshape(-1, len(days), k)
    return (counts / days[:, None])[:, whole].std(axis=1, ddof=1)


def _share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    total = np.broadcast_to(total, part.shape)
    return np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)


def _gather(parts: Iterable[_Statistics]) -> _Statistics:
    held = list(parts)
    names = _Statistics.__dataclass_fields__
    return _Statistics(**{name: np.concatenate([getattr(part, name) for part in held]) for name in names})


def _against(found: _Statistics, simulated: _Statistics, *, memoryless: bool) -> Against:
    names = _Statistics.__dataclass_fields__
    compared = {name: _compare(getattr(found, name)[0], getattr(simulated, name)) for name in names}
    if memoryless:
        usual = [_geometric(held.mean_spell) for held in (found, simulated)]
    else:
        number = np.isfinite(simulated.mean_spell).sum(axis=0)[:, None]
        usual = [np.nansum(simulated.survival, axis=0) / np.maximum(number, 1)] * 2
    p = _departure(found.survival - usual[0], simulated.survival - usual[1])
    return Against(**compared, spells_p=p, spells_differ=_differ(p))


def _geometric(mean_spell: np.ndarray) -> np.ndarray:
    """(record, cluster, step): survival of spells without memory that have the record's own mean.

    Each simulation is held against its own mean, as the record is: held against the chain's they would look further
    off than the record, to which the chain was fitted.
    """
    return (1 - 1 / mean_spell[..., None]) ** np.arange(LONGEST)


def _departure(observed: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """(cluster,): one-sided p-value of the largest departure (record, cluster, step) by rank among simulations."""
    (distance,), chance = (np.abs(curves).max(axis=-1) for curves in (observed, simulated))
    known = np.isfinite(chance).sum(axis=0)
    p = (1 + (chance >= distance - ROUNDING).sum(axis=0)) / (1 + known)
    return np.where(np.isfinite(distance) & (known > 0), p, np.nan)


def _compare(observed: np.ndarray, simulated: np.ndarray) -> Comparison:
    """Two-sided: twice the share of the simulations, the record among them, on the rarer side; at most 1."""
    known = np.isfinite(simulated)
    number = known.sum(axis=0) + 1
    with np.errstate(invalid="ignore"):
        above = 1 + (simulated >= observed - ROUNDING).sum(axis=0)
        below = 1 + (simulated <= observed + ROUNDING).sum(axis=0)
    p = np.minimum(2 * np.minimum(above, below) / number, 1)
    exists = np.isfinite(observed) & known.any(axis=0)
    p = np.where(exists, p, np.nan)
    low, high = np.full((2, *observed.shape), np.nan)
    if exists.any():
        low[exists], high[exists] = np.nanquantile(simulated[:, exists], BAND, axis=0)
    return Comparison(observed, low, high, p, _differ(p))


def _differ(p: np.ndarray) -> np.ndarray:
    differs = np.zeros(p.shape, dtype=bool)
    known = np.isfinite(p)
    if known.any():
        differs[known] = false_discovery_control(p[known]) <= RATE
    return differs
