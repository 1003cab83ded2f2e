"""Ablations: rows over seeds, what fails, what is killed, what is skipped, and the table from what is there."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from pipeline import command, config
from pipeline.artifacts import read_manifest
from pipeline.cluster_report import FinishedRun, without_ablations
from pipeline.launching import put_after
from tests.pipeline.conftest import SMALL, Outcome

ROOT = Path(__file__).resolve().parents[2]
Stage = Callable[..., Outcome]
SHORT = (
    *SMALL,
    "dataset.end=2001-04-30",
    "dataset.deseasonalise=false",
    "cluster.resamples=20",
    "cluster.k=3",
)
ONE_SEED = "ablation.seeds=[0]"
QUICK = ("ablation.measure=false", "trainer.max_epochs=1")

HEAD = """# @package _global_
defaults: [schema, _self_]
ablation:
  title: Tiny
  question: Does anything matter?
  reference: as it is
  rows:
    as it is: []
"""
EIGHT = """    without peepholes: [model.layer.peephole=false]
    without excitation: [model.layer.squeeze_excitation=false]
    no attention at all, ever: [model.layer.attention=none]
    attention that cannot be: [model.layer.attention_every=0]
    one branch: ["model.layer.branches=[[3,1]]"]
    no Laplacian: [model.laplacian_weight=0]
    another model: [model=minconvgru]
"""
TWO = """    without peepholes: [model.layer.peephole=false]
"""
THREE = """    it's "quoted", \\\\ and = odd: [model.layer.peephole=false]
    two clusters: [cluster.k=2]
    without excitation: [model.layer.squeeze_excitation=false]
"""


@pytest.fixture
def experiments(tmp_path: Path) -> tuple[str, ...]:
    """Overrides that make the tiny experiments known."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name, rows in (("eight", EIGHT), ("three", THREE), ("two", TWO)):
        (folder / f"{name}.yaml").write_text(HEAD + rows, encoding="utf-8")
    return (f"hydra.searchpath=[file://{tmp_path / 'conf'}]", *SHORT)


@pytest.fixture
def ready(stage: Stage, experiments: tuple[str, ...]) -> Stage:
    """`ready("ablation", …)` on a short record whose raw store is there."""
    assert stage("download", *experiments).status == 0
    return lambda name, *overrides: stage(name, *experiments, *overrides)


def found(folder: Path, experiment: str) -> dict[str, Any]:
    path = folder / "runs/demo/ablation" / experiment / "ablation.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def without_times(held: dict[str, Any]) -> dict[str, Any]:
    """All that must be the same however often a table was interrupted."""
    rows = {
        label: row
        | {
            part: {
                path: value
                for path, value in row[part].items()
                if path not in ("cost.step_seconds", "cost.memory_bytes")
            }
            for part in ("values", "difference")
        }
        for label, row in held["rows"].items()
    }
    return held | {"rows": rows, "provenance": {}}


def manifests(folder: Path) -> dict[str, int]:
    """When each run was completed."""
    paths = (folder / "runs" / "demo").glob("*/checkpoints.manifest.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in paths}


def test_of_eight_rows_one_fails_and_seven_are_compared(ready: Stage, tmp_path: Path) -> None:
    outcome = ready("ablation", "experiment=eight", ONE_SEED, "trainer.max_epochs=1")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "1 of 8 runs of eight failed, the first being attention that cannot be, seed 0: " in outcome.err
    assert "attention_every" in outcome.err
    held = found(tmp_path, "eight")
    assert [label for label, row in held["rows"].items() if row["values"]] == [
        "as it is",
        "without peepholes",
        "without excitation",
        "no attention at all, ever",
        "one branch",
        "no Laplacian",
        "another model",
    ]
    why = held["rows"]["attention that cannot be"]["missing"]["0"]
    assert "attention_every" in why
    folder = tmp_path / "runs/demo/ablation/eight"
    for name in ("index.html", "table.md", "table.csv", "headline.txt"):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count("attention_every must") >= 1, name
    values = held["rows"]["another model"]["values"]
    assert values["cost.parameters"]["mean"] > 1000
    assert values["cost.step_seconds"]["low"] <= values["cost.step_seconds"]["mean"]
    assert values["cost.memory_bytes"]["mean"] > 10_000
    for path in ("data.test.silhouette", "embedding.test.silhouette", "agreement.test.ari"):
        assert path in values, path
    less = held["rows"]["without peepholes"]["difference"]["cost.parameters"]
    assert (less["mean"], less["verdict"]) == (-24, "better")  # 3 F of them, F 8
    assert (
        held["rows"]["another model"]["difference"]["data.test.silhouette"]["verdict"]
        == "no difference shown"
    )

    noted = [
        read_manifest(path) or {} for path in (tmp_path / "runs/demo").glob("*/checkpoints.manifest.json")
    ]
    assert [manifest["experiment"] for manifest in noted] == ["eight"] * 7

    before, page = manifests(tmp_path), (folder / "index.html").stat().st_mtime_ns
    again = ready("ablation", "experiment=eight", ONE_SEED, "trainer.max_epochs=1")
    assert "8 rows and seeds, 0 runs to make" in again.out  # what cannot be is not tried again
    assert again.status == 2
    assert manifests(tmp_path) == before
    assert (folder / "index.html").stat().st_mtime_ns == page


def test_the_report_leaves_out_what_ablations_made_unless_it_is_asked_for() -> None:
    """Runs with the settings that are asked for are no variants, whoever trained them."""
    layer = {"peephole": True}
    model = {"name": "faconvlstm", "embedding_size": 4, "layer": layer}
    asked: dict[str, Any] = {"model": model, "window": {}, "trainer": {}}
    variant = asked | {"model": model | {"layer": {"peephole": False}}}
    other = asked | {"model": {"name": "convgru", "embedding_size": 4, "layer": {}}}
    runs = [
        FinishedRun(Path(name), {"model": held["model"]["name"], "config": held, **notes})
        for name, held, notes in (
            ("full", asked, {"experiment": "components"}),
            ("variant", variant, {"experiment": "components"}),
            ("mine", variant, {}),
            ("other", other, {"experiment": "models"}),
        )
    ]
    assert [run.folder.name for run in without_ablations(runs, asked)] == ["full", "mine", "other"]
    assert without_ablations(runs[1:2], asked) == runs[1:2]


def test_killed_in_the_middle_it_ends_with_the_same_table(
    ready: Stage, tmp_path: Path, experiments: tuple[str, ...]
) -> None:
    chosen = ("experiment=three", ONE_SEED, "ablation.measure=false")
    assert ready("ablation", *chosen).status == 0
    undisturbed = without_times(found(tmp_path, "three"))
    (tmp_path / "runs").rename(tmp_path / "undisturbed")

    paths = (f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}")
    words = [sys.executable, "-m", "pipeline.ablation", *paths, *experiments, *chosen]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: bool(manifests(tmp_path)) and middle_of_a_run(tmp_path), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = manifests(tmp_path)

    partial = ready("ablation", *chosen, "ablation.run=false")
    assert partial.status == 0, partial.err
    assert "not run yet" in partial.out
    assert manifests(tmp_path) == done
    held = found(tmp_path, "three")
    assert {why for row in held["rows"].values() for why in row["missing"].values()} == {"not run yet"}
    assert any(row["values"] for row in held["rows"].values())

    assert ready("ablation", *chosen).status == 0
    assert manifests(tmp_path).items() >= done.items()
    assert without_times(found(tmp_path, "three")) == undisturbed
    with (tmp_path / "runs/demo/ablation/three/table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["row"] for row in rows} == set(undisturbed["rows"])
    # what differs in clusters alone shares the run, and is scored for itself
    assert len(manifests(tmp_path)) == 3
    values = [undisturbed["rows"][label]["values"] for label in ("as it is", "two clusters")]
    assert values[0]["explained_variance.test"] == values[1]["explained_variance.test"]
    assert values[0]["data.train.silhouette"] != values[1]["data.train.silhouette"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits; a process that takes forever is killed."""
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, "it ended before it could be stopped"
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError
        time.sleep(0.01)


def middle_of_a_run(folder: Path) -> bool:
    """Whether a run has an epoch behind it and is not complete."""
    curves = {path.parent.name for path in (folder / "runs" / "demo").glob("*/training.csv")}
    return bool(curves - manifests(folder).keys())


def test_what_is_interrupted_says_so_and_leaves_nothing_running(
    ready: Stage, tmp_path: Path, experiments: tuple[str, ...]
) -> None:
    paths = (f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}")
    chosen = (
        "experiment=three",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "trainer.max_epochs=500",
    )
    words = [sys.executable, "-m", "pipeline.ablation", *paths, *experiments, *chosen, "trainer.patience=500"]
    alone = {name: held for name, held in os.environ.items() if not name.startswith("COVERAGE_")}
    # What a shell starts in the background ignores Ctrl-C, and so would what that starts; a handler is not inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env=alone,  # what follows its lines has signal handlers of its own
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: middle_of_a_run(tmp_path), process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "Interrupted; run the same command again to go on."
    assert "Traceback" not in err.decode()
    deadline = time.monotonic() + 20
    while still_there(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def still_there(group: int) -> bool:
    """Whether any process of a group is."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_launcher_gives_the_numbers_of_the_serial_one(
    ready: Stage, tmp_path: Path, experiments: tuple[str, ...]
) -> None:
    paths = (f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}")
    chosen = ("experiment=two", ONE_SEED, *QUICK)
    words = [sys.executable, "-m", "pipeline.ablation", *paths, *experiments, *chosen]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    tables = {}
    for launcher in ("basic", "joblib", "submitit_local"):
        done = subprocess.run(
            [*words, f"hydra/launcher={launcher}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=one_thread,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        tables[launcher] = without_times(found(tmp_path, "two"))
        (tmp_path / "runs").rename(tmp_path / launcher)
    assert tables["joblib"] == tables["basic"]
    assert tables["submitit_local"] == tables["basic"]


@pytest.mark.parametrize(
    "path", sorted((command.CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_row_of_an_experiment_composes_and_differs_from_the_reference(path: Path) -> None:
    if path.stem == "base":
        pytest.skip("what the others share")
    config.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(command.CONF), version_base="1.3"):
        asked = [f"experiment={path.stem}"]
        rows = config.plain(hydra.compose("config", overrides=asked).ablation)["rows"]
        settings = {}
        for label, changes in rows.items():
            cfg = hydra.compose("config", overrides=put_after(asked, changes))
            config.validate(cfg)
            plain = config.plain(cfg)
            settings[label] = json.dumps(
                {key: plain[key] for key in ("model", "window", "trainer", "dataset", "cluster")}
            )
    assert cfg.ablation.reference in rows
    assert len(set(settings.values())) == len(rows)


def test_an_experiment_that_nobody_knows_gets_the_nearest_name(stage: Stage) -> None:
    outcome = stage("ablation", "experiment=botleneck")
    assert outcome.status == 2
    assert (
        "experiment=botleneck is not known; did you mean 'bottleneck'?; there are: axial_interval,"
        in outcome.err
    )
    assert outcome.err.count("\n") == 1


def test_without_an_experiment_they_are_listed(stage: Stage) -> None:
    outcome = stage("ablation")
    assert outcome.status == 2
    assert (
        "add experiment=… to the command, one of axial_interval, bottleneck, components, k, models"
        in outcome.err
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ablation.reference=nothing", "ablation.reference must be one of the rows: C_b = F/2,"),
        ("ablation.seeds=[1,1]", "ablation.seeds must be one or more different numbers. Received: [1, 1]."),
        ("ablation.run=false", "No run of the experiment bottleneck is finished"),
    ],
)
def test_a_mistake_is_one_sentence(small: Stage, stage: Stage, override: str, words: str) -> None:
    small("download")
    small("prepare")
    outcome = stage("ablation", *SMALL, "experiment=bottleneck", override)
    assert outcome.status == 2
    assert words in outcome.err


def test_a_row_whose_settings_cannot_be_read_is_a_row_that_says_so(ready: Stage, tmp_path: Path) -> None:
    wrong = "+ablation.rows.wrong=['model.layer.peephol=false']"
    outcome = ready("ablation", "experiment=two", ONE_SEED, *QUICK, wrong)
    assert outcome.status == 2
    assert "did you mean 'model.layer.peephole'?" in outcome.err
    held = found(tmp_path, "two")
    assert "no setting 'model.layer.peephol'" in held["rows"]["wrong"]["missing"]["0"]
    assert held["rows"]["as it is"]["values"]
