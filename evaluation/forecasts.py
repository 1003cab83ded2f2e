"""Forecasts from the embedding on unseen days, beside persistence and climatology, as WeatherBench 2 scores them.

    RMSE = sqrt(mean over days of the area-weighted mean squared error)       physical units
    ACC  = mean over days of the anomaly correlation                          none for climatology

Supports any number of leads and variables. Only days of which every run has a forecast count. The references have no
seed; they stand once for each seed, so that their intervals, over time alone, are taken as those of the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from evaluation import units
from evaluation.bootstrap import Blocks
from evaluation.cells import Cell, Column, Row, Table, difference, estimate
from evaluation.fields import Fields
from evaluation.inputs import Run
from evaluation.metrics import over_seeds, put
from evaluation.results import ModelResult
from evaluation.significance import paired_difference

REFERENCES = {"persistence": "Persistence", "climatology": "Climatology"}
SCORES = {"rmse": ("RMSE", False), "acc": ("ACC", True)}  # name, and whether higher is better
SPLIT = "test"

Values = dict[tuple[str, ...], dict[int, float]]  # by (variable, lead, score), then by seed
Resampled = dict[tuple[str, ...], dict[int, np.ndarray]]


def compare(
    models: Mapping[str, ModelResult], fields: Fields, blocks: Mapping[str, Blocks]
) -> dict[str, Any] | None:
    """What metrics.json says under "forecast"; None where no model foretells anything.

    Args:
        models: by label.
        fields: of the evaluated days.
        blocks: of the resampled days of each split; empty where days are not resampled.
    """
    runs = {label: _forecasting(model) for label, model in models.items()}
    runs = {label: held for label, held in runs.items() if held}
    days = _common_days([run for held in runs.values() for run in held], fields)
    if not len(days):
        return None
    weights = _drawn(days, fields, blocks)
    seeds = sorted({run.seed for held in runs.values() for run in held})
    measured = {label: _measured(held, "model", days, weights) for label, held in runs.items()}
    widest = max((held[0] for held in runs.values()), key=lambda run: _of(run).sizes["lead"])
    for kind in REFERENCES:
        values, resampled = _measured([widest], kind, days, weights)
        measured[kind] = (
            {path: dict.fromkeys(seeds, by_seed[widest.seed]) for path, by_seed in values.items()},
            {path: dict.fromkeys(seeds, by_seed[widest.seed]) for path, by_seed in resampled.items()},
        )
    first, last = (str(pd.Timestamp(days[place]).date()) for place in (0, -1))
    return {
        "split": SPLIT,
        "days": len(days),
        "first": first,
        "last": last,
        "scores": {
            label: _estimates(*found, models[label].seeds if label in models else seeds)
            for label, found in measured.items()
        },
        "differences": {
            f"{label}_minus_{kind}": _differences(measured[label], measured[kind])
            for label in runs
            for kind in REFERENCES
        },
    }


def _forecasting(model: ModelResult) -> list[Run]:
    return [run for run in model.runs if run.forecast is not None]


def _of(run: Run) -> xr.Dataset:
    if run.forecast is None:
        raise ValueError(f"{run.name} has no forecasts")
    return run.forecast


def _common_days(runs: list[Run], fields: Fields) -> np.ndarray:
    """Days on which every run made forecasts, of those that are evaluated."""
    test = fields.times[fields.splits[SPLIT]] if SPLIT in fields.splits else fields.times[:0]
    return reduce(np.intersect1d, [_of(run)["today"].values for run in runs], test if runs else test[:0])


def _drawn(days: np.ndarray, fields: Fields, blocks: Mapping[str, Blocks]) -> np.ndarray | None:
    """(resample, day): how often each day was drawn; None where days are not resampled."""
    if SPLIT not in blocks:
        return None
    return blocks[SPLIT].weights[:, np.isin(fields.times[fields.splits[SPLIT]], days)]


def _measured(
    runs: list[Run], kind: str, days: np.ndarray, weights: np.ndarray | None
) -> tuple[Values, Resampled]:
    """RMSE and ACC by variable, lead and score, then by seed, and the same on resampled days."""
    values: Values = {}
    resampled: Resampled = {}
    for run in runs:
        held = _of(run).sel(kind=kind, today=days)
        for variable in held["variable"].values:
            for lead in held["lead"].values:
                one = held.sel(variable=variable, lead=lead)
                squares, correlation = one["forecast_error"].values, one["forecast_correlation"].values
                path = (str(variable), str(int(lead)))
                known = np.isfinite(correlation)
                values.setdefault((*path, "rmse"), {})[run.seed] = float(np.sqrt(squares.mean()))
                if known.any():
                    values.setdefault((*path, "acc"), {})[run.seed] = float(correlation[known].mean())
                if weights is None:
                    continue
                error = np.sqrt(_mean(squares, weights))
                resampled.setdefault((*path, "rmse"), {})[run.seed] = error
                if known.any():
                    again = _mean(correlation[known], weights[:, known])
                    resampled.setdefault((*path, "acc"), {})[run.seed] = again
    return values, resampled


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resample,), NaN where none of the days was drawn."""
    drawn = weights.sum(axis=1)
    return np.divide(weights @ values, drawn, out=np.full(len(weights), np.nan), where=drawn > 0)


def _estimates(values: Values, resampled: Resampled, seeds: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, by_seed in values.items():
        put(found, path, over_seeds(by_seed, resampled.get(path, {}), seeds))
    return found


def _differences(first: tuple[Values, Resampled], second: tuple[Values, Resampled]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, values in first[0].items():
        if path not in second[0]:
            continue
        again = (first[1][path], second[1][path]) if path in first[1] and path in second[1] else None
        higher = SCORES[path[-1]][1]
        held = paired_difference(values, second[0][path], higher_is_better=higher, resampled=again)
        if held is not None:
            put(found, path, held)
    return found


def leads(held: Mapping[str, Any]) -> list[str]:
    """The leads of which there are forecasts, shortest first."""
    return list(next(iter(held["scores"]["persistence"].values())))


def of_all(metrics: Mapping[str, Any], step: str) -> list[Table]:
    """Two tables for each lead: the scores, and the differences from the references."""
    held = metrics.get("forecast")
    if held is None:
        return []
    return [make(metrics, lead, step) for lead in leads(held) for make in (_scores, _against)]


def ahead(lead: str, step: str) -> str:
    """How far a forecast reaches, in words.

    >>> ahead("1", "days"), ahead("2", "steps")
    ('1 day', '2 steps')
    """
    return f"{lead} {step.removesuffix('s') if lead == '1' else step}"


def _scores(metrics: Mapping[str, Any], lead: str, step: str) -> Table:
    held = metrics["forecast"]
    rows = [
        Row(Cell(name), _cells(metrics, held["scores"][label], lead, estimate), kind)
        for label, name, kind in _named(metrics)
    ]
    note = (
        f"{ahead(lead, step)} ahead, from the embedding of the last of the days that the encoder was given, on "
        f"{held['days']} unseen days ({held['first']} to {held['last']}). Area-weighted root mean square error in "
        "physical units (lower is better) and anomaly correlation (higher is better), as WeatherBench 2 defines them."
    )
    columns = _columns(metrics)
    return Table(f"forecast-{lead}", f"Forecast, {ahead(lead, step)} ahead", note, columns, tuple(rows))


def _against(metrics: Mapping[str, Any], lead: str, step: str) -> Table:
    held = metrics["forecast"]
    rows = []
    for label, name, kind in _named(metrics):
        if kind == "model":
            for reference, title in REFERENCES.items():
                found = held["differences"][f"{label}_minus_{reference}"]
                heading = Cell(f"{name} − {title.lower()}", "paired by day and seed")
                rows.append(Row(heading, _cells(metrics, found, lead, difference), "difference"))
    title = f"Forecast, {ahead(lead, step)} ahead: differences from persistence and climatology"
    note = "“Better” or “worse” only where the 95% interval, over seeds and time, leaves out zero."
    return Table(f"forecast-{lead}-differences", title, note, _columns(metrics), tuple(rows), "Difference")


def _named(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Label, title and kind of each row, the references last."""
    scored = metrics["forecast"]["scores"]
    found = [
        (label, entry["title"], "model") for label, entry in metrics["models"].items() if label in scored
    ]
    return found + [(label, name, "baseline") for label, name in REFERENCES.items()]


def _columns(metrics: Mapping[str, Any]) -> tuple[Column, ...]:
    found = []
    for name in metrics["dataset"]["variables"]:
        _, unit = units.display(name, metrics["dataset"]["units"].get(name, "1"))
        found += [Column("RMSE", name, unit), Column("ACC", name)]
    return tuple(found)


def _cells(metrics: Mapping[str, Any], held: Mapping[str, Any], lead: str, make: Any) -> tuple[Cell, ...]:
    found = []
    for name in metrics["dataset"]["variables"]:
        factor, _ = units.display(name, metrics["dataset"]["units"].get(name, "1"))
        scored = held.get(name, {}).get(lead, {})
        climatology = (
            metrics["forecast"]["scores"]["climatology"][name].get(lead, {}).get("rmse", {"mean": 1.0})
        )
        found.append(make(scored.get("rmse"), _digits(factor * climatology["mean"]), factor=factor))
        found.append(make(scored.get("acc"), 3))
    return tuple(found)


def _digits(size: float) -> int:
    """Decimals that show three digits of a number of that size."""
    return int(np.clip(2 - np.floor(np.log10(size or 1.0)), 0, 6))
