"""Plots of the figures as SVG, written by hand so that the benchmark needs torch alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

ROW, LEFT, WIDTH = 22, 330, 420


def speedups(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return bars of all ratios but the growth, each with its bounds and a line at 1."""
    shown = {name: figure for name, figure in figures.items() if ".growth." not in name}
    longest = max([1.0, *(figure["high"] for figure in shown.values())])
    rows = [_row(k, name, figure, WIDTH / longest) for k, (name, figure) in enumerate(shown.items())]
    height = ROW * (len(shown) + 1)
    one = LEFT + WIDTH / longest
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}"'
        f' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(rows)}"
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="0" y2="{height}" stroke="black" stroke-dasharray="3"/></svg>\n'
    )


def _row(k: int, name: str, figure: Mapping[str, Any], scale: float) -> str:
    y = ROW * (k + 0.5)
    low, middle, high = (figure[key] * scale for key in ("low", "ratio", "high"))
    return (
        f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LEFT}" y="{y}" width="{middle:.1f}" height="{ROW - 6}" fill="#4477aa"/>'
        f'<line x1="{LEFT + low:.1f}" x2="{LEFT + high:.1f}" y1="{y + 8}" y2="{y + 8}" stroke="#cc3311"'
        f' stroke-width="2"/><text x="{LEFT + max(middle, high) + 5:.1f}" y="{y + 12}">{figure["ratio"]:.2f}</text>'
    )


PANEL, EDGE = 220, 46
COLOURS = {"faconvlstm": "#4477aa", "convlstm": "#cc3311"}


def growth(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a panel for each axis of growth, both axes logarithmic and relative to the smallest size.

    Lines are measured times, dots where they were measured; dashes are the multiply-adds of the formula.
    """
    axes: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, figure in figures.items():
        if ".growth." in name:
            layer, _, axis = name.split(".")
            axes.setdefault(axis, {})[layer] = figure
    panels = [_panel(k, axis, lines) for k, (axis, lines) in enumerate(axes.items())]
    width, height = (PANEL + EDGE) * max(len(axes), 1) + EDGE, PANEL + 3 * EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}{_key(height)}</svg>\n'
    )


def _panel(k: int, axis: str, lines: Mapping[str, Mapping[str, Any]]) -> str:
    left, top = EDGE + k * (PANEL + EDGE), EDGE / 2
    curves = [(layer, _relative(figure)) for layer, figure in lines.items()]
    reach = math.log(max(value for _, points in curves for point in points for value in point))

    def place(size: float, value: float) -> tuple[float, float]:
        return left + math.log(size) / reach * PANEL, top + PANEL - math.log(max(value, 1)) / reach * PANEL

    drawn = [
        f'<rect x="{left}" y="{top}" width="{PANEL}" height="{PANEL}" fill="none" stroke="#999"/>'
        f'<text x="{left + PANEL / 2}" y="{top + PANEL + 34}" text-anchor="middle">{escape(axis)}</text>'
    ]
    for tick in (2**n for n in range(int(reach / math.log(2)) + 1)):
        x, y = place(tick, tick)
        drawn.append(
            f'<text x="{x:.1f}" y="{top + PANEL + 16}" text-anchor="middle">{tick}</text>'
            f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>'
        )
    for layer, points in curves:
        colour = COLOURS[layer]
        for column, style in ((1, ""), (2, ' stroke-dasharray="4"')):
            path = " ".join("{:.1f},{:.1f}".format(*place(point[0], point[column])) for point in points)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
        drawn += [
            '<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(*place(size, time), colour)
            for size, time, _ in points
        ]
    return "".join(drawn)


def _relative(figure: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Return size, time and multiply-adds, each relative to those of the smallest size."""
    sizes, times, counts = figure["setting"]["sizes"], figure["seconds"], figure["multiply_adds"]
    return [
        (size / sizes[0], time / times[0], count / counts[0])
        for size, time, count in zip(sizes, times, counts, strict=True)
    ]


def _key(height: int) -> str:
    words = "time of a training step (dashed: multiply-adds), relative to the smallest size"
    named = "".join(
        f'<tspan fill="{colour}" font-weight="bold"> {escape(layer)}</tspan>'
        for layer, colour in COLOURS.items()
    )
    return f'<text x="{EDGE}" y="{height - 20}">{named} {words}</text>'
