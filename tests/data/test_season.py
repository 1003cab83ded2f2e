from __future__ import annotations

import pandas as pd
import pytest

from data import season
from data.errors import DataError


@pytest.mark.parametrize(
    ("given", "months"),
    [
        ("DJF", (1, 2, 12)),
        ("ndjfm", (1, 2, 3, 11, 12)),
        ("JJA", (6, 7, 8)),
        ("MA", (3, 4)),
        ([12, 1, 2], (1, 2, 12)),
        ([7], (7,)),
        (None, None),
    ],
)
def test_seasons(given: object, months: tuple[int, ...] | None) -> None:
    assert season.months(given) == months  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["J", "DFJ", "winter", "", [], [0], [13], [1.5], [True], "JFMAMJJASONDJ"])
def test_what_is_no_season_is_refused(given: object) -> None:
    with pytest.raises(DataError, match=r"dataset.season must be .* Received: "):
        season.months(given)  # type: ignore[arg-type]


def test_a_leap_day_is_in_winter() -> None:
    days = pd.DatetimeIndex(["2000-02-28", "2000-02-29", "2000-03-01", "2000-11-30", "2000-12-01"])
    assert season.within(days, season.months("DJF")).tolist() == [True, True, False, False, True]
    assert season.within(days, None).all()
