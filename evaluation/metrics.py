"""metrics.json: every number that the page shows, under the names that other tools rely on.

What was not computed is absent, never zero or null. Clusters are numbered 1 … K from the most frequent in
training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import jsonschema
import numpy as np
import pandas as pd

from evaluation import agreement, regimes, validity
from evaluation.baselines import yesterday
from evaluation.fairness import warnings
from evaluation.fields import Fields
from evaluation.inputs import Inputs
from evaluation.measures import Measured, Path
from evaluation.results import ModelResult
from evaluation.significance import estimate, paired_difference

SCHEMA_VERSION = 1
SCHEMA = FilePath(__file__).with_name("metrics_schema.json")
COMPARED = ("silhouette", "davies_bouldin", "calinski_harabasz", "ari", "nmi")


def build(
    inputs: Inputs,
    fields: Fields,
    models: Mapping[str, ModelResult],
    measured: Mapping[str, Measured],
    truth: tuple[np.ndarray, tuple[str, ...]] | None,
    *,
    of_models: Mapping[str, Mapping[str, Any]],
    of_all: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole of metrics.json, valid by its schema.

    Args:
        inputs: what was handed in.
        fields: of the evaluated days.
        models: by label.
        measured: values by label, path and seed.
        truth: codes (time,) of the known labels and the names of the codes; None where there are none.
        of_models: what else is known of each model, by label, under the keys of its entry.
        of_all: what else is known of all of them together, under the file's own keys.
    """
    metrics: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "k": inputs.cluster.k,
        "dataset": _dataset(inputs, fields),
        "models": {
            label: _model(model, measured[label], inputs, fields, truth) | dict(of_models.get(label, {}))
            for label, model in models.items()
        },
        "comparison": _comparison(models, measured),
        "cluster": {"k": inputs.cluster.k, "n_init": inputs.cluster.n_init, "seed": inputs.cluster.seed},
        "warnings": warnings({label: model.runs for label, model in models.items()}),
        "provenance": json.loads(json.dumps(without_none(inputs.provenance), default=str)),
        **of_all,
    }
    if truth is not None and inputs.truth is not None:
        metrics["truth"] = _truth(inputs.truth.title, fields, *truth)
    validate(metrics)
    return metrics


def validate(metrics: Mapping[str, Any]) -> None:
    """Checks metrics against the schema and that no number is infinite or missing.

    Raises:
        jsonschema.ValidationError: where the metrics do not fit, which is a bug.
        ValueError: where a number is not finite, which is one as well.
    """
    json.dumps(metrics, allow_nan=False)
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text(encoding="utf-8")))


def without_none(value: Any) -> Any:
    """The value without the keys of mappings that stand for nothing."""
    if isinstance(value, Mapping):
        return {str(key): without_none(held) for key, held in value.items() if held is not None}
    if isinstance(value, list | tuple):
        return [without_none(held) for held in value]
    return value


def _dataset(inputs: Inputs, fields: Fields) -> dict[str, Any]:
    return {
        "name": inputs.dataset,
        "source": str(inputs.provenance.get("source") or inputs.prepared.attrs.get("source", inputs.dataset)),
        "start": _date(inputs.prepared["time"].values[0]),
        "end": _date(inputs.prepared["time"].values[-1]),
        "n_times": inputs.prepared.sizes["time"],
        "variables": list(fields.variables),
        "units": fields.units,
        "long_names": fields.long_names,
        "grid": [len(fields.latitude), len(fields.longitude)],
        "seasonal_cycle": fields.seasonal_cycle,
        "splits": {
            n: [_date(fields.times[days][0]), _date(fields.times[days][-1])]
            for n, days in fields.splits.items()
        },
        "days": {name: int(days.sum()) for name, days in fields.splits.items()},
    }


def _model(
    model: ModelResult,
    measured: Measured,
    inputs: Inputs,
    fields: Fields,
    truth: tuple[np.ndarray, tuple[str, ...]] | None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "title": model.title,
        "trained": model.trained,
        "seeds": model.seeds,
        "shown_seed": model.seeds[model.shown],
        "embedding_size": model.size,
        **_costs(model),
        "scores": {},
        "regimes": _regimes(model.labels, fields, inputs.cluster.k),
    }
    if model.stability is not None:
        entry["stability"] = model.stability
    for path, by_seed in measured.values.items():
        put(entry, path, over_seeds(by_seed, measured.resampled.get(path, {}), model.seeds))
    if "effective_rank" in entry:
        entry["collapsed"] = entry["effective_rank"]["mean"] < validity.COLLAPSED
    if truth is not None:
        entry |= _confusion(model, fields, *truth, inputs.cluster.k)
    return entry


def _costs(model: ModelResult) -> dict[str, float]:
    """Parameters and multiply-adds of the model, and the mean time of a training step over its seeds."""
    costs: dict[str, float] = {}
    for name in ("parameters", "flops_per_window", "train_step_seconds"):
        values = [run.costs[name] for run in model.runs if run.costs.get(name) is not None]
        if values:
            costs[name] = float(np.mean(values)) if name == "train_step_seconds" else int(values[0])
    return costs


def _regimes(labels: np.ndarray, fields: Fields, k: int) -> dict[str, Any]:
    segment = regimes.segments(fields.times, fields.split)
    shares = {name: regimes.frequency(labels[days], k) for name, days in fields.splits.items()}
    return {
        "frequency": {name: _by_cluster(share) for name, share in shares.items()},
        "mean_spell_steps": _by_cluster(regimes.mean_spells(labels, segment, k)),
        "transition": _rows(regimes.transition_matrix(labels, segment, k)),
        "monthly_frequency": _rows(regimes.monthly_frequency(labels, fields.times, k)),
        "yearly_frequency": _yearly(labels, fields, k),
    }


def _yearly(labels: np.ndarray, fields: Fields, k: int) -> dict[str, dict[str, float]]:
    years, _, shares = regimes.yearly_frequency(labels, fields.times, k)
    return {str(year): _by_cluster(row) for year, row in zip(years, shares, strict=True)}


def _confusion(
    model: ModelResult, fields: Fields, truth: np.ndarray, classes: tuple[str, ...], k: int
) -> dict[str, Any]:
    """The confusion table of the unseen period, or of training where no later day is labelled."""
    for split in ("test", "train"):
        days = fields.splits.get(split)
        if days is not None and (truth[days] >= 0).any():
            table = agreement.confusion(model.labels[days], truth[days], classes, k)
            found = {
                "split": split,
                "classes": list(table.classes),
                "clusters": [cluster + 1 for cluster in table.clusters],
                "days": table.counts.tolist(),
                "matched_share": table.matched_share,
            }
            return {"confusion": found}
    return {}


def _truth(title: str, fields: Fields, codes: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """What the known labels are, and how well yesterday's known label foretells today's."""
    entry: dict[str, Any] = {"title": title, "classes": list(classes), "days": {}, "persistence": {}}
    segment = regimes.segments(fields.times, fields.split)
    for name, days in fields.splits.items():
        entry["days"][name] = int((codes[days] >= 0).sum())
        today, before = yesterday(codes[days], segment[days])
        if scores := agreement.agreement(before[before >= 0], today[before >= 0]):
            entry["persistence"][name] = {index: estimate([value]) for index, value in scores.items()}
    return entry


def _comparison(models: Mapping[str, ModelResult], measured: Mapping[str, Measured]) -> dict[str, Any]:
    return {
        f"{first}_minus_{second}": differences(measured[first], measured[second])
        for first, second in pairs(models)
    }


def pairs(models: Mapping[str, ModelResult]) -> list[tuple[str, str]]:
    """FAConvLSTM with every other trained model, EOFs and the untrained encoder; each of the others with EOFs."""
    others = [label for label, model in models.items() if model.trained and label != "faconvlstm"]
    against_ours = [("faconvlstm", label) for label in (*others, "eof", "untrained")]
    against_eof = [(label, "eof") for label in others]
    return [pair for pair in (*against_ours, *against_eof) if all(label in models for label in pair)]


def differences(first: Measured, second: Measured) -> dict[str, Any]:
    """Paired differences of what both have, by space (or agreement, explained_variance), split and index."""
    entry: dict[str, Any] = {}
    for path, values in first.values.items():
        index = path[0] if path[0] == "explained_variance" else path[-1]
        if path in second.values and (index in COMPARED or path[0] == "explained_variance"):
            difference = paired_difference(
                values,
                second.values[path],
                higher_is_better=validity.HIGHER_IS_BETTER[index],
                resampled=both_resampled(first, second, path),
            )
            if difference is not None:
                put(entry, path[1:] if path[0] == "scores" else path, difference)
    return entry


def both_resampled(
    first: Measured, second: Measured, path: Path
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]] | None:
    """What the two have on resampled days; None where a seed that both have lacks it."""
    held = [measured.resampled.get(path, {}) for measured in (first, second)]
    common = first.values[path].keys() & second.values[path].keys()
    return (held[0], held[1]) if all(common <= by_seed.keys() for by_seed in held) else None


def over_seeds(
    by_seed: Mapping[int, float], resampled: Mapping[int, np.ndarray], seeds: Sequence[int]
) -> dict[str, Any]:
    """The estimate; where a seed has no value, with the list of those that have."""
    found = [seed for seed in seeds if seed in by_seed]
    again = [resampled[seed] for seed in found if seed in resampled]
    result = estimate([by_seed[seed] for seed in found], again if len(again) == len(found) else None)
    return result if found == list(seeds) else result | {"seeds": found}


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Puts a value at a path of nested mappings."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _by_cluster(values: np.ndarray) -> dict[str, float]:
    """The values by number (from 1), without those that do not exist."""
    return {str(i + 1): float(value) for i, value in enumerate(values) if np.isfinite(value)}


def _rows(matrix: np.ndarray) -> dict[str, dict[str, float]]:
    return {str(i + 1): _by_cluster(row) for i, row in enumerate(matrix) if np.isfinite(row).all()}


def _date(time: np.datetime64) -> str:
    return str(pd.Timestamp(time).date())
