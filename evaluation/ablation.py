"""An ablation: rows that differ from a reference in one thing each, measured alike, and what may be said of each.

Supports rows of which some or all seeds are missing, with the reason, and rows of other numbers of clusters. All rows
are scored on the reference's fields, on the days that all of them cover. Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from evaluation.agreement import align_labels
from evaluation.assessment import clustered
from evaluation.errors import EvaluationError
from evaluation.fields import Fields, select
from evaluation.inputs import ClusterSettings, Run, Truth
from evaluation.measures import Measured, measure, resampled_days
from evaluation.metrics import both_resampled, over_seeds, without_none
from evaluation.significance import BETTER, NOT_SHOWN, WORSE, paired_difference
from evaluation.validity import HIGHER_IS_BETTER

SCHEMA_VERSION = 1
EXACT = ("parameters", "multiply_adds")  # counted, not measured: any difference is one
ROUNDED = "step_seconds"  # one value a round, not a seed


@dataclass(frozen=True, eq=False)
class Variant:
    """A row.

    Attributes:
        label: its name.
        changes: its settings, beside the reference's.
        runs: the finished ones, one a seed, their model being the label.
        cluster: k-means settings.
        same_fields: whether it was trained on the fields of the reference.
        missing: by seed, why there is no run.
    """

    label: str
    changes: tuple[str, ...]
    runs: tuple[Run, ...]
    cluster: ClusterSettings
    same_fields: bool = True
    missing: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that one table is made from.

    Attributes:
        name: of the experiment.
        title: heading.
        question: what is asked.
        note: what must be known to read the answers; may be empty.
        dataset: its name.
        reference: label of the row against which the others are held.
        variants: the rows, in their order.
        prepared: the reference's prepared store.
        truth: known labels, where there are some.
        steps: of a training step, under "memory" bytes by row and under "seconds" those of each round by row, in
            rounds that all rows share.
        provenance: JSON-able.
    """

    name: str
    title: str
    question: str
    note: str
    dataset: str
    reference: str
    variants: tuple[Variant, ...]
    prepared: xr.Dataset
    truth: Truth | None = None
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def assess(study: Study) -> dict[str, Any]:
    """Every number of the table, as JSON: for each row values by path, and differences from the reference's.

    A path is as "data.test.silhouette", "embedding.train.davies_bouldin", "agreement.test.ari",
    "explained_variance.test" or "cost.parameters". What was not computed is absent.

    Raises:
        EvaluationError: where no row has a run.
    """
    having = [variant for variant in study.variants if variant.runs]
    if not having:
        raise EvaluationError(
            f"No run of the experiment {study.name} is finished: there is nothing to make a table of."
        )
    fields = select(study.prepared, [run for variant in having for run in variant.runs])
    models = {v.label: clustered(v.label, v.runs, fields, v.cluster) for v in having}
    settings = having[0].cluster
    blocks = resampled_days(fields, settings)
    measured = measure(models, fields, _truth(study, fields), settings, blocks)
    for variant in having:
        _add_costs(measured[variant.label], variant, study.steps.get("seconds", {}).get(variant.label, ()))
    reference = measured.get(study.reference)
    rows = {
        variant.label: _row(variant, measured.get(variant.label), reference, study)
        for variant in study.variants
    }
    return {
        "schema_version": SCHEMA_VERSION,
        **{name: getattr(study, name) for name in ("name", "title", "question", "note", "reference")},
        "dataset": _dataset(study, fields),
        "rows": rows,
        "resamples": settings.resamples,
        "provenance": json.loads(json.dumps(without_none(study.provenance), default=str)),
    }


def _truth(study: Study, fields: Fields) -> np.ndarray | None:
    """(time,) codes of the known labels, where any falls on an evaluated day."""
    if study.truth is None:
        return None
    codes, _ = align_labels(fields.times, study.truth.labels)
    return codes if (codes >= 0).any() else None


def _dataset(study: Study, fields: Fields) -> dict[str, Any]:
    days = {name: int(held.sum()) for name, held in fields.splits.items()}
    ends = {
        name: [str(pd.Timestamp(fields.times[held][at]).date()) for at in (0, -1)]
        for name, held in fields.splits.items()
    }
    found = {"name": study.dataset, "variables": list(fields.variables), "days": days, "periods": ends}
    return found | ({} if study.truth is None else {"truth": study.truth.title})


def _add_costs(measured: Measured, variant: Variant, seconds: Sequence[float]) -> None:
    for run in variant.runs:
        if "parameters" in run.costs:
            measured.values["cost", "parameters"][run.seed] = run.costs["parameters"]
        if "flops_per_window" in run.costs:
            measured.values["cost", "multiply_adds"][run.seed] = run.costs["flops_per_window"] // 2
    if seconds:
        measured.values["cost", ROUNDED].update(enumerate(seconds))


def _row(
    variant: Variant, measured: Measured | None, reference: Measured | None, study: Study
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "changes": list(variant.changes),
        "k": variant.cluster.k,
        "seeds": [run.seed for run in variant.runs],
        "missing": {str(seed): why for seed, why in variant.missing.items()},
        "values": {},
        "difference": {},
    }
    if measured is None:
        return entry
    for path, by_seed in measured.values.items():
        key = _key(path)
        if key is not None:
            places = list(by_seed) if path[-1] == ROUNDED else entry["seeds"]
            entry["values"][key] = over_seeds(by_seed, measured.resampled.get(path, {}), places)
    if (memory := study.steps.get("memory", {}).get(variant.label)) is not None:
        entry["values"]["cost.memory_bytes"] = {"mean": memory, "values": [memory]}
    if reference is not None and variant.label != study.reference:
        entry["difference"] = _differences(measured, reference, variant.same_fields)
    return entry


def _differences(measured: Measured, reference: Measured, same_fields: bool) -> dict[str, Any]:
    """Paired by seed, of what both have and what can be compared."""
    found = {}
    for path, by_seed in measured.values.items():
        key, index = _key(path), path[0] if path[0] == "explained_variance" else path[-1]
        comparable = index in (*EXACT, ROUNDED) or index in HIGHER_IS_BETTER
        if index == "explained_variance" and not same_fields:
            comparable = False
        if key is None or path not in reference.values or not comparable:
            continue
        difference = paired_difference(
            by_seed,
            reference.values[path],
            higher_is_better=HIGHER_IS_BETTER.get(index, False),
            resampled=both_resampled(measured, reference, path),
        )
        if difference is not None:
            found[key] = _exact(difference) if index in EXACT else difference
    return found


def _exact(difference: dict[str, Any]) -> dict[str, Any]:
    """With the verdict of a count, which needs no interval."""
    less = difference["mean"]
    return difference | {"verdict": NOT_SHOWN if less == 0 else BETTER if less < 0 else WORSE}


def _key(path: tuple[str, ...]) -> str | None:
    """The name of a value in the table; None for what it leaves out."""
    if path[0] == "scores":
        return ".".join(path[1:]) if path[-1] in HIGHER_IS_BETTER and path[1] != "weighted" else None
    return (
        ".".join(path) if path[0] in ("explained_variance", "agreement", "effective_rank", "cost") else None
    )
