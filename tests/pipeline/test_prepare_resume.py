"""Prepare killed at any moment, and prepare on any number of workers: always the same bytes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from data import fields, passes, store
from pipeline import accounts, compute
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
ROOT = Path(__file__).resolve().parents[2]
STEP = 4 * 16 * 24  # bytes of a variable of the small record
SIZES: list[tuple[Any, str, float]] = [
    (fields, "BLOCK_BYTES", 30 * STEP),
    (passes, "SPAN_BYTES", 60 * STEP),
    (store, "CHUNK_BYTES", 60 * STEP),
    (store, "SHARD_BYTES", 60 * STEP),
    (accounts, "SECONDS_BETWEEN_SAVES", 0.0),
]
DRIVER = """
import data.fields, data.passes, data.store, pipeline.accounts
{sizes}
from pipeline import command, prepare
command.run(prepare.prepare)
"""


@pytest.fixture
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which the small record makes many tasks in both passes."""
    for module, name, value in SIZES:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def prepare(small: Stage, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage on the small record, which is downloaded once for all tests."""
    kept = tmp_path_factory.getbasetemp() / "small-record"
    if not kept.exists():
        small("download")
        shutil.copytree(tmp_path / "store", kept)
    shutil.copytree(kept, tmp_path / "store", dirs_exist_ok=True)
    return partial(small, "prepare")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of the one prepared store."""
    (path,) = (folder / "store" / "demo").glob("prepared-*.zarr")
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def without(folder: Path) -> None:
    for manifest in (folder / "store" / "demo").glob("prepared-*.manifest.json"):
        manifest.unlink()


def killed(folder: Path, enough: Callable[[], bool], *settings: str) -> bool:
    """Starts the stage in a process of its own and kills it as soon as `enough`; whether it was still at work."""
    sizes = "\n".join(f"{module.__name__}.{name} = {value}" for module, name, value in SIZES)
    paths = (f"paths.store={folder / 'store'}", f"paths.runs={folder / 'runs'}")
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(sizes=sizes), *paths, *SMALL, *settings],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not enough():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def progress(folder: Path) -> tuple[int, int]:
    """Variables that are fitted, and regions that are written, of a store under way."""
    part = next((folder / "store" / "demo").glob("prepared-*.zarr.part"), None)
    if part is None:
        return 0, 0
    journal = part / "regions.txt"
    return len(list(part.glob("fit-*.npz"))), len(journal.read_text().split()) if journal.exists() else 0


@pytest.mark.parametrize("settings", [(), ("dataset.climatology=daily_mean", "dataset.season=NDJFM")])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    prepare: Stage, many_tasks: None, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    prepare(*settings)
    expected = content(tmp_path)
    without(tmp_path)
    rng = np.random.default_rng(len(settings))
    running = (
        next((tmp_path / "store/demo").glob("prepared-*.zarr")).with_suffix(".zarr.part") / "running.npz"
    )
    moments = [
        running.exists,
        lambda: progress(tmp_path) >= (1, 0),
        lambda: progress(tmp_path) >= (2, int(rng.integers(1, 7))),
    ]
    assert [killed(tmp_path, moment, *settings) for moment in moments].count(True) >= 2
    assert progress(tmp_path) >= (2, 1)
    prepare(*settings)
    assert content(tmp_path) == expected
    assert not list((tmp_path / "store/demo").glob("*.part"))


@pytest.mark.parametrize(("name", "stop_at"), [("account", 17), ("write", 9)])
def test_what_was_done_is_not_done_again(
    prepare: Stage, many_tasks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stop_at: int
) -> None:
    real, calls = getattr(passes, name), []

    def stopping(*args: Any) -> Any:
        calls.append(args[-1])
        if len(calls) == stop_at:
            raise RuntimeError("stopped")
        return real(*args)

    monkeypatch.setattr(passes, name, stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        prepare("compute.workers=1")
    prepare("compute.workers=1")
    twice = [call for call in calls if calls.count(call) > 1]
    assert calls[stop_at - 1] in twice
    assert len(twice) <= 4  # the one that failed, and what was waiting behind it


@pytest.mark.parametrize("settings", [(), ("dataset.climatology=daily_mean", "dataset.detrend=true")])
def test_the_bytes_do_not_depend_on_who_computes_them(
    prepare: Stage, many_tasks: None, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    prepare(*settings, "compute.workers=1")
    expected = content(tmp_path)
    assert len(expected) > 30
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        for where in ("compute.workers=3", f"compute.scheduler={cluster.scheduler_address}"):
            without(tmp_path)
            prepare(*settings, where)
            assert content(tmp_path) == expected


def test_a_cluster_of_processes_on_this_machine(prepare: Stage, tmp_path: Path) -> None:
    prepare()
    expected = content(tmp_path)
    without(tmp_path)
    prepare("compute.scheduler=local", "compute.workers=2")
    assert content(tmp_path) == expected


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ("fibres", "compute.scheduler must be threads, local or an address"),
        ("tcp://127.0.0.1:9", "no dask scheduler answers at compute.scheduler=tcp://127.0.0.1:9"),
    ],
)
def test_where_nobody_computes_it_is_said(
    prepare: Stage, stage: Stage, monkeypatch: pytest.MonkeyPatch, scheduler: str, words: str
) -> None:
    monkeypatch.setattr(compute, "CONNECT_SECONDS", 1)
    outcome = stage("prepare", *SMALL, f"compute.scheduler={scheduler}")
    assert outcome.status == 2
    assert words in outcome.err
