"""The paper's table beside our figures, scored as nearly alike as can be, and what differs all the same.

Supports any dataset: labels are scored on all evaluated days at once in the data space of the paper authors' public
clustering repository. The paper does not say in which space, with which metric, over which days or over how many runs
its own figures were computed, so that no verdict on the difference is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation import validity
from evaluation.cells import Cell, Column, Row, Table, amount, estimate
from evaluation.fields import Fields, minmax_features
from evaluation.results import ModelResult, title
from evaluation.significance import estimate as over_seeds
from evaluation.units import number

REFERENCE = "arXiv 2601.10914"
K = 7
PUBLISHED = {
    "faconvlstm": {"silhouette": 0.3432, "davies_bouldin": 1.5673, "calinski_harabasz": 102.2114},
    "convlstm": {"silhouette": 0.3347, "davies_bouldin": 1.6300, "calinski_harabasz": 93.6529},
}
YEAR = 2021
GRID = (41, 41)
VARIABLES = ("sst", "t2m", "u10", "v10", "sp", "sshf", "slhf")
SOUTH, NORTH, WEST, EAST = 33.0, 43.0, -33.0, -23.0
DATASET = f"daily ERA5 of {YEAR}, 43° N to 33° N, 33° W to 23° W, 41 × 41 points, {', '.join(VARIABLES)}"
INDICES = {
    "silhouette": ("Silhouette", 4, "higher is better"),
    "davies_bouldin": ("Davies-Bouldin", 4, "lower is better"),
    "calinski_harabasz": ("Calinski-Harabasz", 2, "higher is better"),
}


def compare(models: Mapping[str, ModelResult], fields: Fields, k: int) -> dict[str, Any]:
    """What metrics.json holds of it: published figures, ours over all evaluated days, and what differs.

    Every cell is scaled to [0, 1] by its range over all evaluated days; Silhouette with the cosine metric,
    Davies-Bouldin and Calinski-Harabasz Euclidean.
    """
    shown = {label: model for label, model in models.items() if model.trained or label == "eof"}
    features = minmax_features(fields.cells(fields.x), np.ones(len(fields.times), dtype=bool))
    labelings = [clustering.labels for model in shown.values() for clustering in model.clusterings]
    scored = iter(validity.score_labelings(features, labelings, silhouette_metric="cosine"))
    ours = {label: [next(scored) for _ in model.clusterings] for label, model in shown.items()}
    return {
        "reference": REFERENCE,
        "published": PUBLISHED,
        "days": len(fields.times),
        "same_dataset": _same_dataset(fields),
        "scores": {label: _estimates(found) for label, found in ours.items()},
        "differs": _differs(models, fields, k),
    }


def table(metrics: Mapping[str, Any]) -> Table:
    """Published figures and ours, one below the other."""
    held = metrics["paper"]
    columns = tuple(Column(name, hint=hint) for name, _, hint in INDICES.values())
    rows = [
        Row(
            Cell(title(label), "the paper"),
            tuple(amount(found[index], 4) for index in INDICES),
        )
        for label, found in held["published"].items()
    ]
    for label, found in held["scores"].items():
        entry = metrics["models"][label]
        cells = tuple(estimate(found.get(index), digits) for index, (_, digits, _) in INDICES.items())
        kind = "model" if entry["trained"] else "baseline"
        rows.append(Row(Cell(entry["title"], f"here, {_count(len(entry['seeds']))}"), cells, kind))
    note = (
        f"Ours: all {number(held['days'], 0)} evaluated days at once, every grid cell scaled to 0–1 over them, "
        "Silhouette with the cosine metric, the others Euclidean; ± is half the width of the 95% interval over seeds."
    )
    return Table("paper", "The paper's table and ours", note, columns, tuple(rows))


def _differs(models: Mapping[str, ModelResult], fields: Fields, k: int) -> list[str]:
    """One sentence for each thing in which our figures and the paper's are known to differ, or may."""
    found = []
    if not _same_dataset(fields):
        found.append(f"Data: the paper has {DATASET}; here it is {_ours(fields)}.")
    if fields.seasonal_cycle == "removed":
        found.append(
            "Seasonal cycle: removed here, left in by the paper, whose clusters are to a large part seasons; "
            "dataset.deseasonalise=false leaves it in."
        )
    if k != K:
        found.append(f"Clusters: {k} here, {K} in the paper; all three indices change with their number.")
    seeds = max(len(model.seeds) for model in models.values())
    found += [
        f"Runs: {_count(seeds)} here, each trained anew; the paper gives one figure a model and does not say of how "
        "many runs.",
        f"Days: models and k-means are fitted here on {int(fields.train.sum())} of the {len(fields.times)} days that "
        "are scored; the paper does not say which days were fitted on and which were scored.",
        "Scoring: the paper does not say in which space, with which metric and with which scaling its indices were "
        "computed; ours follow its authors' public clustering repository.",
    ]
    return found


def _same_dataset(fields: Fields) -> bool:
    """Whether these are the paper's variables on the paper's grid and from its year."""
    years = np.unique(fields.times.astype("datetime64[Y]").astype(int) + 1970)
    corners = (fields.latitude.min(), fields.latitude.max(), fields.longitude.min(), fields.longitude.max())
    return (
        set(fields.variables) == set(VARIABLES)
        and (len(fields.latitude), len(fields.longitude)) == GRID
        and years.tolist() == [YEAR]
        and np.allclose(corners, (SOUTH, NORTH, WEST, EAST), atol=0.13)  # half a grid step
    )


def _ours(fields: Fields) -> str:
    first, last = (str(fields.times[place].astype("datetime64[D]")) for place in (0, -1))
    grid = f"{len(fields.latitude)} × {len(fields.longitude)} points"
    return f"{first} to {last}, {grid}, {', '.join(fields.variables)}"


def _estimates(found: list[dict[str, float]]) -> dict[str, Any]:
    """By index, over the seeds that have it."""
    held = {index: [scores[index] for scores in found if index in scores] for index in INDICES}
    return {index: over_seeds(values) for index, values in held.items() if values}


def _count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"
