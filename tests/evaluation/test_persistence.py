"""Spells, transitions and years against chance: what differs is found, and what is chance is not."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import endurance, persistence, regimes, simulation, svg
from evaluation.figures import seasons_and_transitions
from evaluation.persistence import LONGEST, Persistence
from evaluation.simulation import MarkovChain, RedNoise
from tests.evaluation.chance import chain, make_fields, red_noise
from tests.evaluation.test_maps import Model

DAYS, K = 1500, 3
SEGMENT = np.zeros(DAYS, dtype=int)
TIMES = np.datetime64("2001-01-01") + np.arange(DAYS)
CENTRES = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def nearest(embedding: np.ndarray) -> np.ndarray:
    return np.square(embedding[:, None] - CENTRES).sum(axis=-1).argmin(axis=1)


def compared(labels: np.ndarray, embedding: np.ndarray | None = None, simulations: int = 200) -> Persistence:
    embedding = CENTRES[labels] if embedding is None else embedding
    return persistence.persistence(labels, embedding, CENTRES, SEGMENT, TIMES, simulations=simulations)


def test_the_statistics_of_many_records_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    records = np.stack([chain(rng, DAYS, K, stay) for stay in (0.2, 0.9, 0.6)])
    records[0][records[0] == 2] = 0  # a cluster that does not occur
    segment = np.repeat([0, 1, 2], DAYS // 3)
    found = persistence._statistics(records, segment, TIMES, K)
    for i, labels in enumerate(records):
        np.testing.assert_allclose(found.frequency[i], regimes.frequency(labels, K))
        np.testing.assert_allclose(found.mean_spell[i], regimes.mean_spells(labels, segment, K))
        np.testing.assert_allclose(found.transition[i], regimes.transition_matrix(labels, segment, K))
        _, days, share = regimes.yearly_frequency(labels, TIMES, K)
        whole = share[regimes.whole_years(days)]
        np.testing.assert_allclose(found.yearly_spread[i], whole.std(axis=0, ddof=1))
        clusters, lengths = regimes.spells(labels, segment)
        for c in np.unique(labels):
            survival = [(lengths[clusters == c] >= n).mean() for n in range(1, LONGEST + 1)]
            np.testing.assert_allclose(found.survival[i, c], survival)
    assert np.isnan(found.mean_spell[0, 2])


def test_a_markov_chain_is_not_told_from_its_null() -> None:
    rng = np.random.default_rng(1)
    p = [compared(chain(rng, DAYS, K, 0.8), simulations=120).markov for _ in range(30)]
    assert 0.01 < np.mean([held.spells_p < 0.05 for held in p]) < 0.11
    assert np.mean([held.spells_differ.any() for held in p]) < 0.15
    assert np.mean([held.yearly_spread.p < 0.05 for held in p]) < 0.12


def test_the_chain_keeps_frequency_and_transitions() -> None:
    labels = chain(np.random.default_rng(2), DAYS, K, 0.8)
    drawn = np.concatenate(list(MarkovChain(labels, SEGMENT, K).draw(50, np.random.default_rng(3))))
    assert drawn.shape == (50, DAYS)
    np.testing.assert_allclose(regimes.frequency(drawn.ravel(), K), regimes.frequency(labels, K), atol=0.03)
    means = np.mean([regimes.transition_matrix(record, SEGMENT, K) for record in drawn], axis=0)
    np.testing.assert_allclose(means, regimes.transition_matrix(labels, SEGMENT, K), atol=0.02)


def test_spells_of_a_fixed_length_are_not_those_of_a_markov_chain() -> None:
    order = np.random.default_rng(4).integers(1, K, size=DAYS // 6).cumsum() % K
    held = compared(np.repeat(order, 6))
    assert held.markov.spells_differ.all()
    assert not held.markov.mean_spell.differs.any()
    spells = held.summary()["markov"]["spell_distribution"]
    assert spells["1"] == {"p": pytest.approx(1 / 201), "differs": True}


def test_red_noise_keeps_covariance_and_memory() -> None:
    rng = np.random.default_rng(5)
    memory, size = np.array([0.9, 0.5]), np.array([3.0, 1.0])
    embedding = red_noise(rng, (6000, 2), memory) * size + 10
    noise = RedNoise(embedding, CENTRES + 10, np.zeros(6000, dtype=int))
    np.testing.assert_allclose(noise.memory, memory, atol=0.03)
    np.testing.assert_allclose(noise.spread, size, rtol=0.1)
    assert noise.share == pytest.approx(1)
    drawn = np.concatenate(list(noise.draw(20, rng)))
    observed = nearest(embedding - 10)
    np.testing.assert_allclose(regimes.frequency(drawn.ravel(), K), regimes.frequency(observed, K), atol=0.04)


def test_red_noise_varies_as_much_on_the_first_day_as_later() -> None:
    rng = np.random.default_rng(13)
    embedding = red_noise(rng, (DAYS, 1), 0.98)
    centres = embedding.std() * np.array([[-1.2], [0.0], [1.2]])
    drawn = np.concatenate(list(RedNoise(embedding, centres, SEGMENT).draw(400, rng)))
    first, later = ((drawn[:, day] != 1).mean() for day in (0, DAYS // 2))
    assert first == pytest.approx(later, abs=0.12)
    assert first > 0.4


def test_clusters_of_red_noise_are_not_told_from_it() -> None:
    rng = np.random.default_rng(6)
    held = []
    for _ in range(25):
        embedding = 2 * red_noise(rng, (DAYS, 2), 0.8)
        held.append(compared(nearest(embedding), embedding, simulations=120).ar1)
    for statistic in ("mean_spell", "frequency", "transition", "yearly_spread"):
        assert np.mean([getattr(one, statistic).p < 0.05 for one in held]) < 0.11, statistic
    assert np.mean([one.spells_p < 0.05 for one in held]) < 0.11
    assert np.mean([one.transition.differs.any() for one in held]) < 0.2


def test_regimes_that_hold_on_and_follow_in_turn_are_told_from_red_noise() -> None:
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(DAYS // 10) % K, 10)
    embedding = CENTRES[labels] + 0.5 * rng.normal(size=(DAYS, 2))
    held = compared(nearest(embedding), embedding)
    assert held.ar1.mean_spell.differs.all()
    assert (held.ar1.mean_spell.observed > held.ar1.mean_spell.high).all()
    backwards = [(0, 2), (1, 0), (2, 1)]
    assert all(held.ar1.transition.differs[place] for place in backwards)
    entry = held.summary()["ar1"]["transition"]["1"]["3"]
    assert entry["differs"]
    assert entry["observed"] < entry["low"] < entry["high"]


def test_years_that_differ_more_than_chance_are_told() -> None:
    year = TIMES.astype("datetime64[Y]").astype(int) - 31
    rng = np.random.default_rng(8)
    labels = np.where(rng.random(DAYS) < 0.6, year % K, rng.integers(K, size=DAYS))
    held = compared(labels)
    assert held.markov.yearly_spread.differs.all()
    assert (held.markov.yearly_spread.observed > held.markov.yearly_spread.high).all()


def test_portions_do_not_change_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = chain(np.random.default_rng(9), DAYS, K, 0.8)
    monkeypatch.setattr(simulation, "HELD", 7 * DAYS)
    some = list(MarkovChain(labels, SEGMENT, K).draw(20, np.random.default_rng(0)))
    assert [len(portion) for portion in some] == [7, 7, 6]
    held = compared(labels, simulations=20)
    assert held.markov.frequency.p.min() >= 2 / 21


def test_the_same_seed_gives_the_same_figures() -> None:
    labels = chain(np.random.default_rng(10), DAYS, K, 0.8)
    assert compared(labels, simulations=30).summary() == compared(labels, simulations=30).summary()


def test_empty_clusters_and_short_records_are_absent_not_zero() -> None:
    labels = chain(np.random.default_rng(11), 40, 2, 0.8)
    times = TIMES[:40]
    held = persistence.persistence(labels, CENTRES[labels], CENTRES, SEGMENT[:40], times, simulations=50)
    summary = held.summary()
    assert set(summary["ar1"]["mean_spell"]) == {"1", "2"}
    assert summary["ar1"]["yearly_spread"] == {}
    assert "3" not in summary["markov"]["spell_distribution"]
    one = persistence.persistence(
        np.zeros(1, dtype=int), CENTRES[:1], CENTRES, SEGMENT[:1], TIMES[:1], simulations=10
    )
    assert one.summary()["ar1"]["transition"] == {}


def test_a_collapsed_embedding_is_no_error() -> None:
    labels = np.zeros(DAYS, dtype=int)
    held = persistence.persistence(
        labels, np.ones((DAYS, 2)), np.ones((2, 2)), SEGMENT, TIMES, simulations=20
    )
    assert held.components_share == 1
    assert held.ar1.mean_spell.observed[0] == DAYS


def test_the_charts_say_what_they_show() -> None:
    labels = np.repeat(np.arange(DAYS // 10) % K, 10)
    held = compared(labels)
    model, fields = Model(labels), make_fields(np.zeros((DAYS, 1, 2, 2)))
    with svg.styled():
        spells = endurance.spell_lengths(model, held, K)  # type: ignore[arg-type]
        years = endurance.years(model, fields, K)  # type: ignore[arg-type]
        turns = seasons_and_transitions(model, fields, K, held.ar1.transition.differs)  # type: ignore[arg-type]
    first = spells.groups[0].panels[0]
    assert first.label.startswith("1 · 10.0 (")
    assert "lengths unlike a Markov chain (p = 0.005)" in first.drawing.alternative
    assert "95% of 200 records of red noise" in spells.caption
    assert "cluster 1 from 3" in years.groups[0].panels[0].drawing.alternative
    assert (
        f"{int(held.ar1.transition.differs.sum())} of 9 transitions"
        in turns.groups[0].panels[1].drawing.alternative
    )
    assert "Outlined" in turns.caption


def test_charts_of_a_cluster_without_days() -> None:
    labels = chain(np.random.default_rng(12), 400, 2, 0.8)
    held = persistence.persistence(
        labels, CENTRES[labels], CENTRES, SEGMENT[:400], TIMES[:400], simulations=20
    )
    with svg.styled():
        spells = endurance.spell_lengths(Model(labels), held, K)  # type: ignore[arg-type]
        endurance.years(Model(labels), make_fields(np.zeros((400, 1, 2, 2))), K)  # type: ignore[arg-type]
    assert spells.groups[0].panels[2].label == "3 · no days"
