"""Tables of correlations as coloured squares with their numbers: red for positive ones, blue for negative ones.

Supports any number of rows and columns, empty cells, and outlines around cells that stand out.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from evaluation import svg, units
from evaluation.svg import INK, Drawing

CELL, ROW, HEAD = (
    (42.0, 26.0),
    7.0,
    40.0,
)  # CSS pixels: a cell; a letter of a row's name; the names of the columns
DARK, LIGHT = "#1a1a1a", "#ffffff"


def heat(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    heading: str,
    words: str,
    key: str,
    outlined: np.ndarray | None = None,
) -> Drawing:
    """The table as a drawing.

    Args:
        values: (row, column) between -1 and 1, NaN where there is none.
        rows: names.
        columns: names.
        heading: what the columns are.
        words: text alternative.
        key: see svg.draw.
        outlined: (row, column) bool.
    """
    left = 14 + ROW * max(len(name) for name in rows)
    width, height = left + CELL[0] * len(columns) + 2, HEAD + CELL[1] * len(rows) + 2
    fig = svg.figure(width, height)
    axes = fig.add_axes(
        (left / width, 2 / height, CELL[0] * len(columns) / width, CELL[1] * len(rows) / height)
    )
    _squares(axes, values)
    for row, column in [] if outlined is None else np.argwhere(outlined):
        axes.add_patch(_square(row, column, fill=False, edgecolor=INK, linewidth=2))
    _names(axes, rows, columns, heading)
    return svg.draw(fig, words, key)


def _squares(axes: Axes, values: np.ndarray) -> None:
    """A square with its number for every value that exists."""
    known = [place for place in np.ndindex(values.shape) if np.isfinite(values[place])]
    colours = mpl.colormaps["RdBu_r"](Normalize(-1.15, 1.15)([values[place] for place in known]))
    axes.add_collection(PatchCollection([_square(*place) for place in known], facecolor=colours))
    for row, column in known:
        value = float(values[row, column])
        ink = LIGHT if abs(value) > 0.65 else DARK
        axes.text(column, row, units.number(value, 2), ha="center", va="center", fontsize=10, color=ink)


def _names(axes: Axes, rows: Sequence[str], columns: Sequence[str], heading: str) -> None:
    """Names of rows on the left and of columns above, and no lines."""
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.set_xlabel(heading, labelpad=8)
    axes.xaxis.set_label_position("top")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _square(row: int, column: int, **style: object) -> Rectangle:
    return Rectangle((column - 0.48, row - 0.47), 0.96, 0.94, **style)  # type: ignore[arg-type]
