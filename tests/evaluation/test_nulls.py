"""p-values and classifiability by hand, the sweep over K, and a short form of the calibration study."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from evaluation import nulls
from evaluation.clustering import cluster
from evaluation.nulls import classifiability, compare, plan, score
from tests.benchmarks import calibration

DAYS = 300


def test_classifiability_of_the_same_and_of_turned_partitions() -> None:
    centres = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert classifiability([centres, centres[::-1], centres * 3], np.zeros(2)) == pytest.approx(1)
    turned = np.array([[0.0, 1.0], [0.0, -1.0]])
    assert classifiability([centres, turned], np.zeros(2)) == pytest.approx(0)


def test_classifiability_by_hand() -> None:
    # the first of the one is 45 degrees from the first of the other, the second the same
    first = np.array([[1.0, 0.0], [0.0, -1.0]])
    second = np.array([[1.0, 1.0], [0.0, -1.0]])
    assert classifiability([first, second], np.zeros(2)) == pytest.approx(np.sqrt(0.5))
    # patterns are departures from the middle
    middle = np.array([3.0, 4.0])
    assert classifiability([first + middle, second + middle], middle) == pytest.approx(np.sqrt(0.5))
    # two clusters of the one may be like the same of the other, which leaves one without its like
    third = np.array([[1.0, 0.0], [1.0, 0.1]])
    found = classifiability([first, third], np.zeros(2))
    like = 1 / np.sqrt(1.01)
    assert found == pytest.approx((min(1, 0) + min(1, like)) / 2)


def test_a_cluster_in_the_middle_of_everything_is_like_nothing() -> None:
    centres = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert classifiability([centres, centres], np.zeros(2)) == 0


def scores_of(silhouette: float, davies_bouldin: float = 1.0) -> dict[str, nulls.Scores]:
    return {"3": {"embedding": {"silhouette": silhouette, "davies_bouldin": davies_bouldin}}}


def test_p_values_by_hand() -> None:
    others = {
        "ar1": [scores_of(value, 2.0) for value in (0.1, 0.2, 0.3, 0.5)],
        "phase": [scores_of(value, 0.5) for value in (0.1, 0.4, 0.5, 0.6)],
    }
    found = compare(scores_of(0.4), others, 3)
    held = found["by_k"]["3"]["embedding"]["silhouette"]
    assert held["value"] == 0.4
    assert held["ar1"]["p"] == pytest.approx(2 / 5)
    assert held["phase"]["p"] == pytest.approx(4 / 5)  # as good counts against the record
    assert held["p"] == pytest.approx(4 / 5)
    assert held["ar1"]["mean"] == pytest.approx(0.275)
    assert held["ar1"]["low"] == pytest.approx(np.percentile([0.1, 0.2, 0.3, 0.5], 5))
    # less is better
    lower = found["by_k"]["3"]["embedding"]["davies_bouldin"]
    assert (lower["ar1"]["p"], lower["phase"]["p"]) == (pytest.approx(1 / 5), 1)
    assert found["verdict"] == {
        "k": 3,
        "space": "embedding",
        "index": "silhouette",
        "p": pytest.approx(4 / 5),
        "level": 0.05,
        "beyond_chance": False,
    }


def test_both_kinds_must_be_beaten() -> None:
    low, high = [scores_of(0.1)] * 19, [scores_of(0.9)] * 19
    assert compare(scores_of(0.5), {"ar1": low, "phase": low}, 3)["verdict"]["beyond_chance"]
    assert not compare(scores_of(0.5), {"ar1": low, "phase": high}, 3)["verdict"]["beyond_chance"]
    # with eighteen the least p is 1 / 19, over the level
    assert not compare(scores_of(0.5), {"ar1": low[:18], "phase": low}, 3)["verdict"]["beyond_chance"]


def test_what_was_not_computed_is_absent() -> None:
    others = {"ar1": [scores_of(0.1), {}], "phase": [scores_of(0.1)]}
    found = compare(scores_of(0.5), others, 7)
    assert "verdict" not in found
    assert found["by_k"]["3"]["embedding"]["silhouette"]["ar1"]["p"] == pytest.approx(1 / 2)
    assert compare(scores_of(0.5), {"ar1": [{}], "phase": [{}]}, 3) == {"by_k": {}}


def test_the_plan_takes_the_kinds_by_turns() -> None:
    assert plan(2) == [("ar1", 0), ("phase", 0), ("ar1", 1), ("phase", 1)]


def test_scores_are_those_of_the_best_start_in_both_spaces() -> None:
    held = calibration.record(0, separation=1.0, days=200, k=4)
    embedding = held.fields[:, :5]
    found = score({"one": embedding, "two": embedding[:, :2]}, held.fields, [2, 4], seed=1)
    assert set(found) == {"one", "two"}
    assert set(found["one"]) == {"2", "4"}
    best = cluster(embedding, np.ones(200, dtype=bool), k=4, n_init=50).labels
    ours = found["one"]["4"]
    assert ours["embedding"]["silhouette"] == pytest.approx(silhouette_score(embedding, best), abs=0.02)
    expected = silhouette_score(held.fields, best, metric="cosine")
    assert ours["data"]["silhouette"] == pytest.approx(expected, abs=0.02)
    assert -1 <= ours["embedding"]["classifiability"] <= 1 + 1e-6
    alone = score({"one": embedding}, held.fields, [4], seed=1)
    assert alone["one"]["4"] == ours


def test_a_collapsed_embedding_has_no_scores() -> None:
    fields = calibration.red_noise(np.random.default_rng(0), 30)
    assert score({"flat": np.ones((30, 2))}, fields, [2, 3])["flat"] == {}


def test_fewer_days_than_clusters_are_passed_over() -> None:
    fields = calibration.red_noise(np.random.default_rng(0), 4)
    assert set(score({"all": fields}, fields, [2, 3, 4, 5])["all"]) == {"2", "3"}


def test_planted_regimes_in_a_perfect_encoder_are_recovered_whole() -> None:
    regimes = calibration.planted(np.random.default_rng(0), DAYS, 7)
    perfect = np.eye(7, dtype=np.float32)[regimes]
    found = cluster(perfect, np.ones(DAYS, dtype=bool), k=7).labels
    assert adjusted_rand_score(regimes, found) == 1
    (scores,) = score({"perfect": perfect}, perfect, [7])["perfect"].values()
    assert scores["embedding"]["silhouette"] == pytest.approx(1)


# the study itself (docs/calibration.md) takes 100 records of each kind and 39 surrogates
@pytest.mark.parametrize(("separation", "least", "most"), [(0.0, 0, 1), (1.5, 5, 5)])
def test_red_noise_is_not_called_clusters_and_planted_regimes_are(
    separation: float, least: int, most: int
) -> None:
    beyond = 0
    for seed in range(5):
        held = calibration.record(seed, separation=separation, days=DAYS, k=4)
        beyond += calibration.chance(held, k=4, surrogates=19, seed=seed)["verdict"]["beyond_chance"]
    assert least <= beyond <= most
