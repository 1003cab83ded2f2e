from __future__ import annotations

import json

import pandas as pd
import pytest

from data.errors import DataError
from data.options import Options


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"season": "NDJFM", "region": [60, 150, 20, -120], "fields": ["z500", "si10"], "coarsen": 2},
        {"climatology": "daily_mean", "smoothing_days": 21, "detrend": True, "standardise": "cell"},
        {"deseasonalise": False, "reference_start": "1981-01-01", "reference_end": "2010"},
    ],
)
def test_they_survive_json(settings: dict) -> None:
    options = Options.of(settings)
    assert Options.of(json.loads(json.dumps(options.settings()))) == options


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"deseasonalise": False, "harmonics": 3}, {"deseasonalise": False, "harmonics": 5}),
        ({"deseasonalise": False, "climatology": "daily_mean"}, {"deseasonalise": False}),
        ({"smoothing_days": 31}, {"smoothing_days": 61}),
        ({"season": "DJF"}, {"season": [2, 1, 12]}),
        ({"climatology": "daily_mean", "harmonics": 2}, {"climatology": "daily_mean", "harmonics": 4}),
    ],
)
def test_what_changes_nothing_is_no_other_setting(one: dict, other: dict) -> None:
    assert Options.of(one) == Options.of(other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"climatology": "mean"}, "dataset.climatology must be one of harmonics, daily_mean"),
        ({"running_mean_days": 4}, "dataset.running_mean_days must be an odd number of days"),
        ({"climatology": "daily_mean", "smoothing_days": 30}, "dataset.smoothing_days must be an odd number"),
        ({"coarsen": 0}, "dataset.coarsen must be at least 1"),
        ({"fields": []}, "dataset.fields must name each field once"),
        ({"fields": ["z500", "z500"]}, "dataset.fields must name each field once"),
        ({"season": "summer"}, "dataset.season must be"),
        ({"region": [1, 2, 3]}, "dataset.region must be"),
        ({"reference_start": "soon"}, "dataset.reference_start 'soon' is not a date"),
        ({"reference_start": "2001", "reference_end": "2000-12"}, "lies before dataset.reference_start"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Options.of(settings)


def test_a_reference_period_holds_all_of_its_last_year() -> None:
    first, last = Options.of({"reference_start": "1981", "reference_end": "2010"}).reference() or (None, None)
    assert first == pd.Timestamp("1981-01-01")
    assert last == pd.Timestamp("2011-01-01") - pd.Timedelta(1, "ns")
