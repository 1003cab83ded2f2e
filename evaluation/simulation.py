"""Records of clusters as chance would make them: a Markov chain, and clusters of a red-noise embedding.

Supports any number of simulations, drawn a few at a time so that memory stays bounded. Both keep how often clusters
occur, on average; what else they keep is said by each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.signal import lfilter

from evaluation import regimes
from evaluation.baselines import Eof, fit_eof

MOST_COMPONENTS = 32  # of the embedding that the red noise has; raw fields have more, which matter little
HELD = 2**23  # values of noise held at a time
STRONGEST = 0.999  # lag-1 autocorrelation; a component that never changes has 1


class MarkovChain:
    """Clusters that know yesterday only: the same transition probabilities, and spells without memory."""

    def __init__(self, labels: np.ndarray, segment: np.ndarray, k: int) -> None:
        share = regimes.frequency(labels, k)
        matrix = regimes.transition_matrix(labels, segment, k)
        matrix = np.where(np.isfinite(matrix), matrix, share)  # a cluster that nothing ever followed
        self.days = len(labels)
        self.start, self.next = np.cumsum(share), np.cumsum(matrix, axis=1)

    def draw(self, simulations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Labels (some, time), until there are as many as wanted."""
        for some in _portions(simulations, self.days):
            chance = rng.random((self.days, some, 1), dtype=np.float32)
            labels = np.empty((self.days, some), dtype=np.int64)
            steps = self.start[None, :-1]
            for day in range(self.days):
                labels[day] = (chance[day] >= steps).sum(axis=1)
                steps = self.next[labels[day], :-1]
            yield labels.T


class RedNoise:
    """An embedding without regimes: each principal component an AR(1) process of the same variance and lag-1.

    Days are put to the nearest of the same centres. It has the embedding's covariance and persistence, and nothing
    else of it.

    Args:
        embedding: (time, feature) of all days.
        centres: (cluster, feature).
        segment: (time,), which rises where a step is missing; the lag-1 autocorrelation is taken within.
    """

    def __init__(self, embedding: np.ndarray, centres: np.ndarray, segment: np.ndarray) -> None:
        eof: Eof = fit_eof(embedding, MOST_COMPONENTS)
        scores = eof.scores(embedding).astype(np.float64)
        self.days = len(scores)
        self.spread = scores.std(axis=0)
        self.memory = _lag_one(scores, segment)
        self.centres = eof.scores(centres).astype(np.float64)
        total = np.var(embedding, axis=0, dtype=np.float64).sum()
        self.share = float(np.square(self.spread).sum() / total) if total > 0 else 1.0

    def draw(self, simulations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Labels (some, time), until there are as many as wanted."""
        weights = (self.centres * self.spread).astype(np.float32)  # of standardised components
        offset = np.square(self.centres).sum(axis=1).astype(np.float32) / 2
        innovation = np.sqrt(1 - self.memory**2)
        for some in _portions(simulations, self.days * len(self.memory)):
            noise = rng.standard_normal((len(self.memory), some, self.days), dtype=np.float32)
            noise[:, :, 0] /= innovation[:, None]  # the first day has the process's variance as well
            nearness = np.zeros((some, self.days, len(offset)), dtype=np.float32) - offset
            for component, (memory, scale) in enumerate(zip(self.memory, innovation, strict=True)):
                series = lfilter([scale], [1, -memory], noise[component], axis=1).astype(np.float32)
                nearness += series[:, :, None] * weights[:, component]
            yield nearness.argmax(axis=2)


def _portions(simulations: int, size: int) -> Iterator[int]:
    """How many simulations of a size to draw at a time."""
    most = max(HELD // size, 1)
    for first in range(0, simulations, most):
        yield min(most, simulations - first)


def _lag_one(scores: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """(component,): autocorrelation from one step to the next."""
    follows = segment[1:] == segment[:-1]
    centred = scores - scores.mean(axis=0)
    pairs = (centred[1:][follows] * centred[:-1][follows]).sum(axis=0)
    size = (np.square(centred[1:][follows]).sum(axis=0) + np.square(centred[:-1][follows]).sum(axis=0)) / 2
    found = np.divide(pairs, size, out=np.zeros(len(pairs)), where=size > 0)
    return np.clip(found, -STRONGEST, STRONGEST)
