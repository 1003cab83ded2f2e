"""The sentences: they follow from the numbers, and say what was not shown."""

from __future__ import annotations

import copy

import pytest

from evaluation.assessment import evaluate
from evaluation.results import Evaluation
from evaluation.summary import headline, statements
from tests.evaluation.conftest import make_inputs
from tests.evaluation.test_assessment import FAST


def told(metrics: dict) -> dict[str, str]:
    return {statement.heading: statement.text for statement in statements(metrics)}


@pytest.fixture
def metrics(evaluation: Evaluation) -> dict:
    return copy.deepcopy(evaluation.metrics)


def verdicts(metrics: dict, *words: str) -> None:
    found = metrics["comparison"]["faconvlstm_minus_convlstm"]["data"]["test"]
    for difference, word in zip(found.values(), words, strict=True):
        difference["verdict"] = word


def test_what_was_done(metrics: dict) -> None:
    text = told(metrics)["What was done"]
    assert text.startswith(
        "FAConvLSTM (3 seeds) and ConvLSTM (3 seeds) turned every day of 2 variables on 4 × 5 points"
    )
    assert "3 clusters" in text
    assert "weather regimes rather than seasons" in text
    metrics["dataset"]["seasonal_cycle"] = "kept"
    assert "to a large part seasons" in told(metrics)["What was done"]


def test_better_worse_and_not_shown_in_one_sentence(metrics: dict) -> None:
    verdicts(metrics, "better", "worse", "no difference shown")
    assert told(metrics)["Against ConvLSTM"] == (
        "On the unseen period, FAConvLSTM's clusters are better in Silhouette and worse in "
        "Davies-Bouldin than ConvLSTM's. "
        "No difference is shown in Calinski-Harabasz."
    )


def test_nothing_shown_is_said(metrics: dict) -> None:
    verdicts(metrics, *["no difference shown"] * 3)
    assert told(metrics)["Against ConvLSTM"] == (
        "On the unseen period, no difference between FAConvLSTM and ConvLSTM is shown in any of the three indices."
    )


def test_the_figures_behind_a_verdict_stand_with_it(metrics: dict) -> None:
    found = next(s for s in statements(metrics) if s.heading == "Against ConvLSTM")
    means = [
        metrics["models"][name]["scores"]["data"]["test"]["silhouette"]["mean"]
        for name in ("faconvlstm", "convlstm")
    ]
    assert f"Silhouette {means[0]:.3f} against {means[1]:.3f}" in found.figures
    assert "95% interval" in found.figures


def test_reconstruction_against_convlstm_and_eofs(metrics: dict) -> None:
    text = told(metrics)["Reconstruction"]
    share = metrics["models"]["faconvlstm"]["explained_variance"]["test"]["mean"]
    assert f"FAConvLSTM {100 * share:.1f}%" in text
    assert "FAConvLSTM keeps more than ConvLSTM." in text
    worse = metrics["comparison"]["faconvlstm_minus_eof"]["explained_variance"]["test"]
    worse["verdict"] = "worse"
    assert "FAConvLSTM keeps less than EOFs (PCA) of the same size." in told(metrics)["Reconstruction"]


def test_known_regimes(metrics: dict) -> None:
    text = told(metrics)["Known regimes"]
    assert text.startswith("Agreement with planted regimes")
    assert "FAConvLSTM is better than ConvLSTM." in text
    del metrics["truth"]
    assert "Known regimes" not in told(metrics)


def test_weak_separation_and_collapse_are_told(metrics: dict) -> None:
    assert "Collapse" not in told(metrics)
    metrics["models"]["convlstm"]["collapsed"] = True
    assert "The embedding of ConvLSTM has collapsed" in told(metrics)["Collapse"]
    for entry in metrics["models"].values():
        entry["scores"]["data"]["test"]["silhouette"]["mean"] = 0.1
    assert "Below 0.25 the clusters overlap" in told(metrics)["Separation"]


def test_the_limits_close_the_summary(metrics: dict) -> None:
    last = statements(metrics)[-1]
    assert last.heading == "Not shown here"
    assert "spread over 3 seeds and over time" in last.text
    assert "Not looked into" not in last.text
    del metrics["uncertainty"]
    for entry in metrics["models"].values():
        entry.pop("chance", None)
    last = statements(metrics)[-1]
    assert "over 3 seeds on this one record" in last.text
    assert "Not looked into: whether 3 clusters are more than red noise would give" in last.text
    assert "published" not in last.text


def test_one_seed_can_show_nothing() -> None:
    evaluation = evaluate(make_inputs(seeds=(0,), cluster=FAST))
    assert told(evaluation.metrics)["Against ConvLSTM"] == (
        "With one seed there is no interval, so no difference between FAConvLSTM and ConvLSTM is shown."
    )
    assert "With one seed there are no intervals" in told(evaluation.metrics)["Not shown here"]


def test_headline_fits_a_terminal(evaluation: Evaluation) -> None:
    text = headline(evaluation)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line[:19].strip(): line[19:].split() for line in lines}
    scores = evaluation.metrics["models"]["faconvlstm"]["scores"]["data"]
    assert rows["FAConvLSTM"][:2] == [
        f"{scores[split]['silhouette']['mean']:.3f}" for split in ("train", "test")
    ]
    assert len(rows["FAConvLSTM"]) == 10
    assert len(rows["Raw fields"]) == 8  # no reconstruction
    assert "FAConvLSTM's clusters are better" in text


def test_headline_repeats_the_warnings() -> None:
    inputs = make_inputs(seeds=(0,), cluster=FAST)
    runs = [*inputs.runs]
    object.__setattr__(runs[0], "settings", {"trainer": {"max_epochs": 3}})
    object.__setattr__(runs[1], "settings", {"trainer": {"max_epochs": 5}})
    assert "Warning: The compared runs differ in trainer.max_epochs" in headline(evaluate(inputs))
