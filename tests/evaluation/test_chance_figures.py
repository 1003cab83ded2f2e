"""Figures and tables of clusters against chance: they show what was found, and nothing where nobody looked."""

from __future__ import annotations

import copy

import pytest

from evaluation import evidence
from evaluation.chance import sweep
from evaluation.results import Evaluation
from evaluation.svg import styled


@pytest.fixture
def metrics(evaluation: Evaluation) -> dict:
    return copy.deepcopy(evaluation.metrics)


def test_a_panel_for_each_index_and_space(metrics: dict) -> None:
    with styled():
        picture = sweep("faconvlstm", metrics["models"]["faconvlstm"])
    assert picture is not None
    assert [(group.heading, len(group.panels)) for group in picture.groups] == [
        ("Embedding space", 4),
        ("Data space", 3),
    ]
    words = picture.groups[0].panels[0].drawing.alternative
    assert "2: 0.300, p 0.020; 3: 0.300, p 0.020" in words
    assert "10: 0.300, p 0.020" in words
    assert "100 of red noise (AR1) and 100 of random phases" in picture.caption


def test_indices_that_a_record_has_not_are_left_out(metrics: dict) -> None:
    entry = metrics["models"]["faconvlstm"]
    for spaces in entry["chance"]["by_k"].values():
        del spaces["data"], spaces["embedding"]["classifiability"]
    del entry["chance"]["by_k"]["10"], entry["chance"]["verdict"]
    with styled():
        picture = sweep("faconvlstm", entry)
    assert picture is not None
    assert [len(group.panels) for group in picture.groups] == [3]
    assert "10:" not in picture.groups[0].panels[0].drawing.alternative


def test_no_figure_and_no_table_where_nobody_looked(metrics: dict) -> None:
    assert sweep("raw", metrics["models"]["raw"]) is None
    assert evidence.chance(metrics["models"]["raw"], "raw") is None
    for entry in metrics["models"].values():
        entry.pop("chance", None)
    assert evidence.verdicts(metrics) is None


def test_the_verdicts_of_all_models(metrics: dict) -> None:
    table = evidence.verdicts(metrics)
    assert table is not None
    assert [(row.heading.text, row.cells[-1].text) for row in table.rows] == [
        ("FAConvLSTM", "shown"),
        ("ConvLSTM", "not shown"),
        ("EOF (4)", "shown"),
    ]
    assert table.rows[0].cells[1].text == "0.050 to 0.150"
    assert "3 clusters" in table.note


def test_numbers_of_clusters_are_sorted_as_numbers(metrics: dict) -> None:
    table = evidence.chance(metrics["models"]["eof"], "eof")
    assert table is not None
    assert [row.heading.text for row in table.rows] == [str(k) for k in range(2, 11)]
    assert table.rows[0].cells[0].values == {"": 0.3, "p": 0.02}


def test_errors_name_their_sources(metrics: dict) -> None:
    table = evidence.errors(metrics)
    assert table is not None
    value = metrics["models"]["convlstm"]["scores"]["data"]["train"]["silhouette"]
    row = next(row for row in table.rows if row.heading.text == "ConvLSTM")
    assert [cell.values[""] for cell in row.cells[:2]] == [value["seed_error"], value["time_error"]]
    held = metrics["uncertainty"]["splits"]["train"]
    assert f"training period: blocks of {held['block_length']} steps" in table.note
    del metrics["uncertainty"]
    assert evidence.errors(metrics) is None


def test_spells_stand_beside_their_nulls(metrics: dict) -> None:
    entry = metrics["models"]["faconvlstm"]
    table = evidence.spells(entry, "faconvlstm", 3, "days")
    assert table is not None
    tested = entry["spells"]["ar1"]["mean_spell"]["1"]
    place = next(
        i for i, c in enumerate(table.columns) if (c.group, c.name) == ("AR(1) process", "Mean spell, days")
    )
    cell = table.rows[0].cells[place]
    assert cell.values[""] == tested["observed"]
    assert cell.values["verdict"] == ("differs" if tested["differs"] else "as the null")


def test_patterns_and_indices_stand_by_cluster(metrics: dict) -> None:
    entry = metrics["models"]["faconvlstm"]
    (patterns,) = evidence.patterns(entry, "faconvlstm", 3)
    assert [column.name for column in patterns.columns] == ["block", "zonal"]
    assert patterns.rows[2].cells[1].values[""] == entry["patterns"]["published"]["correlation"]["3"]["zonal"]
    indices = evidence.teleconnections(entry, "faconvlstm", 3)
    assert indices is not None
    found = entry["teleconnections"]["index"]["clusters"]["1"]
    assert indices.rows[0].cells[0].values["p"] == found["p"]
