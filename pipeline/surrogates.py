"""Holds the clusters of trained runs, and of EOFs, against surrogates that went through the same frozen encoder.

A helper of cluster_report. One artifact an encoder, runs/<dataset>/surrogates-<digest>/: while it is being made,
every finished surrogate is a line of found.jsonl, so that a killed comparison goes on where it was; in the end
surrogates.json. The work is spread over processes with one thread each, or over a dask cluster where
compute.scheduler names one. A surrogate's numbers depend on its kind, number and seed alone, hence neither on the
order of the work nor on who does it.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from data.places import remove
from pipeline import compute
from pipeline.artifacts import Artifact
from pipeline.durable import write_text
from pipeline.errors import PipelineError
from pipeline.progress import track

log = logging.getLogger(__name__)

EOF = "eof"
RECORD = ("record", 0)  # the real one, scored as the surrogates are
MOST_PROCESSES = 16  # each holds the training period in memory
Task = tuple[str, int]  # kind and number of a surrogate
Work = tuple[Task, list[str]]  # and the labels of the encoders that it is wanted of
Scores = dict[str, Any]  # by label


class TrainedRun(Protocol):
    """A finished run, as cluster_report knows it."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Of its checkpoints."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, the seed apart."""

    @property
    def seed(self) -> int:
        """Of its training."""


@dataclass(frozen=True)
class Contestant:
    """An encoder with what it takes to build it in another process.

    Attributes:
        label: of the model.
        artifact: where its numbers go.
        size: components of the EOF encoder; 0 for a trained one.
        cfg: settings of the trained run; None for the EOF encoder.
        checkpoint: of the trained run.
        seed: of the trained run; None for the EOF encoder.
    """

    label: str
    artifact: Artifact
    size: int = 0
    cfg: DictConfig | None = None
    checkpoint: Path | None = None
    seed: int | None = None

    @property
    def journal(self) -> Path:
        """The surrogates that are done while others are not."""
        return self.artifact.path / "found.jsonl"

    @property
    def result(self) -> Path:
        """All of them."""
        return self.artifact.path / "surrogates.json"


def against_chance(
    cfg: DictConfig, prepared: Artifact, shown: Mapping[str, TrainedRun], eof_size: int | None
) -> dict[str, dict[str, Any]]:
    """Whether the clusters of each model are more than chance; made where not current.

    Args:
        cfg: all settings; cluster.surrogates of each kind, 0 for no comparison.
        prepared: the prepared store.
        shown: the run to take, by the label of its model.
        eof_size: components of the EOF encoder, to which "eof" stands; None leaves it out.

    Returns:
        by label, what metrics.json says under "chance".
    """
    if not cfg.cluster.surrogates:
        return {}
    contestants = _contestants(cfg, prepared, shown, eof_size)
    missing = [one for one in contestants if not one.artifact.is_current()]
    if missing:
        _make(cfg, prepared.path, missing)
    return {one.label: _chance(cfg, one) for one in contestants}


def _contestants(
    cfg: DictConfig, prepared: Artifact, shown: Mapping[str, TrainedRun], eof_size: int | None
) -> list[Contestant]:
    found = []
    for label, run in shown.items():
        artifact = _artifact(cfg, prepared, {"run": run.manifest["digest"]})
        checkpoint = run.folder / "checkpoints" / "best.ckpt"
        found.append(Contestant(label, artifact, cfg=as_run(cfg, run), checkpoint=checkpoint, seed=run.seed))
    if eof_size is not None:
        found.append(Contestant(EOF, _artifact(cfg, prepared, {"eof": eof_size}), size=eof_size))
    return found


def as_run(cfg: DictConfig, run: TrainedRun) -> DictConfig:
    """The settings of this command with those that a run was trained with."""
    found = cfg.copy()
    found.merge_with({"seed": run.seed, **{part: run.settings[part] for part in ("window", "trainer")}})
    found.model = run.settings["model"]
    return found


def _artifact(cfg: DictConfig, prepared: Artifact, encoder: dict[str, Any]) -> Artifact:
    from evaluation import nulls

    config = {
        "encoder": encoder,
        "surrogates": cfg.cluster.surrogates,
        "ks": _ks(cfg),
        "starts": nulls.STARTS,
        "seed": cfg.cluster.seed,
    }
    inputs = {"prepared": prepared.digest}
    name = Artifact("surrogates", Path(), config, inputs).digest[:8]
    return Artifact(
        "surrogates", Path(cfg.paths.runs) / cfg.dataset.name / f"surrogates-{name}", config, inputs
    )


def _ks(cfg: DictConfig) -> list[int]:
    from evaluation import nulls

    return sorted({*nulls.SWEEP, cfg.cluster.k})


def _make(cfg: DictConfig, prepared: Path, contestants: list[Contestant]) -> None:
    """Scores the surrogates that are not yet done for all contestants, and completes their artifacts."""
    from evaluation import nulls

    started = time.time()
    tasks = [RECORD, *nulls.plan(cfg.cluster.surrogates)]
    done = {one.label: read_journal(one.journal) for one in contestants}
    wanted = {task: [one.label for one in contestants if task not in done[one.label]] for task in tasks}
    left = [task for task in tasks if wanted[task]]
    names = ", ".join(one.label for one in contestants)
    log.info("surrogates: %s against chance, %d of %d records to score …", names, len(left), len(tasks))
    by_label = {one.label: one for one in contestants}
    options = (prepared, contestants, _ks(cfg), cfg.cluster.seed, cfg.cluster.memory)
    for (task, _), found in _scored(options, [(task, wanted[task]) for task in left], cfg.compute):
        for label, scores in found.items():
            _append(by_label[label].journal, task, scores)
            done[label][task] = scores
    for one in contestants:
        _complete(one, done[one.label], tasks, started)


def _scored(options: tuple[Any, ...], work: list[Work], where: DictConfig) -> Iterator[tuple[Work, Scores]]:
    """Each piece of work with its scores by label, in order."""
    processes = min(where.workers or compute.cores(), MOST_PROCESSES, len(work))
    if not processes:
        return
    if where.scheduler == "threads":
        yield from _in_processes(options, work, processes)
        return
    with compute.workers(where.scheduler, processes) as workers:
        results = workers.each(_work_on_cluster, work, uuid.uuid4().hex, options)
        yield from track(results, "surrogates")


def _in_processes(
    options: tuple[Any, ...], work: list[Work], processes: int
) -> Iterator[tuple[Work, Scores]]:
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=options)
    try:
        results = pool.map(_work, work)
        for piece in track(work, "surrogates"):
            yield piece, next(results)
    except BrokenProcessPool as error:
        raise PipelineError(
            "a process that scored surrogates was ended by the system, most likely for want of memory: run the same "
            "command again to go on, with less else running, or set cluster.surrogates=0."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(*options: Any) -> None:
    from pipeline import scoring  # in the processes alone: it imports torch

    scoring.begin(*options)


def _work(work: Work) -> Scores:
    from pipeline import scoring

    return scoring.work(*work)


def _work_on_cluster(token: str, options: tuple[Any, ...], work: Work) -> Scores:
    from pipeline import scoring

    return scoring.work_on_cluster(token, options, *work)


def read_journal(path: Path) -> dict[Task, dict[str, Any]]:
    """What was scored before; a last line that was cut off when the work was killed is removed from the file."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        write_text(path, whole.decode())
    lines = [json.loads(line) for line in whole.decode().splitlines()]
    return {(line["kind"], line["number"]): line["scores"] for line in lines}


def _append(path: Path, task: Task, scores: dict[str, Any]) -> None:
    """Adds a line durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, number = task
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "number": number, "scores": scores}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _complete(
    one: Contestant, done: Mapping[Task, dict[str, Any]], tasks: list[Task], started: float
) -> None:
    """Writes all numbers in order, then the manifest; the journal is needed no more."""
    found: dict[str, Any] = {
        "record": done[RECORD]["scores"],
        "about": done[RECORD]["about"],
        "surrogates": {},
    }
    for kind, number in tasks[1:]:
        found["surrogates"].setdefault(kind, []).append(done[kind, number]["scores"])
    write_text(one.result, json.dumps(found) + "\n")
    one.artifact.complete(started, files=[one.result])
    remove(one.journal)


def _chance(cfg: DictConfig, one: Contestant) -> dict[str, Any]:
    from evaluation import nulls

    found = json.loads(one.result.read_text(encoding="utf-8"))
    return {
        "surrogates": {kind: len(scores) for kind, scores in found["surrogates"].items()},
        **found["about"],
        "starts": nulls.STARTS,
        **({} if one.seed is None else {"seed": one.seed}),
        **nulls.compare(found["record"], found["surrogates"], cfg.cluster.k),
    }
