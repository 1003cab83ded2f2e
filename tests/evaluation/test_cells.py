"""Tables: which rows are sorted together, and their figures as CSV."""

from __future__ import annotations

import csv

import pytest

from evaluation.cells import Cell, Column, Row, Table, amount, csv_text, difference, estimate

EXACT = {"mean": 1 / 3, "low": 0.1, "high": 0.5, "values": [1 / 3]}


def table() -> Table:
    columns = (Column("Score", "Training, %"), Column("Days"), Column("Verdict"))
    rows = (
        Row(Cell("a, b"), (estimate(EXACT, 1, factor=100), amount(12.5, 0), Cell("shown"))),
        Row(Cell("−c"), (Cell(""), amount(None, 0), Cell("")), "baseline"),
        Row(Cell("a − c"), (difference(EXACT | {"verdict": "better"}, 2), Cell(""), Cell("")), "difference"),
    )
    return Table("key", "title", "note", columns, rows)


def test_the_csv_holds_the_unrounded_figures_with_all_their_parts() -> None:
    rows = list(csv.DictReader(csv_text(table()).splitlines()))
    assert list(rows[0]) == [
        "Model",
        "Training, % Score",
        "Training, % Score low",
        "Training, % Score high",
        "Training, % Score verdict",
        "Days",
        "Verdict",
    ]
    assert float(rows[0]["Training, % Score"]) == pytest.approx(100 / 3, rel=1e-14)
    assert float(rows[0]["Training, % Score high"]) == 50
    assert rows[0]["Model"] == "a, b"
    assert rows[0]["Days"] == "12.5"
    assert rows[0]["Verdict"] == "shown"
    assert rows[2]["Training, % Score verdict"] == "better"


def test_what_is_not_there_is_empty_in_the_csv() -> None:
    row = list(csv.DictReader(csv_text(table()).splitlines()))[1]
    assert {value for name, value in row.items() if name != "Model"} == {""}


def test_differences_are_sorted_among_themselves() -> None:
    assert [[row.heading.text for row in rows] for rows in table().bodies] == [["a, b", "−c"], ["a − c"]]


def test_a_table_without_differences_has_one_body() -> None:
    held = table()
    assert len(Table("k", "t", "n", held.columns, held.rows[:2]).bodies) == 1
