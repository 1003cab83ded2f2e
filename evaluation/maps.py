"""Maps: composites of clusters, and days as they were and as models give them back.

Supports regular and irregular latitude-longitude grids in their own coordinates, with coastlines, masked cells left
blank and hatching where a test does not tell the composite from zero. geography.py has what stands around the
colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap

from evaluation import regimes, svg, units
from evaluation.composites import Composites, area_share
from evaluation.fields import Fields
from evaluation.geography import Domain, ground, round_step
from evaluation.hatching import hatch
from evaluation.pictures import Group, Panel, Picture
from evaluation.results import ModelResult
from evaluation.svg import Drawing

MAP_WIDTH = 148
BANDS = 8  # steps of colour on either side of the middle one
DIVERGING = "RdBu_r"


@dataclass(frozen=True, eq=False)
class Scale:
    """Colours for one variable: the same on every map of it, white around zero."""

    levels: np.ndarray
    cmap: Colormap
    norm: BoundaryNorm


class MapMaker:
    """Draws anomalies of one dataset, each variable in its own fixed scale.

    Args:
        fields: grid, mask and units.
        shown: (map, variable, latitude, longitude) physical anomalies from which the scales are taken.
    """

    def __init__(self, fields: Fields, shown: np.ndarray) -> None:
        self.fields = fields
        self.factors, self.units = zip(
            *(units.display(name, fields.units[name]) for name in fields.variables), strict=True
        )
        self.scales = [_scale(shown[:, i] * factor) for i, factor in enumerate(self.factors)]
        self.domain = Domain.of(fields.latitude, fields.longitude)
        self.height = self.domain.height(MAP_WIDTH)

    def draw(
        self, anomaly: np.ndarray, variable: int, what: str, key: str, told: np.ndarray | None = None
    ) -> Drawing:
        """A map of one variable's anomaly.

        Args:
            anomaly: (latitude, longitude) in physical units.
            variable: its place.
            what: of what it is a map, in words.
            key: see svg.draw.
            told: (latitude, longitude) bool; cells that are known and not told from zero are hatched.
        """
        values = anomaly * self.factors[variable]
        fig = svg.figure(MAP_WIDTH, self.height)
        axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        _paint(axes, self.domain, values, self.scales[variable])
        if told is not None:
            hatch(axes, self.domain, np.isfinite(values) & ~told, MAP_WIDTH, self.height)
        ground(axes, self.domain, MAP_WIDTH)
        return svg.draw(fig, self._words(values, variable, what, told), key)

    def bar(self, variable: int, key: str) -> Drawing:
        """The colour bar of a variable."""
        scale = self.scales[variable]
        fig = svg.figure(320, 30)
        axes = fig.add_axes((0.05, 0.62, 0.9, 0.36))
        mappable = ScalarMappable(norm=scale.norm, cmap=scale.cmap)
        ticks = np.concatenate(
            [scale.levels[:BANDS:2], scale.levels[BANDS + 1 :: 2]]
        )  # the same on both sides
        bar = fig.colorbar(mappable, cax=axes, orientation="horizontal", ticks=ticks, spacing="uniform")
        bar.outline.set_linewidth(0.5)
        axes.tick_params(length=2, labelsize=9.5)
        axes.minorticks_off()
        axes.set_xticks(ticks, [_short(level) for level in ticks])
        low, high = _short(scale.levels[0]), _short(scale.levels[-1])
        return svg.draw(
            fig, f"Colour scale from {low} to {high} {self.units[variable]}, white around zero", key
        )

    def heading(self, variable: int) -> str:
        """The variable in words, with the units of its maps."""
        name = self.fields.variables[variable]
        long_name = self.fields.long_names[name]
        if self.fields.units[name] in units.GEOPOTENTIAL and self.units[variable] == "m":
            long_name = long_name.replace("eopotential at", "eopotential height at")
        unit = f", {self.units[variable]}" if self.units[variable] else ""
        return f"{long_name}{unit}" if long_name == name else f"{long_name} ({name}){unit}"

    def _words(self, values: np.ndarray, variable: int, what: str, told: np.ndarray | None) -> str:
        name = self.fields.long_names[self.fields.variables[variable]]
        if not np.isfinite(values).any():
            return f"{what}: {name}, no data"
        ends = []
        for word, position in (("lowest", np.nanargmin(values)), ("highest", np.nanargmax(values))):
            row, column = np.unravel_index(position, values.shape)
            where = units.place(self.fields.latitude[row], self.fields.longitude[column])
            ends.append(f"{word} {_short(values[row, column])} {self.units[variable]} at {where}")
        if told is not None:
            share = float(area_share(told, np.isfinite(values), self.fields.area_weight))
            ends.append(f"told from zero on {units.percent(share)} of the area")
        return f"{what}: {name} anomaly, {', '.join(ends)}"


def composite_means(model: ModelResult, fields: Fields, k: int) -> np.ndarray:
    """(cluster, variable, latitude, longitude): mean anomaly of each cluster in physical units, NaN where masked."""
    return fields.physical(regimes.composites(fields.x, model.labels, k))


def composites(
    maker: MapMaker,
    model: ModelResult,
    means: np.ndarray,
    *,
    tested: Composites | None = None,
    notes: Sequence[str] = (),
) -> Picture:
    """Small multiples: a row of clusters for each variable.

    Args:
        maker: with the scales that all models share.
        model: whose clusters they are.
        means: (cluster, variable, latitude, longitude), see composite_means.
        tested: where the means are told from zero; the rest is hatched.
        notes: a few words on each cluster, which stand beside its share.
    """
    labels = _cluster_labels(model, len(means), notes)
    groups = []
    for variable in range(len(maker.fields.variables)):
        panels = tuple(
            Panel(
                maker.draw(
                    mean[variable],
                    variable,
                    f"{model.title}, cluster {c + 1}",
                    f"{model.label}-m{variable}-{c}",
                    None if tested is None else tested.told[c, variable],
                ),
                labels[c],
            )
            for c, mean in enumerate(means)
        )
        bar = maker.bar(variable, f"{model.label}-b{variable}")
        groups.append(Group(panels, maker.heading(variable), bar))
    caption = (
        f"What each cluster of {model.title} looks like (seed {model.seeds[model.shown]}): the mean over its days, "
        f"as departure from the training period's mean, {maker.domain.words()}. Above each map: the cluster and its "
        "share of all days. All models share one colour scale a variable, white around zero."
        f"{'' if tested is None else _hatching_words(tested)}"
    )
    return Picture(
        f"{model.label}-composites", f"{model.title}: composites", caption, tuple(groups), len(means)
    )


def reconstructions(maker: MapMaker, models: Sequence[ModelResult], time: np.datetime64) -> Picture:
    """One day, for every variable: as it was, then as each model gives it back, and the difference.

    Args:
        maker: with scales that fit the day.
        models: those with reconstructions of the day, of the first seed.
        time: of the day.
    """
    fields = maker.fields
    truth = fields.physical(fields.x[np.flatnonzero(fields.times == time)[0]])
    given_back = [fields.physical(_example(model, time)) for model in models]
    day = pd.Timestamp(time)
    date = f"{day.day} {day:%B %Y}"
    groups = []
    for variable in range(len(fields.variables)):
        key = f"r{day:%Y%m%d}-{variable}"
        panels = [Panel(maker.draw(truth[variable], variable, f"{date}, data", f"{key}-t"), "data")]
        for model, field in zip(models, given_back, strict=True):
            error = field[variable] - truth[variable]
            rms = _short(_rms(error, fields) * maker.factors[variable], 2)
            what = f"{date}, {model.title}"
            panels.append(
                Panel(maker.draw(field[variable], variable, what, f"{key}-{model.label}"), model.title)
            )
            difference = maker.draw(error, variable, f"{what} minus data", f"{key}-{model.label}-d")
            panels.append(Panel(difference, f"error, rms {rms} {maker.units[variable]}"))
        groups.append(Group(tuple(panels), maker.heading(variable), maker.bar(variable, f"{key}-b")))
    caption = (
        f"{date}: the day's departure from the training period's mean, the same out of each model's embedding, and "
        f"the error (model minus data), {maker.domain.words()}; rms is area-weighted. A pale error means that "
        "little was lost."
    )
    title = f"Reconstruction of {date}"
    return Picture(f"reconstruction-{day:%Y-%m-%d}", title, caption, tuple(groups), 1 + 2 * len(models))


def _cluster_labels(model: ModelResult, k: int, notes: Sequence[str]) -> list[str]:
    """What stands above each map: cluster, share of the days, note."""
    share = np.bincount(model.labels, minlength=k) / len(model.labels)
    labels = [f"{c + 1} · {units.percent(share[c])}" for c in range(k)]
    if not notes:
        return labels
    return [" · ".join(filter(None, parts)) for parts in zip(labels, notes, strict=True)]


def _hatching_words(tested: Composites) -> str:
    return (
        f" Hatched: not told from zero, by a block bootstrap (blocks of {tested.block_steps} steps) that allows "
        f"{units.percent(tested.rate)} of false discoveries on each map."
    )


def _example(model: ModelResult, time: np.datetime64) -> np.ndarray:
    examples = model.runs[0].examples
    if examples is None:
        raise ValueError(f"{model.label} has no reconstructions")
    return examples.sel(time=time).values


def _rms(error: np.ndarray, fields: Fields) -> float:
    weight = np.broadcast_to(fields.area_weight[:, None], error.shape) * np.isfinite(error)
    return float(np.sqrt(np.nansum(weight * error**2) / weight.sum()))


def _scale(values: np.ndarray) -> Scale:
    """Colour steps at round numbers, which reach the largest hundredth of the values' sizes."""
    known = np.abs(values[np.isfinite(values)])
    reach = float(np.quantile(known, 0.99)) if len(known) else 1.0
    step = round_step(reach / BANDS or 1.0)
    levels = step * np.array([i for i in range(-BANDS, BANDS + 1) if i])
    cmap = mpl.colormaps[DIVERGING].resampled(len(levels) + 1)
    return Scale(levels, cmap, BoundaryNorm(levels, cmap.N, extend="both"))


def _paint(axes: Axes, domain: Domain, values: np.ndarray, scale: Scale) -> None:
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no days", transform=axes.transAxes, ha="center", va="center")
    elif min(values.shape) < 2:  # contours need two rows and two columns
        cells = values[:, domain.columns]
        axes.pcolormesh(domain.longitude, domain.latitude, cells, cmap=scale.cmap, norm=scale.norm)
    else:
        latitude, longitude, coarse = domain.coarse(values)
        known = np.ma.masked_invalid(coarse)
        options: dict[str, Any] = {
            "levels": scale.levels,
            "cmap": scale.cmap,
            "norm": scale.norm,
            "extend": "both",
        }
        filled = axes.contourf(longitude, latitude, known, **options)
        filled.set_edgecolor("face")  # no seams between the bands
        filled.set_linewidth(0.8)


def _short(value: float, digits: int = 3) -> str:
    """So many significant digits with a true minus sign; from ten thousand on as a power of ten."""
    if 10**digits <= abs(value) < 10000:
        return units.number(value, 0)
    return f"{value:.{digits}g}".replace("e+0", "e").replace("-", "−")
