"""Every measured value of every model and seed, and what it would be on resampled days, before intervals are taken.

A value is found by the path that it has in metrics.json, as ("scores", "data", "test", "silhouette"), and the
seed. Days are resampled in blocks, the same for all models and seeds of a split, so that differences can be taken
resample by resample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluation import bootstrap, validity
from evaluation.agreement import agreement
from evaluation.baselines import yesterday
from evaluation.bootstrap import Blocks
from evaluation.fields import Fields, align, data_space, weighted_space
from evaluation.inputs import ClusterSettings
from evaluation.regimes import segments
from evaluation.results import ModelResult

Path = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one model.

    Attributes:
        values: by path, then by seed; a seed for which there is no value is absent.
        resampled: (resample,) by path, then by seed, of what can be computed on resampled days.
    """

    values: dict[Path, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    resampled: dict[Path, dict[int, np.ndarray]] = field(default_factory=lambda: defaultdict(dict))


class Found(NamedTuple):
    """One value of one model and seed."""

    label: str
    seed: int
    path: Path
    value: float
    resampled: np.ndarray | None = None


def measure(
    models: Mapping[str, ModelResult],
    fields: Fields,
    truth: np.ndarray | None,
    settings: ClusterSettings,
    blocks: Mapping[str, Blocks],
) -> dict[str, Measured]:
    """All values by model.

    Args:
        models: by label.
        fields: of the evaluated days.
        truth: (time,) codes of the known labels, -1 where unknown; None where there are none at all.
        settings: how the silhouette is computed.
        blocks: of the resampled days of each split; empty where days are not resampled.
    """
    measured = {label: Measured() for label in models}
    for found in _values(models, fields, truth, settings, blocks):
        measured[found.label].values[found.path][found.seed] = found.value
        if found.resampled is not None:
            measured[found.label].resampled[found.path][found.seed] = found.resampled
    return measured


def resampled_days(fields: Fields, settings: ClusterSettings) -> dict[str, Blocks]:
    """Blocks of resampled days for each split; empty where the settings switch that off."""
    if settings.resamples == 0:
        return {}
    features, segment = weighted_space(fields), segments(fields.times, fields.split)
    return {
        name: bootstrap.draw(features[days], segment[days], resamples=settings.resamples, seed=settings.seed)
        for name, days in fields.splits.items()
    }


def _values(
    models: Mapping[str, ModelResult],
    fields: Fields,
    truth: np.ndarray | None,
    settings: ClusterSettings,
    blocks: Mapping[str, Blocks],
) -> Iterator[Found]:
    yield from _common_scores(models, fields, settings, blocks)
    yield from _embedding_scores(models, fields, settings, blocks)
    for model in models.values():
        for place in range(len(model.runs)):
            yield from _own_values(model, place, fields, blocks)
            if truth is not None:
                yield from _agreement(model, place, fields, truth, blocks)


def _common_scores(
    models: Mapping[str, ModelResult],
    fields: Fields,
    settings: ClusterSettings,
    blocks: Mapping[str, Blocks],
) -> Iterator[Found]:
    """Scores of all labelings on the same data, in the two common spaces."""
    owners = [(label, place) for label, model in models.items() for place in range(len(model.runs))]
    labelings = [models[label].clusterings[place].labels for label, place in owners]
    for space, features, metric in _common_spaces(fields):
        for split, days in fields.splits.items():
            chosen = [labels[days] for labels in labelings]
            scored = _score(features[days], chosen, metric, settings, blocks.get(split))
            for (label, place), labels, (scores, resampled) in zip(owners, chosen, scored, strict=True):
                if space == "data":
                    scores = scores | validity.spread(features[days], labels)
                for index, value in scores.items():
                    path = ("scores", space, split, index)
                    yield Found(label, models[label].seeds[place], path, value, resampled.get(index))


def _common_spaces(fields: Fields) -> Iterator[tuple[str, np.ndarray, str]]:
    yield "data", data_space(fields), "cosine"
    yield "weighted", weighted_space(fields), "euclidean"


def _embedding_scores(
    models: Mapping[str, ModelResult],
    fields: Fields,
    settings: ClusterSettings,
    blocks: Mapping[str, Blocks],
) -> Iterator[Found]:
    """Scores of each labeling on its own embedding; an embedding that several seeds share is gone through once."""
    for label, model in models.items():
        shared: dict[int, list[int]] = defaultdict(list)
        for place, embedding in enumerate(model.embeddings):
            shared[id(embedding)].append(place)
        for places in shared.values():
            embedding = model.embeddings[places[0]]
            rank = validity.effective_rank(embedding[fields.train])
            if rank is not None:
                for place in places:
                    yield Found(label, model.seeds[place], ("effective_rank",), rank)
            for split, days in fields.splits.items():
                chosen = [model.clusterings[place].labels[days] for place in places]
                scored = _score(embedding[days], chosen, "euclidean", settings, blocks.get(split))
                for place, (scores, resampled) in zip(places, scored, strict=True):
                    for index, value in scores.items():
                        path = ("scores", "embedding", split, index)
                        yield Found(label, model.seeds[place], path, value, resampled.get(index))


def _score(
    features: np.ndarray,
    labelings: Sequence[np.ndarray],
    metric: str,
    settings: ClusterSettings,
    blocks: Blocks | None,
) -> Iterator[tuple[dict[str, float], Mapping[str, np.ndarray]]]:
    """The three indices of each labeling, and the same on resampled days where there are blocks."""
    values = validity.silhouettes(
        features,
        labelings,
        metric=metric,
        memory=settings.memory,
        sample=settings.silhouette_sample,
        seed=settings.seed,
    )
    scores = validity.centre_scores(features, labelings)
    resampled: Sequence[Mapping[str, np.ndarray]] = [{} for _ in labelings]
    if blocks is not None:
        resampled = bootstrap.resampled_scores(features, labelings, blocks, values)
    for labels, silhouette, found, again in zip(labelings, values, scores, resampled, strict=True):
        if silhouette is not None:
            found = {"silhouette": validity.mean_silhouette(silhouette, labels), **found}
        yield found, again


def _own_values(
    model: ModelResult, place: int, fields: Fields, blocks: Mapping[str, Blocks]
) -> Iterator[Found]:
    """What a run brings with it, and what its labels alone say."""
    run, clustering = model.runs[place], model.clusterings[place]
    yield Found(model.label, run.seed, ("inertia",), clustering.inertia)
    today, before = yesterday(clustering.labels, segments(fields.times, fields.split))
    if len(today):
        yield Found(model.label, run.seed, ("persistence",), float(np.mean(today == before)))
    squares = None if run.squares is None else align(run.squares, run.times, fields.times)
    for split, days in fields.splits.items():
        if split in run.explained_variance:
            path: Path = ("explained_variance", split)
            resampled = None
            if squares is not None and split in blocks:
                error, anomaly = squares[days].T
                resampled = bootstrap.resampled_ratio(error, anomaly, blocks[split])
            yield Found(model.label, run.seed, path, float(run.explained_variance[split]), resampled)
    for name, shares in run.explained_variance_by_variable.items():
        for split in fields.splits:
            if split in shares:
                path = ("explained_variance_by_variable", name, split)
                yield Found(model.label, run.seed, path, float(shares[split]))


def _agreement(
    model: ModelResult, place: int, fields: Fields, truth: np.ndarray, blocks: Mapping[str, Blocks]
) -> Iterator[Found]:
    """Agreement with the known labels, where a split has any."""
    for split, days in fields.splits.items():
        labels, known = model.clusterings[place].labels[days], truth[days]
        scores = agreement(labels, known)
        resampled: Mapping[str, np.ndarray] = {}
        if scores and split in blocks:
            resampled = bootstrap.resampled_agreement(labels, known, blocks[split])
        for index, value in scores.items():
            path = ("agreement", split, index)
            yield Found(model.label, model.seeds[place], path, value, resampled.get(index))
