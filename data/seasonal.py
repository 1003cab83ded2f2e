"""Where in the year, and in the day, a time step stands: smooth, periodic, from true dates.

With m = 1 … M harmonics, sin and cos of 2 pi m d / 365.2425 with d the day of the year since 1 January 00:00
including its fraction, so 1 January is the same in every year and leap years run on to d = 365. Where steps are
shorter than a day, sin and cos of the hour follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAYS_PER_YEAR = 365.2425


def day_of_year(times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Days since 1 January 00:00 of the same year, with fraction: 0 <= d < 366."""
    day = times.normalize()
    return (times.day_of_year - 1 + (times - day) / pd.Timedelta(days=1)).to_numpy(np.float64)


def harmonics(times: pd.DatetimeIndex, count: int) -> NDArray[np.float64]:
    """sin and cos of the first `count` annual harmonics, (time, 2 * count), in the order sin 1, cos 1, sin 2, …"""
    phase = 2 * np.pi * day_of_year(times)[:, None] * np.arange(1, count + 1) / DAYS_PER_YEAR
    return np.stack([np.sin(phase), np.cos(phase)], axis=-1).reshape(len(times), 2 * count)


def encode(times: pd.DatetimeIndex, count: int = 4) -> tuple[NDArray[np.float32], list[str]]:
    """Seasonal features and their names.

    Args:
        times: the time steps.
        count: annual harmonics.

    Returns:
        features (time, season_feature) in [-1, 1], and a name for each.
    """
    names = [f"{f}_year_{m}" for m in range(1, count + 1) for f in ("sin", "cos")]
    if is_subdaily(times):
        names += ["sin_day", "cos_day"]
    return features(times, names), names


def features(times: pd.DatetimeIndex, names: Sequence[str]) -> NDArray[np.float32]:
    """The seasonal features of given names, as `encode` gives them, (time, season_feature)."""
    day = "sin_day" in names
    found = [harmonics(times, (len(names) - 2 * day) // 2)]
    if day:
        phase = 2 * np.pi * ((times - times.normalize()) / pd.Timedelta(days=1)).to_numpy(np.float64)
        found.append(np.stack([np.sin(phase), np.cos(phase)], axis=-1))
    return np.concatenate(found, axis=1).astype(np.float32)


def is_subdaily(times: pd.DatetimeIndex) -> bool:
    """Whether steps are shorter than a day."""
    return len(times) > 1 and bool(np.diff(times.values).min() < np.timedelta64(1, "D"))
