"""The report: index.html, metrics.json, clusters.csv, figures/ and tables/, written together or not at all.

The page is self-contained: it opens from disk with no network and no other file; the figures as SVG and the
tables as CSV lie beside it. Text is escaped. The page's one script sorts tables, and nothing is lost without it.
Supports light and dark, wide and narrow screens, print, keyboard and screen readers.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import (
    chance,
    curves,
    endurance,
    evidence,
    figures,
    forecasts,
    insight,
    maps,
    metrics,
    paper,
    patterns,
    projection,
    ranking,
    svg,
    tables,
    teleconnections,
)
from evaluation.assessment import example_times
from evaluation.cells import Table, csv_text
from evaluation.pages import template
from evaluation.pictures import Picture, cluster_colours
from evaluation.results import Evaluation, ModelResult
from evaluation.summary import statements
from evaluation.units import number

log = logging.getLogger(__name__)

FEW = 3  # trained models that stand open and of which reconstructed days are shown
OPEN = ("eof",)  # baselines whose section stands open, as those of the trained models do


def write(evaluation: Evaluation, folder: str | Path) -> Path:
    """Writes the whole report and gives the path of index.html.

    The files are made in a sibling folder, which then takes the place of folder and whatever was in it.
    """
    folder = Path(folder)
    part, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    for name in ("figures", "tables"):
        (part / name).mkdir(parents=True)
    _fill(part, evaluation)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder / "index.html"


def _fill(folder: Path, evaluation: Evaluation) -> None:
    metrics.validate(evaluation.metrics)
    text = json.dumps(evaluation.metrics, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    evaluation.clusters().to_csv(folder / "clusters.csv", index=False)
    with svg.styled():
        pictures = _pictures(evaluation)
    for picture in _all(pictures):
        (folder / "figures" / f"{svg.slug(picture.key)}.svg").write_text(picture.file(), encoding="utf-8")
    held = _tables(evaluation)
    for key, table in held.items():
        (folder / "tables" / f"{svg.slug(key)}.csv").write_text(csv_text(table), encoding="utf-8")
    (folder / "index.html").write_text(_page(evaluation, pictures, held), encoding="utf-8")


def _tables(evaluation: Evaluation) -> dict[str, Table]:
    """All tables of the page by key."""
    found, step = evaluation.metrics, _step(evaluation)
    held = [*tables.of_all(found), *evidence.of_all(found), paper.table(found), ranking.table(found)]
    held += forecasts.of_all(found, step)
    for label in found["models"]:
        held += [*tables.of_model(found, label, step), *evidence.of_model(found, label, step)]
    return {table.key: table for table in held if table is not None}


def _pictures(evaluation: Evaluation) -> dict[str, Any]:
    """Figures of the whole by where they stand, and under models those of each model, by label and place."""
    models = list(evaluation.models.values())
    ranked = ranking.picture(evaluation.metrics)
    return {
        "ranking": [] if ranked is None else [ranked],
        "examples": _examples(evaluation),
        "curves": [curves.training_curves(models)]
        if any(run.curve is not None for m in models for run in m.runs)
        else [],
        "insight": insight.occlusion(models, evaluation.fields),
        "models": _model_pictures(evaluation),
    }


def _all(pictures: Mapping[str, Any]) -> list[Picture]:
    """Every figure of the page."""
    of_whole = [picture for place, held in pictures.items() if place != "models" for picture in held]
    of_models = [
        picture for places in pictures["models"].values() for held in places.values() for picture in held
    ]
    return of_whole + of_models


def _model_pictures(evaluation: Evaluation) -> dict[str, dict[str, list[Picture]]]:
    means = [held.composites.means for held in evaluation.physics.values()]
    maker = maps.MapMaker(evaluation.fields, np.concatenate(means))
    held = {}
    for label in evaluation.models:
        log.info("drawing %s", label)
        held[label] = _of_model(evaluation, label, maker)
    return held


def _of_model(evaluation: Evaluation, label: str, maker: maps.MapMaker) -> dict[str, list[Picture]]:
    """The figures of a model by place; what it does not have is left out."""
    fields, k = evaluation.fields, evaluation.inputs.cluster.k
    model, physics, entry = (
        evaluation.models[label],
        evaluation.physics[label],
        evaluation.metrics["models"][label],
    )
    tested, spells = physics.composites, physics.spells
    found: dict[str, list[Picture | None]] = {
        "composites": [maps.composites(maker, model, tested.means, tested=tested, notes=_notes(entry, k))],
        "calendar": [figures.calendar(model, fields, k)],
        "transitions": [figures.seasons_and_transitions(model, fields, k, spells.ar1.transition.differs)],
        "years": [endurance.years(model, fields, k)],
        "spells": [endurance.spell_lengths(model, spells, k)],
        "projection": [projection.projection(model, fields, k) if model.size > 1 else None],
        "beside": [
            *(patterns.picture(model, match) for match in physics.patterns),
            teleconnections.picture(model, physics.teleconnections),
        ],
        "gates": [insight.gates(model, fields)],
        "attention": [insight.attention(model)],
        "chance": [chance.sweep(label, entry)],
    }
    return {place: [one for one in held if one is not None] for place, held in found.items()}


def _notes(entry: Mapping[str, Any], k: int) -> list[str]:
    """How stable each cluster is, for the titles of its maps; empty where nobody looked."""
    jaccard = entry.get("robustness", {}).get("jaccard", {})
    return [f"stability {number(jaccard[str(c)], 2)}" if str(c) in jaccard else "" for c in range(1, k + 1)]


def _examples(evaluation: Evaluation) -> list[Picture]:
    """Reconstructed days out of the trained models, of many the chosen ones, and the EOFs of the same size."""
    fields = evaluation.fields
    shown: list[ModelResult] = [
        evaluation.models[label]
        for label in [*_chosen(evaluation), "eof"]
        if label in evaluation.models and evaluation.models[label].runs[0].examples is not None
    ]
    times = example_times([run for model in shown for run in model.runs[:1]], fields)
    days = fields.x[np.isin(fields.times, times)]
    if not any(model.trained for model in shown) or len(days) == 0:
        return []
    maker = maps.MapMaker(fields, fields.physical(days))
    return [maps.reconstructions(maker, shown, time) for time in times]


def _chosen(evaluation: Evaluation) -> list[str]:
    """The trained models that stand open: all of a few; of many the project's own, and the ranking's ends."""
    trained = [label for label, model in evaluation.models.items() if model.trained]
    if len(trained) <= FEW:
        return trained
    order = evaluation.metrics.get("ranking", {}).get("order", trained)
    return [label for label in trained if label in (*trained[:1], order[0], order[-1])]


def _page(evaluation: Evaluation, pictures: Mapping[str, Any], held: Mapping[str, Table]) -> str:
    found = evaluation.metrics
    return template("report.html.j2").render(
        metrics=found,
        statements=statements(found),
        tables=held,
        periods=tables.PERIODS,
        slug=svg.slug,
        pictures=pictures,
        colours=cluster_colours(found["k"]),
        open_models=[*_chosen(evaluation), *OPEN],
        step=_step(evaluation),
        provenance=further(found["provenance"]),
    )


def _step(evaluation: Evaluation) -> str:
    """What a step of the record is called."""
    steps = np.diff(evaluation.fields.times)
    daily = len(steps) > 0 and np.median(steps.astype("timedelta64[s]").astype(float)) == 86400
    return "days" if daily else "steps"


def further(held: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of what is neither the source, licence, citation nor command, which have their places."""
    rest = {
        name: value
        for name, value in held.items()
        if name not in ("source", "licence", "citation", "command")
    }
    return [
        (
            name.replace("_", " "),
            value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False),
        )
        for name, value in rest.items()
    ]
