"""The parts of a table, estimates and differences as the text of a cell, and a table as CSV.

Supports two rows of headers, a heading to each row and a note under a figure. How they look is up to the
template; the CSV holds the figures themselves, unrounded.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from evaluation.significance import BETTER, WORSE
from evaluation.units import number

SYMBOLS = {BETTER: "▲ ", WORSE: "▼ "}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet's formula begins
PARTS = ("", "low", "high", "p", "verdict")  # of a figure, in the order of the CSV's columns


@dataclass(frozen=True)
class Cell:
    """Text, a smaller note under it, a tone (better, worse, muted) and a swatch; all but the text may be empty.

    values holds what the text was made from, for sorting and for the CSV: the figure itself under "", and what
    there is of low, high, p and verdict.
    """

    text: str
    note: str = ""
    tone: str = ""
    swatch: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column's header, what stands above several of them, and a hint."""

    name: str
    group: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Row:
    """A row's heading and its cells; kind is model, baseline or difference."""

    heading: Cell
    cells: tuple[Cell, ...]
    kind: str = "model"


@dataclass(frozen=True)
class Table:
    """A table under its title, with a note that says how to read it."""

    key: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    corner: str = "Model"

    @property
    def bodies(self) -> list[tuple[Row, ...]]:
        """The rows in the bodies within which they are sorted: the models', then the differences'."""
        of_differences = [
            tuple(row for row in self.rows if (row.kind == "difference") is wanted)
            for wanted in (False, True)
        ]
        return [rows for rows in of_differences if rows]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The upper row of headers: name and number of columns; empty where no column has one."""
        spans = [(name, len(list(columns))) for name, columns in groupby(self.columns, key=lambda c: c.group)]
        return spans if any(name for name, _ in spans) else []


def amount(value: float | None, digits: int, *, tone: str = "") -> Cell:
    """A figure without an interval; empty where there is none."""
    return Cell("") if value is None else Cell(number(value, digits), tone=tone, values={"": value})


def estimate(value: Mapping[str, Any] | None, digits: int, *, factor: float = 1.0) -> Cell:
    """Mean over its interval's half width; empty where there is no value."""
    if value is None:
        return Cell("")
    note = f"± {number(factor * (value['high'] - value['low']) / 2, digits)}" if "low" in value else ""
    return Cell(number(factor * value["mean"], digits), note, values=_figures(value, factor))


def difference(value: Mapping[str, Any] | None, digits: int, *, factor: float = 1.0) -> Cell:
    """Mean difference with interval and verdict; empty where there is no value."""
    if value is None:
        return Cell("")
    text = number(factor * value["mean"], digits, sign=True)
    verdict = value["verdict"]
    note = f"{SYMBOLS.get(verdict, '')}{verdict}"
    if "low" in value:
        note = f"{number(factor * value['low'], digits)} to {number(factor * value['high'], digits)}\n{note}"
    tone = verdict if verdict in SYMBOLS else "muted"
    return Cell(text, note, tone, values=_figures(value, factor) | {"verdict": verdict})


def csv_text(table: Table) -> str:
    """The table's figures as CSV: for each column the figure, and its low, high, p or verdict where any row has one.

    Text cells stand as they are, but for an apostrophe before what a spreadsheet would compute (=, +, -, @); what
    is not there is empty.
    """
    parts = [_parts([row.cells[place] for row in table.rows]) for place in range(len(table.columns))]
    names = [" ".join(filter(None, (column.group, column.name))) for column in table.columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    titles = [f"{name} {part}".strip() for name, held in zip(names, parts, strict=True) for part in held]
    writer.writerow(map(_inert, [table.corner, *titles]))
    for row in table.rows:
        figures = (
            cell.values.get(part, "" if part or cell.values else cell.text)
            for cell, held in zip(row.cells, parts, strict=True)
            for part in held
        )
        writer.writerow(map(_inert, [row.heading.text, *figures]))
    return buffer.getvalue()


def _inert(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula: names of labels and indices come from the user's files."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value)
        else value
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parts(cells: list[Cell]) -> list[str]:
    """Which parts of a figure any cell of a column has, the figure itself first."""
    return [part for part in PARTS if part == "" or any(part in cell.values for cell in cells)]


def _figures(value: Mapping[str, Any], factor: float) -> dict[str, Any]:
    found = {"": factor * value["mean"]}
    return found | {end: factor * value[end] for end in ("low", "high") if end in value}
