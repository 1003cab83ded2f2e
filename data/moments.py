"""Means and comoments of fields with a few regressors, merged pairwise in float64.

Blocks of time steps are reduced each on its own, about its own mean, and merged two by two: the update of Chan,
Golub and LeVeque (1983, eq. 2.1), in its form for comoments. With a the regressors of a step, x its field, and n1,
n2 steps:

    mean = mean1 + (mean2 - mean1) n2 / n
    C(a, x) = C1(a, x) + C2(a, x) + (mean2(a) - mean1(a)) (mean2(x) - mean1(x)) n1 n2 / n

Nothing large is ever squared, so the variance of geopotential keeps its digits. A missing value makes its cell's
moments missing and no other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_STEPS = 256
PIECE_VALUES = 2**16  # float64: half a megabyte


@dataclass
class Moments:
    """What is known of the time steps seen so far.

    Attributes:
        count: time steps.
        mean_a: mean of the regressors (k,).
        mean_x: mean field (*shape).
        aa: C(a, a), (k, k).
        ax: C(a, x), (k, *shape).
        xx: C(x, x) at every cell (*shape).
    """

    count: int
    mean_a: NDArray[np.float64]
    mean_x: NDArray[np.float64]
    aa: NDArray[np.float64]
    ax: NDArray[np.float64]
    xx: NDArray[np.float64]

    @classmethod
    def empty(cls, regressors: int, shape: tuple[int, ...]) -> Moments:
        """Of no time step."""
        k = regressors
        return cls(0, np.zeros(k), np.zeros(shape), np.zeros((k, k)), np.zeros((k, *shape)), np.zeros(shape))

    @classmethod
    def of(cls, regressors: NDArray[np.float64], fields: NDArray[np.floating]) -> Moments:
        """Of one block: regressors (time, k) and fields (time, *shape)."""
        found = cls.empty(regressors.shape[1], fields.shape[1:])
        found.add(regressors, fields)
        return found

    def add(self, regressors: NDArray[np.float64], fields: NDArray[np.floating]) -> None:
        """Takes in a block of time steps, as `of` takes it, in pieces that fit the processor's cache."""
        flat = fields.reshape(len(fields), -1)
        for first in range(0, len(flat), PIECE_STEPS):
            steps = slice(first, first + PIECE_STEPS)
            self._add(regressors[steps], flat[steps])

    def _add(self, regressors: NDArray[np.float64], fields: NDArray[np.floating]) -> None:
        """Reduces each cell about its mean over the block, and merges that."""
        size, count = len(fields), self.count + len(fields)
        share = self.count * size / count
        mean = regressors.mean(axis=0)
        apart = regressors - mean
        step = mean - self.mean_a
        mean_x, xx = self.mean_x.reshape(-1), self.xx.reshape(-1)
        ax = self.ax.reshape(len(step), mean_x.size)
        for first in range(0, fields.shape[1], PIECE_VALUES // size):
            cells = slice(first, first + PIECE_VALUES // size)
            x = fields[:, cells].astype(np.float64)
            centre = x.mean(axis=0)
            x -= centre
            away = centre - mean_x[cells]
            ax[:, cells] += apart.T @ x + np.outer(share * step, away)
            xx[cells] += np.einsum("tc,tc->c", x, x) + share * away**2
            mean_x[cells] += away * (size / count)
        self.aa += apart.T @ apart + share * np.outer(step, step)
        self.mean_a += step * (size / count)
        self.count = count

    def merge(self, other: Moments) -> None:
        """Takes in the steps of another block."""
        if not other.count:
            return
        count = self.count + other.count
        share = self.count * other.count / count
        apart_a, apart_x = other.mean_a - self.mean_a, other.mean_x - self.mean_x
        self.aa += other.aa + share * np.outer(apart_a, apart_a)
        for mine, theirs, apart in zip(self.ax, other.ax, apart_a, strict=True):
            mine += theirs
            if share:
                mine += (share * apart) * apart_x
        self.mean_a += apart_a * (other.count / count)
        self.mean_x += apart_x * (other.count / count)
        apart_x *= apart_x
        apart_x *= share
        self.xx += other.xx
        self.xx += apart_x
        self.count = count

    def merged(self, other: Moments) -> Moments:
        """The moments of the steps of both."""
        both = Moments.from_arrays({name: np.array(value) for name, value in self.arrays().items()})
        both.merge(other)
        return both

    def residual_squares(self, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of squares about mean_x + slopes · (a - mean_a) at every cell, for any slopes (k, *shape)."""
        squares = self.xx - 2 * np.einsum("k...,k...->...", slopes, self.ax)
        squares += np.einsum("k...,kl,l...->...", slopes, self.aa, slopes)
        return np.maximum(squares, 0)

    def arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """What can be saved, by name."""
        names = ("mean_a", "mean_x", "aa", "ax", "xx")
        return {f"{prefix}count": np.array(self.count)} | {
            prefix + name: getattr(self, name) for name in names
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], prefix: str = "") -> Moments:
        """What `arrays` gave."""
        names = ("mean_a", "mean_x", "aa", "ax", "xx")
        return cls(int(arrays[f"{prefix}count"]), *(arrays[prefix + name] for name in names))
