"""New days put to the clusters of a finished run: runs/<dataset>/assigned-<run>.nc and .csv.

The run is frozen: its statistics and climatology, its encoder and its k-means centres are taken as they are, and
nothing is fitted to the new data, which may be as short as one window. Clusters are numbered as in the run's report.
Supports any source that the download stage knows; data of other variables, units, grid or time step are refused.
"""

from __future__ import annotations

import difflib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from data import places
from pipeline import command
from pipeline.artifacts import Artifact, read_manifest, versions
from pipeline.download import raw_digest, raw_path, require_raw
from pipeline.durable import write_text
from pipeline.embed import embeddings_artifact
from pipeline.errors import PipelineError
from pipeline.train import checkpoints

if TYPE_CHECKING:
    from evaluation.assignment import Assignment, Regimes

log = logging.getLogger(__name__)

UNLIKE = 3  # as many times the training days' share without a regime are worth a warning
CLUSTERING = ("k", "n_init", "seed")  # the settings that decide the centres


@dataclass(frozen=True)
class FrozenRun:
    """A finished run, and what it was trained on.

    Attributes:
        folder: of the run.
        manifest: of its checkpoints.
        embeddings: its embeddings, current.
        prepared: its prepared store, complete.
    """

    folder: Path
    manifest: dict[str, Any]
    embeddings: Artifact
    prepared: Path

    @property
    def name(self) -> str:
        """Dataset and folder, as the setting `run` takes them."""
        return f"{self.folder.parent.name}/{self.folder.name}"


def assign(cfg: DictConfig) -> None:
    """Puts the days of the raw store to the clusters of the run, unless that is current."""
    run, raw = require_finished(cfg), require_raw(cfg)
    assigned = assigned_artifact(cfg, run, raw)
    csv = assigned.path.with_suffix(".csv")
    if assigned.is_current():
        log.info("assign: %s is current.", assigned.path)
        return
    from evaluation import assignment
    from pipeline import projecting

    regimes = learn(cfg, run)
    log.info("assign: %s to the clusters of %s …", raw_path(cfg), run.name)
    scratch = assigned.path.with_suffix(".fields.part")
    new = projecting.embed(
        as_trained(cfg, run), run.prepared, run.folder / "checkpoints" / "best.ckpt", raw_path(cfg), scratch
    )
    found = assignment.assign(new.embedding, new.missed, regimes)
    with assigned.writing(beside=[csv], run=run.name) as (part, notes):
        assigned.manifest_path.unlink(missing_ok=True)  # table and dataset are whole together or not at all
        assignment.write(assignment.dataset(found, new.times, new.windows, attributes(cfg, run, raw)), part)
        table = assignment.table(found, new.times, new.windows)
        write_text(csv, table.to_csv(index=False, lineterminator="\n"))
        notes["days"] = found.days()
    tell(found)
    log.info("assign: made %s and %s beside it.", assigned.path, csv.name)
    say_what_the_numbers_mean(cfg, run)


def assigned_artifact(cfg: DictConfig, run: FrozenRun, raw: dict[str, Any]) -> Artifact:
    """The assignment of the raw store's days to the clusters of the run."""
    config = {"cluster": {key: cfg.cluster[key] for key in CLUSTERING}, "no_regime": cfg.no_regime}
    path = Path(cfg.paths.runs) / cfg.dataset.name / f"assigned-{run.folder.name}.nc"
    return Artifact("assigned", path, config, {"raw": raw_digest(raw), "embeddings": run.embeddings.digest})


def require_finished(cfg: DictConfig) -> FrozenRun:
    """The run that the settings name, with its embeddings and the prepared store that it was trained on.

    Raises:
        PipelineError: if there is none, or a part of it is missing.
    """
    folder = find_run(Path(cfg.paths.runs), cfg.dataset.name, cfg.run)
    manifest = read_manifest(folder / "checkpoints.manifest.json")
    if manifest is None:
        raise PipelineError(
            f"{folder / 'checkpoints.manifest.json'} was changed or damaged: run python -m pipeline.train with the "
            "settings of that run, which makes it again."
        )
    run = checkpoints(folder, manifest["config"], manifest["inputs"])
    embeddings = embeddings_artifact(run)
    if not (run.is_current() and embeddings.is_current()):
        raise PipelineError(
            f"{folder} has no current embeddings: run python -m pipeline.embed with the settings of that run, which "
            "are in its checkpoints.manifest.json."
        )
    digest = manifest["inputs"]["prepared"]
    prepared = places.place(cfg.paths.store) / folder.parent.name / f"prepared-{digest[:12]}.zarr"
    kept = read_manifest(prepared.with_suffix(".manifest.json"))
    if kept is None or kept.get("digest") != digest or not prepared.exists():
        raise PipelineError(
            f"{prepared}, on which {folder.name} was trained and which holds its statistics, is not there: bring it "
            "back, or run python -m pipeline.prepare with the settings of that run."
        )
    return FrozenRun(folder, manifest, embeddings, prepared)


def find_run(runs: Path, dataset: str, wanted: str | None) -> Path:
    """The folder of a trained run: `folder` of this dataset or of the only one that has it, or `dataset/folder`.

    Raises:
        PipelineError: if there is none or more than one, naming those that there are.
    """
    folders = [path.parent for path in sorted(runs.glob("*/*/checkpoints.manifest.json"))]
    finished = {f"{folder.parent.name}/{folder.name}": folder for folder in folders}
    there = f"{runs} holds {', '.join(finished)}" if finished else f"{runs} holds none, so train one first"
    if wanted is None:
        raise PipelineError(f"run, a finished run, is not set: add run=… to the command; {there}.")
    name = "/".join(Path(wanted).parts[-2:])
    found = [key for key in (name, f"{dataset}/{name}") if key in finished][:1]
    found = found or [key for key in finished if key.endswith(f"/{name}")]
    if len(found) > 1:
        raise PipelineError(f"run={wanted} is in several datasets: write one of {', '.join(found)}.")
    if not found:
        near = difflib.get_close_matches(name, [*finished, *(key.split("/")[1] for key in finished)], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise PipelineError(f"there is no finished run {wanted!r}{meant}; {there}.")
    return finished[found[0]]


def as_trained(cfg: DictConfig, run: FrozenRun) -> DictConfig:
    """The settings under which the run was trained; the rest as in this command."""
    settings = run.manifest["config"]
    trained = cfg.copy()
    trained.merge_with({"seed": settings["seed"], **{part: settings[part] for part in ("window", "trainer")}})
    trained.model = settings["model"]
    return trained


def learn(cfg: DictConfig, run: FrozenRun) -> Regimes:
    """The run's clusters: k-means on its embeddings again, which gives those of the report to the last bit."""
    from data import split, store
    from evaluation import assignment
    from evaluation.clustering import cluster

    held = store.open_store(run.embeddings.path)
    features, train = held["embedding"].values, held["split"].values == split.TRAIN
    seed = cfg.cluster.seed + run.manifest["seed"]
    clustering = cluster(features, train, k=cfg.cluster.k, n_init=cfg.cluster.n_init, seed=seed)
    missed = (held["squared_error"] / held["squared_anomaly"]).values
    return assignment.learn(features, missed, train, clustering, quantile=cfg.no_regime)


def attributes(cfg: DictConfig, run: FrozenRun, raw: dict[str, Any]) -> dict[str, Any]:
    """Where the days and the clusters come from, for the dataset; no time of day, so that it can be made again."""
    return {
        "source": f"{raw['attributes'].get('source', cfg.dataset.source)}; k-means clusters of {run.name}",
        "history": f"days of {cfg.dataset.name} assigned to the clusters of {run.name} by faconvlstm",
        "run": run.name,
        "run_digest": run.manifest["digest"],
        "embeddings_digest": run.embeddings.digest,
        "prepared_digest": run.manifest["inputs"]["prepared"],
        "raw_digest": raw_digest(raw),
        "clustering": json.dumps(
            {key: cfg.cluster[key] for key in CLUSTERING} | {"run_seed": run.manifest["seed"]}
        ),
        "versions": json.dumps(versions()),
    }


def tell(found: Assignment) -> None:
    """Logs how many days went where, and warns where many have no regime."""
    days = found.days()
    log.info("assign: %s", ", ".join(f"{name} {number} days" for name, number in days.items() if number))
    expected = found.regimes.share
    if found.no_regime_share > max(UNLIKE * expected, 0.05):
        log.warning(
            "%.0f %% of the days have no regime, against %.0f %% of the training days: these data are unlike those "
            "from which the clusters were learned.",
            *(100 * found.no_regime_share, 100 * expected),
        )


def say_what_the_numbers_mean(cfg: DictConfig, run: FrozenRun) -> None:
    """Says in which report the clusters are shown, or that there is none with these settings."""
    report = run.folder.parent / "report"
    manifest = read_manifest(report.with_name("report.manifest.json")) or {}
    shown = manifest.get("config", {}).get("cluster", {})
    if all(shown.get(key) == cfg.cluster[key] for key in CLUSTERING):
        log.info("Next: the clusters have the numbers of %s", report / "index.html")
    else:
        words = " ".join(f"cluster.{key}={cfg.cluster[key]}" for key in CLUSTERING)
        log.info(
            "Next: python -m pipeline.cluster_report with the settings of %s and %s shows these clusters",
            run.name,
            words,
        )


if __name__ == "__main__":
    command.run(assign)
