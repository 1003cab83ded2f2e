"""Stage 5: from embeddings to clusters and the report, runs/<dataset>/report/.

Compares every finished run on the same prepared store. Runs of one model with the same settings and other seeds
belong together; the settings of this command give a model its bare name, others carry a digest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pipeline import command, surrogates, tracking
from pipeline.artifacts import Artifact, digest, read_manifest
from pipeline.config import plain
from pipeline.download import labels_path, require_raw
from pipeline.embed import embed_untrained, embeddings_artifact
from pipeline.errors import PipelineError
from pipeline.prepare import require_prepared
from pipeline.train import checkpoints, settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from evaluation.assessment import AgainstChance
    from evaluation.inputs import Inputs, Run, Truth
    from evaluation.results import Evaluation, ModelResult

log = logging.getLogger(__name__)

UNTRAINED = "faconvlstm"  # the model whose untrained twin is a baseline, where it was trained
VERSION = 2  # of the report, see Artifact


@dataclass(frozen=True)
class FinishedRun:
    """A run with embeddings, and the name under which the report shows it."""

    folder: Path
    manifest: dict[str, Any]
    label: str = ""

    @property
    def model(self) -> str:
        """The layer's name."""
        return str(self.manifest["model"])

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return int(self.manifest["seed"])

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, the seed apart."""
        return {key: value for key, value in self.manifest["config"].items() if key != "seed"}


def cluster_report(cfg: DictConfig) -> None:
    """Makes the report, unless it is current, and prints its headline."""
    prepared = require_prepared(cfg)
    runs = finished_runs(cfg, prepared)
    report = report_artifact(cfg, prepared, runs)
    page = report.path / "index.html"
    if report.is_current():
        log.info("cluster_report: %s is current.", page)
        log.info("\n%s", (report.path / "headline.txt").read_text(encoding="utf-8").rstrip())
        return
    from evaluation.assessment import evaluate
    from evaluation.report import write
    from evaluation.summary import headline

    with report.writing() as (part, _):  # all of it, so that two processes do not score the same surrogates
        evaluation = evaluate(gather(cfg, prepared, runs), against_chance(cfg, prepared, runs))
        write(evaluation, part)
        (part / "headline.txt").write_text(headline(evaluation) + "\n", encoding="utf-8")
    if tracking.is_wandb(cfg):
        track(cfg, evaluation, runs)
    log.info("\n%s\n", headline(evaluation))
    log.info(
        "cluster_report: made %s. Open it in a browser; the numbers are in metrics.json beside it.", page
    )


def track(cfg: DictConfig, evaluation: Evaluation, runs: list[FinishedRun]) -> None:
    """Adds scores to every run that is tracked, and composites to those whose clusters are drawn."""
    for run in runs:
        entry = evaluation.metrics["models"][run.label]
        drawn = run.seed == entry["shown_seed"]
        composites = evaluation.physics[run.label].composites.means if drawn else None
        tracking.track_report(cfg, run.folder, run.seed, entry, composites, evaluation.fields.variables)


def report_artifact(cfg: DictConfig, prepared: Artifact, runs: list[FinishedRun]) -> Artifact:
    """The report that these settings and the finished runs ask for."""
    config = {
        "cluster": plain(cfg.cluster),
        "labels": truth_fingerprint(cfg),
        "indices": {name: digest(series.to_json(date_format="iso")) for name, series in indices(cfg).items()},
        "patterns": {title: pattern_fingerprint(held) for title, held in patterns(cfg).items()},
        "runs": {run.folder.name: [run.label, run.manifest["digest"]] for run in runs},
    }
    folder = Path(cfg.paths.runs) / cfg.dataset.name / "report"
    return Artifact("report", folder, config, {"prepared": prepared.digest}, VERSION)


def finished_runs(cfg: DictConfig, prepared: Artifact) -> list[FinishedRun]:
    """All runs of the dataset on this prepared store that have embeddings, labelled, in order of name.

    Raises:
        PipelineError: if there is none.
    """
    found = []
    folder = Path(cfg.paths.runs) / cfg.dataset.name
    for path in sorted(folder.glob("*/checkpoints.manifest.json")):
        manifest = read_manifest(path)
        if manifest is None or manifest.get("inputs", {}).get("prepared") != prepared.digest:
            continue
        run = checkpoints(path.parent, manifest["config"], manifest["inputs"])
        if run.is_current() and embeddings_artifact(run).is_current():
            found.append(FinishedRun(path.parent, manifest))
        else:
            again = command.hint("embed", f"model={manifest['model']}", f"seed={manifest['seed']}")
            log.warning(
                "cluster_report: %s has no current embeddings and is left out: run %s", path.parent, again
            )
    if not found:
        raise PipelineError(
            f"there is no finished run of dataset {cfg.dataset.name} with these settings in {folder}: run "
            f"{command.hint('train')} and then {command.hint('embed')}"
        )
    return labelled(without_ablations(found, settings(cfg)), settings(cfg))


def without_ablations(runs: list[FinishedRun], asked: dict[str, Any]) -> list[FinishedRun]:
    """The runs but those that an ablation made, unless this command's settings ask for them or there are no others.

    Those have a table of their own, and a report of dozens of variants would tell nobody anything.
    """
    kept = [run for run in runs if "experiment" not in run.manifest or _is_asked(run, asked)]
    if kept and len(kept) < len(runs):
        log.info("cluster_report: %d runs of ablations are left out.", len(runs) - len(kept))
    return kept or runs


def labelled(runs: list[FinishedRun], asked: dict[str, Any]) -> list[FinishedRun]:
    """Gives every run its label: the model's name, with a digest where a model was run with several settings.

    The bare name goes to the settings that this command asks for: its window and trainer, and its model's.
    """
    variants: dict[str, list[str]] = {}
    for run in runs:
        names = variants.setdefault(run.model, [])
        if digest(run.settings) not in names:
            names.append(digest(run.settings))
    return [
        FinishedRun(run.folder, run.manifest, _label(run, len(variants[run.model]), asked)) for run in runs
    ]


def _label(run: FinishedRun, variants: int, asked: dict[str, Any]) -> str:
    bare = variants == 1 or _is_asked(run, asked)
    return run.model if bare else f"{run.model}-{digest(run.settings)[:8]}"


def _is_asked(run: FinishedRun, asked: dict[str, Any]) -> bool:
    """Whether a run has the settings that this command asks for, so far as its model has them."""
    same = all(run.settings[part] == asked[part] for part in ("window", "trainer"))
    shared = run.settings["model"].keys() & asked["model"].keys() - {"name", "layer"}
    same &= all(run.settings["model"][key] == asked["model"][key] for key in shared)
    if run.model == asked["model"]["name"]:
        same = same and run.settings == asked
    return same


def gather(cfg: DictConfig, prepared: Artifact, runs: list[FinishedRun]) -> Inputs:
    """Everything that the evaluation takes, as plain objects."""
    from data import store
    from evaluation.inputs import ClusterSettings, Inputs

    shown = [load(run) for run in runs] + [load_untrained(cfg, run) for run in runs if run.label == UNTRAINED]
    return Inputs(
        dataset=cfg.dataset.name,
        prepared=store.open_store(prepared.path).load(),
        runs=tuple(shown),
        cluster=ClusterSettings(**cfg.cluster),
        truth=truth(cfg),
        patterns=patterns(cfg),
        indices=indices(cfg),
        provenance=provenance(cfg, prepared, runs),
    )


def load(run: FinishedRun) -> Run:
    """A trained run."""
    import pandas as pd

    from data import store
    from evaluation.inputs import run_from_store

    return run_from_store(
        store.open_store(run.folder / "embeddings.zarr"),
        model=run.label,
        seed=run.seed,
        curve=pd.read_csv(run.folder / "training.csv"),
        costs=run.manifest["results"],
        settings=run.settings,
    )


def load_untrained(cfg: DictConfig, run: FinishedRun) -> Run:
    """The same network before training, with the settings and seed of the run."""
    from data import store
    from evaluation.inputs import run_from_store

    untrained = embed_untrained(surrogates.as_run(cfg, run))
    return run_from_store(store.open_store(untrained), model="untrained", seed=run.seed)


def against_chance(cfg: DictConfig, prepared: Artifact, runs: list[FinishedRun]) -> AgainstChance:
    """Holds the drawn clusters of trained models and EOFs against surrogates, once they are known."""
    by_seed = {(run.label, run.seed): run for run in runs}

    def look(models: Mapping[str, ModelResult]) -> dict[str, dict[str, Any]]:
        drawn = {label: (label, model.seeds[model.shown]) for label, model in models.items()}
        shown = {label: by_seed[key] for label, key in drawn.items() if key in by_seed}
        return surrogates.against_chance(cfg, prepared, shown, models["eof"].size)

    return look


def patterns(cfg: DictConfig) -> dict[str, xr.DataArray]:
    """Published patterns by title, where the user gives some."""
    from data.patterns import read_patterns

    return read_patterns(plain(cfg.dataset)["patterns"])


def pattern_fingerprint(held: xr.DataArray) -> str:
    """What the published patterns are, for the report's digest."""
    coordinates = [held[name].values.tolist() for name in held.dims]
    return digest([str(held.name), coordinates, held.values.tolist()])


def indices(cfg: DictConfig) -> dict[str, pd.Series]:
    """Indices of the circulation by name, where the user gives some."""
    from data.indices import read_indices

    return read_indices(plain(cfg.dataset)["indices"])


def truth(cfg: DictConfig) -> Truth | None:
    """Known labels: the user's file, else what the source planted."""
    from data.labels import read_labels
    from evaluation.inputs import Truth

    if cfg.dataset.labels is None and not labels_path(cfg).exists():
        return None
    path = Path(cfg.dataset.labels) if cfg.dataset.labels else labels_path(cfg)
    labels = read_labels(path, column=cfg.dataset.label_column, k=cfg.cluster.k)
    planted = cfg.dataset.labels is None
    return Truth(labels=labels, title="planted regimes" if planted else str(labels.name or path.stem))


def truth_fingerprint(cfg: DictConfig) -> str | None:
    """What the known labels are, for the report's digest."""
    import pandas as pd

    known = truth(cfg)
    if known is None:
        return None
    days = pd.DatetimeIndex(known.labels.index).strftime("%Y-%m-%d")
    return digest([known.title, list(days), [str(label) for label in known.labels]])


def provenance(cfg: DictConfig, prepared: Artifact, runs: list[FinishedRun]) -> dict[str, Any]:
    """Where it all comes from and how to make it again; holds no secret, since no setting does."""
    raw = require_raw(cfg)
    manifest = prepared.manifest() or {}
    attributes = raw["attributes"]
    return {
        **{key: attributes[key] for key in ("source", "licence", "citation") if key in attributes},
        "command": command.hint("cluster_report"),
        "versions": manifest.get("versions", {}),
        "configuration": plain(cfg),
        "record": {key: raw[key] for key in ("start", "end", "n_times", "variables", "grid")},
        "missing_steps": manifest.get("missing_steps"),
        "masked_cells": manifest.get("masked_cells"),
        "digests": {"raw": raw["digest"], "prepared": prepared.digest}
        | {run.folder.name: run.manifest["digest"] for run in runs},
        "request": json.loads(attributes.get("request", "{}")),
        "source files": source_files(raw["config"]["source"]),
        "checksums": raw.get("checksums"),
    }


def source_files(fingerprint: Mapping[str, Any]) -> Any:
    """Names and sha256 of the files that the record was made from, where the source has files; else None."""
    return next((fingerprint[key] for key in ("files", "answers", "months") if fingerprint.get(key)), None)


if __name__ == "__main__":
    command.run(cluster_report)
