"""Composites: told from zero where something was planted, and hardly ever where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import regimes
from evaluation.composites import _mean_and_error, area_share, composites, usual_block
from tests.evaluation.chance import chain, make_fields, red_noise

DAYS, K = 800, 4
LEFT = np.s_[..., :6]  # the half of a map of 12 columns in which something is planted


def planted(seed: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and red noise with a pattern of each cluster in the left half of the map."""
    rng = np.random.default_rng(seed)
    labels = chain(rng, DAYS, K, 0.8)
    x = red_noise(rng, (DAYS, 1, 8, 12), 0.7)
    x[LEFT] += strength * np.linspace(-1.5, 1.5, K)[labels, None, None, None]
    return labels, x


def test_means_are_anomalies_in_physical_units_and_missing_where_masked() -> None:
    labels, x = planted(0)
    mask = np.ones(x.shape[1:], dtype=bool)
    mask[0, 0, 0] = False
    found = composites(labels, make_fields(x, mask=mask), K, block_steps=10)
    expected = regimes.composites((x - x.mean(axis=0)).astype(np.float32), labels, K)
    np.testing.assert_allclose(found.means[:, mask], expected[:, mask], atol=1e-5)
    assert np.isnan(found.means[:, 0, 0, 0]).all()
    assert np.isnan(found.p[:, 0, 0, 0]).all()
    assert not found.told[:, 0, 0, 0].any()
    assert found.days.tolist() == np.bincount(labels).tolist()


def test_what_is_planted_is_found_and_false_discoveries_keep_to_the_rate() -> None:
    found_share, false_share = [], []
    for seed in range(8):
        labels, x = planted(seed)
        told = composites(labels, make_fields(x), K).told
        strong = told[[0, K - 1]]
        found_share.append(strong[LEFT].mean())
        false_share.append(strong[..., 6:].sum() / strong.sum())
    assert np.mean(found_share) > 0.95
    assert np.mean(false_share) < 0.05


def test_noise_is_told_from_zero_no_more_often_than_the_level_says() -> None:
    rng = np.random.default_rng(1)
    p, told = [], []
    for _ in range(8):
        labels = chain(rng, DAYS, K, 0.8)
        found = composites(labels, make_fields(red_noise(rng, (DAYS, 1, 8, 12), 0.8)), K)
        p.append(found.p)
        told.append(found.told)
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.075
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.05)
    assert np.mean(told) < 0.01


def test_days_counted_one_by_one_would_find_far_too_much() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(rng.integers(K, size=DAYS // 20), 20)
    fields = make_fields(red_noise(rng, (DAYS, 1, 8, 12), 0.95))
    assert np.mean(composites(labels, fields, K, block_steps=1).p < 0.05) > 0.3
    assert np.mean(composites(labels, fields, K).p < 0.05) < 0.12


def test_the_closed_form_is_the_spread_of_drawn_blocks() -> None:
    rng = np.random.default_rng(3)
    block, draws = 20, 1500
    labels = chain(rng, DAYS, K, 0.8)
    x = red_noise(rng, (DAYS, 10), 0.7).astype(np.float32)
    x -= x.mean(axis=0)
    _, error = _mean_and_error(x, labels == 1, np.ones(DAYS, dtype=bool), block)
    starts = rng.integers(DAYS - block + 1, size=(draws, DAYS // block))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)
    means = [x[days][labels[days] == 1].mean(axis=0) - x[days].mean(axis=0) for days in drawn]
    np.testing.assert_allclose(error, np.std(means, axis=0), rtol=0.12)


def test_records_in_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, x = planted(4)
    fields = make_fields(x)
    whole = composites(labels, fields, K)
    monkeypatch.setattr("evaluation.composites.CHUNK", 7 * DAYS)
    np.testing.assert_allclose(composites(labels, fields, K).p, whole.p)


def test_a_single_spell_proves_nothing() -> None:
    x = np.zeros((100, 1, 4, 5))
    x[40:60] = 9
    x += np.random.default_rng(5).normal(size=x.shape)
    labels = np.zeros(100, dtype=int)
    labels[40:60] = 1
    found = composites(labels, make_fields(x), 3, block_steps=5)
    assert (found.p[1] == 1).all()
    assert not found.told[1].any()
    assert np.isnan(found.means[2]).all()
    assert np.isnan(found.p[2]).all()


@pytest.mark.parametrize("days", [1, 2, 3])
def test_the_shortest_records_have_composites_and_no_findings(days: int) -> None:
    x = np.random.default_rng(6).normal(size=(days, 2, 1, 1))
    found = composites(np.zeros(days, dtype=int), make_fields(x), 2)
    assert np.isfinite(found.means[0]).all()
    assert not found.told.any()


def test_a_field_that_never_changes_is_not_told_from_zero() -> None:
    labels = chain(np.random.default_rng(7), DAYS, K, 0.8)
    assert not composites(labels, make_fields(np.ones((DAYS, 1, 4, 4))), K).told.any()


def test_blocks_are_longer_where_weather_lasts_longer() -> None:
    rng = np.random.default_rng(8)
    labels, segment = chain(rng, DAYS, K, 0.9), np.zeros(DAYS, dtype=int)
    short, long = (usual_block(red_noise(rng, (DAYS, 50), memory), labels, segment) for memory in (0.0, 0.9))
    assert 1 <= short < long < DAYS / 3


def test_shares_of_area_by_hand() -> None:
    chosen = np.array([[True, False], [False, False]])
    known = np.array([[True, True], [True, False]])
    assert area_share(chosen, known, np.array([0.5, 1.5])) == pytest.approx(0.5 / 2.5)
    assert np.isnan(area_share(chosen, np.zeros((2, 2), dtype=bool), np.array([0.5, 1.5])))
    labels, x = planted(9, strength=3)
    found = composites(labels, make_fields(x), K)
    assert found.told_share(make_fields(x).area_weight)[[0, 3], 0] == pytest.approx([0.5, 0.5], abs=0.07)
