"""Which months a record is used in: seasons by the initials of their months, or months by number.

Supports any run of two to eleven months (DJF, NDJFM, JJAS, MA) and any list of months. What is left of a record has a
gap between one season and the next, across which no window goes. A single letter is refused: J may be three months.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import DataError

INITIALS = "JFMAMJJASOND"


def months(season: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """The months of a season, 1 to 12 in ascending order; None for the whole year.

    Raises:
        DataError: if it names no run of months.
    """
    if season is None:
        return None
    found = _by_initials(season) if isinstance(season, str) else _by_number(season)
    if not found:
        raise DataError(
            f"dataset.season must be the initials of consecutive months, such as DJF or NDJFM, or a list of months, "
            f"such as [12,1,2]. Received: {season if isinstance(season, str) else list(season)}."
        )
    return found


def _by_initials(season: str) -> tuple[int, ...]:
    initials = season.strip().upper()
    first = (INITIALS * 2).find(initials)
    if not 2 <= len(initials) < 12 or first < 0:
        return ()
    return tuple(sorted((first + i) % 12 + 1 for i in range(len(initials))))


def _by_number(season: Sequence[int]) -> tuple[int, ...]:
    whole = all(
        isinstance(month, int) and not isinstance(month, bool) and 1 <= month <= 12 for month in season
    )
    return tuple(sorted(set(season))) if whole else ()


def within(times: pd.DatetimeIndex, chosen: tuple[int, ...] | None) -> NDArray[np.bool_]:
    """Which time steps are in the chosen months, (time,)."""
    if chosen is None:
        return np.ones(len(times), bool)
    return np.isin(times.month, chosen)
