"""The same seed gives the same weights and embeddings, bit for bit, in fresh processes with the same threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.road import ROOT, WORDS, content

pytestmark = pytest.mark.faults
TRAIN_AND_EMBED = """
import sys
from hydra.core.global_hydra import GlobalHydra
from pipeline import command, embed, train
command.run(train.train)
GlobalHydra.instance().clear()
command.run(embed.embed)
"""


def made_afresh(folder: Path, threads: int) -> dict[str, str]:
    """What a process of its own makes of a prepared record."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", TRAIN_AND_EMBED, *WORDS]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: text for name, text in content(folder).items() if name.startswith("runs/")}
    assert any("embeddings.zarr/embedding/c" in name for name in found)
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_two_fresh_processes_make_the_same_bits(before: Callable[[str], Path], threads: int) -> None:
    first = made_afresh(before("train"), threads)
    assert made_afresh(before("train"), threads) == first
