"""Compares rows of settings with a reference over seeds: runs/<dataset>/ablation/<experiment>/index.html.

`experiment=<name>` chooses a file of conf/experiment, which names the reference and the rows. What is current is
left, what was broken goes on, what fails is a row that says why and gives exit status 2 in the end. The table is made
from what lies on the disk, so that `ablation.run=false` makes it at any time, partial or not. Runs go through Hydra's
launcher, as hydra/launcher=joblib.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pipeline import cluster_report, command, embed, members, steps
from pipeline.artifacts import Artifact
from pipeline.config import plain
from pipeline.download import require_raw
from pipeline.errors import PipelineError
from pipeline.members import Member

if TYPE_CHECKING:
    from evaluation.ablation import Study, Variant
    from evaluation.inputs import Run

log = logging.getLogger(__name__)

VERSION = 1  # of the table, see Artifact


def ablation(cfg: DictConfig) -> None:
    """Runs what is not current of an experiment, makes its table and prints the headline.

    Raises:
        PipelineError: if no experiment is chosen, or, when all else is done, if some of its runs failed.
    """
    experiment = command.choice("experiment")
    if experiment is None or cfg.ablation is None:
        known = ", ".join(command.choices("experiment"))
        raise PipelineError(f"no experiment is chosen: add experiment=… to the command, one of {known}.")
    require_raw(cfg)
    planned = members.plan(cfg)
    if cfg.ablation.run:
        members.make(planned, experiment)
        rows = finished(planned)
        if rows and cfg.ablation.measure:
            steps.make(experiment, rows)
    table(cfg, experiment, planned)
    failed = [member for member in planned if member.failure() not in ("", members.NOT_YET)]
    if failed:
        raise PipelineError(
            f"{len(failed)} of {len(planned)} runs of {experiment} failed, the first being {failed[0].name}: "
            f"{failed[0].failure().rstrip('.')}. The table has the others and says why; the same command tries again."
        )


def finished(planned: Sequence[Member]) -> dict[str, DictConfig]:
    """The settings of the rows that have a run, with whichever seed."""
    return {member.row: member.settings for member in planned if member.run() is not None}


def table(cfg: DictConfig, experiment: str, planned: Sequence[Member]) -> None:
    """Makes the table from what is finished, unless it is current."""
    made = table_artifact(cfg, experiment, planned)
    page, headline = made.path / "index.html", made.path / "headline.txt"
    if made.is_current():
        log.info("ablation: %s is current.", page)
    else:
        from evaluation import ablation, ablation_page

        found = ablation.assess(study(cfg, experiment, planned))
        with made.writing() as (part, _):
            ablation_page.write(found, part)
    log.info("\n%s\n", headline.read_text(encoding="utf-8").rstrip())
    log.info("ablation: the table is in %s; table.md, table.csv and ablation.json lie beside it.", page)


def table_artifact(cfg: DictConfig, experiment: str, planned: Sequence[Member]) -> Artifact:
    """The table that the experiment and what is finished of it ask for."""
    rows = [
        {
            "row": member.row,
            "seed": member.seed,
            "cluster": {} if member.cfg is None else plain(member.cfg.cluster),
            "run": None if run is None else run.digest,
            "failure": member.failure(),
        }
        for member in planned
        for run in [member.run()]
    ]
    config = {
        "experiment": {
            key: plain(cfg.ablation)[key] for key in ("title", "question", "note", "reference", "rows")
        },
        "labels": cluster_report.truth_fingerprint(cfg),
        "members": rows,
        "steps": steps.read(experiment, finished(planned)),
    }
    folder = Path(cfg.paths.runs) / cfg.dataset.name / "ablation" / experiment
    return Artifact("ablation", folder, config, {}, VERSION)


def study(cfg: DictConfig, experiment: str, planned: Sequence[Member]) -> Study:
    """Everything that the evaluation takes, as plain objects.

    Raises:
        PipelineError: if the reference's fields are not prepared.
    """
    from data import store
    from evaluation.ablation import Study

    reference = next(member for member in planned if member.row == cfg.ablation.reference)
    prepared = reference.prepared()
    if not prepared.is_current():
        raise PipelineError(
            f"the fields of the reference, {reference.row}, are not prepared, in which all rows are scored: "
            f"{reference.failure()}."
        )
    fields = store.open_store(prepared.path).load()
    rows = {row: [member for member in planned if member.row == row] for row in plain(cfg.ablation)["rows"]}
    return Study(
        name=experiment,
        **{name: cfg.ablation[name] for name in ("title", "question", "note", "reference")},
        dataset=cfg.dataset.name,
        variants=tuple(variant(row, held, prepared, fields, cfg) for row, held in rows.items()),
        steps=steps.read(experiment, finished(planned)),
        prepared=fields,
        truth=cluster_report.truth(cfg),
        provenance=provenance(cfg, prepared),
    )


def variant(row: str, held: Sequence[Member], prepared: Artifact, fields: Any, cfg: DictConfig) -> Variant:
    """A row with its finished runs."""
    from evaluation.ablation import Variant
    from evaluation.inputs import ClusterSettings

    runs = {member.seed: run for member in held if (run := member.run()) is not None}
    known = [member.cfg for member in held if member.cfg is not None]
    return Variant(
        label=row,
        changes=tuple(cfg.ablation.rows[row]),
        runs=tuple(load(run, row, seed, fields) for seed, run in sorted(runs.items())),
        cluster=ClusterSettings(**(known[0] if known else cfg).cluster),
        same_fields=all(run.inputs["prepared"] == prepared.digest for run in runs.values()),
        missing={member.seed: why for member in held if (why := member.failure())},
    )


def load(run: Artifact, row: str, seed: int, fields: Any) -> Run:
    """A finished run, on the days that belong to the same period as in the reference's store."""
    from data import store
    from evaluation.inputs import run_from_store

    embedded = store.open_store(embed.embeddings_artifact(run).path).load()
    same = embedded["split"] == fields["split"].reindex(time=embedded["time"], fill_value=-1)
    manifest = run.manifest() or {}
    costs = manifest.get("results", {})
    return run_from_store(embedded.isel(time=same.values.nonzero()[0]), model=row, seed=seed, costs=costs)


def provenance(cfg: DictConfig, prepared: Artifact) -> dict[str, Any]:
    """Where it comes from and how to make it again."""
    attributes = require_raw(cfg)["attributes"]
    return {
        **{key: attributes[key] for key in ("source", "licence", "citation") if key in attributes},
        "command": shlex.join(["python", "-m", "pipeline.ablation", *sys.argv[1:]]),
        "versions": (prepared.manifest() or {}).get("versions", {}),
        "configuration": plain(cfg),
    }


if __name__ == "__main__":
    command.run(ablation)
