"""A quick look at stores on one page: what is in them, maps of every variable, and the year at one point.

The page is self-contained and looks like the report. Supports raw stores and prepared ones, any grid down to a
single cell, and any length of record; draws what has been computed and computes nothing of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from evaluation import geography, svg, units
from evaluation.pages import template
from evaluation.pictures import CHART, OKABE_ITO, Group, Panel, Picture
from evaluation.svg import FAINT, INK, Drawing

MAP_WIDTH = 260.0
BAR = 26.0  # height of the colour bar and its two numbers
MONTHS = "JFMAMJJASOND"
FIRST_DAYS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
MAPS = {"mean": ("mean", "viridis"), "sd": ("standard deviation", "magma"), "missing": ("missing", "Greys")}


@dataclass(frozen=True, eq=False)
class Look:
    """One store on the page.

    Attributes:
        key: short name, unlike for every store of the page.
        title: heading.
        facts: name and text of what is known about the store.
        columns: of the table of variables, after the name.
        rows: name of the variable and the text of each column.
        surveyed: mean, sd, low, high, missing (variable, latitude, longitude) and year_mean, year_low, year_high
            (variable, pentad).
        units: by variable; '1' for normalised ones.
        long_names: by variable.
        point: latitude and longitude of the point whose year is shown.
    """

    key: str
    title: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    surveyed: xr.Dataset
    units: dict[str, str]
    long_names: dict[str, str]
    point: tuple[float, float]

    def heading(self, name: str) -> str:
        """A variable in words, with the units of its maps."""
        words = f"{self.long_names[name]} ({name})" if self.long_names[name] else name
        return words if self.units[name] in ("", "1") else f"{words}, {self.units[name]}"


def page(dataset: str, looks: Sequence[Look]) -> str:
    """The page as HTML.

    Args:
        dataset: its name.
        looks: the stores, in the order in which they are shown.
    """
    with svg.styled():
        drawn = [(look, maps(look), years(look)) for look in looks]
    return template("inspect.html.j2").render(dataset=dataset, looks=drawn, slug=svg.slug)


def maps(look: Look) -> Picture:
    """For every variable: mean, standard deviation and, where anything is missing, the missing share."""
    groups = tuple(
        Group(tuple(_panels(look, str(name))), look.heading(str(name)))
        for name in look.surveyed["variable"].values
    )
    caption = (
        "Every cell over all steps, each map in its own colours from its lowest to its highest value. Blank: missing "
        "on all steps. The cross marks the point whose year is shown below."
    )
    return Picture(f"{look.key}-maps", f"{look.title}: maps", caption, groups, len(MAPS))


def years(look: Look) -> Picture:
    """For every variable: mean and range of every five days of the year at the point."""
    panels = tuple(
        Panel(_year(look, str(name)), look.heading(str(name))) for name in look.surveyed["variable"].values
    )
    caption = (
        f"The year at {units.place(*look.point)}: mean (line) and lowest to highest value (band) of every five days "
        "of the year, over all years of the record."
    )
    return Picture(f"{look.key}-years", f"{look.title}: the year at a point", caption, (Group(panels),), 3)


def _panels(look: Look, name: str) -> list[Panel]:
    held = look.surveyed.sel(variable=name)
    panels = []
    for what, (words, colours) in MAPS.items():
        values, unit = held[what].values, look.units[name]
        if what == "missing":
            values, unit = 100 * values, "%"
            if not values.any():
                continue
        drawing = _map(look, values, unit, colours, f"{name}: {words}")
        panels.append(Panel(drawing, words))
    return panels


def _map(look: Look, values: np.ndarray, unit: str, colours: str, what: str) -> Drawing:
    """A map (latitude, longitude) with its colour bar beneath; what says of what it is."""
    domain = geography.Domain.of(*(look.surveyed[name].values for name in ("latitude", "longitude")))
    x, y = _edges(domain.longitude), _edges(domain.latitude)
    tall = domain.height(MAP_WIDTH)
    fig = svg.figure(MAP_WIDTH, tall + BAR)
    axes = fig.add_axes((0, BAR / (tall + BAR), 1, tall / (tall + BAR)))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    alternative = f"{what}, no data"
    if np.isfinite(values).any():
        shown = np.ma.masked_invalid(values[:, domain.columns])
        painted = axes.pcolormesh(x, y, shown, cmap=colours, rasterized=True)
        low, high = (_short(float(end)) for end in (np.nanmin(values), np.nanmax(values)))
        alternative = f"{what}, {low} to {high} {unit}"
        place = fig.add_axes((0.2, 0.34 * BAR / (tall + BAR), 0.6, 6 / (tall + BAR)))
        fig.colorbar(painted, cax=place, orientation="horizontal", ticks=[])
        fig.text(0.19, 0.2 * BAR / (tall + BAR), low, ha="right")
        fig.text(0.81, 0.2 * BAR / (tall + BAR), high, ha="left")
    geography.coast(axes, domain, MAP_WIDTH)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(min(y), max(y))
    _cross(axes, look.point, x[0])
    return svg.draw(fig, alternative, f"{look.key}-{what}")


def _cross(axes: Axes, point: tuple[float, float], west: float) -> None:
    """A cross at a point, on a map that begins in the west and may pass the date line."""
    x, y = [point[1] + 360 * (point[1] < west)], [point[0]]
    axes.plot(x, y, marker="+", markersize=9, markeredgewidth=2.4, color="#ffffff")
    axes.plot(x, y, marker="+", markersize=8, markeredgewidth=1.2, color="#000000")


def _year(look: Look, name: str) -> Drawing:
    held = look.surveyed.sel(variable=name)
    mean, low, high = (held[f"year_{end}"].values for end in ("mean", "low", "high"))
    day = 365 / len(mean) * (np.arange(len(mean)) + 0.5)
    fig = svg.figure(CHART[0], 190)
    axes = fig.add_axes((0.17, 0.12, 0.81, 0.84))
    axes.fill_between(day, low, high, color=OKABE_ITO[1], alpha=0.4, linewidth=0)
    alone = np.isfinite(mean).sum() < len(mean)  # a lone point has no line
    axes.plot(day, mean, color=OKABE_ITO[4], linewidth=1.6, marker="." if alone else "")
    axes.set_xlim(0, 365)
    axes.set_xticks(FIRST_DAYS + 15, list(MONTHS))
    axes.tick_params(axis="x", length=0)
    axes.grid(True, axis="y", color=FAINT)
    if np.isfinite(mean).any():
        ends = f"from {_short(float(np.nanmin(mean)))} to {_short(float(np.nanmax(mean)))} {look.units[name]}"
    else:
        axes.text(182, 0.5, "no data", ha="center", color=INK)
        ends = "no data"
    return svg.draw(fig, f"{name}: mean of every five days of the year, {ends}", f"{look.key}-{name}-year")


def _edges(axis: np.ndarray) -> np.ndarray:
    """The edges of cells, halfway between the points; a single point has a cell of one degree."""
    if len(axis) == 1:
        return np.array([axis[0] - 0.5, axis[0] + 0.5])
    middle = (axis[1:] + axis[:-1]) / 2
    return np.concatenate([[2 * axis[0] - middle[0]], middle, [2 * axis[-1] - middle[-1]]])


def _short(value: float) -> str:
    return f"{value:.5g}".replace("e+0", "e").replace("-", "−")
