"""Records that have the memory and the covariance of the real one and no regimes: what chance looks like.

Supports two kinds, both made from the principal components of the weighted fields:

- "ar1": every component is red noise with its own variance and lag-1 autocorrelation (an AR(1) process);
- "phase": every component keeps its whole spectrum, and the phases of all are turned by the same random angles, so
  that covariance and cross-spectra stay (Prichard and Theiler 1994).

Where anomalies are larger in winter than in summer, so are the surrogates', if an amplitude is given: by itself, that
the weather is livelier in one season is no regime. Components beyond MOST_COMPONENTS are left out, and the share of
variance that is kept is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, rfft
from sklearn.utils.extmath import randomized_svd

from evaluation.errors import EvaluationError

MOST_COMPONENTS = 1024  # kept where there are more days and cells than an exact decomposition can take
LARGEST_EXACT = 4096  # days or cells, whichever are fewer, up to which the decomposition is exact and whole
FEWEST_DAYS = 3
DAYS_OF_YEAR = 365.25
WHOLE_YEARS = 2  # that a record must have for the seasons of its variance to be told from a year's weather
SEASON_HARMONICS = 2
LEAST_VARIANCE = 0.05  # of the mean, below which a fitted season's variance is not let fall


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a record.

    Attributes:
        mean: (cell,) float32.
        patterns: (component, cell) float32, orthonormal.
        scores: (time, component) float32, uncorrelated, from the largest variance to the least.
        memory: (component,) lag-1 autocorrelation.
        segment: (time,) int, one number for each stretch without a gap.
        amplitude: (time,) float32, by which the components are multiplied in each season; 1 on average.
        variance_kept: share of the record's variance.
    """

    mean: np.ndarray
    patterns: np.ndarray
    scores: np.ndarray
    memory: np.ndarray
    segment: np.ndarray
    amplitude: np.ndarray
    variance_kept: float


def decompose(fields: np.ndarray, segment: np.ndarray, amplitude: np.ndarray | None = None) -> Components:
    """The principal components of weighted fields (time, cell), all of them where the smaller side is not too large.

    Args:
        fields: (time, cell) float32.
        segment: (time,) int, one number for each stretch without a gap.
        amplitude: (time,) as seasonal_amplitude gives it, divided out before and put back into surrogates; None
            treats all seasons alike.

    Raises:
        EvaluationError: for fewer than three days, or a record without any variance.
    """
    if len(fields) < FEWEST_DAYS:
        raise EvaluationError(
            f"Surrogates need at least {FEWEST_DAYS} training days: take a longer record or set "
            f"cluster.surrogates=0. Received: {len(fields)} training days."
        )
    mean = fields.mean(axis=0, dtype=np.float64)
    amplitude = np.ones(len(fields)) if amplitude is None else amplitude
    centred = ((fields - mean) / amplitude[:, None]).astype(np.float32)
    total = float(np.sum(np.square(centred), dtype=np.float64))
    if total == 0:
        raise EvaluationError(
            "Surrogates need fields that vary in time, and every training day is the same: check the data."
        )
    patterns = _patterns(centred)
    scores = centred @ patterns.T
    kept = float(np.sum(np.square(scores), dtype=np.float64)) / total
    memory = _lag_one(scores.astype(np.float64), segment)
    return Components(
        mean.astype(np.float32),
        patterns,
        scores,
        memory,
        segment,
        amplitude.astype(np.float32),
        min(kept, 1.0),
    )


def seasonal_amplitude(fields: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(time,): how large anomalies are on a day of the year, over all cells, relative to the year's root mean square.

    Two harmonics of the year fitted to the days' mean squares. 1 throughout for a record of less than two years,
    whose seasons cannot be told from its weather.

    Args:
        fields: weighted anomalies (time, cell), without their mean seasonal cycle.
        times: (time,) datetime64, ascending.
    """
    days = (times - times[0]) / np.timedelta64(1, "D")
    if days[-1] < WHOLE_YEARS * DAYS_OF_YEAR - 1:
        return np.ones(len(fields))
    size = np.mean((fields - fields.mean(axis=0, dtype=np.float64)) ** 2, axis=1)
    angle = 2 * np.pi * np.arange(1, SEASON_HARMONICS + 1) * days[:, None] / DAYS_OF_YEAR
    terms = np.concatenate([np.ones((len(days), 1)), np.cos(angle), np.sin(angle)], axis=1)
    fitted = terms @ np.linalg.lstsq(terms, size, rcond=None)[0]
    variance = np.maximum(fitted, LEAST_VARIANCE * size.mean())
    return np.sqrt(variance / variance.mean()) if size.mean() > 0 else np.ones(len(fields))


def surrogate(components: Components, kind: str, number: int, *, seed: int) -> np.ndarray:
    """(time, cell) float32: one surrogate of the record.

    Args:
        components: of the real record.
        kind: one of KINDS.
        number: which; the same kind, number and seed give the same surrogate whatever else is made.
        seed: of all surrogates.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    scores = MAKERS[kind](components, rng) * components.amplitude[:, None]
    return components.mean + scores @ components.patterns


def red_noise(components: Components, rng: np.random.Generator) -> np.ndarray:
    """(time, component) float32: z(t) = r z(t-1) + sqrt(1 - r^2) e(t), begun anew at every segment."""
    memory = components.memory.astype(np.float32)
    innovation = np.sqrt(1 - memory**2)
    z = rng.standard_normal(components.scores.shape, dtype=np.float32)
    follows = np.concatenate([[False], components.segment[1:] == components.segment[:-1]])
    for day in np.flatnonzero(follows):
        z[day] = memory * z[day - 1] + innovation * z[day]
    return z * np.sqrt(np.mean(components.scores**2, axis=0))


def phase_randomised(components: Components, rng: np.random.Generator) -> np.ndarray:
    """(time, component) float32: the components with the phase of each frequency turned by one random angle.

    Segments are taken as one stretch.
    """
    spectrum = rfft(components.scores, axis=0)
    n = len(components.scores)
    angles = rng.uniform(0, 2 * np.pi, size=len(spectrum))
    angles[0] = 0
    if n % 2 == 0:  # the highest frequency must stay real: it keeps its sign or changes it
        angles[-1] = np.pi * rng.integers(2)
    turned = spectrum * np.exp(1j * angles).astype(spectrum.dtype)[:, None]
    return np.asarray(irfft(turned, n, axis=0), dtype=np.float32)


MAKERS: dict[str, Callable[[Components, np.random.Generator], np.ndarray]] = {
    "ar1": red_noise,
    "phase": phase_randomised,
}
KINDS = tuple(MAKERS)


def _patterns(centred: np.ndarray) -> np.ndarray:
    """(component, cell) float32 eigenvectors of the covariance, from the largest variance to the least."""
    days, cells = centred.shape
    if min(days, cells) > LARGEST_EXACT:
        return np.asarray(randomized_svd(centred, MOST_COMPONENTS, n_iter=4, random_state=0)[2])
    exact = centred.astype(np.float64)
    values, vectors = np.linalg.eigh(exact.T @ exact if cells <= days else exact @ exact.T)
    order = np.argsort(-values)[: min(days - 1, cells)]
    order = order[values[order] > values.max() * np.finfo(np.float32).eps]
    if cells > days:
        return ((vectors[:, order] / np.sqrt(values[order])).T @ exact).astype(np.float32)
    return np.ascontiguousarray(vectors[:, order].T, dtype=np.float32)


def _lag_one(scores: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """(component,) correlation of each day with the day before, over pairs in one segment."""
    follows = segment[1:] == segment[:-1]
    today, before = scores[1:][follows], scores[:-1][follows]
    size = np.sqrt(np.sum(today**2, axis=0) * np.sum(before**2, axis=0))
    found = np.divide(np.sum(today * before, axis=0), size, out=np.zeros(scores.shape[1]), where=size > 0)
    return np.clip(found, -0.999, 0.999)
