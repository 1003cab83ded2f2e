"""A run that several processes train, or one in several batches a step: it is the run of one process."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import processes
from pipeline.artifacts import read_manifest
from tests.pipeline.conftest import SMALL, Outcome

ROOT = Path(__file__).resolve().parents[2]
Stage = Callable[..., Outcome]
TWO = ("trainer.devices=2", "trainer.batch_size=7", "window.stride=12")  # 7: no step is shared evenly


@pytest.fixture
def ready(small: Stage) -> Stage:
    small("download")
    small("prepare")
    return small


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs" / "demo").glob("faconvlstm-*-seed0")
    return run


def curve(run: Path) -> np.ndarray:
    with (run / "training.csv").open(encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return np.array([[float(value) for value in row.values()] for row in rows])


def weights(run: Path) -> np.ndarray:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return np.concatenate([value.numpy().ravel() for value in state.values()])


def begin(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    paths = (f"paths.store={folder / 'store'}", f"paths.runs={folder / 'runs'}")
    command = [sys.executable, "-m", "pipeline.train", *SMALL, *paths, *TWO, *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_two_processes_killed_and_begun_again_learn_what_one_does(ready: Stage, tmp_path: Path) -> None:
    ready("train", *TWO, "trainer.devices=1")
    expected, values = curve(run_of(tmp_path)), weights(run_of(tmp_path))
    run_of(tmp_path).rename(tmp_path / "one")

    first = begin(tmp_path, "trainer.checkpoint_minutes=1e-9")
    wait_for_middle(tmp_path, first)
    helpers = [int(word) for word in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()]
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert helpers
    wait_for_end(helpers)

    again = begin(tmp_path)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err.decode()
    assert out.decode().count("going on within epoch") == 1  # one process speaks
    assert out.decode().count("train: made") == 1
    np.testing.assert_allclose(curve(run_of(tmp_path)), expected, rtol=2e-5)
    np.testing.assert_allclose(weights(run_of(tmp_path)), values, atol=2e-4)
    manifest = read_manifest(run_of(tmp_path) / "checkpoints.manifest.json")
    assert manifest is not None
    assert manifest["results"]["epochs"] == 2
    assert sorted(path.name for path in run_of(tmp_path).rglob("*")) == [
        *("best.ckpt", "checkpoints", "checkpoints.manifest.json", "last.ckpt", "training.csv"),
    ]
    assert "is current" in ready("train", *TWO, "trainer.devices=1").out  # the same run


def wait_for_middle(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not list((folder / "runs").rglob("middle.ckpt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process outlived the one that started it"
        time.sleep(0.1)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_step_in_several_batches_learns_what_one_batch_does(ready: Stage, tmp_path: Path) -> None:
    seven = ("trainer.batch_size=7", "window.stride=12")
    ready("train", *seven)
    expected, values = curve(run_of(tmp_path)), weights(run_of(tmp_path))
    run_of(tmp_path).rename(tmp_path / "one")
    ready("train", *seven, "trainer.accumulate=3")
    np.testing.assert_allclose(curve(run_of(tmp_path)), expected, rtol=2e-5)
    np.testing.assert_allclose(weights(run_of(tmp_path)), values, atol=2e-4)


def test_a_step_too_small_to_be_shared_is_refused(ready: Stage, stage: Stage) -> None:
    outcome = stage("train", *SMALL, "trainer.devices=2", "trainer.accumulate=2", "trainer.batch_size=3")
    assert outcome.status == 2
    assert "= 2 processes and trainer.accumulate = 2 batches of each, and 3 is too few" in outcome.err


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
    ],
)
def test_the_first_process_is_known_from_what_started_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool
) -> None:
    for name in processes.RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.is_first() == first
