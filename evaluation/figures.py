"""Charts of clusters: their calendar, their seasons, and what follows what.

Supports any number of clusters and years; evaluation/maps.py has the maps, endurance.py spells and years against
chance, projection.py the embeddings and curves.py the training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.patches import Rectangle

from evaluation import regimes, svg
from evaluation.fields import Fields
from evaluation.pictures import CHART, Group, Panel, Picture, cluster_colours
from evaluation.results import ModelResult
from evaluation.svg import INK, Drawing
from evaluation.units import percent

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST_DAYS = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])  # of the months of a leap year
ACCENT = "#1f5fa6"
OUTLINED = (
    " Outlined: shares that red noise with the embedding's covariance and lag-1 autocorrelation does not make "
    "(two-sided, 5% of false discoveries)."
)


def calendar(model: ModelResult, fields: Fields, k: int) -> Picture:
    """A row for each year, a column for each day, in the colour of the day's cluster."""
    years = f"{_year(fields, 0)} to {_year(fields, -1)}"
    words = f"Calendar of the {k} clusters of {model.title}, one row a year from {years}"
    wide, narrow = (
        _calendar(model, fields, k, width, words, f"{model.label}-c{width}") for width in (1090, 350)
    )
    caption = (
        f"Every day's cluster, one row a year (seed {model.seeds[model.shown]}). Long stretches of one colour are "
        "persistent spells; a colour that keeps to a part of the year is a season. Outlined: the unseen period. "
        "Blank: days of no period."
    )
    groups = (Group((Panel(wide, narrow=narrow),)),)
    return Picture(f"{model.label}-calendar", f"{model.title}: calendar", caption, groups, 1)


def seasons_and_transitions(
    model: ModelResult, fields: Fields, k: int, differs: np.ndarray | None = None
) -> Picture:
    """How often each cluster occurs by month, and what follows what.

    Args:
        model: whose clusters they are.
        fields: of their days.
        k: number of clusters.
        differs: (from, to) bool, transitions to outline: those that red noise does not make.
    """
    segment = regimes.segments(fields.times, fields.split)
    monthly = regimes.monthly_frequency(model.labels, fields.times, k)
    transition = regimes.transition_matrix(model.labels, segment, k)
    panels = (
        Panel(_monthly(monthly, model), "Share of the days of each month"),
        Panel(_transition(transition, model, differs), "Probability of the next day's cluster"),
    )
    caption = (
        "Bars: share of each cluster in the days of each month; even bands mean that a cluster knows no season. "
        "Squares: of the days in the cluster of the row, the share that is followed by a day in the "
        "cluster of the column; "
        "the diagonal is persistence."
        f"{'' if differs is None else OUTLINED}"
    )
    return Picture(
        f"{model.label}-transitions", f"{model.title}: seasons and transitions", caption, (Group(panels),), 2
    )


def _calendar(model: ModelResult, fields: Fields, k: int, width: int, words: str, key: str) -> Drawing:
    times = pd.DatetimeIndex(fields.times)
    years = np.arange(times.year[0], times.year[-1] + 1)
    place = (times.year.to_numpy() - years[0], leap_day(times))
    image = np.full((len(years), 366), np.nan)
    image[place] = model.labels
    unseen = np.zeros(image.shape, dtype=bool)
    unseen[place] = fields.split == 2
    row, left, foot = (16 if len(years) <= 30 else 11), 40, 20
    height = row * len(years) + foot + 6
    fig = svg.figure(width, height)
    axes = fig.add_axes((left / width, foot / height, 1 - (left + 2) / width, 1 - (foot + 6) / height))
    cmap = ListedColormap(cluster_colours(k))
    extent = (0.0, 366.0, len(years) - 0.5, -0.5)
    axes.imshow(image, cmap=cmap, vmin=-0.5, vmax=k - 0.5, aspect="auto", interpolation="none", extent=extent)
    _outline(axes, unseen)
    months(axes, every=1 if width > 600 else 2)
    every = -(-len(years) // 20)
    axes.set_yticks(np.arange(0, len(years), every), [str(year) for year in years[::every]])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return svg.draw(fig, words, key)


def _outline(axes: Axes, region: np.ndarray) -> None:
    """A line around the days of a region (year, day), row by row; open where it goes on in the next year."""
    line: dict[str, Any] = {"color": INK, "linewidth": 2, "clip_on": False, "solid_capstyle": "butt"}
    for row in np.flatnonzero(region.any(axis=1)):
        first, last = np.flatnonzero(region[row])[[0, -1]] + np.array([0, 1])
        for border in (row - 0.5, row + 0.5):
            axes.plot([first, last], [border] * 2, **line)
        for border, inside in ((first, first > 0), (last, last < 366)):
            if inside:
                axes.plot([border] * 2, [row - 0.5, row + 0.5], **line)


def _monthly(shares: np.ndarray, model: ModelResult) -> Drawing:
    fig = svg.figure(*CHART)
    axes = fig.add_axes((0.12, 0.12, 0.86, 0.84))
    base = np.zeros(12)
    for cluster, colour in enumerate(cluster_colours(shares.shape[1])):
        height = np.nan_to_num(shares[:, cluster])
        axes.bar(np.arange(12), height, bottom=base, width=0.9, color=colour)
        base += height
    axes.set_xticks(np.arange(12), [name[0] for name in MONTHS])
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, 11.5)
    axes.set_ylim(0, 1)
    axes.spines["left"].set_visible(False)
    return svg.draw(fig, _monthly_words(shares, model), f"{model.label}-sf")


def _monthly_words(shares: np.ndarray, model: ModelResult) -> str:
    told = [
        f"cluster {c + 1} most in {MONTHS[int(np.nanargmax(shares[:, c]))]} ({percent(np.nanmax(shares[:, c]))})"
        for c in range(shares.shape[1])
        if np.nansum(shares[:, c]) > 0
    ]
    return f"{model.title}, clusters by month: {'; '.join(told)}"


def _transition(matrix: np.ndarray, model: ModelResult, differs: np.ndarray | None) -> Drawing:
    k = len(matrix)
    fig = svg.figure(*CHART)
    axes = fig.add_axes((0.12, 0.14, 0.76, 0.82))
    found = [(row, column, share) for (row, column), share in np.ndenumerate(matrix) if share > 0]
    squares = [Rectangle((column - 0.48, row - 0.48), 0.96, 0.96) for row, column, _ in found]
    axes.add_collection(
        PatchCollection(squares, facecolor=[to_rgba(ACCENT, share**0.7) for *_, share in found])
    )
    for row, column in [] if differs is None else np.argwhere(differs):
        square = (column - 0.46, row - 0.46), 0.92, 0.92
        axes.add_patch(Rectangle(*square, fill=False, edgecolor=INK, linewidth=1.6))
    for row, column, share in found:
        colour = "white" if share > 0.6 else INK
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=10 if k <= 8 else 8,
            color=colour,
        )
    axes.set_xlim(-0.5, k - 0.5)
    axes.set_ylim(k - 0.5, -0.5)
    axes.set_xticks(range(k), [str(c + 1) for c in range(k)])
    axes.set_yticks(range(k), [str(c + 1) for c in range(k)])
    axes.tick_params(length=0)
    axes.set_xlabel("next day's cluster, %")
    axes.set_ylabel("cluster")
    for spine in axes.spines.values():
        spine.set_visible(False)
    stays = ", ".join(f"{c + 1}: {percent(matrix[c, c])}" for c in range(k) if np.isfinite(matrix[c, c]))
    words = f"{model.title}, share of days followed by a day of the same cluster: {stays}"
    if differs is not None:
        words += f"; {int(differs.sum())} of {differs.size} transitions are unlike red noise"
    return svg.draw(fig, words, f"{model.label}-tm")


def months(axes: Axes, every: int) -> None:
    """Names of every so many months along an axis of days of a leap year."""
    axes.set_xticks(FIRST_DAYS[::every], MONTHS[::every], ha="left")


def leap_day(times: pd.DatetimeIndex) -> np.ndarray:
    """(time,) 0 … 365, the place of the calendar day in a leap year, so that a date is the same in every year."""
    return FIRST_DAYS[times.month.to_numpy() - 1] + times.day.to_numpy() - 1


def _year(fields: Fields, place: int) -> int:
    return pd.Timestamp(fields.times[place]).year
