"""Clusters against chance through the frozen encoder: numbers, killed and resumed work, what is made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from threadpoolctl import threadpool_limits

from data.errors import DamagedError
from evaluation import nulls
from pipeline import artifacts, command, config, encoding, scoring, surrogates
from pipeline.artifacts import Artifact
from pipeline.cluster_report import FinishedRun, finished_runs
from pipeline.prepare import require_prepared
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
EOF = surrogates.EOF
ROOT = Path(__file__).resolve().parents[2]
KILLED = "from tests.pipeline.test_surrogates import compare; import sys; compare(sys.argv[1:])"


def settings(folder: Path, *overrides: str) -> DictConfig:
    config.register()
    GlobalHydra.instance().clear()
    paths = (f"paths.store={folder / 'store'}", f"paths.runs={folder / 'runs'}")
    with initialize_config_dir(str(command.CONF), version_base="1.3"):
        return compose("config", overrides=[*paths, *SMALL, *overrides])


def compare(words: list[str]) -> dict[str, dict[str, Any]]:
    """EOFs of a prepared record against chance, as cluster_report does it."""
    cfg = settings(Path(words[0]), *words[1:])
    return surrogates.against_chance(cfg, require_prepared(cfg), {}, 4)


def results(folder: Path) -> dict[str, str]:
    """The numbers of every encoder, by the folder's name."""
    found = (folder / "runs" / "demo").glob("surrogates-*/surrogates.json")
    return {path.parent.name: path.read_text(encoding="utf-8") for path in found}


def test_a_killed_comparison_goes_on_and_ends_as_an_undisturbed_one(small: Stage, tmp_path: Path) -> None:
    small("download")
    small("prepare")
    words = [str(tmp_path), "cluster.surrogates=4", "cluster.k=3"]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *words], cwd=ROOT)
    lines = wait_for_lines(tmp_path, 2, process)
    helpers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert lines < 9
    assert helpers
    wait_for_end(helpers)  # what they would find, nobody would take
    assert not results(tmp_path)
    (journal,) = (tmp_path / "runs" / "demo").glob("surrogates-*/found.jsonl")
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"kind": "ar1", "numb')  # cut off in the middle of a line

    found = compare(words)
    assert set(found) == {EOF}
    check(found[EOF])
    assert not journal.exists()
    assert results(tmp_path) == undisturbed(words)

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "demo").glob("surrogates-*/*")}
    assert compare(words) == found
    assert all(path.stat().st_mtime_ns == at for path, at in written.items())  # nothing was made again


def undisturbed(words: list[str]) -> dict[str, str]:
    """The same file from this process alone, the surrogates in reverse order."""
    cfg = settings(Path(words[0]), *words[1:])
    prepared = require_prepared(cfg)
    (one,) = surrogates._contestants(cfg, prepared, {}, 4)
    tasks = [surrogates.RECORD, *nulls.plan(4)]
    with threadpool_limits(1):
        bench = scoring.bench(prepared.path, [one], list(range(2, 11)), cfg.cluster.seed, 2**28)
        done = {task: scoring.score(bench, task, [EOF])[EOF] for task in reversed(tasks)}
    by_kind = {kind: [done[kind, number]["scores"] for number in range(4)] for kind in ("ar1", "phase")}
    record = done[surrogates.RECORD]
    text = json.dumps({"record": record["scores"], "about": record["about"], "surrogates": by_kind})
    return {one.artifact.path.name: text + "\n"}


def check(found: dict[str, Any]) -> None:
    assert found["surrogates"] == {"ar1": 4, "phase": 4}
    assert set(found["by_k"]) == {str(k) for k in range(2, 11)}
    assert found["variance_kept"] == pytest.approx(1, abs=1e-4)
    assert "seed" not in found
    assert found["verdict"]["k"] == 3
    assert not found["verdict"]["beyond_chance"]  # four of each kind cannot show it
    silhouette = found["by_k"]["3"]["embedding"]["silhouette"]
    assert silhouette["p"] in {i / 5 for i in range(1, 6)}
    assert silhouette["ar1"]["low"] <= silhouette["ar1"]["mean"] <= silhouette["ar1"]["high"]
    assert "classifiability" not in found["by_k"]["3"]["data"]


def wait_for_lines(folder: Path, number: int, process: subprocess.Popen[bytes]) -> int:
    for _ in range(1200):
        journals = (folder / "runs" / "demo").glob("surrogates-*/found.jsonl")
        lines = sum(path.read_bytes().count(b"\n") for path in journals)
        if lines >= number:
            return lines
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("no surrogate was scored in two minutes")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_end(pids: list[int]) -> None:
    for _ in range(200):
        if not any(Path(f"/proc/{pid}/cmdline").exists() and running(pid) for pid in pids):
            return
        time.sleep(0.1)
    raise AssertionError("the helpers outlived the process that started them")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_frozen_encoder_is_the_run_on_windows_side_by_side(small: Stage, tmp_path: Path) -> None:
    overrides = ("window.length=5", "cluster.surrogates=1")
    for name in ("download", "prepare", "train", "embed"):
        small(name, *overrides)
    cfg = settings(tmp_path, *overrides)
    prepared = require_prepared(cfg)
    (run,) = finished_runs(cfg, prepared)
    found = surrogates.against_chance(cfg, prepared, {run.label: run}, None)[run.label]
    assert found["seed"] == 0
    expected = results(tmp_path)
    for folder in (tmp_path / "runs" / "demo").glob("surrogates-*"):
        artifacts.remove(folder)
    on_cluster = settings(tmp_path, *overrides, "compute.scheduler=local", "compute.workers=2")
    assert surrogates.against_chance(on_cluster, prepared, {run.label: run}, None)[run.label] == found
    assert results(tmp_path) == expected

    (contestant,) = surrogates._contestants(cfg, prepared, {run.label: run}, None)
    bench = scoring.bench(prepared.path, [contestant], [2], 0, 2**28)
    record = scoring.score(bench, surrogates.RECORD, [run.label])[run.label]["scores"]["2"]
    assert found["by_k"]["2"]["embedding"]["silhouette"]["value"] == pytest.approx(
        record["embedding"]["silhouette"], rel=1e-4
    )

    part = bench.prepared.isel(time=slice(0, 103))  # so that the last window overlaps the one before
    days, encode = scoring._trained_encoder(part, contestant.cfg, contestant.checkpoint)
    vectors = encode(part["x"].values)
    assert days.all()
    model = encoding.load_model(cfg, part, run.folder / "checkpoints" / "best.ckpt")
    x, season = (torch.from_numpy(part[name].values) for name in ("x", "season"))

    def window(start: int) -> np.ndarray:
        steps = slice(start, start + 5)
        with torch.no_grad():
            return np.asarray(model.embed(x[None, steps], season[None, steps])[0])

    np.testing.assert_allclose(vectors[:5], window(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vectors[10:15], window(10), rtol=1e-4, atol=1e-5)
    both = (window(98)[0] + window(95)[3]) / 2
    np.testing.assert_allclose(vectors[98], both, rtol=1e-4, atol=1e-5)
    # fields turned into weighted cells and back are the same
    weighted = bench.prepared["x"].values[:, bench.mask] * bench.root
    np.testing.assert_allclose(scoring.fields(bench, weighted), bench.prepared["x"].values, atol=1e-5)

    (run.folder / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
    with pytest.raises(DamagedError, match=r"best\.ckpt is damaged"):
        scoring.bench(prepared.path, [contestant], [2], 0, 2**28)


def test_no_surrogates_no_comparison(tmp_path: Path) -> None:
    nothing = Artifact("prepared", tmp_path, {})
    run = FinishedRun(tmp_path, {})
    assert surrogates.against_chance(settings(tmp_path), nothing, {"faconvlstm": run}, 4) == {}
    assert not list(tmp_path.iterdir())


def test_another_number_another_encoder_or_another_seed_is_another_comparison(tmp_path: Path) -> None:
    prepared = Artifact("prepared", tmp_path, {})

    def digests(*overrides: str, size: int = 4) -> str:
        cfg = settings(tmp_path, *overrides)
        (found,) = surrogates._contestants(cfg, prepared, {}, size)
        return found.artifact.digest

    first = digests("cluster.surrogates=9")
    assert digests("cluster.surrogates=9", "cluster.memory=10000000") == first
    assert digests("cluster.surrogates=9", "cluster.k=4") == first  # within the sweep
    others = [
        digests("cluster.surrogates=8"),
        digests("cluster.surrogates=9", "cluster.seed=1"),
        digests("cluster.surrogates=9", "cluster.k=12"),
        digests("cluster.surrogates=9", size=5),
    ]
    assert len({first, *others}) == 5


def test_a_journal_without_a_whole_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    assert surrogates.read_journal(path) == {}
    path.write_text('{"kind": "rec', encoding="utf-8")
    assert surrogates.read_journal(path) == {}
    assert path.read_text(encoding="utf-8") == ""
    surrogates._append(path, ("ar1", 2), {"scores": {"2": {}}})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "ar1", "number": 3')
    assert surrogates.read_journal(path) == {("ar1", 2): {"scores": {"2": {}}}}
    assert path.read_text(encoding="utf-8").count("\n") == 1
