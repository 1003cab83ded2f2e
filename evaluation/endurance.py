"""Charts of how long clusters last and how they come and go from year to year, beside what chance makes of it.

Supports any number of clusters and years; evaluation/persistence.py has the numbers.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from evaluation import regimes, svg
from evaluation.fields import Fields
from evaluation.persistence import Comparison, Persistence
from evaluation.pictures import CHART, Group, Panel, Picture, cluster_colours
from evaluation.results import ModelResult
from evaluation.svg import FAINT, INK, Drawing
from evaluation.units import number, percent

SMALL = (148.0, 112.0)  # CSS pixels of one cluster's spells
RAREST = 0.01  # share of the spells at which the curves end
PALE = 0.4  # opacity of years that are not whole


def spell_lengths(model: ModelResult, held: Persistence, k: int) -> Picture:
    """For each cluster the share of its spells that last so long, beside red noise and a Markov chain."""
    colours = cluster_colours(k)
    panels = tuple(
        Panel(_survival(held, c, colours[c], model), f"{c + 1} · {_mean_words(held.ar1.mean_spell, c)}")
        for c in range(k)
    )
    caption = (
        f"How long the spells of each cluster of {model.title} last (seed {model.seeds[model.shown]}): share of the "
        "spells (logarithmic) that last at least so many steps. Grey: 95% of "
        f"{held.simulations} records of red noise with the embedding's covariance and lag-1 autocorrelation, put to "
        "the same centres; dashed: the same of Markov chains, whose spells have no memory. Above each chart: mean "
        "spell, and in brackets what red noise makes of it."
    )
    key = f"{model.label}-spells"
    return Picture(key, f"{model.title}: spells", caption, (Group(panels),), min(k, 7))


def years(model: ModelResult, fields: Fields, k: int) -> Picture:
    """The share of each year's days in each cluster, a row a cluster."""
    year, days, share = regimes.yearly_frequency(model.labels, fields.times, k)
    caption = (
        f"Share of each year's days in each cluster of {model.title} (seed {model.seeds[model.shown]}), every row "
        "on its own scale from zero, with the mean as a line. Pale: years with under "
        f"{percent(regimes.WHOLE)} of the usual number of days."
    )
    drawing = _years(model, year, share, regimes.whole_years(days))
    groups = (Group((Panel(drawing),)),)
    return Picture(f"{model.label}-years", f"{model.title}: years", caption, groups, 1)


def _mean_words(spell: Comparison, cluster: int) -> str:
    if not np.isfinite(spell.p[cluster]):
        return "no days" if np.isnan(spell.observed[cluster]) else number(spell.observed[cluster], 1)
    low, high = (number(bound[cluster], 1) for bound in (spell.low, spell.high))
    return f"{number(spell.observed[cluster], 1)} ({low}–{high})"


def _survival(held: Persistence, cluster: int, colour: str, model: ModelResult) -> Drawing:
    fig = svg.figure(*SMALL)
    axes = fig.add_axes((0.2, 0.17, 0.78, 0.79))
    noise, chain = held.ar1.survival, held.markov.survival
    observed = noise.observed[cluster]
    steps = np.arange(1, len(observed) + 1)
    axes.fill_between(
        steps, _floor(noise.low[cluster]), _floor(noise.high[cluster]), color=INK, alpha=0.16, linewidth=0
    )
    for bound in (chain.low, chain.high):
        axes.plot(steps, _floor(bound[cluster]), color=INK, linewidth=0.7, linestyle=(0, (3, 2)))
    axes.plot(steps, _floor(observed), color=colour, linewidth=2.2)
    axes.set_yscale("log")
    axes.set_ylim(RAREST, 1)
    axes.set_xlim(1, _end(np.stack([curve[cluster] for curve in (noise.observed, noise.high, chain.high)])))
    axes.set_yticks([0.01, 0.1, 1], ["1%", "10%", "100%"])
    axes.minorticks_off()
    axes.tick_params(labelsize=9, length=2)
    return svg.draw(fig, _survival_words(held, cluster, model), f"{model.label}-sl{cluster}")


def _floor(curve: np.ndarray) -> np.ndarray:
    """The curve down to a tenth of the rarest share, which lies below the chart."""
    return np.maximum(np.nan_to_num(curve), RAREST / 10)


def _end(curves: np.ndarray) -> int:
    """The number of steps from which on all the curves (curve, step) are below the chart."""
    seen = np.flatnonzero((np.nan_to_num(curves) >= RAREST).any(axis=0))
    return max(int(seen[-1]) + 2, 3) if len(seen) else 3


def _survival_words(held: Persistence, cluster: int, model: ModelResult) -> str:
    spell = held.ar1.mean_spell
    words = f"{model.title}, spells of cluster {cluster + 1}: mean {_mean_words(spell, cluster)} steps"
    for name, against in (("red noise", held.ar1), ("a Markov chain", held.markov)):
        if np.isfinite(against.spells_p[cluster]):
            verdict = "unlike" if against.spells_differ[cluster] else "not told from"
            words += f"; lengths {verdict} {name} (p = {number(float(against.spells_p[cluster]), 3)})"
    return words


def _years(model: ModelResult, year: np.ndarray, share: np.ndarray, whole: np.ndarray) -> Drawing:
    k, row = share.shape[1], 30.0
    height = k * row + 26
    fig = svg.figure(CHART[0], height)
    for cluster, colour in enumerate(cluster_colours(k)):
        axes = fig.add_axes((0.08, 1 - (cluster + 0.92) * row / height, 0.82, 0.84 * row / height))
        _year_bars(axes, year, share[:, cluster], whole, colour)
        axes.set_ylabel(str(cluster + 1), rotation=0, ha="right", va="center")
        if cluster < k - 1:
            axes.set_xticks([])
    axes.tick_params(length=0)
    return svg.draw(fig, _years_words(model, year, share, whole), f"{model.label}-yf")


def _year_bars(axes: Axes, year: np.ndarray, share: np.ndarray, whole: np.ndarray, colour: str) -> None:
    for chosen, opacity in ((whole, 1.0), (~whole, PALE)):
        axes.bar(year[chosen], share[chosen], width=0.86, color=colour, alpha=opacity)
    mean = share[whole].mean()
    axes.plot([year[0] - 0.5, year[-1] + 0.5], [mean, mean], color=INK, linewidth=0.8)
    top = max(float(share.max()), 1e-9)
    axes.set_ylim(0, 1.05 * top)
    axes.set_xlim(year[0] - 0.5, year[-1] + 0.5)
    axes.set_yticks([top], [percent(top)], fontsize=8)
    axes.tick_params(axis="y", length=0, pad=1, left=False, labelleft=False, labelright=True, labelcolor=INK)
    every = -(-len(year) // 8)
    axes.set_xticks(year[::every], [str(value) for value in year[::every]])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_edgecolor(FAINT)


def _years_words(model: ModelResult, year: np.ndarray, share: np.ndarray, whole: np.ndarray) -> str:
    told = [
        f"cluster {c + 1} from {percent(column[whole].min())} ({year[whole][column[whole].argmin()]}) "
        f"to {percent(column[whole].max())} ({year[whole][column[whole].argmax()]})"
        for c, column in enumerate(share.T)
    ]
    return f"{model.title}, share of the year's days: {'; '.join(told)}"
