"""The tables of an ablation: as the page shows them, as one long CSV, as Markdown, and in sentences.

Supports what evaluation/ablation.py finds; a measure that no row has is left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.cells import SYMBOLS, Cell, Column, Row, Table, difference, estimate
from evaluation.significance import BETTER, NOT_SHOWN, WORSE
from evaluation.tables import DIGITS, DIRECTION, INDICES, PERIODS
from evaluation.units import number
from evaluation.words import Statement, join

MEGA = 1e-6


@dataclass(frozen=True)
class Measure:
    """A value of the rows, by its path, and how it is shown: name, what stands above it, a hint, digits, a factor."""

    path: str
    name: str
    group: str = ""
    hint: str = ""
    digits: int = 3
    factor: float = 1.0


UNSEEDED = ("cost.step_seconds", "cost.memory_bytes")
AGREEMENT = {"ari": "Adjusted Rand index", "nmi": "Mutual information"}
COSTS = (
    Measure("cost.parameters", "Parameters", digits=0),
    Measure("cost.multiply_adds", "Multiply-adds", hint="million a window", digits=1, factor=MEGA),
    Measure("cost.step_seconds", "Training step", hint="ms", digits=1, factor=1e3),
    Measure("cost.memory_bytes", "Memory of a step", hint="MB", digits=1, factor=MEGA),
)
NOTES = {
    "data": (
        "Data space (authors' convention)",
        "Labels of every row on the same fields, those of the reference, each cell scaled to 0–1; Silhouette with "
        "the cosine metric, the others Euclidean.",
    ),
    "embedding": (
        "Embedding space",
        "Every row in its own space, Euclidean: a difference here does not rank rows, since an embedding that has "
        "collapsed scores high. Effective rank: over how many directions the embedding is spread.",
    ),
    "content": (
        "Reconstruction and agreement",
        "Explained variance of the fields, in per cent; agreement of the clusters with known labels, 1 being the "
        "same partition, the Rand index 0 by chance.",
    ),
    "costs": (
        "Size, speed and memory",
        "Multiply-adds of one forward pass over one window. Step: forward, loss and backward on one batch, in rounds "
        "in which every row makes one, so that whatever else the machine did met all alike; the interval is over the "
        "rounds. Memory: by how much that step raised the resident set of a process of its own, measured once a row, "
        "hence without interval. All on the CPU.",
    ),
}


def periods(found: Mapping[str, Any]) -> list[str]:
    """Training and unseen period; where nothing is unseen, validation."""
    held = found["dataset"]["days"]
    return [name for name in ("train", "test" if "test" in held else "validation") if name in held]


def measures(found: Mapping[str, Any]) -> dict[str, list[Measure]]:
    """What each table shows, by its key, without what no row has."""
    splits = periods(found)
    listed = {
        space: [
            Measure(f"{space}.{split}.{index}", name, PERIODS[split], DIRECTION[index], DIGITS[index])
            for split in splits
            for index, name in INDICES.items()
        ]
        for space in ("data", "embedding")
    }
    listed["embedding"].insert(0, Measure("effective_rank", "Effective rank", "Embedding", digits=1))
    listed["content"] = [
        Measure(f"explained_variance.{split}", PERIODS[split], "Explained variance, %", "", 1, 100.0)
        for split in splits
    ] + [
        Measure(f"agreement.{split}.{index}", name, PERIODS[split])
        for split in splits
        for index, name in AGREEMENT.items()
    ]
    listed["costs"] = list(COSTS)
    had = {path for row in found["rows"].values() for path in row["values"]}
    return {key: [one for one in held if one.path in had] for key, held in listed.items()}


def headline(found: Mapping[str, Any]) -> list[Measure]:
    """The measures of the Markdown table, the terminal and the sentences: the unseen period, and what it costs."""
    held, unseen = measures(found), PERIODS[periods(found)[-1]]
    scores = [one for one in held["data"] if one.group == unseen]
    content = [one for one in held["content"] if unseen in (one.group, one.name) and "nmi" not in one.path]
    named = {"explained_variance": "Explained variance, %"}
    content = [
        Measure(**vars(one) | {"name": named.get(one.path.split(".")[0], one.name)}) for one in content
    ]
    return scores + content + held["costs"]


def of_page(found: Mapping[str, Any]) -> list[Table]:
    """The page's tables: the rows, then what each differs by from the reference."""
    return [_table(found, key, held) for key, held in measures(found).items() if held]


def _table(found: Mapping[str, Any], key: str, held: Sequence[Measure]) -> Table:
    rows = [
        Row(
            _heading(found, label),
            tuple(estimate(row["values"].get(one.path), one.digits, factor=one.factor) for one in held),
            "model" if row["values"] else "baseline",
        )
        for label, row in found["rows"].items()
    ]
    rows += [
        Row(
            Cell(f"{label} − reference", "paired by seed"),
            tuple(difference(row["difference"].get(one.path), one.digits, factor=one.factor) for one in held),
            "difference",
        )
        for label, row in found["rows"].items()
        if any(one.path in row["difference"] for one in held)
    ]
    columns = tuple(Column(one.name, one.group, one.hint) for one in held)
    title, note = NOTES[key]
    return Table(key, title, note, columns, tuple(rows), "Row")


def _heading(found: Mapping[str, Any], label: str) -> Cell:
    row = found["rows"][label]
    told = ["reference"] if label == found["reference"] else []
    if row["missing"]:
        total = len(row["seeds"]) + len(row["missing"])
        told.append(f"{len(row['seeds'])} of {total} seeds" if row["seeds"] else "no run")
    return Cell(label, ", ".join(told))


def csv_text(found: Mapping[str, Any]) -> str:
    """One line for each row and value: mean, interval, seeds, difference, its interval, verdict; why a run lacks."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = ("mean", "low", "high")
    writer.writerow(
        [
            "row",
            "changes",
            "measure",
            *ends,
            "seeds",
            *(f"difference_{end}" for end in ends),
            "verdict",
            "missing",
        ]
    )
    for label, row in found["rows"].items():
        changes, missing = " ".join(row["changes"]), _missing(row)
        for path, value in row["values"].items():
            against = row["difference"].get(path, {})
            seeds = "" if path in UNSEEDED else " ".join(str(n) for n in value.get("seeds", row["seeds"]))
            parts = [*(value.get(end, "") for end in ends), seeds, *(against.get(end, "") for end in ends)]
            writer.writerow([label, changes, path, *parts, against.get("verdict", ""), missing])
        if not row["values"]:
            writer.writerow([label, changes, *[""] * 9, missing])
    return buffer.getvalue()


def markdown(found: Mapping[str, Any]) -> str:
    """The headline as a Markdown table: mean [interval], and the verdict where there is a difference."""
    shown = headline(found)
    names = [
        f"{one.name}, {one.hint}" if one.path.startswith("cost.") and one.hint else one.name for one in shown
    ]
    lines = [
        f"**{found['title']}** ({found['dataset']['name']}, {PERIODS[periods(found)[-1]].lower()}). "
        f"{found['question']} Reference: {found['reference']}.",
        "",
        f"| | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(shown)}",
    ]
    for label, row in found["rows"].items():
        cells = [_markdown_cell(row, one) for one in shown]
        if not row["values"]:
            cells[0] = _missing(row)
        lines.append(f"| {' | '.join(text.replace('|', '/') for text in [_marked(found, label), *cells])} |")
    lines += ["", "▲ better, ▼ worse than the reference; without a mark, no difference is shown."]
    lines += [
        f"- {label}: {_missing(row)}"
        for label, row in found["rows"].items()
        if row["missing"] and row["values"]
    ]
    return "\n".join(lines) + "\n"


def _marked(found: Mapping[str, Any], label: str) -> str:
    return f"**{label}**" if label == found["reference"] else label


def _markdown_cell(row: Mapping[str, Any], one: Measure) -> str:
    value = row["values"].get(one.path)
    if value is None:
        return ""
    mark = SYMBOLS.get(row["difference"].get(one.path, {}).get("verdict", ""), "").strip()
    text = number(one.factor * value["mean"], one.digits)
    if "low" in value and value["low"] < value["high"]:
        low, high = (number(one.factor * value[end], one.digits) for end in ("low", "high"))
        text += f" [{low}, {high}]"
    return f"{text} {mark}".strip()


def _missing(row: Mapping[str, Any]) -> str:
    """Why runs lack, each reason once, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, why in row["missing"].items():
        seeds.setdefault(why, []).append(seed)
    return "; ".join(f"seed {join(held)}: {why}" for why, held in seeds.items())


def missing(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows that lack runs, with the reasons."""
    return [(label, _missing(row)) for label, row in found["rows"].items() if row["missing"]]


def terminal(found: Mapping[str, Any]) -> str:
    """The headline for a terminal: means alone, with marks."""
    shown = [one for one in headline(found) if one.path not in ("cost.memory_bytes",)]
    short = {
        "Davies-Bouldin": "Davies-B.",
        "Calinski-Harabasz": "Calinski-H.",
        "Explained variance, %": "Expl. var. %",
        "Adjusted Rand index": "Rand index",
        "Training step": "Step, ms",
        "Multiply-adds": "M mult-adds",
    }
    wide = max(len(label) for label in found["rows"])
    lines = [
        f"{found['title']}: {found['dataset']['name']}, {PERIODS[periods(found)[-1]].lower()}, means over seeds",
        " " * wide + "".join(f"{short.get(one.name, one.name):>15}" for one in shown),
    ]
    for label, row in found["rows"].items():
        cells = (
            "".join(f"{_terminal_cell(row, one):>15}" for one in shown)
            if row["values"]
            else "  " + _missing(row)
        )
        lines.append(f"{label:<{wide}}{cells}")
    lines += [f"{label}: {why}" for label, why in missing(found) if found["rows"][label]["values"]]
    return "\n".join([*lines, f"▲ better, ▼ worse than {found['reference']}; no mark: no difference shown."])


def _terminal_cell(row: Mapping[str, Any], one: Measure) -> str:
    value = row["values"].get(one.path)
    mark = SYMBOLS.get(row["difference"].get(one.path, {}).get("verdict", ""), "")
    return "" if value is None else f"{mark}{number(one.factor * value['mean'], one.digits)}"


def answers(found: Mapping[str, Any]) -> list[Statement]:
    """For each row a sentence on what was and what was not shown, with the figures."""
    shown = headline(found)
    return [_answer(found, label, shown) for label in found["rows"] if found["rows"][label]["difference"]]


def _answer(found: Mapping[str, Any], label: str, shown: Sequence[Measure]) -> Statement:
    row = found["rows"][label]["difference"]
    scores = [one for one in shown if one.path in row and not one.path.startswith("cost.")]
    by_verdict = {
        verdict: [one for one in scores if row[one.path]["verdict"] == verdict]
        for verdict in (BETTER, WORSE, NOT_SHOWN)
    }
    told = [
        f"{verdict} than {found['reference']} in {join([_in_words(one) for one in by_verdict[verdict]])}"
        for verdict in (BETTER, WORSE)
        if by_verdict[verdict]
    ]
    if by_verdict[NOT_SHOWN]:
        told.append(f"no difference shown in {join([_in_words(one) for one in by_verdict[NOT_SHOWN]])}")
    figures = [
        f"{_in_words(one)} {number(one.factor * row[one.path]['mean'], one.digits, sign=True)} [{low}, {high}]"
        for one in scores
        if "low" in row[one.path]
        for low, high in [[number(one.factor * row[one.path][end], one.digits) for end in ("low", "high")]]
    ]
    text = "; ".join(told)
    return Statement(
        label, f"{text[:1].upper()}{text[1:]}. {_cost(found, label)}".strip(), "; ".join(figures)
    )


def _cost(found: Mapping[str, Any], label: str) -> str:
    """The row's costs as multiples of the reference's."""
    own, its = (found["rows"][name]["values"] for name in (label, found["reference"]))
    words = {
        "cost.parameters": "parameters",
        "cost.multiply_adds": "multiply-adds",
        "cost.step_seconds": "step time",
    }
    told = [
        f"{number(own[path]['mean'] / its[path]['mean'], 2)} of the {word}"
        for path, word in words.items()
        if path in own and path in its
    ]
    return f"It has {join(told)}." if told else ""


def _in_words(one: Measure) -> str:
    return (
        one.name.removesuffix(", %")
        .replace("Adjusted Rand", "adjusted Rand")
        .replace("Explained", "explained")
    )
