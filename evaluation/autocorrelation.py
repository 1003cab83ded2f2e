"""How long a record remembers: autocovariance, block length of a bootstrap, effective sample size.

Supports a series (time,) in segments between which nothing is remembered. Lags are cut off by the rule of Politis
and White, so that noise at long lags does not add up.
"""

from __future__ import annotations

import numpy as np

SIGNIFICANT = 2.0  # times sqrt(log10 n / n): the band of Politis and White (2004, section 3.2)
FEWEST_LAGS = 5  # that must lie within the band before the rest counts as noise


def autocovariance(series: np.ndarray, segment: np.ndarray, lags: int) -> np.ndarray:
    """(lag,), lags 0 … lags, of a series (time,) about its mean; pairs of days across segments are left out.

    Sums are divided by the number of days, whatever the lag, as Politis and White do.
    """
    deviation = series - series.mean(dtype=np.float64)
    found = np.empty(lags + 1)
    for lag in range(lags + 1):
        later, earlier = slice(lag, None), slice(None, len(series) - lag)
        together = segment[later] == segment[earlier]
        found[lag] = np.sum(deviation[later] * deviation[earlier] * together) / len(series)
    return found


def block_length(series: np.ndarray, segment: np.ndarray) -> float:
    """The block length with the least mean square error of a moving-block bootstrap's variance of a mean.

        b = (2 G^2 / D)^(1/3) n^(1/3)      G = sum L(k) |k| R(k), D = 4/3 (sum L(k) R(k))^2

    with the autocovariance R and a flat-top lag window L (Politis and White 2004, with the correction of Patton,
    Politis and White 2009). Between 1 and min(3 sqrt(n), n / 3).

    Args:
        series: (time,).
        segment: (time,) int, one number for each stretch without a gap.
    """
    weighted = _weighted_autocovariance(series, segment)
    total = weighted[0] + 2 * weighted[1:].sum()
    if total <= 0:
        return 1.0
    first = 2 * np.sum(np.arange(1, len(weighted)) * weighted[1:])
    n = len(series)
    best = (2 * first**2 / (4 / 3 * total**2)) ** (1 / 3) * n ** (1 / 3)
    return float(np.clip(best, 1, max(1, min(3 * np.sqrt(n), n / 3))))


def effective_size(series: np.ndarray, segment: np.ndarray) -> float:
    """The number of independent days whose mean is as uncertain as the series': n / (1 + 2 sum rho(k)).

    Of an AR(1) process it is n (1 - r) / (1 + r). Between 1 and the number of days; a constant series has all.

    Args:
        series: (time,).
        segment: (time,) int, one number for each stretch without a gap.
    """
    weighted = _weighted_autocovariance(series, segment)
    total = weighted[0] + 2 * weighted[1:].sum()
    n = len(series)
    return float(np.clip(n * weighted[0] / total, 1, n)) if total > 0 else float(n)


def _weighted_autocovariance(series: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """L(k) R(k) for k = 0 … M, where the flat-top window L is 1 up to M / 2 and falls to 0 at M."""
    n = len(series)
    band = max(FEWEST_LAGS, int(np.ceil(np.sqrt(np.log10(max(n, 2))))))
    longest = min(int(np.ceil(np.sqrt(n))) + band, n - 1)
    found = autocovariance(series, segment, longest)
    if found[0] <= np.finfo(float).eps * np.mean(np.square(series, dtype=np.float64)):
        return np.zeros(1)
    cut = min(2 * max(_last_memory(found / found[0], n, band), 1), longest)
    lag = np.arange(cut + 1) / max(cut, 1)
    return found[: cut + 1] * np.minimum(1, 2 * (1 - lag))


def _last_memory(correlation: np.ndarray, n: int, band: int) -> int:
    """The least lag after which `band` correlations in a row lie within noise; the last one outside it if none."""
    outside = np.abs(correlation[1:]) >= SIGNIFICANT * np.sqrt(np.log10(n) / n)
    for lag in range(len(outside) - band + 1):
        if not outside[lag : lag + band].any():
            return lag
    return int(np.flatnonzero(outside)[-1]) + 1 if outside.any() else 0
