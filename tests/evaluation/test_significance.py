"""Intervals and verdicts, against tabulated t quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from evaluation.significance import estimate, paired_difference


def test_interval_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)  # t of 0.975 with two degrees of freedom, standard deviation 1
    assert found["mean"] == 2
    assert (found["low"], found["high"]) == pytest.approx((2 - half, 2 + half), abs=1e-6)
    assert found["values"] == [1, 2, 3]


def test_a_single_value_has_no_interval() -> None:
    assert estimate([0.5]) == {"mean": 0.5, "values": [0.5]}


def test_the_interval_holds_the_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    found = [estimate(values) for values in rng.normal(size=(4000, 5))]
    assert np.mean([one["low"] <= 0 <= one["high"] for one in found]) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("higher", "verdict"), [(True, "better"), (False, "worse")])
def test_the_verdict_knows_the_direction(higher: bool, verdict: str) -> None:
    first, second = {0: 1.0, 1: 1.1, 2: 1.2}, {0: 0.5, 1: 0.61, 2: 0.69}
    assert paired_difference(first, second, higher_is_better=higher)["verdict"] == verdict  # type: ignore[index]
    opposite = paired_difference(second, first, higher_is_better=higher)
    assert opposite is not None
    assert opposite["verdict"] == {"better": "worse", "worse": "better"}[verdict]


def test_pairs_are_of_the_common_seeds() -> None:
    found = paired_difference({2: 5.0, 0: 1.0, 7: 9.0}, {0: 0.5, 2: 4.0, 1: 3.0}, higher_is_better=True)
    assert found is not None
    assert (found["seeds"], found["values"]) == ([0, 2], [0.5, 1.0])
    assert paired_difference({0: 1.0}, {1: 1.0}, higher_is_better=True) is None


def test_pairing_shows_what_the_spread_between_seeds_hides() -> None:
    first, second = {0: 0.0, 1: 5.0, 2: 10.0}, {0: -1.0, 1: 3.9, 2: 9.1}
    assert paired_difference(first, second, higher_is_better=True)["verdict"] == "better"  # type: ignore[index]


def test_wide_single_and_rounding_differences_show_nothing() -> None:
    wide = paired_difference({0: 1.0, 1: 2.0}, {0: 0.9, 1: 0.5}, higher_is_better=True)
    single = paired_difference({0: 9.0}, {0: 1.0}, higher_is_better=True)
    rounding = paired_difference(
        {0: 0.3, 1: 0.3}, {0: 0.1 + 0.2 + 1e-16, 1: 0.1 + 0.2}, higher_is_better=False
    )
    for found in (wide, single, rounding):
        assert found is not None
        assert found["verdict"] == "no difference shown"
    assert "low" not in single  # type: ignore[operator]


def test_both_sources_of_variance_by_hand() -> None:
    # seeds: standard error 1 / sqrt 3 with two degrees of freedom; time: standard deviation 0.5 of the mean
    time = np.array([-0.5, 0.5]) / np.sqrt(2)
    found = estimate([1.0, 2.0, 3.0], [2 + time, 3 + time, 4 + time])
    assert found["seed_error"] == pytest.approx(1 / np.sqrt(3))
    assert found["time_error"] == pytest.approx(0.5)
    variance = 1 / 3 + 0.25
    half = student.ppf(0.975, 2 * (variance * 3) ** 2) * np.sqrt(variance)
    assert (found["low"], found["high"]) == pytest.approx((2 - half, 2 + half))


def test_what_days_do_to_all_seeds_does_not_average_out_and_what_they_do_to_one_does() -> None:
    noise = np.random.default_rng(0).normal(size=(4, 20000))
    together, apart = [noise[0]] * 4, list(noise)
    assert estimate([1.0, 1.1, 0.9, 1.0], together)["time_error"] == pytest.approx(1, rel=0.03)
    assert estimate([1.0, 1.1, 0.9, 1.0], apart)["time_error"] == pytest.approx(0.5, rel=0.03)


def test_with_one_seed_time_alone_gives_no_interval() -> None:
    found = estimate([0.5], [np.array([0.4, 0.6, np.nan])])
    assert set(found) == {"mean", "values", "time_error"}
    assert found["time_error"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert "time_error" not in estimate([0.5], [np.array([0.4, np.nan])])


def test_seeds_that_agree_leave_the_interval_over_time() -> None:
    time = np.random.default_rng(0).normal(size=5000)
    found = estimate([0.2, 0.2], [time, time])
    assert found["high"] - found["mean"] == pytest.approx(1.96 * time.std(), rel=0.01)
    assert estimate([0.2, 0.2])["high"] == 0.2


def test_what_weather_does_to_both_models_cancels_in_their_difference() -> None:
    weather = np.random.default_rng(0).normal(size=1000)
    first, second = {0: 1.0, 1: 1.1, 2: 1.2}, {0: 0.5, 1: 0.61, 2: 0.69}
    resampled = tuple({seed: value + weather for seed, value in by.items()} for by in (first, second))
    other = {seed: values[::-1] for seed, values in resampled[1].items()}
    found = paired_difference(first, second, higher_is_better=True, resampled=resampled)  # type: ignore[arg-type]
    loose = paired_difference(first, second, higher_is_better=True, resampled=(resampled[0], other))
    assert found is not None
    assert loose is not None
    assert found["time_error"] == pytest.approx(0, abs=1e-9)
    assert found["verdict"] == "better"
    assert loose["verdict"] == "no difference shown"


def test_the_joint_interval_holds_the_mean_95_times_in_100() -> None:
    # each record shifts all seeds of a model alike; three seeds; resamples tell the record's share
    rng = np.random.default_rng(0)
    held = []
    for _ in range(1500):
        seeds = rng.normal(size=3) + 0.7 * rng.normal()
        resampled = seeds[:, None] + 0.7 * rng.normal(size=200)
        found = estimate(seeds, list(resampled))
        held.append(found["low"] <= 0 <= found["high"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)
