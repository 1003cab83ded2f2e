"""Sentences on the clusters themselves: they follow from the numbers."""

from __future__ import annotations

import copy

import pytest

from evaluation.findings import of_clusters
from evaluation.results import Evaluation


@pytest.fixture
def metrics(evaluation: Evaluation) -> dict:
    return copy.deepcopy(evaluation.metrics)


def told(metrics: dict) -> dict[str, str]:
    return {statement.heading: statement.text for statement in of_clusters(metrics)}


def test_more_than_chance_for_some_and_not_for_others(metrics: dict) -> None:
    text = told(metrics)["More than chance"]
    assert text.startswith(
        "3 clusters of FAConvLSTM (p 0.020) and EOF (4) (p 0.020) stand apart more than red noise"
    )
    assert "For ConvLSTM (p 0.200) that is not shown" in text


def test_nothing_beyond_chance_is_said_plainly(metrics: dict) -> None:
    for entry in metrics["models"].values():
        if "chance" in entry:
            entry["chance"]["verdict"] |= {"beyond_chance": False, "p": 0.4}
    text = told(metrics)["More than chance"]
    assert text.startswith(
        "For FAConvLSTM (p 0.400), ConvLSTM (p 0.400) and EOF (4) (p 0.400) that is not shown"
    )
    assert "ways of cutting a continuum" in text


def test_stable_and_dissolving_clusters(metrics: dict) -> None:
    metrics["models"]["faconvlstm"]["robustness"]["jaccard"] = {"1": 0.9, "2": 0.6, "3": 0.3}
    metrics["models"]["convlstm"]["robustness"]["jaccard"] = {"1": 0.9, "2": 0.8, "3": 0.75}
    text = told(metrics)["Stability"]
    assert "1 of FAConvLSTM's 3 clusters come back nearly whole and 1 mostly dissolves (3)" in text
    assert "all of ConvLSTM's 3 clusters come back nearly whole." in text


def test_spells_longer_shorter_and_alike(metrics: dict) -> None:
    for null in ("ar1", "markov"):
        for tested in metrics["models"]["faconvlstm"]["spells"][null]["mean_spell"].values():
            tested |= {"observed": 5.0, "low": 2.0, "high": 3.0, "differs": null == "ar1"}
    text = told(metrics)["Spells"]
    assert "of 3 mean spells 3 are longer than those of an AR(1) process" in text
    assert "no cluster's mean spell is told from that of a Markov chain" in text


def test_published_patterns_and_indices(metrics: dict) -> None:
    entry = metrics["models"]["faconvlstm"]
    entry["patterns"]["published"]["match"] = {
        "1": {"regime": "block", "correlation": 0.81},
        "2": {"regime": "zonal", "correlation": 0.2},
    }
    entry["teleconnections"]["index"]["clusters"]["2"] |= {"told": True, "correlation": -0.4}
    for cluster in ("1", "3"):
        entry["teleconnections"]["index"]["clusters"][cluster]["told"] = False
    found = told(metrics)
    assert "at least 0.5 for cluster 1 with “block” (0.81)" in found["Published patterns"]
    assert (
        found["Teleconnections"]
        == "Correlation of the clusters of FAConvLSTM with index: 2 (−0.40) goes with it."
    )


def test_what_was_not_computed_gives_no_sentence(metrics: dict) -> None:
    for entry in metrics["models"].values():
        for key in ("chance", "robustness", "spells", "patterns", "teleconnections"):
            entry.pop(key, None)
    assert told(metrics) == {}
