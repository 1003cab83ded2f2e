"""How like published regime patterns the clusters' composites are.

Supports published patterns on any latitude-longitude grid that shares a part of its domain with ours; they are
brought to our grid by bilinear interpolation, also across the date line. Only correlations are taken, so units and
scaling do not matter (geopotential or height, normalised or not).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from evaluation import units
from evaluation.errors import EvaluationError
from evaluation.fields import Fields
from evaluation.heat import heat
from evaluation.pictures import Group, Panel, Picture
from evaluation.results import ModelResult

LEVEL = re.compile(r"\d{3,4}$")  # of pressure, in hPa; u10 is no wind at 10 hPa
SAME = 1e-6  # degrees within which two coordinates are one
FEWEST_CELLS = 16  # of our grid inside the published domain; with fewer any two patterns may correlate


@dataclass(frozen=True, eq=False)
class PatternMatch:
    """Composites against one set of published patterns.

    Attributes:
        title: what the published patterns are.
        variable: ours that is compared.
        regimes: names of the published patterns.
        correlation: (cluster, regime), NaN for clusters without days.
        best: (cluster,) place of the regime that is matched to the cluster, -1 where none is left.
        overlap: share of the area of the published domain that ours covers.
        cells: number of our cells that are compared.
    """

    title: str
    variable: str
    regimes: tuple[str, ...]
    correlation: np.ndarray
    best: np.ndarray
    overlap: float
    cells: int

    def summary(self) -> dict[str, Any]:
        """For metrics.json, clusters numbered from 1."""
        known = [c for c in range(len(self.best)) if np.isfinite(self.correlation[c]).all()]
        rows = {str(c + 1): dict(zip(self.regimes, self.correlation[c].tolist(), strict=True)) for c in known}
        match = {
            str(c + 1): {"regime": self.regimes[r], "correlation": float(self.correlation[c, r])}
            for c, r in enumerate(self.best)
            if r >= 0
        }
        return {
            "variable": self.variable,
            "overlap": self.overlap,
            "cells": self.cells,
            "correlation": rows,
            "match": match,
        }


def compare(means: np.ndarray, fields: Fields, published: xr.DataArray, title: str) -> PatternMatch:
    """Area-weighted, centred pattern correlation of every cluster with every published regime.

    Each cluster is matched with at most one regime, and each regime with at most one cluster, so that the sum of the
    correlations is the largest (Hungarian assignment, Kuhn 1955).

    Args:
        means: (cluster, variable, latitude, longitude), composites in any units, NaN where missing.
        fields: of our grid.
        published: (regime, latitude, longitude), called by its field's short name; regime holds the names.
        title: what they are.

    Raises:
        EvaluationError: where we lack the field, or the domains hardly overlap.
    """
    name = _same_field(fields, published, title)
    variable = fields.variables.index(name)
    theirs, overlap = regrid(published, fields.latitude, fields.longitude)
    known = np.isfinite(theirs).all(axis=0) & fields.mask[variable]
    if known.sum() < FEWEST_CELLS:
        raise EvaluationError(
            f"The published patterns {title} share {int(known.sum())} cells with the dataset's grid, and "
            f"{FEWEST_CELLS} are needed: leave them out, or take a dataset of their domain."
        )
    weight = np.broadcast_to(fields.area_weight[:, None], known.shape)[known]
    correlation = _correlations(means[:, variable][:, known], theirs[:, known], weight)
    return PatternMatch(
        title=title,
        variable=name,
        regimes=tuple(str(regime) for regime in published["regime"].values),
        correlation=correlation,
        best=_assign(correlation),
        overlap=overlap,
        cells=int(known.sum()),
    )


def regrid(published: xr.DataArray, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, float]:
    """Patterns (regime, latitude, longitude) on another grid, and the share of their own domain that it covers.

    Bilinear between the four points around; NaN outside the published domain.

    >>> field = xr.DataArray([[[0.0, 1.0], [2.0, 3.0]]], dims=("regime", "latitude", "longitude"),
    ...                      coords={"latitude": [50.0, 40.0], "longitude": [0.0, 10.0]})
    >>> regrid(field, np.array([45.0, 42.5]), np.array([5.0]))[0].ravel().tolist()
    [1.5, 2.0]
    """
    field = published.transpose("regime", "latitude", "longitude")
    theirs = field["latitude"].values, field["longitude"].values
    values = _interpolate(field.values, theirs[0], latitude, axis=1)
    values = _interpolate(values, _round(theirs[1]), longitude, axis=2, turns=3)
    covered = _between(latitude, theirs[0])[3][:, None] & _between(_round(longitude), theirs[1])[3]
    area = np.cos(np.deg2rad(theirs[0]))[:, None] * np.ones(len(theirs[1]))
    return values, float((area * covered).sum() / area.sum())


def picture(model: ModelResult, match: PatternMatch) -> Picture:
    """The correlations as a table of squares, the matched pairs outlined."""
    pairs = np.zeros(match.correlation.shape, dtype=bool)
    pairs[match.best >= 0, match.best[match.best >= 0]] = True
    told = "; ".join(
        f"cluster {c + 1} and {match.regimes[r]} {units.number(match.correlation[c, r], 2)}"
        for c, r in enumerate(match.best)
        if r >= 0
    )
    drawing = heat(
        match.correlation,
        [f"cluster {c + 1}" for c in range(len(match.best))],
        match.regimes,
        heading=match.title,
        words=f"{model.title}, pattern correlation with {match.title}, best matches: {told}",
        key=f"{model.label}-pattern-{match.title}",
        outlined=pairs,
    )
    caption = (
        f"How like the published patterns {match.title} the clusters of {model.title} are (seed "
        f"{model.seeds[model.shown]}): area-weighted correlation of the composites of {match.variable}, each around "
        f"its mean, over {match.cells} cells, which cover {units.percent(match.overlap)} of the published domain. "
        "Outlined: the pairs matched one to one. On a small part of a domain unlike patterns may look alike."
    )
    key = f"{model.label}-patterns-{match.title}"
    return Picture(key, f"{model.title}: {match.title}", caption, (Group((Panel(drawing),)),), 1)


def _same_field(fields: Fields, published: xr.DataArray, title: str) -> str:
    """Our variable that the patterns are of; a level that one side does not state is taken to be the other's."""
    wanted = str(published.name)
    bare = LEVEL.sub("", wanted)
    alike = [name for name in fields.variables if wanted == bare == LEVEL.sub("", name)]
    for same in ([wanted], [bare], alike):
        if len(same) == 1 and same[0] in fields.variables:
            return same[0]
    raise EvaluationError(
        f"The published patterns {title} are of {wanted}, of which the dataset has no one field: it has "
        f"{', '.join(fields.variables)}."
    )


def _correlations(ours: np.ndarray, theirs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(cluster, regime) of (cluster, cell) and (regime, cell); NaN where a pattern is missing or constant."""
    weight = weight / weight.sum()
    first, second = ((x - (x @ weight)[:, None]) * np.sqrt(weight) for x in (ours, theirs))
    sizes = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    return np.divide(first @ second.T, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)


def _assign(correlation: np.ndarray) -> np.ndarray:
    """(cluster,): the regime of each, -1 for none; pairs that do not correlate are none."""
    gain = np.where(np.isfinite(correlation), correlation, -1.0)
    best = np.full(len(gain), -1)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    good = gain[rows, columns] > 0
    best[rows[good]] = columns[good]
    return best


def _round(longitude: np.ndarray) -> np.ndarray:
    """The longitudes three times round the globe, so that the last one borders on the first."""
    return np.concatenate([longitude - 360, longitude, longitude + 360])


def _interpolate(
    values: np.ndarray, places: np.ndarray, wanted: np.ndarray, *, axis: int, turns: int = 1
) -> np.ndarray:
    """Linear along an axis; places may hold the axis' own several times over."""
    lower, upper, share, known = _between(places, wanted)
    count = len(places) // turns
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    below, above = (np.take(values, index % count, axis=axis) for index in (lower, upper))
    share, known = share.reshape(shape), known.reshape(shape)
    return np.where(known, below + share * (above - below), np.nan)


def _between(places: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two of the monotonic places around each wanted one, how far along it lies, and whether they are neighbours.

    Beyond the ends, and in gaps of more than one and a half steps, there is nothing to interpolate between.
    """
    order = np.argsort(places)
    along = places[order]
    above = np.clip(np.searchsorted(along, wanted - SAME), 0, len(places) - 1)  # the first that is not below
    below = np.maximum(above - 1, 0)
    exact = np.abs(along[above] - wanted) <= SAME
    below = np.where(exact, above, below)
    gap = along[above] - along[below]
    share = np.divide(wanted - along[below], gap, out=np.zeros(len(wanted)), where=gap > 0)
    steps = np.diff(along)
    neighbours = (gap > 0) & (gap <= 1.5 * np.median(steps)) if len(steps) else np.zeros(len(wanted), bool)
    inside = (wanted > along[0]) & (wanted < along[-1])
    return order[below], order[above], share, exact | (neighbours & inside)
