from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import split, windows
from data.errors import DataError
from data.fields import Fields
from data.options import Options
from data.periods import Periods

YEARS = pd.date_range("2001-01-01", "2006-12-31")
SPLIT = {"validation": 0.2, "test": 0.2, "gap": 5, "validation_start": None, "test_start": None}


def record(times: pd.DatetimeIndex = YEARS, **options: object) -> Fields:
    values = xr.DataArray(np.zeros((len(times), 1, 1), np.float32), dims=("time", "latitude", "longitude"))
    raw = xr.Dataset({"t2m": values}, coords={"time": times, "latitude": [50.0], "longitude": [0.0]})
    return Fields(raw, Options.of(options))


def test_statistics_see_the_training_period_and_nothing_else() -> None:
    found = Periods(record(), SPLIT, 5)
    assert found.seen.equals(found.times[found.codes == split.TRAIN])


def test_a_season_is_trained_on_and_the_whole_year_fitted() -> None:
    found = Periods(record(season="DJF"), SPLIT, 5)
    training = found.times[found.codes == split.TRAIN]
    assert set(training.month) == {1, 2, 12}
    assert set(found.seen.month) == set(range(1, 13))
    assert (found.seen[0], found.seen[-1]) == (training[0], training[-1])
    unseen = found.times[np.isin(found.codes, (split.VALIDATION, split.TEST))]
    assert not len(found.seen.intersection(unseen))


@pytest.mark.parametrize("season", ["DJF", "NDJFM", [7], [1, 7]])
@pytest.mark.parametrize("length", [1, 5, 12])
def test_no_window_crosses_the_gap_between_seasons(season: object, length: int) -> None:
    found = Periods(record(season=season), SPLIT, length)
    for period in range(3):
        for start in windows.starts(found.times, found.codes, period=period, length=length):
            steps = found.times[start : start + length]
            assert steps[-1] - steps[0] == pd.Timedelta(days=length - 1)


def test_a_window_longer_than_a_season_is_refused() -> None:
    with pytest.raises(
        DataError, match="no stretch of the record without a gap is as long as a window of 32 steps"
    ):
        Periods(record(season=[7]), SPLIT, 32)


def test_a_reference_period_within_training_narrows_what_is_seen() -> None:
    found = Periods(record(reference_start="2002", reference_end="2003-06"), SPLIT, 5)
    assert (found.seen[0], found.seen[-1]) == (pd.Timestamp("2002-01-01"), pd.Timestamp("2003-06-30"))


@pytest.mark.parametrize(
    "dates", [{"reference_end": "2006"}, {"reference_start": "2001", "reference_end": "2004-12"}]
)
def test_a_reference_period_that_reaches_into_the_unseen_is_refused(dates: dict) -> None:
    with pytest.raises(
        DataError, match=r"holds \d+ steps of validation and test .* within the training period, 2001"
    ):
        Periods(record(**dates), SPLIT, 5)


@pytest.mark.parametrize("dates", [{"reference_end": "1999"}, {"reference_start": "2050"}])
def test_a_reference_period_without_training_is_refused(dates: dict) -> None:
    with pytest.raises(DataError, match="the reference period holds no training step"):
        Periods(record(**dates), SPLIT, 5)


def test_running_means_widen_the_gaps_so_that_no_day_is_in_two_periods() -> None:
    found = Periods(record(running_mean_days=7), SPLIT | {"gap": 0}, 5)
    ends = found.times[found.codes == split.TRAIN][-1], found.times[found.codes == split.VALIDATION][0]
    assert ends[1] - ends[0] == pd.Timedelta(days=7)


def test_steps_without_data_are_in_no_period_and_not_seen() -> None:
    found = Periods(record(), SPLIT, 5)
    present = np.ones(len(YEARS), bool)
    present[[10, 2000]] = False
    assert found.leave_out(present, present) == 2
    assert found.codes[[10, 2000]].tolist() == [split.UNUSED] * 2
    assert YEARS[10] not in found.seen


def test_a_period_without_data_is_refused() -> None:
    found = Periods(record(), SPLIT, 5)
    with pytest.raises(DataError, match="no day of the test period has data"):
        found.leave_out(found.codes != split.TEST, found.codes >= 0)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_record_shorter_than_a_window_is_refused(steps: int) -> None:
    with pytest.raises(DataError, match=r"and a window has 5: the record .* is too short"):
        Periods(record(YEARS[:steps]), SPLIT, 5)
