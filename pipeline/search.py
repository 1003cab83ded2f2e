"""Looks for settings that do better in the validation period: runs/<dataset>/search/<name>/.

`search=<name>` chooses a file of conf/search: the settings to vary, how many trials, and by what they are judged. The
trials see a copy of the prepared store that ends before the test period: nothing of it can decide anything. Optuna
proposes (tree-structured Parzen estimator); its journal lies beside the trials, so that a killed search goes on where
it was, a broken trial from its checkpoint, and ends as an undisturbed one.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline import command, config, launching, locks, train
from pipeline.artifacts import Artifact, digest
from pipeline.durable import write_text
from pipeline.errors import USER_ERRORS, PipelineError
from pipeline.prepare import require_prepared

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {
    "validation_loss": "minimize",
    "explained_variance": "maximize",
    "agreement": "maximize",
}
STARTUP = 8  # trials at random before the first proposal


def search(cfg: DictConfig) -> None:
    """Tries what is left to try, and says which settings did best.

    Raises:
        PipelineError: if no search is chosen, its space is not as it must be, or no trial succeeds.
    """
    name = command.choice("search")
    if name is None or cfg.search is None:
        known = ", ".join(command.choices("search"))
        raise PipelineError(f"no search is chosen: add search=… to the command, one of {known}.")
    if importlib.util.find_spec("optuna") is None:
        raise PipelineError("the search needs Optuna: pip install '.[sweeps]', which make setup does.")
    space = {key: distribution(key, held) for key, held in config.plain(cfg.search)["space"].items()}
    if not space:
        raise PipelineError("search.space names no setting to vary.")
    folder = Path(cfg.paths.runs) / cfg.dataset.name / "search" / name
    with locks.holding(folder):
        seen = unseen_removed(cfg, folder)
        study = open_study(cfg, folder, seen)
        for trial in study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING":  # of a search that was killed
                attempt(cfg, study, trial.number, trial.params, seen)
        while len(study.get_trials(deepcopy=False)) < cfg.search.trials:
            proposed = ask(cfg, study, space)
            attempt(cfg, study, proposed.number, proposed.params, seen)
        conclude(cfg, study, folder)


def distribution(key: str, held: Mapping[str, Any]) -> optuna.distributions.BaseDistribution:
    """What Optuna may propose for a setting.

    Raises:
        PipelineError: if it is neither a range nor a choice, or the setting decides what the fields are.
    """
    from optuna import distributions

    if not key.startswith(("model.", "trainer.", "window.stride")):
        raise PipelineError(
            f"search.space may vary settings of model and trainer, and window.stride: all trials share one record. "
            f"Received: {key}."
        )
    low, high, step, log_scale = (held[name] for name in ("low", "high", "step", "log"))
    try:
        if held["choices"] and low is None and high is None:
            return distributions.CategoricalDistribution(held["choices"])
        if low is None or high is None or held["choices"]:
            raise ValueError("give low and high, or choices")
        if step is not None and all(float(value).is_integer() for value in (low, high, step)):
            return distributions.IntDistribution(int(low), int(high), log=log_scale, step=int(step))
        return distributions.FloatDistribution(low, high, log=log_scale, step=step)
    except ValueError as error:
        raise PipelineError(f"search.space, {key}: {str(error).rstrip('.')}.") from None


def unseen_removed(cfg: DictConfig, folder: Path) -> Artifact:
    """A copy of the prepared store up to the day before the test period, made if need be."""
    prepared = require_prepared(cfg)
    seen = Artifact("seen", folder / "seen.zarr", {"until": "test"}, {"prepared": prepared.digest})
    if not seen.is_current():
        from data import split, store

        whole = store.open_store(prepared.path)
        first = int((whole["split"].values == split.TEST).argmax())
        log.info("search: copying the record up to the test period …")
        with seen.writing() as (part, _):
            store.write(whole.isel(time=slice(0, first)), part)
    return seen


def open_study(cfg: DictConfig, folder: Path, seen: Artifact) -> optuna.Study:
    """The study of these settings in the folder's journal; other settings begin another one there."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    held = config.plain(cfg.search)
    what = {key: held[key] for key in ("seed", "objective", "space")}
    known = digest([what, train.settings(cfg), cfg.seed, seen.digest])[:12]
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        study_name=known,
        direction=DIRECTIONS[cfg.search.objective],
        load_if_exists=True,
    )


def ask(cfg: DictConfig, study: optuna.Study, space: dict[str, Any]) -> optuna.Trial:
    """The next trial; its sampler is seeded by its number, so that a killed search proposes as an undisturbed one."""
    import optuna

    number = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=cfg.search.seed + number, n_startup_trials=STARTUP)
    return study.ask(fixed_distributions=space)


def attempt(
    cfg: DictConfig, study: optuna.Study, number: int, params: Mapping[str, Any], seen: Artifact
) -> None:
    """Trains with the proposed settings and tells the study how it went; a trial that fails ends alone."""
    from optuna.trial import TrialState

    words = changes(params)
    log.info("search: trial %d of %d: %s", number + 1, cfg.search.trials, " ".join(words))
    if len(params) < len(cfg.search.space):  # killed while it was proposed
        study.tell(number, state=TrialState.FAIL)
        return
    try:
        trial_cfg = launching.composed(launching.put_after(launching.asked(), words))
        config.validate(trial_cfg)
        value = judged(trial_cfg, seen)
    except (HydraException, OmegaConfBaseException) as error:
        reason = command.explain(error, words)
    except USER_ERRORS as error:
        reason = str(error)
    except ArithmeticError as error:
        reason = f"the loss is not finite ({error})"
    else:
        study.tell(number, value)
        log.info("search: trial %d: %s %.6g", number + 1, cfg.search.objective, value)
        return
    log.warning("search: trial %d failed: %s", number + 1, reason)
    study.tell(number, state=TrialState.FAIL)


def judged(cfg: DictConfig, seen: Artifact) -> float:
    """The objective of one run, trained on the seen part of the record unless that is done."""
    config_of_run = train.settings(cfg) | {"seed": cfg.seed}
    known = Artifact("checkpoints", Path(), config_of_run, {"seen": seen.digest}).digest[:12]
    folder = seen.path.parent / "trials" / f"{cfg.model.name}-{known}"
    run = Artifact("checkpoints", folder / "checkpoints", config_of_run, {"seen": seen.digest})
    if not run.is_current():
        from pipeline import fitting

        started = time.time()
        results = fitting.fit(cfg, seen.path, run.path)
        run.complete(started, seed=cfg.seed, model=cfg.model.name, results=results)
    results = (run.manifest() or {})["results"]
    if cfg.search.objective == "validation_loss":
        return float(results["best_validation_loss"])
    from pipeline import objectives

    return objectives.of_run(cfg, seen.path, run.path / "best.ckpt")


def changes(params: Mapping[str, Any]) -> list[str]:
    """Proposed settings as overrides."""
    return [f"{key}={value}" for key, value in params.items()]


def conclude(cfg: DictConfig, study: optuna.Study, folder: Path) -> None:
    """Writes trials.csv and says what did best.

    Raises:
        PipelineError: if no trial succeeded.
    """
    trials = study.get_trials(deepcopy=False)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    keys = list(cfg.search.space)
    writer.writerow(["trial", "state", cfg.search.objective, *keys])
    for trial in trials:
        value = trial.value if trial.value is not None else ""
        writer.writerow(
            [trial.number, trial.state.name.lower(), value, *(trial.params.get(key, "") for key in keys)]
        )
    write_text(folder / "trials.csv", buffer.getvalue())
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        raise PipelineError(f"none of the {len(trials)} trials succeeded: the log above says why of each.")
    best = study.best_trial
    words = [word for word in launching.asked() if not word.startswith("search")] + changes(best.params)
    log.info(
        "search: best of %d trials, %s %.6g. All are in %s.",
        len(trials),
        cfg.search.objective,
        best.value,
        folder,
    )
    log.info("Next: %s", shlex.join(["python", "-m", "pipeline.train", *words]))


if __name__ == "__main__":
    command.run(search)
