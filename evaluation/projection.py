"""An embedding seen from above: its two leading principal components, by cluster and by time of year."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from evaluation import svg
from evaluation.baselines import fit_eof
from evaluation.fields import Fields
from evaluation.figures import leap_day, months
from evaluation.pictures import CHART, Group, Panel, Picture, cluster_colours
from evaluation.results import ModelResult
from evaluation.svg import Drawing
from evaluation.units import percent

SEASONS = LinearSegmentedColormap.from_list(
    "seasons", ["#2b5c9e", "#3fa38c", "#e0b13a", "#b4465a", "#2b5c9e"]
)
SEASON_COLOURS = 24
MOST_POINTS = 3000  # days drawn of an embedding; of a longer record every so many


def projection(model: ModelResult, fields: Fields, k: int) -> Picture:
    """The embedding's two leading principal components, coloured by cluster and by time of year."""
    points, share = _leading(model.embeddings[model.shown], fields.train)
    some = np.arange(0, len(points), -(-len(points) // MOST_POINTS))
    season = leap_day(pd.DatetimeIndex(fields.times)) * SEASON_COLOURS // 366
    season_colours = [to_hex(SEASONS((i + 0.5) / SEASON_COLOURS)) for i in range(SEASON_COLOURS)]
    panels = tuple(
        Panel(
            _scatter(
                points[some], codes[some], colours, share, f"{model.title}: days {by}", f"{model.label}-p{i}"
            ),
            by,
        )
        for i, (by, codes, colours) in enumerate(
            (("by cluster", model.labels, cluster_colours(k)), ("by day of year", season, season_colours))
        )
    )
    caption = (
        f"The embedding of {model.title} (seed {model.seeds[model.shown]}), every day a point, seen along "
        "its two leading "
        "principal components. By cluster: how far the clusters part. By day of the year: where the "
        "colours run in a ring, "
        "the embedding mainly knows the season."
    )
    groups = (Group(panels, bar=_season_bar(f"{model.label}-pb")),)
    return Picture(f"{model.label}-projection", f"{model.title}: embedding", caption, groups, 2)


def _scatter(
    points: np.ndarray, codes: np.ndarray, colours: Sequence[str], share: np.ndarray, words: str, key: str
) -> Drawing:
    """Points (time, 2) in the colour of their code. Those of a colour are one path of round dots: small files."""
    fig = svg.figure(CHART[0], 270)
    axes = fig.add_axes((0.08, 0.1, 0.9, 0.88))
    size = float(np.clip(120 / np.sqrt(len(points)), 2.2, 5))
    for code, colour in enumerate(colours):
        dots = points[codes == code].repeat(2, axis=0)
        path = (
            Path(dots, np.tile([Path.MOVETO, Path.LINETO], len(dots) // 2))
            if len(dots)
            else Path(np.zeros((0, 2)))
        )
        path.should_simplify = False
        axes.add_artist(PathPatch(path, facecolor="none", edgecolor=colour, linewidth=size, capstyle="round"))
    axes.set_xlim(*_around(points[:, 0]))
    axes.set_ylim(*_around(points[:, 1]))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"first component, {percent(share[0])} of the variance")
    axes.set_ylabel(f"second, {percent(share[1])}")
    return svg.draw(fig, words, key)


def _around(values: np.ndarray) -> tuple[float, float]:
    margin = 0.03 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def _leading(embedding: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two leading principal components (time, 2), fitted in training, and their share of its variance."""
    leading = fit_eof(embedding[train], 2)
    points = leading.scores(embedding)
    total = np.var(embedding[train], axis=0, dtype=np.float64).sum()
    return points, np.var(points[train], axis=0, dtype=np.float64) / max(total, 1e-30)


def _season_bar(key: str) -> Drawing:
    fig = svg.figure(300, 30)
    axes = fig.add_axes((0.05, 0.62, 0.9, 0.36))
    bar = fig.colorbar(ScalarMappable(Normalize(0, 366), SEASONS), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    months(axes, every=3)
    axes.tick_params(length=2, labelsize=10)
    return svg.draw(fig, "Colour scale of the day of the year, from January to December", key)
