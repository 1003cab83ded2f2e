"""The members of an ablation: a row's settings with one seed each; what is done of them, and doing the rest.

A member is known by the digest of its resolved settings and inputs, as every run is: one that is current is left as
it is, one that was broken goes on from its checkpoint, and rows that ask for the same run share it. What failed is
noted beside the runs under that digest, so that a table made later can say why.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline import command, config, embed, launching, locks, parent, prepare, train
from pipeline.artifacts import Artifact, digest, read_json
from pipeline.durable import write_text
from pipeline.errors import USER_ERRORS, PipelineError

log = logging.getLogger(__name__)

NOT_YET = "not run yet"


@dataclass(frozen=True)
class Member:
    """A row with one seed.

    Attributes:
        row: its label.
        seed: of the training.
        overrides: all that its settings are composed from.
        cfg: its settings; None where they cannot be.
        wrong: why not; empty where they can.
    """

    row: str
    seed: int
    overrides: tuple[str, ...]
    cfg: DictConfig | None = None
    wrong: str = ""

    @property
    def name(self) -> str:
        """For the reader."""
        return f"{self.row}, seed {self.seed}"

    @property
    def settings(self) -> DictConfig:
        """Its settings, where it has some."""
        if self.cfg is None:
            raise PipelineError(self.wrong)
        return self.cfg

    def prepared(self) -> Artifact:
        """The prepared store that it needs."""
        return prepare.prepared_artifact(self.settings)

    def run(self) -> Artifact | None:
        """Its checkpoints, where they and its embeddings are current."""
        if self.cfg is None or not self.prepared().is_current():
            return None
        run = train.run_artifact(self.settings)
        if not (run.is_current() and embed.embeddings_artifact(run).is_current()):
            return None
        locks.sweep(run.path.parent)
        return run

    def failure(self) -> str:
        """Why there is no run, in a sentence; empty where there is one."""
        if self.wrong:
            return self.wrong
        if self.run() is not None:
            return ""
        note = read_json(note_path(self.settings))
        return NOT_YET if note is None else str(note["reason"])


def plan(cfg: DictConfig) -> list[Member]:
    """All members of the experiment, seed by seed, so that a table made midway has all rows early.

    Raises:
        PipelineError: if the experiment itself is not as it must be.
    """
    rows, seeds = config.plain(cfg.ablation)["rows"], list(cfg.ablation.seeds)
    if cfg.ablation.reference not in rows:
        raise PipelineError(
            f"ablation.reference must be one of the rows: {', '.join(rows)}. Received: {cfg.ablation.reference}."
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise PipelineError(f"ablation.seeds must be one or more different numbers. Received: {seeds}.")
    return [_member(row, list(changes), seed) for seed in seeds for row, changes in rows.items()]


def _member(row: str, changes: list[str], seed: int) -> Member:
    overrides: tuple[str, ...] = tuple(changes)
    try:
        overrides = tuple(launching.put_after(launching.asked(), [*changes, f"seed={seed}"]))
        cfg = launching.composed(overrides)
        config.validate(cfg)
        prepare.prepared_artifact(cfg)  # the dataset's options are checked as well
    except (HydraException, OmegaConfBaseException) as error:
        return Member(row, seed, overrides, wrong=command.explain(error, list(overrides)))
    except USER_ERRORS as error:
        return Member(row, seed, overrides, wrong=str(error))
    return Member(row, seed, overrides, cfg)


def note_path(cfg: DictConfig) -> Path:
    """Where it is noted that these settings' run failed."""
    known = digest([train.settings(cfg), cfg.seed, prepare.prepared_artifact(cfg).digest])
    return Path(cfg.paths.runs) / cfg.dataset.name / "ablation" / "failures" / f"{known[:16]}.json"


def make(members: Sequence[Member], experiment: str) -> None:
    """Makes what is not current of all members, each as a job of Hydra's launcher; failures are noted.

    Stores are prepared first, one after another, since several members commonly share one.
    """
    left = {
        train_key(member): member for member in members if member.cfg is not None and member.run() is None
    }
    log.info("ablation: %s, %d rows and seeds, %d runs to make.", experiment, len(members), len(left))
    ready = [member for member in left.values() if _prepared(member)]
    if not ready:
        return
    jobs = [
        [*member.overrides, f"ablation.job={_quoted(f'{place} of {len(ready)}, {member.name}')}"]
        for place, member in enumerate(ready, start=1)
    ]
    try:
        launching.launch(job, jobs)
    except Exception as error:  # the launcher's own: a process ended by the system, a cluster that refuses
        ended = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        log.exception("ablation: the launcher ended")
        for member in ready:
            if member.run() is None and not note_path(member.settings).exists():
                note(member.settings, f"not finished, since the launcher ended ({ended})")


def train_key(member: Member) -> str:
    """What members that share a run have in common."""
    return note_path(member.settings).stem


def _prepared(member: Member) -> bool:
    """Prepares the store that a member needs, if need be; notes it where that fails."""
    if member.prepared().is_current():
        return True
    try:
        return prepare.make(member.settings)
    except USER_ERRORS as error:
        note(member.settings, str(error))
        log.warning("ablation: %s failed: %s", member.name, error)
        return False


def job(cfg: DictConfig) -> None:
    """Trains and embeds one member; whatever goes wrong is noted and ends this member alone."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", stream=sys.stdout
    )  # in a process of its own
    if launching.in_a_pool():
        parent.end_with_it()
    path, started = note_path(cfg), time.monotonic()
    log.info("ablation: %s …", cfg.ablation.job)
    try:
        with locks.holding(train.run_artifact(cfg).path.parent):
            train.make(cfg, experiment=command.choice("experiment"))
            embed.make(cfg)
    except Exception as error:
        known = isinstance(error, USER_ERRORS)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        note(cfg, reason, "" if known else traceback.format_exc())
        log.log(
            logging.WARNING if known else logging.ERROR, "ablation: %s failed: %s", cfg.ablation.job, reason
        )
        return
    path.unlink(missing_ok=True)
    log.info("ablation: %s done in %.0f s.", cfg.ablation.job, time.monotonic() - started)


def note(cfg: DictConfig, reason: str, trace: str = "") -> None:
    """Notes that these settings' run failed."""
    held: dict[str, Any] = {"reason": " ".join(reason.split()), "traceback": trace}
    write_text(note_path(cfg), json.dumps(held, indent=1, ensure_ascii=False) + "\n")


def _quoted(text: str) -> str:
    """A text as the value of a Hydra override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
