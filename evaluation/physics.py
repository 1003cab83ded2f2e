"""What the clusters of each model are as weather: composites, spells, published patterns, indices of circulation.

Puts together what evaluation/composites.py, persistence.py, patterns.py and teleconnections.py find, for the
clusters that the page draws. What was not given (patterns, indices) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation import patterns, regimes, teleconnections
from evaluation.composites import Composites, composites
from evaluation.fields import Fields
from evaluation.inputs import Inputs
from evaluation.patterns import PatternMatch
from evaluation.persistence import Persistence, persistence
from evaluation.results import ModelResult
from evaluation.teleconnections import Teleconnection


@dataclass(frozen=True, eq=False)
class Physics:
    """What one model's clusters are.

    Attributes:
        composites: mean anomalies, tested against zero.
        spells: lengths of stay and transitions, against two null models.
        patterns: match with each set of published patterns.
        teleconnections: correlation with each index of the circulation.
    """

    composites: Composites
    spells: Persistence
    patterns: tuple[PatternMatch, ...]
    teleconnections: tuple[Teleconnection, ...]


def describe(models: Mapping[str, ModelResult], fields: Fields, inputs: Inputs) -> dict[str, Physics]:
    """What the drawn clusters of each model are, by label."""
    return {label: _describe(model, fields, inputs) for label, model in models.items()}


def summary(physics: Physics, fields: Fields) -> dict[str, Any]:
    """For metrics.json: composites, spells, and where they were compared patterns and teleconnections."""
    held = physics.composites
    shares = held.told_share(fields.area_weight)
    found: dict[str, Any] = {
        "composites": {
            "block_steps": held.block_steps,
            "rate": held.rate,
            "told_share": {
                str(c + 1): dict(zip(fields.variables, row.tolist(), strict=True))
                for c, row in enumerate(shares)
                if np.isfinite(row).all()
            },
        },
        "spells": physics.spells.summary(),
    }
    if physics.patterns:
        found["patterns"] = {match.title: match.summary() for match in physics.patterns}
    if physics.teleconnections:
        found["teleconnections"] = {one.name: one.summary() for one in physics.teleconnections}
    return found


def _describe(model: ModelResult, fields: Fields, inputs: Inputs) -> Physics:
    k, times = inputs.cluster.k, fields.times
    held = composites(model.labels, fields, k)
    spells = persistence(
        model.labels,
        model.embeddings[model.shown],
        model.clusterings[model.shown].centres,
        regimes.segments(times, fields.split),
        times,
        seed=inputs.cluster.seed,
    )
    matched = tuple(
        patterns.compare(held.means, fields, published, title) for title, published in inputs.patterns.items()
    )
    return Physics(held, spells, matched, teleconnections.correlate(model.labels, times, inputs.indices, k))
