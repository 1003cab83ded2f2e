"""The trained encoders in the order of their Silhouette in the data space, and which are told from the first.

Supports three trained models and more: two are a plain comparison. Differences are paired by seed and day. The first
stands there for having come out first, and each of the others is compared with it: with many models a single verdict
may be chance, which the page says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from evaluation import svg
from evaluation.cells import Cell, Column, Row, Table, amount, difference, estimate
from evaluation.measures import Measured
from evaluation.metrics import differences
from evaluation.pictures import CHART, OKABE_ITO, Group, Panel, Picture
from evaluation.results import ModelResult
from evaluation.significance import NOT_SHOWN, WORSE
from evaluation.svg import FAINT, Drawing
from evaluation.tables import DIGITS, DIRECTION, INDICES, PERIODS, find
from evaluation.units import number

FEWEST = 3
INDEX = "silhouette"
TOLD_COLOUR, FIRST_COLOUR = OKABE_ITO[5], OKABE_ITO[4]


def rank(
    models: Mapping[str, ModelResult], measured: Mapping[str, Measured], split: str
) -> dict[str, Any] | None:
    """What metrics.json says under "ranking"; None with fewer than three trained models that have an index.

    Args:
        models: by label.
        measured: their values.
        split: the period on which they are ranked.
    """
    path = ("scores", "data", split, INDEX)
    values = {
        label: list(measured[label].values[path].values())
        for label, model in models.items()
        if model.trained and path in measured[label].values
    }
    if len(values) < FEWEST:
        return None
    order = sorted(values, key=lambda label: -sum(values[label]) / len(values[label]))
    return {
        "split": split,
        "space": "data",
        "index": INDEX,
        "order": order,
        "differences": {
            label: _from_first(measured[label], measured[order[0]], split) for label in order[1:]
        },
    }


def _from_first(one: Measured, first: Measured, split: str) -> dict[str, Any]:
    """One minus the first: the three indices in the data space, and explained variance."""
    found = differences(one, first)
    shares = find(found, ("explained_variance", split))
    return found.get("data", {}).get(split, {}) | ({"explained_variance": shares} if shares else {})


def table(metrics: Mapping[str, Any]) -> Table | None:
    """A row for each encoder, from the first to the last, and one for EOFs of the same size."""
    held = metrics.get("ranking")
    if held is None:
        return None
    group = PERIODS[held["split"]]
    columns = (
        Column("Rank"),
        Column(INDICES[INDEX], group, DIRECTION[INDEX]),
        Column("From the first", group, "difference"),
        *(Column(INDICES[index], group, DIRECTION[index]) for index in list(INDICES)[1:]),
        Column("Explained variance", group, "%"),
        Column("From the first", group, "points"),
        Column("Parameters", "Cost"),
        Column("Operations", "Cost", "million a window"),
        Column("Training step", "Cost", "ms"),
    )
    rows = [_row(metrics, label, place) for place, label in enumerate(held["order"], start=1)]
    rows += [_row(metrics, "eof", None)] if "eof" in metrics["models"] else []
    others = len(held["order"]) - 1
    note = (
        f"By the mean {INDICES[INDEX]} in the data space on the {group.lower()}. “Worse” or “better” than the "
        "first only where the 95% interval of the difference, paired by seed, leaves out zero. It is a verdict on "
        f"that pair alone: of {others} such comparisons about one in twenty would say so by chance, and the first "
        "was chosen for being first. Cost: as in the table “Size and speed”."
    )
    return Table("ranking", "Encoders by rank", note, columns, tuple(rows))


def _row(metrics: Mapping[str, Any], label: str, place: int | None) -> Row:
    held, entry = metrics["ranking"], metrics["models"][label]
    split, told = held["split"], held["differences"].get(label, {})
    scored = find(entry, ("scores", "data", split)) or {}
    flops, step = entry.get("flops_per_window"), entry.get("train_step_seconds")
    cells = (
        Cell("") if place is None else amount(place, 0),
        estimate(scored.get(INDEX), DIGITS[INDEX]),
        difference(told.get(INDEX), DIGITS[INDEX]),
        *(estimate(scored.get(index), DIGITS[index]) for index in list(INDICES)[1:]),
        estimate(find(entry, ("explained_variance", split)), 1, factor=100),
        difference(told.get("explained_variance"), 1, factor=100),
        amount(entry.get("parameters"), 0),
        amount(None if flops is None else flops / 1e6, 0),
        amount(None if step is None else 1000 * step, 0),
    )
    return Row(Cell(entry["title"]), cells, "baseline" if place is None else "model")


def picture(metrics: Mapping[str, Any]) -> Picture | None:
    """Score against the time of a training step, an encoder a number; None where there is no ranking or no time."""
    held = metrics.get("ranking")
    timed = [] if held is None else [n for n in held["order"] if "train_step_seconds" in metrics["models"][n]]
    if held is None or len(timed) < FEWEST:
        return None
    panels = []
    for key, name, path, factor in (
        ("s", f"{INDICES[INDEX]}, data space", ("scores", "data", held["split"], INDEX), 1.0),
        ("e", "Explained variance, %", ("explained_variance", held["split"]), 100.0),
    ):
        shown = [label for label in timed if find(metrics["models"][label], path)]
        if shown:
            panels.append(Panel(_scatter(metrics, shown, path, factor, (name, f"ranking-{key}")), name))
    told = "; ".join(
        f"{place} {metrics['models'][label]['title']}" for place, label in enumerate(held["order"], start=1)
    )
    caption = (
        f"{PERIODS[held['split']]}: what each encoder reaches against the time of one of its training steps, with "
        f"95% intervals. The numbers are the ranks: {told}. Orange: those that are told from the first (blue) in "
        "that figure. Dashed: EOFs of the same size, which take no training."
    )
    return Picture("ranking", "Score against cost", caption, (Group(tuple(panels)),), 2)


def _scatter(
    metrics: Mapping[str, Any],
    labels: list[str],
    path: tuple[str, ...],
    factor: float,
    names: tuple[str, str],
) -> Drawing:
    held, entries = metrics["ranking"], metrics["models"]
    fig = svg.figure(*CHART)
    axes = fig.add_axes((0.16, 0.18, 0.8, 0.78))
    index = "explained_variance" if path[0] == "explained_variance" else INDEX
    for label in labels:
        value, milliseconds = find(entries[label], path), 1000 * entries[label]["train_step_seconds"]
        verdict = find(held["differences"], (label, index, "verdict"))
        first = label == held["order"][0]
        colour = FIRST_COLOUR if first else svg.INK if verdict in (None, NOT_SHOWN) else TOLD_COLOUR
        if "low" in value:
            ends = [factor * value["low"], factor * value["high"]]
            axes.plot([milliseconds] * 2, ends, color=colour, linewidth=0.8, alpha=0.5)
        place = held["order"].index(label) + 1
        axes.annotate(
            str(place),
            (milliseconds, factor * value["mean"]),
            ha="center",
            va="center",
            color=colour,
            weight="bold",
            fontsize=11,
        )
    eof = find(entries, ("eof", *path, "mean"))
    if eof is not None:
        axes.axhline(factor * eof, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    _costs_axis(axes, [1000 * entries[label]["train_step_seconds"] for label in labels])
    axes.margins(y=0.12)
    axes.grid(True, axis="y", color=FAINT)
    axes.set_axisbelow(True)
    digits = DIGITS[INDEX] if factor == 1 else 1
    said = ", ".join(
        f"{entries[label]['title']} {number(factor * find(entries[label], path)['mean'], digits)} at "
        f"{number(1000 * entries[label]['train_step_seconds'], 0)} ms"
        for label in labels
    )
    return svg.draw(fig, f"{names[0]} against the time of a training step: {said}", names[1])


def _costs_axis(axes: Axes, milliseconds: list[float]) -> None:
    """A logarithmic axis of times with plain numbers beside it."""
    low, high = min(milliseconds) / 1.4, max(milliseconds) * 1.4
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [m * 10.0**n for n in range(-2, 6) for m in (1, 2, 5) if low <= m * 10.0**n <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training step, ms")


def worse(metrics: Mapping[str, Any]) -> list[str]:
    """The encoders whose Silhouette is told from the first's, in the order of their rank."""
    held = metrics["ranking"]
    return [
        label for label in held["order"][1:] if find(held["differences"], (label, INDEX, "verdict")) == WORSE
    ]
