"""Figures of clusters against chance: each index by number of clusters, beside what red noise gives.

Supports what evaluation/nulls.py finds, as it stands in metrics.json: the record's value, and the range of the
surrogates of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from evaluation import svg
from evaluation.pictures import CHART, OKABE_ITO, Group, Panel, Picture
from evaluation.svg import FAINT, INK, Drawing
from evaluation.units import number

KINDS = {"ar1": "red noise (AR1)", "phase": "random phases"}
COLOURS = {"ar1": OKABE_ITO[5], "phase": OKABE_ITO[1]}
SPACES = {"embedding": "Embedding space", "data": "Data space"}
INDICES = {
    "silhouette": ("Silhouette", "higher is better"),
    "davies_bouldin": ("Davies-Bouldin", "lower is better"),
    "calinski_harabasz": ("Calinski-Harabasz", "higher is better"),
    "classifiability": ("Classifiability", "higher is better"),
}


def sweep(label: str, entry: Mapping[str, Any]) -> Picture | None:
    """Every index by number of clusters, with the ranges of the surrogates; None where chance was not looked into.

    Args:
        label: of the model.
        entry: of the model in metrics.json.
    """
    if "chance" not in entry:
        return None
    held = entry["chance"]
    groups = []
    for space, name in SPACES.items():
        panels = tuple(
            Panel(_panel(label, entry, space, index), f"{title}, {direction}")
            for index, (title, direction) in INDICES.items()
            if _points(held, space, index)
        )
        if panels:
            groups.append(Group(panels, name, _key(f"{label}-chk-{space}")))
    seed = f" (seed {held['seed']})" if "seed" in held else ""
    kinds = " and ".join(f"{number(n, 0)} of {KINDS[kind]}" for kind, n in held["surrogates"].items())
    caption = (
        f"The clusters of {entry['title']}{seed} in the training period, by their number: the line "
        f"is the record, the bands hold 90% of surrogate records with the same covariance ({kinds}), which know no "
        f"regimes and went through the same encoder and k-means. A line inside the bands is what chance gives; "
        f"filled points lie beyond {_level(held)} of the surrogates of both kinds. The vertical line is the "
        f"report's own number of clusters."
    )
    title = f"{entry['title']}: clusters against chance"
    return Picture(f"{label}-chance", title, caption, tuple(groups), 3)


def _level(held: Mapping[str, Any]) -> str:
    return f"{number(100 * (1 - held['verdict']['level']), 0)}%" if "verdict" in held else "95%"


def _points(held: Mapping[str, Any], space: str, index: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Number of clusters and what was found for it, ascending."""
    found = [(int(k), spaces.get(space, {}).get(index)) for k, spaces in held["by_k"].items()]
    return sorted(((k, point) for k, point in found if point is not None), key=lambda pair: pair[0])


def _panel(label: str, entry: Mapping[str, Any], space: str, index: str) -> Drawing:
    held = entry["chance"]
    points = _points(held, space, index)
    numbers = np.array([k for k, _ in points])
    fig = svg.figure(CHART[0], 210)
    axes = fig.add_axes((0.14, 0.17, 0.84, 0.8))
    for kind, colour in COLOURS.items():
        low, high = (np.array([point[kind][end] for _, point in points]) for end in ("low", "high"))
        axes.fill_between(numbers, low, high, color=colour, alpha=0.3, linewidth=0)
        axes.plot(
            numbers, [point[kind]["mean"] for _, point in points], color=colour, linewidth=1, linestyle="--"
        )
    values = np.array([point["value"] for _, point in points])
    level = held.get("verdict", {}).get("level", 0.05)
    beyond = np.array([point["p"] <= level for _, point in points])
    axes.plot(numbers, values, color=INK, linewidth=1.3)
    axes.plot(numbers[beyond], values[beyond], "o", color=INK, markersize=5)
    axes.plot(numbers[~beyond], values[~beyond], "o", color=INK, markersize=5, markerfacecolor="none")
    _mark(axes, held, numbers)
    told = "; ".join(f"{k}: {number(point['value'], 3)}, p {number(point['p'], 3)}" for k, point in points)
    words = (
        f"{entry['title']}, {INDICES[index][0]} in the {SPACES[space].lower()} by number of clusters: {told}"
    )
    return svg.draw(fig, words, f"{label}-ch-{space}-{index}")


def _mark(axes: Axes, held: Mapping[str, Any], numbers: np.ndarray) -> None:
    """The report's own number, the axes and the key."""
    if "verdict" in held:
        axes.axvline(held["verdict"]["k"], color=FAINT, linewidth=1.2, zorder=0)
    axes.set_xticks(numbers)
    axes.set_xlabel("number of clusters")
    axes.grid(True, axis="y", color=FAINT)
    axes.set_axisbelow(True)


def _key(key: str) -> Drawing:
    """What line and bands are."""
    fig = svg.figure(CHART[0], 20)
    axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, CHART[0])
    axes.set_ylim(0, 20)
    axes.plot([4, 24], [10, 10], color=INK, linewidth=1.3)
    axes.text(30, 10, "record", va="center")
    for x, (kind, name) in zip((82, 210), KINDS.items(), strict=True):
        axes.add_patch(Rectangle((x, 4), 20, 12, facecolor=COLOURS[kind], alpha=0.3))
        axes.plot([x, x + 20], [10, 10], color=COLOURS[kind], linewidth=1, linestyle="--")
        axes.text(x + 26, 10, name, va="center")
    return svg.draw(fig, "Key: line, the record; bands, the surrogates of two kinds, dashed their mean", key)
