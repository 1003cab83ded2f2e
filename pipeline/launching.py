"""Jobs with settings of their own, through Hydra's launcher: one after another, in processes, or on a cluster.

`hydra/launcher=basic` (the default) runs them one after another in this process, `joblib` in processes of this
machine, `submitit_slurm` and `submitit_local` each in a job of its own. A Hydra multirun runs all combinations of
some values; here every job's settings are given, which is all that differs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)

Task = Callable[[DictConfig], Any]


def asked() -> list[str]:
    """The settings that the command line gave."""
    return list(HydraConfig.get().overrides.task)


def composed(overrides: Sequence[str]) -> DictConfig:
    """All settings as a job with these overrides will have them.

    Raises:
        HydraException, OmegaConfBaseException: if they cannot be read.
    """
    cfg = _loader().load_configuration("config", [*_of_hydra(), *overrides], RunMode.RUN)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def put_after(first: Sequence[str], later: Sequence[str]) -> list[str]:
    """Overrides followed by later ones; of what both set, the later one alone is kept.

    Hydra takes one choice of a group only.

    >>> put_after(["model=convlstm", "seed=1"], ["model=faconvlstm"])
    ['seed=1', 'model=faconvlstm']
    """
    parser = OverridesParser.create()
    taken = {parser.parse_override(word).get_key_element() for word in later}
    return [word for word in first if parser.parse_override(word).get_key_element() not in taken] + [*later]


def launch(task: Task, jobs: Sequence[Sequence[str]]) -> None:
    """Runs the task once for each list of overrides, by the launcher that the command chose.

    Args:
        task: a function of a module, so that another process can import it; tells of its mistakes itself.
        jobs: overrides of each, all that the command line gave included.
    """
    master = _loader().load_configuration("config", asked() + _of_hydra(), RunMode.MULTIRUN)
    context = HydraContext(config_loader=_loader(), callbacks=Callbacks(master))
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=task, config=master
    )
    # joblib ends its processes at an interrupt; what then clears up after them is not to warn that it does
    quiet = "ignore:resource_tracker:UserWarning"
    if quiet not in (told := os.environ.get("PYTHONWARNINGS", "")):
        os.environ["PYTHONWARNINGS"] = f"{told},{quiet}".lstrip(",")
    launcher.launch([list(job) for job in jobs], initial_job_idx=0)


def in_a_pool() -> bool:
    """Whether this job runs in a process of joblib's, which lives as long as the one that started it."""
    return "joblib" in str(HydraConfig.get().launcher._target_)


def _of_hydra() -> list[str]:
    return [word for word in HydraConfig.get().overrides.hydra if not word.startswith("hydra.mode=")]


def _loader() -> Any:
    return GlobalHydra.instance().config_loader()
