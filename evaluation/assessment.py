"""From embeddings to everything that the report says: baselines, clusters, scores, agreement, regimes.

Supports any models over one prepared store; see evaluation/inputs.py for what is taken. Writes nothing.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from evaluation import baselines, forecasts, insight, metrics, paper, physics, ranking
from evaluation.agreement import align_labels
from evaluation.bootstrap import Blocks
from evaluation.clustering import Clustering, cluster
from evaluation.errors import EvaluationError
from evaluation.fields import Fields, align, select
from evaluation.inputs import ClusterSettings, Inputs, Run
from evaluation.measures import measure, resampled_days
from evaluation.physics import Physics
from evaluation.results import Evaluation, ModelResult, is_baseline, order
from evaluation.significance import LEVEL
from evaluation.stability import robustness

log = logging.getLogger(__name__)

USUAL_EOFS = 10  # components of the baseline that regime studies commonly take
EXAMPLES = 2  # days of which the page shows the reconstruction

AgainstChance = Callable[[Mapping[str, ModelResult]], Mapping[str, Mapping[str, Any]]]


def evaluate(inputs: Inputs, against_chance: AgainstChance | None = None) -> Evaluation:
    """Clusters every run and baseline, scores and compares them, and describes what the clusters are.

    k-means of a run starts from the cluster seed plus the run's own; the baselines, whose features have no seed, are
    clustered once for each seed of the trained runs, so that their spread is that of the k-means starts alone.

    Args:
        inputs: models and data.
        against_chance: gives for the clustered models what evaluation/nulls.py finds, by label; None leaves it out.

    Raises:
        EvaluationError: where the inputs do not fit together, saying what does not.
    """
    fields = select(inputs.prepared, inputs.runs)
    log.info("evaluating %d runs on %d days", len(inputs.runs), len(fields.times))
    models = _models(inputs, fields)
    truth = _truth(inputs, fields)
    chance = {} if against_chance is None else against_chance(models)
    log.info("scoring %d clusterings", sum(len(model.runs) for model in models.values()))
    blocks = resampled_days(fields, inputs.cluster)
    measured = measure(models, fields, None if truth is None else truth[0], inputs.cluster, blocks)
    log.info("describing the clusters of %d models", len(models))
    described = physics.describe(models, fields, inputs)
    found = metrics.build(
        inputs,
        fields,
        models,
        measured,
        truth,
        of_models={
            label: _further(model, described[label], fields, inputs.cluster)
            | _named("chance", chance.get(label))
            for label, model in models.items()
        },
        of_all={"paper": paper.compare(models, fields, inputs.cluster.k)}
        | _named("uncertainty", _uncertainty(blocks))
        | _named("forecast", forecasts.compare(models, fields, blocks))
        | _named("ranking", ranking.rank(models, measured, _judged(fields))),
    )
    return Evaluation(inputs, fields, models, found, described)


def example_times(runs: Sequence[Run], fields: Fields) -> np.ndarray:
    """(time,) the days of which every run that has reconstructions has one, at most EXAMPLES."""
    having = [run.examples["time"].values for run in runs if run.examples is not None]
    common = fields.times if having else fields.times[:0]
    for times in having:
        common = np.intersect1d(common, times)
    return common[:EXAMPLES]


def _models(inputs: Inputs, fields: Fields) -> dict[str, ModelResult]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in [*inputs.runs, *_baselines(inputs, fields)]:
        groups[run.model].append(run)
    return {label: clustered(label, groups[label], fields, inputs.cluster) for label in order(list(groups))}


def clustered(label: str, runs: Sequence[Run], fields: Fields, settings: ClusterSettings) -> ModelResult:
    """The runs of a model, one a seed, with the clusters of each."""
    log.info("clustering %s (%d seeds)", label, len(runs))
    runs = sorted(runs, key=lambda run: run.seed)
    embeddings = [align(run.embedding, run.times, fields.times) for run in runs]
    clusterings = [
        cluster(embedding, fields.train, k=settings.k, n_init=settings.n_init, seed=settings.seed + run.seed)
        for run, embedding in zip(runs, embeddings, strict=True)
    ]
    shown, stability = _most_typical(clusterings)
    return ModelResult(label, tuple(runs), tuple(embeddings), tuple(clusterings), shown, stability)


def _baselines(inputs: Inputs, fields: Fields) -> list[Run]:
    """EOFs of the embedding's size and of the usual one, and the raw fields."""
    taken = sorted({run.model for run in inputs.runs} & {"eof", "eof10", "raw"})
    if taken:
        raise EvaluationError(
            f"The labels {', '.join(taken)} belong to the baselines: give the runs other labels."
        )
    trained = [run for run in inputs.runs if not is_baseline(run.model)] or list(inputs.runs)
    first = order([run.model for run in trained])[0]
    size = next(run.embedding.shape[1] for run in trained if run.model == first)
    seeds = sorted({run.seed for run in trained})
    days = example_times(inputs.runs, fields)
    runs = baselines.eof_runs(fields, size, seeds, label="eof", example_times=days)
    if size != USUAL_EOFS:
        runs += baselines.eof_runs(fields, USUAL_EOFS, seeds, label="eof10", example_times=days)
    return runs + baselines.raw_runs(fields, seeds)


def _most_typical(clusterings: Sequence[Clustering]) -> tuple[int, float | None]:
    """The place of the clustering that agrees most with the others, and the mean adjusted Rand index of two."""
    n = len(clusterings)
    if n == 1:
        return 0, None
    agree = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            agree[i, j] = agree[j, i] = adjusted_rand_score(clusterings[i].labels, clusterings[j].labels)
    return int(np.argmax(agree.sum(axis=1))), float(agree[np.triu_indices(n, 1)].mean())


def _further(
    model: ModelResult, described: Physics, fields: Fields, settings: ClusterSettings
) -> dict[str, Any]:
    """What is known of a model beside its scores, under the keys of metrics.json."""
    stable = robustness(
        model.embeddings,
        model.clusterings,
        model.shown,
        fields.train,
        fields.times,
        seeds=model.seeds,
        seed=settings.seed,
    )
    return (
        physics.summary(described, fields)
        | _named("robustness", stable.as_dict())
        | _named("insight", insight.summary(model))
    )


def _uncertainty(blocks: Mapping[str, Blocks]) -> dict[str, Any]:
    """How days were resampled."""
    if not blocks:
        return {}
    splits = {
        name: {"block_length": held.length, "effective_days": held.effective_size, "days": held.days}
        for name, held in blocks.items()
    }
    return {"resamples": len(next(iter(blocks.values())).weights), "level": LEVEL, "splits": splits}


def _judged(fields: Fields) -> str:
    """The period on which models are ranked: the latest that there is."""
    return list(fields.splits)[-1]


def _named(key: str, value: Any) -> dict[str, Any]:
    """The value under its key; nothing where there is nothing."""
    return {key: value} if value else {}


def _truth(inputs: Inputs, fields: Fields) -> tuple[np.ndarray, tuple[str, ...]] | None:
    if inputs.truth is None:
        return None
    codes, classes = align_labels(fields.times, inputs.truth.labels)
    if not (codes >= 0).any():
        log.warning("none of the known labels falls on an evaluated day: there is no agreement to score")
        return None
    return codes, classes
