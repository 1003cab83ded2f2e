"""What the evaluation tells beside the scores: errors by source, what clusters are, whether they are chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from evaluation.assessment import evaluate
from evaluation.results import Evaluation, ModelResult
from tests.evaluation.conftest import make_chance, make_inputs
from tests.evaluation.test_assessment import FAST


def test_scores_carry_what_seeds_and_time_add_to_their_error(evaluation: Evaluation) -> None:
    model = evaluation.metrics["models"]["convlstm"]
    for value in (model["scores"]["data"]["train"]["davies_bouldin"], model["agreement"]["test"]["ari"]):
        seeds = np.std(value["values"], ddof=1) / np.sqrt(3)
        assert value["seed_error"] == pytest.approx(seeds)
        assert value["time_error"] > 0
        assert value["high"] - value["mean"] > 1.9 * np.hypot(seeds, value["time_error"])
    assert evaluation.metrics["models"]["eof"]["explained_variance"]["test"]["time_error"] > 0
    held = evaluation.metrics["uncertainty"]
    assert held["resamples"] == 60
    assert held["splits"]["train"]["days"] == evaluation.metrics["dataset"]["days"]["train"]
    assert 1 <= held["splits"]["train"]["block_length"] < 80


def test_without_resampled_days_intervals_are_over_seeds_alone() -> None:
    found = evaluate(make_inputs(cluster=FAST)).metrics
    value = found["models"]["convlstm"]["scores"]["data"]["train"]["silhouette"]
    assert set(value) == {"mean", "low", "high", "values"}
    assert "uncertainty" not in found


def test_what_the_clusters_are_is_told_of_every_model(evaluation: Evaluation) -> None:
    for entry in evaluation.metrics["models"].values():
        assert {"composites", "spells", "patterns", "teleconnections", "robustness"} <= set(entry)
    entry = evaluation.metrics["models"]["faconvlstm"]
    assert entry["composites"]["told_share"]["1"]["z500"] > 0.5  # planted patterns
    assert set(entry["robustness"]) == {"seeds", "halves", "jaccard"}  # training lies in one year
    assert entry["robustness"]["jaccard"]["1"] > 0.9
    assert set(entry["regimes"]["yearly_frequency"]) == {"2001"}
    assert entry["patterns"]["published"]["cells"] == 20
    assert entry["teleconnections"]["index"]["n"] == len(evaluation.fields.times)


def test_the_comparison_with_chance_sees_the_drawn_clusters(evaluation: Evaluation) -> None:
    seen = {}

    def look(models: Mapping[str, ModelResult]) -> dict:
        seen.update({label: model.seeds[model.shown] for label, model in models.items()})
        return {"eof": make_chance(seed=None)}

    found = evaluate(make_inputs(seeds=(3,), cluster=FAST), look).metrics["models"]
    assert seen == dict.fromkeys(found, 3)
    assert [label for label, entry in found.items() if "chance" in entry] == ["eof"]
