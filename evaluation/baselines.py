"""What a learned embedding has to beat: EOFs and the raw fields, clustered alike; persistence.

Supports area-weighted EOFs (PCA) fitted on the training days with their explained variance on any split.
Fitting uses a randomised decomposition with a fixed seed, which agrees with the exact one to the digits shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.utils.extmath import randomized_svd

from evaluation.fields import Fields, weighted_space
from evaluation.inputs import Run

POWER_ITERATIONS = 10  # of the randomised decomposition; 10 leaves the 16th singular value good to 1e-6


@dataclass(frozen=True, eq=False)
class Eof:
    """Empirical orthogonal functions of area-weighted anomalies.

    Attributes:
        mean: (cell,), of the weighted training fields.
        components: (component, cell), orthonormal.
    """

    mean: np.ndarray
    components: np.ndarray

    def scores(self, weighted: np.ndarray) -> np.ndarray:
        """(time, component): the principal components of weighted fields (time, cell)."""
        return (weighted - self.mean) @ self.components.T

    def reconstruct(self, scores: np.ndarray) -> np.ndarray:
        """(time, cell): the weighted fields that the components give back."""
        return self.mean + scores @ self.components


def fit_eof(weighted: np.ndarray, size: int, *, seed: int = 0) -> Eof:
    """EOFs of the weighted fields (time, cell) of the training days; at most as many as days or cells."""
    mean = weighted.mean(axis=0, dtype=np.float64).astype(weighted.dtype)
    size = min(size, *weighted.shape)
    _, _, components = randomized_svd(weighted - mean, size, n_iter=POWER_ITERATIONS, random_state=seed)
    return Eof(mean, components)


def explained_variance(truth: np.ndarray, reconstruction: np.ndarray, mean: np.ndarray) -> float:
    """1 - squared errors / squared anomalies from the training mean, summed over weighted fields (time, cell)."""
    error = np.sum((truth - reconstruction) ** 2, dtype=np.float64)
    return float(1 - error / np.sum((truth - mean) ** 2, dtype=np.float64))


def eof_runs(
    fields: Fields, size: int, seeds: Sequence[int], *, label: str, example_times: np.ndarray
) -> list[Run]:
    """EOFs as runs: one decomposition, and a k-means seed for each."""
    weighted = weighted_space(fields)
    eof = fit_eof(weighted[fields.train], size)
    scores = eof.scores(weighted)
    given_back = eof.reconstruct(scores)
    departures = (weighted - given_back, weighted - eof.mean)
    squares = np.stack([np.sum(np.square(one), axis=1, dtype=np.float64) for one in departures], axis=1)
    sums = {name: squares[days].sum(axis=0) for name, days in fields.splits.items()}
    return [
        Run(
            model=label,
            seed=seed,
            times=fields.times,
            embedding=scores,
            explained_variance={name: float(1 - error / there) for name, (error, there) in sums.items()},
            explained_variance_by_variable=_by_variable(fields, weighted, given_back, eof.mean),
            squares=squares,
            examples=_examples(fields, given_back, example_times),
        )
        for seed in seeds
    ]


def raw_runs(fields: Fields, seeds: Sequence[int]) -> list[Run]:
    """The weighted fields themselves as runs, with a k-means seed for each."""
    weighted = weighted_space(fields)
    return [Run(model="raw", seed=seed, times=fields.times, embedding=weighted) for seed in seeds]


def yesterday(labels: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the day and of the day before, for the days whose day before is the step before in one segment."""
    follows = segments[1:] == segments[:-1]
    return labels[1:][follows], labels[:-1][follows]


def _by_variable(
    fields: Fields, weighted: np.ndarray, given_back: np.ndarray, mean: np.ndarray
) -> dict[str, dict[str, float]]:
    owner = np.broadcast_to(np.arange(len(fields.variables))[:, None, None], fields.mask.shape)[fields.mask]
    shares: dict[str, dict[str, float]] = {}
    for i, name in enumerate(fields.variables):
        cells = owner == i
        if cells.any():
            shares[name] = {
                split: explained_variance(weighted[days][:, cells], given_back[days][:, cells], mean[cells])
                for split, days in fields.splits.items()
            }
    return shares


def _examples(fields: Fields, given_back: np.ndarray, times: np.ndarray) -> xr.DataArray:
    """The reconstructed fields (time, variable, latitude, longitude) of the given days, normalised units."""
    rows = pd.Index(fields.times).get_indexer(times)
    days = np.zeros((len(rows), *fields.mask.shape), dtype=np.float32)
    days[:, fields.mask] = given_back[rows] / np.sqrt(fields.cell_weights())
    return xr.DataArray(days, dims=("time", "variable", "latitude", "longitude"), coords={"time": times})
