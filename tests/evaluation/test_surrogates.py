"""What surrogates keep of the record, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import surrogates
from evaluation.errors import EvaluationError
from evaluation.surrogates import KINDS, Components, decompose, seasonal_amplitude, surrogate
from tests.evaluation.test_bootstrap import red_noise


def some(days: int = 600, seed: int = 0) -> np.ndarray:
    """Twelve cells made of four red noises of unlike memory, with a mean."""
    rng = np.random.default_rng(seed)
    parts = [red_noise(days, memory, seed + i) for i, memory in enumerate((0.9, 0.6, 0.3, 0.0))]
    mixed = np.concatenate(parts, axis=1) * [4, 3, 2, 1] @ rng.normal(size=(4, 12))
    return (mixed + np.arange(12)).astype(np.float32)


def segment(days: int = 600) -> np.ndarray:
    return np.zeros(days, dtype=int)


def ensemble(components: Components, kind: str, number: int) -> np.ndarray:
    return np.stack([surrogate(components, kind, i, seed=0) for i in range(number)]).astype(np.float64)


def test_components_give_the_record_back() -> None:
    fields = some()
    found = decompose(fields, segment())
    assert found.patterns.shape == (4, 12)
    assert found.variance_kept == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found.mean + found.scores @ found.patterns, fields, atol=1e-3)
    np.testing.assert_allclose(found.patterns @ found.patterns.T, np.eye(4), atol=1e-5)
    covariance = found.scores.T @ found.scores / len(fields)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_more_cells_than_days_and_a_record_too_large_to_decompose_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32)
    found = decompose(fields, segment(20))
    assert found.patterns.shape == (19, 50)
    np.testing.assert_allclose(found.mean + found.scores @ found.patterns, fields, atol=1e-4)
    monkeypatch.setattr(surrogates, "LARGEST_EXACT", 10)
    monkeypatch.setattr(surrogates, "MOST_COMPONENTS", 5)
    cut = decompose(fields, segment(20))
    assert cut.patterns.shape == (5, 50)
    kept = np.sum(found.scores[:, :5] ** 2) / np.sum(found.scores**2)
    assert cut.variance_kept == pytest.approx(kept, rel=1e-3)


@pytest.mark.parametrize("days", [600, 601])
def test_phases_keep_the_whole_spectrum_of_every_cell_and_the_covariance(days: int) -> None:
    fields = some(days)
    components = decompose(fields, segment(days))
    found = surrogate(components, "phase", 0, seed=0)
    expected, spectrum = (np.abs(np.fft.rfft(x - fields.mean(axis=0), axis=0)) for x in (fields, found))
    np.testing.assert_allclose(spectrum, expected, atol=1e-3 * expected.max())
    np.testing.assert_allclose(np.cov(found.T), np.cov(fields.T), rtol=1e-3, atol=1e-3)
    assert abs(np.corrcoef(found[:, 0], fields[:, 0])[0, 1]) < 0.6


def test_phases_keep_what_one_cell_tells_of_another_a_day_later() -> None:
    fields = some()
    fields[1:, 1] = fields[:-1, 0]  # the second cell follows the first
    found = surrogate(decompose(fields, segment()), "phase", 1, seed=0)
    assert np.corrcoef(found[1:, 1], found[:-1, 0])[0, 1] > 0.99


def test_red_noise_has_the_variance_memory_and_covariance_of_the_components() -> None:
    fields = some()
    components = decompose(fields, segment())
    found = ensemble(components, "ar1", 200)
    scores = (found - components.mean) @ components.patterns.T
    np.testing.assert_allclose(scores.mean(axis=(0, 1)), 0, atol=0.2)
    expected = np.mean(components.scores.astype(float) ** 2, axis=0)
    np.testing.assert_allclose(np.mean(scores**2, axis=(0, 1)), expected, rtol=0.05)
    memory = np.sum(scores[:, 1:] * scores[:, :-1], axis=(0, 1)) / np.sum(scores[:, 1:] ** 2, axis=(0, 1))
    np.testing.assert_allclose(memory, components.memory, atol=0.02)
    covariance = np.mean([np.cov(one.T) for one in found], axis=0)
    np.testing.assert_allclose(covariance, np.cov(fields.T), atol=0.05 * np.cov(fields.T).max())


def test_memory_is_that_within_segments_and_ends_at_a_gap() -> None:
    fields = some()
    cut = np.repeat(np.arange(300), 2)  # pairs of days
    components = decompose(fields, cut)
    pairs = components.scores.astype(float).reshape(300, 2, -1)
    expected = np.sum(pairs[:, 0] * pairs[:, 1], axis=0) / np.sqrt(
        np.sum(pairs[:, 0] ** 2, axis=0) * np.sum(pairs[:, 1] ** 2, axis=0)
    )
    np.testing.assert_allclose(components.memory, expected, atol=1e-5)
    found = (ensemble(components, "ar1", 50) - components.mean) @ components.patterns.T
    across = np.mean(found[:, 2::2] * found[:, 1:-1:2], axis=(0, 1)) / np.mean(found**2, axis=(0, 1))
    np.testing.assert_allclose(across, 0, atol=0.04)


def test_surrogates_know_no_regimes() -> None:
    rng = np.random.default_rng(0)
    regimes = rng.integers(0, 2, size=600)[np.arange(600) // 10 * 10]
    fields = (10 * np.stack([regimes, -regimes], axis=1) + rng.normal(size=(600, 2))).astype(np.float32)
    components = decompose(fields, segment())

    def flatness(x: np.ndarray) -> float:  # kurtosis: 1 for two peaks, 3 for a normal distribution
        deviation = x[..., 0] - x[..., 0].mean()
        return float(np.mean(deviation**4) / np.mean(deviation**2) ** 2)

    assert flatness(fields) < 1.5
    for kind in KINDS:
        assert flatness(ensemble(components, kind, 40)) > 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_number_gives_the_same_surrogate_whatever_else_is_made(kind: str) -> None:
    components = decompose(some(), segment())
    first = surrogate(components, kind, 3, seed=7)
    surrogate(components, kind, 0, seed=7)
    np.testing.assert_array_equal(surrogate(components, kind, 3, seed=7), first)
    assert not np.allclose(surrogate(components, kind, 4, seed=7), first)
    assert not np.allclose(surrogate(components, kind, 3, seed=8), first)
    assert first.dtype == np.float32


def lively_winters(years: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Noise three times as large in the middle of winter as in summer, with its dates."""
    times = np.datetime64("2001-01-01") + np.arange(years * 365)
    size = 2 + np.cos(2 * np.pi * np.arange(len(times)) / 365.25)
    noise = np.random.default_rng(0).normal(size=(len(times), 8))
    return (size[:, None] * noise).astype(np.float32), times


def test_seasons_of_the_variance_are_found_and_kept() -> None:
    fields, times = lively_winters()
    amplitude = seasonal_amplitude(fields, times)
    expected = 2 + np.cos(2 * np.pi * np.arange(len(times)) / 365.25)
    np.testing.assert_allclose(amplitude, expected / np.sqrt(np.mean(expected**2)), atol=0.1)
    winter, summer = expected > 2.7, expected < 1.3
    components = decompose(fields, segment(len(fields)), amplitude)
    alike = decompose(fields, segment(len(fields)))
    for kind in KINDS:
        found = surrogate(components, kind, 0, seed=0)
        ratio = found[winter].std() / found[summer].std()
        assert ratio == pytest.approx(fields[winter].std() / fields[summer].std(), rel=0.15)
        assert np.var(found) == pytest.approx(np.var(fields), rel=0.1)
        plain = surrogate(alike, kind, 0, seed=0)
        assert plain[winter].std() / plain[summer].std() == pytest.approx(1, abs=0.15)


def test_a_record_without_whole_years_or_seasons_has_one_amplitude() -> None:
    fields, times = lively_winters()
    np.testing.assert_array_equal(seasonal_amplitude(fields[:700], times[:700]), 1)
    np.testing.assert_array_equal(seasonal_amplitude(np.ones_like(fields), times), 1)
    even = np.random.default_rng(0).normal(size=fields.shape)
    np.testing.assert_allclose(seasonal_amplitude(even, times), 1, atol=0.1)


def test_a_record_that_cannot_have_surrogates_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"at least 3 training days.*Received: 2"):
        decompose(np.ones((2, 4), dtype=np.float32), segment(2))
    with pytest.raises(EvaluationError, match="every training day is the same"):
        decompose(np.ones((9, 4), dtype=np.float32), segment(9))
