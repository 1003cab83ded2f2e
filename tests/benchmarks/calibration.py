"""How often the comparison with chance errs: `python -m tests.benchmarks.calibration [--seeds 100]`.

Records of pure red noise, in which there is nothing to find, and records with planted regimes go through the EOF
encoder, k-means and the surrogates as a report's do. Prints, for every index, how many of the records were called
clusters beyond chance, and how well the planted regimes were recovered. docs/calibration.md has the figures.

The noise is not drawn as the surrogates are: every grid cell has a memory of its own, and cells are correlated in
space, so that the principal components are AR(1) processes only nearly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from evaluation import nulls
from evaluation.baselines import fit_eof
from evaluation.clustering import cluster
from evaluation.fields import minmax_features
from evaluation.surrogates import KINDS, decompose, surrogate

GRID = (10, 14)
REACH = 1.5  # grid cells over which neighbours are correlated
MEMORY = (0.4, 0.9)  # lag-1 autocorrelation of the noise, from the first row of the grid to the last
SPELL = 6.0  # mean days in a regime
EOFS = 10
SETTINGS = {"nothing planted": 0.0, "planted, well separated": 1.0, "planted, faint": 0.6}


@dataclass(frozen=True, eq=False)
class Record:
    """Fields (time, cell) float32 and the regime of each day (time,), which is noise's 0 where none are planted."""

    fields: np.ndarray
    regimes: np.ndarray


def red_noise(rng: np.random.Generator, days: int) -> np.ndarray:
    """(time, cell): noise with variance 1, correlated in space, with a memory that differs from row to row."""
    memory = np.linspace(*MEMORY, GRID[0])[:, None]
    white = gaussian_filter(rng.normal(size=(days, *GRID)), (0, REACH, REACH), mode="wrap")
    white /= white.std()
    x = np.empty_like(white)
    x[0] = white[0]
    for day in range(1, days):
        x[day] = memory * x[day - 1] + np.sqrt(1 - memory**2) * white[day]
    return x.reshape(days, -1)


def planted(rng: np.random.Generator, days: int, k: int) -> np.ndarray:
    """(time,): regimes 0 … k-1 in spells of SPELL days on average, all alike frequent."""
    changes = rng.random(days) < 1 / SPELL
    drawn = rng.integers(k, size=days)
    return drawn[np.maximum.accumulate(np.where(changes, np.arange(days), 0))]


def record(seed: int, *, separation: float, days: int, k: int) -> Record:
    """Red noise plus, on each day, the pattern of its regime, `separation` times as large as the noise.

    Patterns are as smooth as the noise, and each has mean square 1.
    """
    rng = np.random.default_rng(seed)
    patterns = gaussian_filter(rng.normal(size=(k, *GRID)), (0, REACH, REACH), mode="wrap").reshape(k, -1)
    patterns /= np.sqrt(np.mean(patterns**2, axis=1, keepdims=True))
    regimes = planted(rng, days, k)
    noise = red_noise(rng, days)
    return Record((noise + separation * patterns[regimes]).astype(np.float32), regimes)


def chance(held: Record, *, k: int, surrogates: int, seed: int) -> dict[str, Any]:
    """The comparison of one record, as metrics.json has it."""
    segment = np.zeros(len(held.fields), dtype=int)
    eof, components = fit_eof(held.fields, EOFS), decompose(held.fields, segment)

    def scores(fields: np.ndarray) -> dict[str, nulls.Scores]:
        data = minmax_features(fields, np.ones(len(fields), dtype=bool))
        return nulls.score({"eof": eof.scores(fields)}, data, [k], seed=seed)["eof"]

    found = {
        kind: [scores(surrogate(components, kind, number, seed=seed)) for number in range(surrogates)]
        for kind in KINDS
    }
    return nulls.compare(scores(held.fields), found, k)


def recovered(held: Record, k: int) -> float:
    """Adjusted Rand index of the clusters of the leading components with what was planted."""
    scores = fit_eof(held.fields, EOFS).scores(held.fields)
    everything = np.ones(len(scores), dtype=bool)
    return float(adjusted_rand_score(held.regimes, cluster(scores, everything, k=k).labels))


def beyond_chance(found: dict[str, Any], k: int) -> Iterator[tuple[str, bool]]:
    """Every index, and the verdict that it would give."""
    for space, indices in found["by_k"][str(k)].items():
        for index, entry in indices.items():
            yield f"{index}, {space}", entry["p"] <= nulls.LEVEL


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.calibration", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="records of each setting")
    parser.add_argument("--surrogates", type=int, default=39, help="of each kind")
    parser.add_argument("--days", type=int, default=730, help="in a record")
    parser.add_argument("--k", type=int, default=7, help="number of regimes and of clusters")
    options = parser.parse_args()
    for name, separation in SETTINGS.items():
        counts: dict[str, int] = {}
        agreement = []
        for seed in range(options.seeds):
            held = record(seed, separation=separation, days=options.days, k=options.k)
            found = chance(held, k=options.k, surrogates=options.surrogates, seed=seed)
            for index, beyond in beyond_chance(found, options.k):
                counts[index] = counts.get(index, 0) + beyond
            agreement.append(recovered(held, options.k))
        _say(f"{name} ({separation}): clusters beyond chance in so many of {options.seeds} records")
        for index, number in counts.items():
            _say(f"    {index:32s} {number:4d}")
        _say(f"    adjusted Rand index with what was planted: {np.mean(agreement):.2f}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
