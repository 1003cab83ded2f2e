"""Days put to the clusters of a finished run: to which one, how clearly, and whether to any at all.

With d_1 and d_2 a day's Euclidean distances, in the embedding, from the nearest and the second nearest centre, and
missed the share of its squared anomaly that the reconstruction from its embedding lacks:

    nearest      the nearest centre's cluster, as k-means has it
    confidence   1 - d_1 / d_2                    0 on the border of two clusters, 1 at a centre
    no regime    d_1 > radius or missed > limit   both a quantile (95 %) of the training days: radius of d_1 over
                                                  the cluster's own, limit of missed over all

The confidence is the simplified silhouette of a single day (Hruschka, de Castro & Campello 2004), so it is read as
the report's Silhouette is. It assumes no distribution: the posterior of a Gaussian mixture, the usual alternative, is
0 or 1 for nearly every day once an embedding has some ten dimensions. A day beyond the radius is an extreme one. A
day beyond the limit is one of which the embedding knows little: a weak one, or one of a kind that training lacked,
whose embedding may well lie near a centre (white noise does). It is not the threshold on a projection of Grams et al.
2017, which belongs to patterns of one field.

Supports any embedding (time, feature). Days without an embedding stay without a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from evaluation.clustering import Clustering
from evaluation.errors import EvaluationError

UNASSIGNED = -1  # a day without an embedding
NO_REGIME = 0
REFERENCES = (
    "Hruschka, E. R., de Castro, L. N. and Campello, R. J. G. B. (2004): Evolutionary algorithms for clustering "
    "gene-expression data. Fourth IEEE International Conference on Data Mining, 403-406 (simplified silhouette)."
)
ABOUT = {
    "cluster": "cluster of the day",
    "nearest": "cluster of the nearest centre, also of a day without a regime",
    "confidence": "1 - distance from the nearest centre / distance from the second nearest",
    "distance": "distance from the centre in the embedding",
    "missed": "share of the squared anomaly that the reconstruction from the embedding lacks",
    "windows": "windows over which the embedding of the day is averaged",
    "radius": "distance beyond which a day has no regime",
    "limit": "missed share beyond which a day has no regime",
}


@dataclass(frozen=True, eq=False)
class Regimes:
    """The clusters of a finished run, frozen.

    Attributes:
        centres: (K, feature), cluster 1 first.
        radius: (K,) distance from its centre beyond which a day has no regime.
        limit: share of a day's squared anomaly missed by its reconstruction beyond which it has no regime.
        quantile: of the training days, that radius and limit are.
        share: of the training days that have no regime by either.
    """

    centres: np.ndarray
    radius: np.ndarray
    limit: float
    quantile: float
    share: float = 0.0

    @property
    def k(self) -> int:
        """The number of clusters."""
        return len(self.centres)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Days and their clusters, as the reader numbers them.

    Attributes:
        cluster: (time,) int, 1 … K, 0 for no regime, -1 for a day without an embedding.
        nearest: (time,) int, 1 … K whether it is a regime or not, -1 for a day without an embedding.
        confidence: (time,) 0 … 1, NaN for a day without an embedding.
        distance: (time, K) from every centre, in the embedding's own unit, NaN for a day without an embedding.
        missed: (time,) share of the squared anomaly that the reconstruction lacks, NaN as above.
        regimes: what the days were put to.
    """

    cluster: np.ndarray
    nearest: np.ndarray
    confidence: np.ndarray
    distance: np.ndarray
    missed: np.ndarray
    regimes: Regimes

    @property
    def no_regime_share(self) -> float:
        """Share of the days with an embedding that have no regime; 0 where there is none."""
        held = self.cluster[self.cluster != UNASSIGNED]
        return float((held == NO_REGIME).mean()) if held.size else 0.0

    def days(self) -> dict[str, int]:
        """How many days went where: regime_1 … regime_K, no_regime, unassigned."""
        found = {f"regime_{c}": int((self.cluster == c).sum()) for c in range(1, self.regimes.k + 1)}
        others = {"no_regime": NO_REGIME, "unassigned": UNASSIGNED}
        return found | {name: int((self.cluster == code).sum()) for name, code in others.items()}


def learn(
    features: np.ndarray,
    missed: np.ndarray,
    train: np.ndarray,
    clustering: Clustering,
    *,
    quantile: float = 0.95,
) -> Regimes:
    """Freezes a clustering, with what its training days say of the usual distance and reconstruction.

    A cluster that no training day belongs to (of a collapsed embedding) has radius 0.

    Args:
        features: (time, feature), on which the clustering was made.
        missed: (time,) share of each day's squared anomaly that its reconstruction lacks.
        train: (time,) bool, the training days.
        clustering: labels of all days, and centres.
        quantile: of the training days; 1 for the farthest and the worst one.

    Raises:
        EvaluationError: if the quantile is not in (0, 1].
    """
    if not 0 < quantile <= 1:
        raise EvaluationError(
            f"the quantile of the training days must be above 0 and at most 1. Received: {quantile}."
        )
    own = _distances(features[train], clustering.centres)
    labels = clustering.labels[train]
    radius = [
        np.quantile(own[labels == c, c], quantile) if (labels == c).any() else 0.0
        for c in range(len(clustering.centres))
    ]
    limit = float(np.quantile(missed[train], quantile))
    regimes = Regimes(clustering.centres.astype(np.float64), np.array(radius), limit, float(quantile))
    return replace(regimes, share=assign(features[train], missed[train], regimes).no_regime_share)


def assign(features: np.ndarray, missed: np.ndarray, regimes: Regimes) -> Assignment:
    """Puts days to frozen clusters.

    Args:
        features: (time, feature); a row with a NaN is a day without an embedding.
        missed: (time,) share of each day's squared anomaly that its reconstruction lacks.
        regimes: as `learn` gives them.

    Raises:
        EvaluationError: if the features are not those of the centres.
    """
    if features.ndim != 2 or features.shape[1] != regimes.centres.shape[1]:
        raise EvaluationError(
            f"the embedding must have shape (time, {regimes.centres.shape[1]}), as the clusters' centres have. "
            f"Received: {features.shape}."
        )
    held = np.isfinite(features).all(axis=1)
    distance = np.full((len(features), regimes.k), np.nan)
    distance[held] = _distances(features[held], regimes.centres)
    nearest, cluster = np.full((2, len(features)), UNASSIGNED)
    confidence = np.full(len(features), np.nan)
    closest = distance[held].argmin(axis=1)
    nearest[held] = closest + 1
    beyond = distance[held].min(axis=1, initial=np.inf) > regimes.radius[closest]
    beyond |= missed[held] > regimes.limit
    cluster[held] = np.where(beyond, NO_REGIME, closest + 1)
    confidence[held] = _confidence(distance[held])
    return Assignment(cluster, nearest, confidence, distance, np.where(held, missed, np.nan), regimes)


def dataset(
    assignment: Assignment, times: pd.DatetimeIndex, windows: np.ndarray, attrs: Mapping[str, Any]
) -> xr.Dataset:
    """An assignment as a CF dataset: flags for the clusters, units, and what each variable is.

    Args:
        assignment: of the days.
        times: (time,).
        windows: (time,) of how many windows each day's embedding is the mean.
        attrs: of the dataset; Conventions, title and references are added.
    """
    k = assignment.regimes.k
    number = np.int8 if k < 128 else np.int16
    regime = np.arange(1, k + 1, dtype=number)
    found = xr.Dataset(
        coords={
            "time": ("time", times, {"standard_name": "time", "long_name": "time", "axis": "T"}),
            "regime": ("regime", regime, {"long_name": "cluster, 1 for the most frequent in training"}),
        },
        attrs={"Conventions": "CF-1.8", "title": "Weather regimes of days", **attrs},
    )
    found.attrs["references"] = REFERENCES
    names = [f"regime_{c}" for c in regime]
    for name, meanings, values in (
        ("cluster", ["no_regime", *names], np.arange(k + 1, dtype=number)),
        ("nearest", names, regime),
    ):
        flags = {"flag_values": values, "flag_meanings": " ".join(meanings)}
        found[name] = "time", getattr(assignment, name).astype(number), {"long_name": ABOUT[name], **flags}
        found[name].encoding["_FillValue"] = number(UNASSIGNED)
    found["cluster"].attrs |= {
        "comment": "no_regime: distance beyond radius, or missed beyond limit; missing: in no window",
        "ancillary_variables": "nearest confidence distance missed windows",
    }
    for name, (dims, data) in _numbers(assignment, windows).items():
        found[name] = dims, data, {"long_name": ABOUT[name], "units": "1"}
    found["radius"].attrs["comment"] = (
        f"quantile {assignment.regimes.quantile:g} of the cluster's training days"
    )
    found["limit"].attrs["comment"] = f"quantile {assignment.regimes.quantile:g} of the training days"
    return found


def _numbers(assignment: Assignment, windows: np.ndarray) -> dict[str, tuple[Any, np.ndarray]]:
    """Dimensions and values of what has no flags."""
    regimes = assignment.regimes
    return {
        "confidence": ("time", assignment.confidence.astype(np.float32)),
        "distance": (("regime", "time"), assignment.distance.T.astype(np.float32)),  # CF: time comes last
        "missed": ("time", assignment.missed.astype(np.float32)),
        "windows": ("time", windows.astype(np.int32)),
        "radius": ("regime", regimes.radius.astype(np.float32)),
        "limit": ((), np.array(regimes.limit, np.float32)),
    }


def write(dataset: xr.Dataset, path: Path) -> None:
    """Writes an assignment as NetCDF, the same bytes for the same content."""
    settings: dict[str, dict[str, Any]] = {
        "time": {
            "units": "hours since 1900-01-01",
            "calendar": "standard",
            "dtype": "float64",
            "_FillValue": None,
        },
        **{name: {"_FillValue": None} for name in ("regime", "radius", "limit", "windows")},
    }
    dataset.to_netcdf(path, engine="netcdf4", encoding=settings)


def table(assignment: Assignment, times: pd.DatetimeIndex, windows: np.ndarray) -> pd.DataFrame:
    """An assignment as a table: time, cluster, nearest, confidence, distance, missed, windows.

    The distance is that from the nearest centre. Cluster 0 is "no regime"; what is not known of a day is empty.
    """
    held = assignment.cluster != UNASSIGNED
    return pd.DataFrame(
        {
            "time": times,
            "cluster": pd.Series(assignment.cluster).astype("Int64").where(held),
            "nearest": pd.Series(assignment.nearest).astype("Int64").where(held),
            "confidence": assignment.confidence.round(4),
            "distance": assignment.distance.min(axis=1).round(4),
            "missed": assignment.missed.round(4),
            "windows": windows,
        }
    )


def _distances(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(time, K) Euclidean, in float64."""
    apart = [np.linalg.norm(features.astype(np.float64) - centre, axis=1) for centre in centres]
    return np.stack(apart, axis=1)


def _confidence(distance: np.ndarray) -> np.ndarray:
    first, second = np.sort(distance, axis=1)[:, :2].T
    return np.where(second > 0, 1 - first / np.where(second > 0, second, 1), 0.0)
