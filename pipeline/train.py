"""Stage 3: from the prepared store to a checkpoint, runs/<dataset>/<model>-<digest>-seed<n>/checkpoints/.

A run is known by its settings, so that another setting makes another run beside it. A killed run goes on from its
last checkpoint and ends with the weights of an undisturbed one. Several processes may train it: see docs/training.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pipeline import command, locks, processes, repair, tracking
from pipeline.artifacts import Artifact, read_manifest
from pipeline.config import plain
from pipeline.errors import PipelineError
from pipeline.prepare import require_prepared

log = logging.getLogger(__name__)

# where and how a run runs, which changes no more than rounding, does not make it another
MANNER = ("accelerator", "devices", "num_nodes", "accumulate", "compile", "checkpoint_minutes")
VERSION = 2  # raised when a run comes to be made from other settings than those of before


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The part of the configuration that decides a run, its seed apart."""
    found = {name: plain(cfg[name]) for name in ("model", "window", "trainer")}
    found["trainer"] = {key: value for key, value in found["trainer"].items() if key not in MANNER}
    return found


def run_artifact(cfg: DictConfig) -> Artifact:
    """The checkpoints that these settings ask for; the prepared store must be there."""
    inputs = {"prepared": require_prepared(cfg).digest}
    config = settings(cfg)
    variant = checkpoints(Path(), config, inputs).digest[:8]
    folder = Path(cfg.paths.runs) / cfg.dataset.name / f"{cfg.model.name}-{variant}-seed{cfg.seed}"
    return checkpoints(folder, config | {"seed": cfg.seed}, inputs)


def checkpoints(folder: Path, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Artifact:
    """The checkpoints of a run in its folder."""
    return Artifact("checkpoints", folder / "checkpoints", config, inputs, VERSION)


def require_run(cfg: DictConfig) -> Artifact:
    """The run's checkpoints, complete.

    Raises:
        PipelineError: if it has not been trained.
    """
    run = run_artifact(cfg)
    if not run.is_current():
        raise PipelineError(
            f"{cfg.model.name} with seed {cfg.seed} is not trained on {cfg.dataset.name} with these settings: run "
            f"{command.hint('train')}"
        )
    return run


def train(cfg: DictConfig) -> None:
    """Trains one model with one seed, unless that run is current."""
    if make(cfg):
        log.info("Next: %s", command.hint("embed"))


def make(cfg: DictConfig, **notes: Any) -> bool:
    """Trains one model with one seed, with these notes in its manifest; False where that run is current.

    Raises:
        PipelineError: if another command is at it.
    """
    run = run_artifact(cfg)
    if run.is_current():
        log.info("train: %s is current.", run.path.parent)
        return False
    if not processes.is_first():  # of those that train this run together
        _fit(cfg, run)
        return False
    with locks.holding(run.path):
        log.info("train: %s, seed %d, in %s", cfg.model.name, cfg.seed, run.path.parent)
        if read_manifest(run.manifest_path) is not None and run.path.exists():
            repair.set_aside(
                run.path
            )  # damaged, since they are not current; those of a killed run are gone on from
        run.manifest_path.unlink(missing_ok=True)
        started = time.time()
        results = _fit(cfg, run)
        curve = run.path.parent / "training.csv"
        run.complete(started, beside=[curve], seed=cfg.seed, model=cfg.model.name, results=results, **notes)
    log.info("train: made %s.", run.path)
    return True


def _fit(cfg: DictConfig, run: Artifact) -> dict[str, Any]:
    """Trains a run; what its manifest notes."""
    with processes.together(cfg):
        from pipeline import fitting

        with tracking.ended(cfg):
            return fitting.fit(cfg, require_prepared(cfg).path, run.path)


if __name__ == "__main__":
    command.run(train)
