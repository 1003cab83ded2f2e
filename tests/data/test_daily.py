"""From hours to days."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from data.daily import Daily, Reduction, from_daily_mean, plausible, reduction, total


def days_of(hours: NDArray[np.float64], rule: Reduction, n_days: int) -> NDArray[np.float32]:
    """Days of a series at one place."""
    fields = np.asarray(hours, np.float32)[:, np.newaxis, np.newaxis]
    return Daily(lambda steps: fields[steps], (n_days, 1, 1), rule, rule.steps)[:, 0, 0]


def test_a_state_is_averaged_from_00_to_23() -> None:
    hours = np.r_[np.full(24, 280.0), np.full(24, 290.0), 999.0]
    hours[:24] += np.arange(24)
    assert days_of(hours, reduction("t2m"), 2).tolist() == [291.5, 290.0]


def test_a_flux_is_summed_from_01_to_24_and_divided_by_a_day() -> None:
    joules = np.r_[
        9e9, np.full(23, 3600.0), 3600.0 * 25, np.full(24, -7200.0)
    ]  # 00:00 of the first day is the day before's
    assert days_of(joules, reduction("sshf"), 2).tolist() == [2.0, -2.0]


def test_water_is_summed_from_01_to_24() -> None:
    np.testing.assert_allclose(days_of(np.r_[1.0, np.full(24, 0.001)], reduction("tp"), 1), 0.024, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "hour", "missing"), [("t2m", 24, [1]), ("t2m", 23, [0]), ("sshf", 24, [0]), ("sshf", 0, [])]
)
def test_a_day_of_which_an_hour_is_missing_is_missing(name: str, hour: int, missing: list[int]) -> None:
    hours = np.ones(49)
    hours[hour] = np.nan
    assert np.flatnonzero(np.isnan(days_of(hours, reduction(name), 2))).tolist() == missing


def test_a_constant_stays_itself_at_any_step() -> None:
    for step in (1, 3, 6):
        rule = reduction("msl", step)
        assert days_of(np.full(rule.steps * 3 + 1, 101325.0), rule, 3).tolist() == [101325.0] * 3


def test_the_attributes_say_units_and_sign() -> None:
    assert reduction("slhf").attributes() == {
        "long_name": "Mean surface latent heat flux, downwards",
        "units": "W m-2",
        "cell_methods": "time: mean",
        "comment": "positive downwards (into the surface)",
        "standard_name": "surface_downward_latent_heat_flux",
    }
    assert reduction("z500").attributes()["long_name"] == "Geopotential at 500 hPa"
    assert reduction("t2m", 6).cell_methods == "time: mean (interval: 6 hours)"


def test_what_the_service_averaged_is_scaled_to_the_same_units() -> None:
    joules = np.r_[0.0, np.linspace(1e4, 5e5, 24)]
    hourly = days_of(joules, reduction("sshf"), 1)
    averaged = days_of(np.array([joules[1:].mean()]), from_daily_mean("sshf"), 1)
    np.testing.assert_allclose(averaged, hourly, rtol=1e-6)
    assert days_of(np.array([281.25]), from_daily_mean("t2m"), 1).tolist() == [281.25]
    np.testing.assert_allclose(days_of(np.array([0.001]), from_daily_mean("tp"), 1), 0.024, rtol=1e-6)


def test_reading_in_pieces_gives_what_reading_at_once_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = np.random.default_rng(1).normal(size=(24 * 5 + 1, 3, 4)).astype(np.float32)
    array = Daily(lambda steps: fields[steps], (5, 3, 4), reduction("sshf"), 24)
    whole = array[:]
    monkeypatch.setattr("data.daily.BLOCK_BYTES", 1)
    np.testing.assert_array_equal(array[:], whole)
    np.testing.assert_array_equal(array[1:4, 1], whole[1:4, 1])
    np.testing.assert_array_equal(array[2], whole[2])


def test_sums_are_made_in_double_precision() -> None:
    hours = np.full((1, 24, 1, 1), 16777217.0, np.float64).astype(np.float32)
    assert total(hours, 24.0)[0, 0, 0] == np.float32(16777216)


def test_a_daily_flux_has_a_range_of_its_own() -> None:
    assert plausible("sshf", "W m-2") == (-3000, 3000)
    assert plausible("sshf", "J m-2")[1] > 1e8
    assert plausible("nonsense", "K") == (-np.inf, np.inf)
