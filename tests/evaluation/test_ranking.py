"""The ranking of many encoders: order, who is told from the first, and what the page says of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from evaluation import metrics, ranking, report, svg
from evaluation.assessment import evaluate
from evaluation.inputs import Inputs
from evaluation.results import Evaluation
from evaluation.summary import headline, statements
from tests.evaluation.conftest import make_inputs, make_prepared, make_run
from tests.evaluation.test_assessment import FAST

LEVELS = {"faconvlstm": 0.31, "convlstm": 0.3, "vmrnn": 0.32, "predrnn": 4.0, "convs5": 6.0}
TITLES = ["FAConvLSTM", "ConvLSTM", "ConvS5", "PredRNN", "VMRNN"]


def many(levels: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> Inputs:
    """Encoders that know the planted regimes the less, the more noise they have; each has its own cost."""
    prepared = make_prepared()
    runs = [make_run(prepared, model=m, seed=s, noise=noise) for m, noise in levels.items() for s in seeds]
    costs = {"parameters": 1000, "flops_per_window": 2e7}
    runs = [
        dataclasses.replace(
            run, costs={**costs, "train_step_seconds": 0.01 * (1 + list(levels).index(run.model))}
        )
        for run in runs
    ]
    return make_inputs(prepared=prepared, runs=runs, cluster=dataclasses.replace(FAST, resamples=40))


@pytest.fixture(scope="module")
def ranked() -> Evaluation:
    return evaluate(many(LEVELS))


def test_the_order_is_that_of_the_silhouette(ranked: Evaluation) -> None:
    held = ranked.metrics["ranking"]
    means = [
        ranked.metrics["models"][m]["scores"]["data"]["test"]["silhouette"]["mean"] for m in held["order"]
    ]
    assert means == sorted(means, reverse=True)
    assert set(held["order"]) == set(LEVELS)
    assert set(held["order"][-2:]) == {"predrnn", "convs5"}


def test_who_is_told_from_the_first(ranked: Evaluation) -> None:
    held = ranked.metrics["ranking"]
    assert set(held["differences"]) == set(held["order"][1:])
    verdicts = {label: found["silhouette"]["verdict"] for label, found in held["differences"].items()}
    assert verdicts["predrnn"] == verdicts["convs5"] == "worse"
    assert set(verdicts.values()) == {"worse", "no difference shown"}
    first, last = held["order"][0], held["order"][-1]
    values = [
        ranked.metrics["models"][m]["scores"]["data"]["test"]["silhouette"]["values"] for m in (last, first)
    ]
    np.testing.assert_allclose(
        held["differences"][last]["silhouette"]["values"], np.subtract(*values), atol=1e-12
    )
    assert ranking.worse(ranked.metrics) == [
        label for label in held["order"] if label in ("predrnn", "convs5")
    ]


def test_the_table(ranked: Evaluation) -> None:
    table = ranking.table(ranked.metrics)
    assert table is not None
    assert [row.cells[0].text for row in table.rows] == ["1", "2", "3", "4", "5", ""]
    assert table.rows[-1].heading.text == "EOF (4)"
    assert table.rows[0].cells[2].text == ""  # the first differs from itself by nothing
    assert table.rows[4].cells[2].tone == "worse"
    assert table.rows[4].cells[2].note.endswith("▼ worse")
    assert "of 4 such comparisons" in table.note
    times = {row.heading.text: row.cells[-1].text for row in table.rows}
    assert times["VMRNN"] == "30"


def test_two_models_are_not_ranked(evaluation: Evaluation) -> None:
    assert "ranking" not in evaluation.metrics
    assert ranking.table(evaluation.metrics) is None
    assert ranking.picture(evaluation.metrics) is None


def test_every_encoder_is_compared_with_ours_and_with_eofs(ranked: Evaluation) -> None:
    assert {
        *(f"faconvlstm_minus_{other}" for other in ("convlstm", "vmrnn", "predrnn", "convs5", "eof")),
        *(f"{other}_minus_eof" for other in ("convlstm", "vmrnn", "predrnn", "convs5")),
    } == set(ranked.metrics["comparison"])


def test_what_the_summary_says_of_many(ranked: Evaluation) -> None:
    told = {statement.heading: statement for statement in statements(ranked.metrics)}
    assert told["What was done"].text.startswith(
        "5 encoders (FAConvLSTM, ConvLSTM, ConvS5, PredRNN and VMRNN; 3 seeds each) turned every day of 2 variables"
    )
    others = told["Against 3 other encoders"].text
    assert "FAConvLSTM's Silhouette is better than that of ConvS5 and PredRNN." in others
    assert "No difference from VMRNN is shown." in others
    first = ranked.models[ranked.metrics["ranking"]["order"][0]].title
    said = told["Ranking"].text
    assert said.startswith(
        f"Of 5 trained encoders, {first} has the highest Silhouette in the data space on the"
    )
    assert "are told from it; for " in said
    assert "the 5 trained encoders from " in told["Reconstruction"].text
    assert "the 5 trained encoders from " in told["Known regimes"].text
    assert re.search(
        r"of 3 clusters of (the|each of the) 5 encoders come back nearly", told["Stability"].text
    )
    assert max(map(len, headline(ranked).splitlines())) <= 100


def test_few_others_are_told_one_by_one() -> None:
    found = evaluate(many({"faconvlstm": 0.3, "vmrnn": 4.0}))
    told = {statement.heading: statement.text for statement in statements(found.metrics)}
    assert "FAConvLSTM's clusters are better in Silhouette" in told["Against VMRNN"]
    assert "Ranking" not in told


def test_without_any_difference_there_is_no_ranking() -> None:
    found = evaluate(many({"faconvlstm": 0.3, "convlstm": 0.3, "vmrnn": 0.3}, seeds=(0,)))
    told = {statement.heading: statement.text for statement in statements(found.metrics)}
    assert "It is told from none of the others" in told["Ranking"]


def test_the_page_shows_it(ranked: Evaluation, tmp_path: Path) -> None:
    metrics.validate(ranked.metrics)
    with svg.styled():
        drawn = ranking.picture(ranked.metrics)
    assert drawn is not None
    silhouette, explained = (panel.drawing for panel in drawn.groups[0].panels)
    assert silhouette.body.count("<text") >= len(LEVELS)
    assert f"{TITLES[0]} " in explained.alternative
    text = report.write(ranked, tmp_path / "report").read_text(encoding="utf-8")
    assert 'id="table-ranking"' in text
    assert 'id="figure-ranking"' in text
