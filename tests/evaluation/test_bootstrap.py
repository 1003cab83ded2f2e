"""Block bootstrap: memory of known processes, and every index against scikit-learn on the drawn days."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
)

from evaluation import bootstrap
from evaluation.autocorrelation import autocovariance, block_length, effective_size
from evaluation.bootstrap import Blocks, draw, resampled_agreement, resampled_ratio, resampled_scores
from evaluation.silhouette import silhouettes


def red_noise(days: int, memory: float, seed: int = 0, width: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(days, width))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for day in range(1, days):
        x[day] = memory * x[day - 1] + np.sqrt(1 - memory**2) * noise[day]
    return x


def one_segment(days: int) -> np.ndarray:
    return np.zeros(days, dtype=int)


def test_autocovariance_by_hand_and_not_across_a_gap() -> None:
    series = np.array([1.0, -1.0, 1.0, -1.0])
    np.testing.assert_allclose(autocovariance(series, one_segment(4), 2), [1, -3 / 4, 2 / 4])
    np.testing.assert_allclose(autocovariance(series, np.array([0, 0, 1, 1]), 2), [1, -2 / 4, 0])


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_effective_size_of_an_ar1_process(memory: float) -> None:
    days = 4000
    found = [effective_size(red_noise(days, memory, seed)[:, 0], one_segment(days)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(days * (1 - memory) / (1 + memory), rel=0.1)


@pytest.mark.parametrize("memory", [0.5, 0.8])
def test_block_length_of_an_ar1_process(memory: float) -> None:
    # of an AR(1) process G = 2 r / (1 - r)^2 and sum R = (1 + r) / (1 - r), with variance 1
    days = 4000
    ratio = 2 * memory / (1 - memory) ** 2 / ((1 + memory) / (1 - memory))
    expected = (1.5 * ratio**2 * days) ** (1 / 3)
    found = [block_length(red_noise(days, memory, seed)[:, 0], one_segment(days)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(expected, rel=0.15)


def test_a_block_is_a_day_at_least() -> None:
    assert block_length(np.random.default_rng(1).normal(size=100), one_segment(100)) == 1


def test_a_series_without_memory_or_variance_has_short_blocks() -> None:
    white = [block_length(red_noise(2000, 0.0, seed)[:, 0], one_segment(2000)) for seed in range(20)]
    assert np.median(white) < 6
    assert block_length(np.full(50, 3.1), one_segment(50)) == 1
    assert effective_size(np.full(50, 3.1), one_segment(50)) == 50


def test_every_resample_has_as_many_days_in_whole_blocks() -> None:
    features = red_noise(400, 0.8, width=3)
    blocks = draw(features, one_segment(400), resamples=50, seed=0)
    assert blocks.weights.shape == (50, 400)
    np.testing.assert_array_equal(blocks.weights.sum(axis=1), 400)
    assert 5 < blocks.length < 40
    assert 20 < blocks.effective_size < 100
    # a day's weight changes only where a block begins or ends, or the last one is cut
    changes = (np.diff(blocks.weights, axis=1) != 0).sum(axis=1)
    assert changes.max() <= 2 * (400 // blocks.length + 2)
    again = draw(features, one_segment(400), resamples=50, seed=0)
    np.testing.assert_array_equal(again.weights, blocks.weights)
    assert not np.array_equal(draw(features, one_segment(400), resamples=50, seed=1).weights, blocks.weights)


def test_no_block_goes_across_a_gap_and_short_segments_are_drawn_whole() -> None:
    features = red_noise(300, 0.9, width=2)
    segment = np.repeat([0, 1, 2], [140, 4, 156])
    blocks = draw(features, segment, resamples=300, seed=0)
    assert blocks.length > 4
    cut = blocks.weights[:, 140:144].min(axis=1) != blocks.weights[:, 140:144].max(axis=1)
    assert cut.mean() < 0.05  # only where it was the last block of the resample
    assert blocks.weights[:, 140:144].max() > 0
    starts, ends = bootstrap._blocks(segment, blocks.length)
    assert all(segment[start] == segment[end - 1] for start, end in zip(starts, ends, strict=True))


@pytest.mark.parametrize("days", [1, 2, 5])
def test_very_short_records(days: int) -> None:
    features = np.random.default_rng(0).normal(size=(days, 3))
    blocks = draw(features, np.zeros(days, dtype=int), resamples=4, seed=0)
    np.testing.assert_array_equal(blocks.weights.sum(axis=1), days)


def drawn_days(weights: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(weights)), weights.astype(int))


@pytest.mark.parametrize("width", [4, 150])
def test_indices_are_scikit_learns_on_the_drawn_days(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "HELD", 4 * width * 5 * 3)  # three resamples at a time
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, size=120) * 2
    features = rng.normal(size=(120, width)) + 2 * np.eye(9, width)[labels] + 50
    (values,) = silhouettes(features, [labels])
    assert values is not None
    blocks = draw(features, one_segment(120), resamples=8, seed=0)
    (found,) = resampled_scores(features, [labels], blocks, [values])
    for i, weights in enumerate(blocks.weights):
        days = drawn_days(weights)
        assert found["silhouette"][i] == pytest.approx(values[days].mean(), rel=1e-4)
        expected = davies_bouldin_score(features[days], labels[days])
        assert found["davies_bouldin"][i] == pytest.approx(expected, rel=1e-4)
        expected = calinski_harabasz_score(features[days], labels[days])
        assert found["calinski_harabasz"][i] == pytest.approx(expected, rel=1e-4)


def test_a_cluster_that_was_not_drawn_is_passed_over() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(9, 2)), np.repeat([0, 1, 2], 3)
    weights = np.array([[1, 1, 1, 0, 0, 0, 2, 2, 2], [3, 3, 3, 0, 0, 0, 0, 0, 0]], dtype=np.float32)
    (values,) = silhouettes(features, [labels])
    (found,) = resampled_scores(features, [labels], Blocks(3, 3.0, weights), [values])
    days = drawn_days(weights[0])
    expected = davies_bouldin_score(features[days], labels[days])
    assert found["davies_bouldin"][0] == pytest.approx(expected, rel=1e-5)
    assert found["calinski_harabasz"][0] == pytest.approx(
        calinski_harabasz_score(features[days], labels[days]), rel=1e-5
    )
    assert np.isnan(found["davies_bouldin"][1])
    assert np.isnan(found["calinski_harabasz"][1])


def test_no_index_no_resamples() -> None:
    features, labels = np.ones((4, 2)), np.zeros(4, dtype=int)
    blocks = Blocks(1, 4.0, np.ones((2, 4), dtype=np.float32))
    assert resampled_scores(features, [labels], blocks, silhouettes(features, [labels])) == [{}]
    assert resampled_agreement(labels, np.array([-1, -1, 2, 2]), blocks) == {}


def test_agreement_is_scikit_learns_on_the_drawn_days() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(-1, 4, size=200)
    labels = np.where(rng.random(200) < 0.5, truth + 1, rng.integers(0, 7, size=200))
    blocks = draw(rng.normal(size=(200, 3)), one_segment(200), resamples=6, seed=0)
    found = resampled_agreement(labels, truth, blocks)
    for i, weights in enumerate(blocks.weights):
        days = drawn_days(weights)
        days = days[truth[days] >= 0]
        assert found["ari"][i] == pytest.approx(adjusted_rand_score(truth[days], labels[days]), abs=1e-6)
        expected = normalized_mutual_info_score(truth[days], labels[days])
        assert found["nmi"][i] == pytest.approx(expected, abs=1e-6)


def test_a_share_of_variance_by_hand() -> None:
    weights = np.array([[1, 1], [2, 0]], dtype=np.float32)
    found = resampled_ratio(np.array([1.0, 3.0]), np.array([4.0, 4.0]), Blocks(1, 2.0, weights))
    np.testing.assert_allclose(found, [0.5, 0.75])


def test_the_error_of_a_mean_is_that_of_a_red_noise_mean() -> None:
    days, memory = 1500, 0.7
    expected = np.sqrt((1 + memory) / (1 - memory) / days)
    found = []
    for seed in range(30):
        x = red_noise(days, memory, seed)
        blocks = draw(x, one_segment(days), resamples=200, seed=seed)
        found.append(np.std(blocks.weights @ x[:, 0] / days))
    # blocks cut the memory at their ends: a little too small, never by as much as treating days as independent
    assert 0.8 * expected < np.mean(found) < 1.05 * expected
