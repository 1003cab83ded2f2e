"""What may be said of a difference: intervals over seeds and time, and two models paired by seed and by day.

Supports Student's t intervals (95%). Over seeds alone they cover what changes from one training to the next on this
record; with resamples of the days (evaluation/bootstrap.py) they also cover how the figures would differ on other
years. With a single seed there is no interval, and nothing is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
ROUNDING = 1e-9  # differences under this share of the values are rounding, not a finding
BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"


def estimate(values: Sequence[float], resampled: Sequence[np.ndarray] | None = None) -> dict[str, Any]:
    """{"mean", "low", "high", "values"} over seeds; low and high are absent with a single value.

    With resamples, the variance of the mean is that between seeds plus that over time,

        v = s^2 / n + var_r(mean over seeds of resample r)

    with the degrees of freedom of Welch and Satterthwaite, in which the variance over time counts as known; the two
    standard errors are given as "seed_error" and "time_error".

    Args:
        values: one a seed.
        resampled: (resample,) for each value, on the same resamples of the days; NaN where there is none.

    >>> estimate([1.0, 3.0])["mean"]
    2.0
    """
    array = np.asarray(values, dtype=np.float64)
    result: dict[str, Any] = {"mean": float(array.mean())}
    seeds = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else None
    time = None if resampled is None else _time_error(resampled)
    if seeds is not None:
        half = _half_width(seeds, time or 0.0, len(array) - 1)
        result |= {"low": float(array.mean() - half), "high": float(array.mean() + half)}
    if time is not None:
        result |= {"time_error": time} | ({} if seeds is None else {"seed_error": float(seeds)})
    return result | {"values": [float(value) for value in array]}


def paired_difference(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    higher_is_better: bool,
    resampled: tuple[Mapping[int, np.ndarray], Mapping[int, np.ndarray]] | None = None,
) -> dict[str, Any] | None:
    """The difference first minus second over the seeds that both have, its interval and a verdict on the first.

    Args:
        first: value by seed.
        second: value by seed.
        higher_is_better: whether a positive difference speaks for the first.
        resampled: (resample,) by seed for the first and for the second, on the same resamples of the days, so that
            what a stretch of weather does to both cancels.

    Returns:
        An estimate with "seeds" and "verdict": "better" or "worse" where the interval leaves out zero, otherwise
        "no difference shown". None without a common seed.
    """
    seeds = sorted(set(first) & set(second))
    if not seeds:
        return None
    pairs = None if resampled is None else [resampled[0][seed] - resampled[1][seed] for seed in seeds]
    result = estimate([first[seed] - second[seed] for seed in seeds], pairs)
    largest = max(abs(value) for values in (first, second) for value in values.values())
    return result | {"seeds": seeds, "verdict": _verdict(result, higher_is_better, ROUNDING * largest)}


def _time_error(resampled: Sequence[np.ndarray]) -> float | None:
    """Standard deviation over the resamples of the mean over seeds; None with fewer than two usable ones."""
    means = np.mean(resampled, axis=0)
    means = means[np.isfinite(means)]
    return float(means.std(ddof=1)) if len(means) > 1 else None


def _half_width(seeds: float, time: float, freedom: int) -> float:
    """Of the interval, with Welch and Satterthwaite's degrees of freedom."""
    variance = seeds**2 + time**2
    if variance == 0:
        return 0.0
    welch = freedom * (variance / seeds**2) ** 2 if seeds > 0 else np.inf
    return float(student.ppf((1 + LEVEL) / 2, welch) * np.sqrt(variance))


def _verdict(difference: Mapping[str, Any], higher_is_better: bool, nothing: float) -> str:
    if "low" not in difference or (difference["low"] <= nothing and difference["high"] >= -nothing):
        return NOT_SHOWN
    return BETTER if (difference["low"] > 0) == higher_is_better else WORSE
