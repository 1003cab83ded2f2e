"""Several processes that train one run: which of them this is, and how Lightning starts the others.

On one machine Lightning starts them itself, with the words of the command; where SLURM or torchrun starts them, each
says in its environment which it is. The first one writes: checkpoints, curve, manifest and log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig

from pipeline.errors import PipelineError

RANKS = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "SLURM_PROCID",
)  # as the starters of processes name them
GIVEN = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # that Lightning sets


def is_first() -> bool:
    """Whether this is the process that writes; the only one is."""
    return all(int(os.environ.get(name) or 0) == 0 for name in RANKS)


def count(cfg: DictConfig) -> int:
    """How many processes train a run.

    Raises:
        PipelineError: if a step's windows do not suffice for them.
    """
    processes = cfg.trainer.devices * cfg.trainer.num_nodes
    if cfg.trainer.batch_size < processes * cfg.trainer.accumulate:
        raise PipelineError(
            f"trainer.batch_size is the windows of a step, over trainer.devices * trainer.num_nodes = {processes} "
            f"processes and trainer.accumulate = {cfg.trainer.accumulate} batches of each, and "
            f"{cfg.trainer.batch_size} is too few: raise it or lower them."
        )
    return int(processes)


@contextmanager
def together(cfg: DictConfig) -> Iterator[None]:
    """Around the training of one run: other processes that are started get the words of this run alone.

    Of a multirun they would get all, and a next run would find the environment and the group of this one.
    """
    if count(cfg) == 1:
        yield
        return
    import torch.distributed
    from hydra.core.hydra_config import HydraConfig

    words, environment = sys.argv, {name: os.environ.get(name) for name in GIVEN}
    if HydraConfig.initialized():
        sys.argv = [words[0], *HydraConfig.get().overrides.task]
    try:
        yield
    finally:
        sys.argv = words
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
