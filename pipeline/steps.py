"""What a training step of each row of an ablation takes: memory, in a process of its own, and time, side by side.

runs/<dataset>/ablation/<experiment>-steps.json, all on the CPU. Memory is by how much the resident set rises above
what it was before the step, so that neither the libraries nor the record count; it needs a system that tells the peak
of a process (Linux). Time is taken in rounds, in each of which every row makes a step, so that whatever else the
machine does meets all rows alike.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline import parent
from pipeline.artifacts import Artifact, digest
from pipeline.config import plain
from pipeline.durable import write_text
from pipeline.prepare import require_prepared

log = logging.getLogger(__name__)

ROUNDS = 9
NEEDED = ("model", "window", "trainer")
PRELOADED = ["pipeline.fitting", "models.cost", "data.store"]


def artifact(experiment: str, rows: Mapping[str, DictConfig]) -> Artifact:
    """What was measured of rows with these settings, one or more."""
    first = next(iter(rows.values()))
    config = {row: [_task(cfg), require_prepared(cfg).digest] for row, cfg in rows.items()}
    folder = Path(first.paths.runs) / first.dataset.name / "ablation"
    return Artifact("steps", folder / f"{experiment}-steps.json", {"rounds": ROUNDS, "rows": config})


def make(experiment: str, rows: Mapping[str, DictConfig]) -> None:
    """Measures the steps of the rows, unless that is done; rows of the same step share what is measured."""
    found = artifact(experiment, rows)
    if found.is_current():
        return
    log.info("ablation: measuring a training step of %d rows …", len(rows))
    started = time.time()
    tasks, owner = {}, {}
    for row, cfg in rows.items():
        task = _task(cfg) | {"prepared": str(require_prepared(cfg).path)}
        owner[row] = digest(task)
        tasks[owner[row]] = task
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    memory: dict[str, int] = {}
    for known, task in tasks.items():
        with ProcessPoolExecutor(
            1, context
        ) as pool:  # a new one each: what one has taken would hide another's
            try:
                size = pool.submit(measure_memory, task).result()
            except BrokenProcessPool:
                log.warning("ablation: the memory of a step cannot be measured: its process was ended.")
                size = None
        if size is not None:
            memory[known] = size
    with ProcessPoolExecutor(1, context, parent.serve) as pool:
        seconds = pool.submit(measure_seconds, tasks).result()
    held = {
        "memory": {row: memory[known] for row, known in owner.items() if known in memory},
        "seconds": {row: seconds[known] for row, known in owner.items()},
    }
    write_text(found.path, json.dumps(held) + "\n")
    found.complete(started)


def read(experiment: str, rows: Mapping[str, DictConfig]) -> dict[str, Any]:
    """Bytes and seconds by row; nothing where they are not measured."""
    found = artifact(experiment, rows) if rows else None
    if found is None or not found.is_current():
        return {"memory": {}, "seconds": {}}
    return dict(json.loads(found.path.read_text(encoding="utf-8")))


def measure_memory(task: dict[str, Any]) -> int | None:
    """Takes a step on one window, to have all libraries at work, then the one on a whole batch that is measured."""
    from models import cost

    if not cost.memory_is_told():
        return None
    module, batch = _built(task)
    cost.train_step(module, {name: held[:1] for name, held in batch.items()})
    module, batch = _built(task)
    return cost.resident_rise(lambda: cost.train_step(module, batch))


def measure_seconds(tasks: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Seconds of a step in each round, by row; the first round is not counted."""
    from models import cost

    built = {row: _built(task) for row, task in tasks.items()}
    seconds: dict[str, list[float]] = {row: [] for row in tasks}
    for _ in range(ROUNDS + 1):
        for row, (module, batch) in built.items():
            started = time.perf_counter()
            cost.train_step(module, batch)
            seconds[row].append(time.perf_counter() - started)
    return {row: held[1:] for row, held in seconds.items()}


def _task(cfg: DictConfig) -> dict[str, Any]:
    """The settings on which a step depends, as plain values."""
    found = {name: plain(cfg[name]) for name in NEEDED}
    return found | {"seed": 0}


def _built(task: dict[str, Any]) -> tuple[Any, Any]:
    """The module and its first batch."""
    from data import store
    from pipeline import fitting

    fitting.quieten()
    cfg = OmegaConf.create(task)
    cfg.trainer.devices = 1
    prepared = store.open_store(Path(cfg.prepared))
    return fitting.build_module(cfg, prepared), next(
        iter(fitting.datamodule(cfg, prepared).train_dataloader())
    )
