"""The table of an ablation: what a row is held against, what is missing, and the forms in which it is written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import ablation_page
from evaluation import ablation_tables as tables
from evaluation.ablation import Study, Variant, assess
from evaluation.errors import EvaluationError
from evaluation.inputs import ClusterSettings, Truth
from tests.evaluation.conftest import K, make_prepared, make_run, planted_labels

SEEDS = (0, 1, 2)
SETTINGS = ClusterSettings(k=K, n_init=3, resamples=40)
PREPARED = make_prepared()


def variant(label: str, noise: float, **given: Any) -> Variant:
    runs = tuple(
        make_run(PREPARED, model=label, seed=seed, noise=noise) for seed in given.pop("seeds", SEEDS)
    )
    return Variant(label, (f"noise={noise}",), runs, given.pop("cluster", SETTINGS), **given)


def make_study(*variants: Variant, **given: Any) -> Study:
    import pandas as pd

    labels = pd.Series(planted_labels(), index=pd.DatetimeIndex(PREPARED["time"].values))
    held: dict[str, Any] = {
        "name": "noise",
        "title": "Noise <b>in</b> the embedding",
        "question": "How much noise hides the regimes?",
        "note": "",
        "dataset": "tiny",
        "reference": "full",
        "variants": variants,
        "prepared": PREPARED,
        "truth": Truth(labels, "planted regimes"),
        "provenance": {"command": "python -m pipeline.ablation", "versions": {"numpy": "2"}},
    }
    return Study(**held | given)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return assess(
        make_study(
            variant("full", 0.2),
            variant("noisy", 6.0),
            variant("other fields", 0.2, same_fields=False),
            variant("two clusters", 0.2, cluster=ClusterSettings(k=2, n_init=3, resamples=40)),
            variant("half", 0.2, seeds=(0, 2), missing={1: "the loss is not finite"}),
            Variant(
                "broken | row", ("a=b",), (), SETTINGS, missing=dict.fromkeys(SEEDS, "it cannot be built")
            ),
            steps={
                "seconds": {"full": [1.0, 1.2, 1.1], "noisy": [0.5, 0.7, 0.6]},
                "memory": {"full": 3_000_000, "noisy": 1_000_000},
            },
        )
    )


def test_a_worse_row_is_told_and_one_like_the_reference_is_not(found: dict[str, Any]) -> None:
    noisy = found["rows"]["noisy"]["difference"]
    assert noisy["agreement.test.ari"]["verdict"] == "worse"
    assert noisy["data.train.silhouette"]["verdict"] == "worse"
    assert noisy["agreement.test.ari"]["seeds"] == [0, 1, 2]
    assert found["rows"]["two clusters"]["difference"]["agreement.train.ari"]["verdict"] == "worse"
    assert found["rows"]["full"]["difference"] == {}
    like = found["rows"]["half"]["difference"]["agreement.test.ari"]
    assert (like["verdict"], like["seeds"]) == ("no difference shown", [0, 2])


def test_steps_are_paired_by_round_and_memory_has_no_interval(found: dict[str, Any]) -> None:
    faster = found["rows"]["noisy"]["difference"]["cost.step_seconds"]
    assert faster["values"] == pytest.approx([-0.5, -0.5, -0.5])
    assert faster["verdict"] == "better"
    assert found["rows"]["full"]["values"]["cost.step_seconds"]["mean"] == pytest.approx(1.1)
    assert found["rows"]["full"]["values"]["cost.memory_bytes"] == {"mean": 3_000_000, "values": [3_000_000]}
    assert found["rows"]["full"]["values"]["cost.multiply_adds"]["mean"] == 10_000  # of 20,000 operations
    assert "cost.step_seconds" not in found["rows"]["half"]["values"]


def test_explained_variance_of_other_fields_is_shown_and_not_judged(found: dict[str, Any]) -> None:
    row = found["rows"]["other fields"]
    assert row["values"]["explained_variance.test"]["mean"] == pytest.approx(0.78)
    assert "explained_variance.test" not in row["difference"]
    assert "data.test.silhouette" in row["difference"]
    assert "explained_variance.test" in found["rows"]["noisy"]["difference"]


def test_counts_need_no_interval(found: dict[str, Any]) -> None:
    fewer = make_run(PREPARED, model="fewer")
    object.__setattr__(fewer, "costs", {"parameters": 999})
    one = assess(
        make_study(variant("full", 0.2, seeds=(0,)), Variant("fewer", (), (fewer,), SETTINGS), truth=None)
    )
    difference = one["rows"]["fewer"]["difference"]
    assert (difference["cost.parameters"]["mean"], difference["cost.parameters"]["verdict"]) == (-1, "better")
    assert difference["data.test.silhouette"]["verdict"] == "no difference shown"  # of a single seed
    assert not any(path.startswith("agreement") for path in one["rows"]["full"]["values"])
    assert found["rows"]["noisy"]["difference"]["cost.parameters"]["verdict"] == "no difference shown"


def test_without_the_reference_rows_stand_for_themselves() -> None:
    held = assess(
        make_study(Variant("full", (), (), SETTINGS, missing={0: "not run yet"}), variant("noisy", 1.0))
    )
    assert held["rows"]["noisy"]["values"]
    assert held["rows"]["noisy"]["difference"] == {}
    assert "not run yet" in tables.markdown(held)
    assert tables.answers(held) == []


def test_without_any_run_there_is_no_table() -> None:
    with pytest.raises(EvaluationError, match="No run of the experiment noise is finished"):
        assess(make_study(Variant("full", (), (), SETTINGS)))


def test_markdown_has_a_row_each_with_marks_and_reasons(found: dict[str, Any]) -> None:
    lines = tables.markdown(found).splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    assert {"**full**", "noisy", "half", "broken / row"} <= rows.keys()
    assert len({line.count("|") for line in rows.values()}) == 1
    assert "▼" in rows["noisy"]
    assert "▲" in rows["noisy"]  # its step is faster
    assert "seed 0, 1 and 2: it cannot be built" in rows["broken / row"]
    assert "- half: seed 1: the loss is not finite" in lines


def test_the_long_table_has_every_value(found: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.csv_text(found))))
    held = {(row["row"], row["measure"]): row for row in rows}
    silhouette = found["rows"]["noisy"]["values"]["data.test.silhouette"]
    row = held["noisy", "data.test.silhouette"]
    assert float(row["mean"]) == silhouette["mean"]
    assert (row["seeds"], row["changes"]) == ("0 1 2", "noise=6.0")
    assert held["broken | row", ""]["missing"] == "seed 0, 1 and 2: it cannot be built"
    assert len(rows) == sum(len(entry["values"]) or 1 for entry in found["rows"].values())


def test_answers_and_the_terminal_say_what_was_shown_and_what_not(found: dict[str, Any]) -> None:
    said = {statement.heading: statement.text for statement in tables.answers(found)}
    assert "orse than full in" in said["noisy"]
    assert "It has 1.00 of the parameters" in said["noisy"]
    assert "0.55 of the step time" in said["noisy"]
    assert said["half"].startswith("No difference shown in Silhouette")
    text = tables.terminal(found)
    assert "broken | row  seed 0, 1 and 2: it cannot be built" in text
    assert "half: seed 1: the loss is not finite" in text


def test_the_page_stands_alone_and_escapes(found: dict[str, Any], tmp_path: Path) -> None:
    ablation_page.write(found, tmp_path / "noise")
    page = (tmp_path / "noise" / "index.html").read_text(encoding="utf-8")
    assert "Noise &lt;b&gt;in&lt;/b&gt; the embedding" in page
    assert 'src="http' not in page
    assert "<link" not in page
    assert page.count("<svg role=") == len(tables.headline(found))
    assert "broken | row: seed 0, 1 and 2: it cannot be built" in page
    assert json.loads((tmp_path / "noise" / "ablation.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(found)
    )
    assert (tmp_path / "noise" / "figures" / "ablation.svg").read_text(encoding="utf-8").count("<svg") > 5
    data = (tmp_path / "noise" / "tables" / "data.csv").read_text(encoding="utf-8")
    assert data.splitlines()[0].startswith("Row,Training period Silhouette")


def test_the_same_inputs_give_the_same_numbers(found: dict[str, Any]) -> None:
    again = assess(make_study(variant("full", 0.2), variant("noisy", 6.0)))
    ours, theirs = (held["rows"]["noisy"]["values"]["data.test.silhouette"] for held in (found, again))
    assert np.allclose(ours["values"], theirs["values"], rtol=0, atol=0)
