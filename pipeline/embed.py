"""Stage 4: from a checkpoint to embeddings, runs/<dataset>/<run>/embeddings.zarr: one vector a time step."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from pipeline import command, tracking
from pipeline.artifacts import Artifact
from pipeline.prepare import require_prepared
from pipeline.train import require_run, run_artifact

log = logging.getLogger(__name__)

VERSION = 2  # raised when the same checkpoint comes to give other embeddings, or more is told of it


def embeddings_artifact(run: Artifact) -> Artifact:
    """The embeddings of a run's best checkpoint."""
    return Artifact(
        "embeddings", run.path.parent / "embeddings.zarr", {}, {"checkpoints": run.digest}, VERSION
    )


def embed(cfg: DictConfig) -> None:
    """Makes the embeddings of one run, unless they are current."""
    if make(cfg):
        log.info("Next: %s", command.hint("cluster_report"))


def make(cfg: DictConfig) -> bool:
    """Makes the embeddings of one run; False where they are current."""
    run = require_run(cfg)
    embeddings = embeddings_artifact(run)
    if embeddings.is_current():
        log.info("embed: %s is current.", embeddings.path)
        return False
    from pipeline import encoding

    log.info("embed: %s …", run.path.parent.name)
    with embeddings.writing() as (part, _):
        encoding.write(cfg, require_prepared(cfg).path, run.path / "best.ckpt", part)
    tracking.track_embeddings(cfg, run.path.parent, require_prepared(cfg).path)
    log.info("embed: made %s.", embeddings.path)
    return True


def embed_untrained(cfg: DictConfig) -> Path:
    """The embeddings of the same network before training, made if they are not current: a baseline."""
    run = run_artifact(cfg)
    folder = run.path.parent
    untrained = Artifact(
        "embeddings", folder / "untrained.zarr", {"trained": False}, {"checkpoints": run.digest}, VERSION
    )
    if not untrained.is_current():
        from pipeline import encoding

        log.info("embed: %s before training …", folder.name)
        with untrained.writing() as (part, _):
            encoding.write(cfg, require_prepared(cfg).path, None, part)
    return untrained.path


if __name__ == "__main__":
    command.run(embed)
