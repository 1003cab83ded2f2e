"""The figure of an ablation: each headline measure by row, with intervals, beside the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation import svg
from evaluation.ablation_tables import Measure, headline, periods
from evaluation.pictures import OKABE_ITO, Group, Panel, Picture
from evaluation.significance import BETTER, WORSE
from evaluation.svg import FAINT, INK, Drawing
from evaluation.tables import PERIODS
from evaluation.units import number

COLOURS = {BETTER: OKABE_ITO[2], WORSE: OKABE_ITO[5]}
MARKERS = {BETTER: "^", WORSE: "v"}
WIDTH, ROW, EDGE = 330.0, 19.0, 40.0
LETTER = 6.4  # pixels, about


def forest(found: Mapping[str, Any]) -> Picture:
    """A panel for each measure, the rows from top to bottom."""
    panels = tuple(
        Panel(_panel(found, one), f"{one.name}, {one.hint}" if one.hint else one.name)
        for one in headline(found)
    )
    caption = (
        f"Every row's mean over seeds with its 95% interval ({PERIODS[periods(found)[-1]].lower()}; costs have no "
        f"period). The vertical line is the reference, {found['reference']}. Triangles: the paired difference from "
        "it leaves out zero, upwards for better and downwards for worse; circles: no difference is shown. Intervals "
        "of two rows may overlap although their paired difference is told from zero."
    )
    return Picture("ablation", f"{found['title']}: {found['dataset']['name']}", caption, (Group(panels),), 3)


def _panel(found: Mapping[str, Any], one: Measure) -> Drawing:
    labels = list(found["rows"])
    left = min(0.5, LETTER * (max(len(label) for label in labels) + 1) / WIDTH)
    tall = ROW * len(labels) + EDGE
    fig = svg.figure(WIDTH, tall)
    axes = fig.add_axes((left, (EDGE - 14) / tall, 0.97 - left, 1 - (EDGE - 8) / tall))
    told = []
    for place, label in enumerate(labels):
        row = found["rows"][label]
        value = row["values"].get(one.path)
        if value is None:
            axes.text(0.02, place, "no run", transform=axes.get_yaxis_transform(), va="center", color=FAINT)
            continue
        verdict = row["difference"].get(one.path, {}).get("verdict", "")
        mean, colour = one.factor * value["mean"], COLOURS.get(verdict, INK)
        if "low" in value:
            axes.plot(
                [one.factor * value[e] for e in ("low", "high")], [place, place], color=colour, linewidth=1.4
            )
        axes.plot([mean], [place], MARKERS.get(verdict, "o"), color=colour, markersize=6)
        told.append(f"{label} {number(mean, one.digits)}{f' ({verdict})' if verdict else ''}")
    reference = found["rows"][found["reference"]]["values"].get(one.path)
    if reference is not None:
        axes.axvline(one.factor * reference["mean"], color=FAINT, linewidth=1.2, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(True, axis="x", color=FAINT, alpha=0.5)
    axes.set_axisbelow(True)
    return svg.draw(fig, f"{one.name} by row: {'; '.join(told)}", f"ab-{one.path}")
