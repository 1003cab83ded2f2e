"""The cost of all encoders against length and grid, as SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

PANEL, LEFT, TOP, LABELS = 300, 70, 40, 120
COLOURS = ("#4477aa", "#cc3311", "#228833", "#aa3377", "#ee7733", "#66ccee", "#999933", "#882255", "#000000")
PANELS = (
    ("length", "train_step_seconds", "training step, seconds, against steps"),
    ("pixels", "train_step_seconds", "training step, seconds, against pixels"),
    ("length", "megabytes", "memory of a training step, MB, against steps"),
)


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """Return a panel for each of PANELS, both axes logarithmic, a line for each encoder."""
    names = list(dict.fromkeys(row["encoder"] for row in rows))
    shown = [(k, *panel) for k, panel in enumerate(PANELS) if all(panel[1] in row for row in rows)]
    drawn = [_panel(place, _lines(rows, axis, what), title, names) for place, axis, what, title in shown]
    width, height = len(shown) * (LEFT + PANEL + LABELS), TOP + PANEL + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _lines(rows: Sequence[dict[str, Any]], axis: str, what: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each encoder along an axis, the other being that of the most rows."""
    sizes = [{"length": row["length"], "pixels": math.prod(row["grid"])} for row in rows]
    other = "pixels" if axis == "length" else "length"
    common = Counter(size[other] for size in sizes).most_common(1)[0][0]
    lines: dict[str, list[tuple[float, float]]] = {}
    for row, size in zip(rows, sizes, strict=True):
        if size[other] == common:
            lines.setdefault(row["encoder"], []).append((size[axis], row[what]))
    return {name: sorted(points) for name, points in lines.items()}


def _panel(place: int, lines: dict[str, list[tuple[float, float]]], title: str, names: Sequence[str]) -> str:
    points = [point for line in lines.values() for point in line]
    (left, right), (low, high) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    origin = place * (LEFT + PANEL + LABELS) + LEFT

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            origin + PANEL * math.log(x / left) / math.log(right / left),
            TOP + PANEL * (1 - math.log(y / low) / math.log(high / low)),
        )

    drawn = [
        f'<text x="{origin}" y="{TOP - 14}">{escape(title)}</text>'
        f'<rect x="{origin}" y="{TOP}" width="{PANEL}" height="{PANEL}" fill="none" stroke="#999"/>'
    ]
    drawn += [
        f'<text x="{at(x, low)[0]:.1f}" y="{TOP + PANEL + 16}" text-anchor="middle">{x:g}</text>'
        for x in sorted({point[0] for point in points})
    ]
    drawn += [
        f'<text x="{origin - 6}" y="{at(left, y)[1] + 4:.1f}" text-anchor="end">{y:g}</text>'
        for y in (10.0**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1))
    ]
    for name, line in lines.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in line)
        x, y = at(*line[-1])
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>'
        )
    return "".join(drawn)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return bounds a tenth beyond the values, which may all be one."""
    return min(values) / 1.1, max(values) * 1.1
