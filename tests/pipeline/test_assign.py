"""New days put to the clusters of a finished run: the same clusters, the run frozen, each mistake one sentence."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from data import store
from evaluation import assignment
from pipeline import assign, command, encoding
from pipeline.artifacts import read_manifest
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
ROOT = Path(__file__).resolve().parents[2]
WINDOW = 6
CLUSTER = ("cluster.k=4", "cluster.n_init=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prepared demo record and a run on it, embedded and reported."""
    folder = tmp_path_factory.mktemp("finished")
    paths = (f"paths.store={folder / 'store'}", f"paths.runs={folder / 'runs'}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("download", "prepare", "train", "embed", "cluster_report"):
            patch.setattr(sys, "argv", [name, *paths, *SMALL, *CLUSTER])
            GlobalHydra.instance().clear()
            command.run(getattr(importlib.import_module(f"pipeline.{name}"), name))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The finished run, copied to where `stage` works."""
    for name in ("store", "runs"):
        shutil.copytree(finished / name, tmp_path / name)
    (folder,) = (tmp_path / "runs" / "demo").glob("faconvlstm-*")
    return folder


@pytest.fixture
def put(stage: Stage, run: Path) -> Stage:
    """`put("dataset.path=…")`: brings files, where none are, and assigns their days, whatever comes of it."""

    def call(*overrides: str, run_name: str = f"demo/{run.name}") -> Outcome:
        words = ("dataset=files", "dataset.name=new", *CLUSTER, *overrides)
        if not (run.parents[2] / "store" / "new").exists():
            brought = stage("download", *words)
            assert brought.status == 0, brought.err
        return stage("assign", *words, f"run={run_name}")

    return call


def raw(run: Path) -> xr.Dataset:
    return store.open_store(run.parents[2] / "store" / "demo" / "raw.zarr").load()


def as_file(dataset: xr.Dataset, run: Path, name: str = "new.nc") -> str:
    """The setting for a NetCDF file of some days."""
    path = run.parents[2] / name
    dataset.drop_attrs(deep=False).to_netcdf(path)
    return f"dataset.path={path}"


def made(run: Path, end: str = ".nc", dataset: str = "new") -> Path:
    return run.parents[1] / dataset / f"assigned-{run.name}{end}"


def assigned(run: Path, dataset: str = "new") -> xr.Dataset:
    with xr.open_dataset(made(run, dataset=dataset), mask_and_scale=False) as found:
        return found.load()


def refused(outcome: Outcome) -> str:
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    assert outcome.err.count("\n") == 1
    return outcome.err


def settings(run: Path, *overrides: str) -> object:
    paths = (f"paths.store={run.parents[2] / 'store'}", f"paths.runs={run.parents[1]}")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(command.CONF), version_base="1.3"):
        return compose("config", overrides=[*SMALL, *paths, *CLUSTER, f"run={run.name}", *overrides])


# The clusters are the report's


def test_the_clusters_are_those_of_the_report_to_the_last_day(run: Path) -> None:
    cfg = settings(run)
    regimes = assign.learn(cfg, assign.require_finished(cfg))
    embeddings = store.open_store(run / "embeddings.zarr")
    missed = (embeddings["squared_error"] / embeddings["squared_anomaly"]).values
    found = assignment.assign(embeddings["embedding"].values, missed, regimes)
    report = pd.read_csv(run.parent / "report" / "clusters.csv", parse_dates=["time"])
    np.testing.assert_array_equal(embeddings["time"].values, report["time"].values)
    np.testing.assert_array_equal(found.nearest, report["faconvlstm_seed0"])
    train = embeddings["split"].values == 0
    assert 0.05 <= (found.cluster[train] == assignment.NO_REGIME).mean() == regimes.share <= 0.11


def test_the_record_itself_gets_the_clusters_of_the_report(run: Path, stage: Stage) -> None:
    """Where the windows are the same: away from the borders of the run's periods, at which its windows stop."""
    outcome = stage("assign", *SMALL, *CLUSTER, f"run={run.name}")
    assert outcome.status == 0, outcome.err
    assert "have the numbers of" in outcome.out
    found = assigned(run, "demo")
    with xr.open_zarr(run / "embeddings.zarr") as embeddings:
        split = embeddings["split"].reindex(time=found["time"], fill_value=-1).values
    inside = np.array([len(set(split[max(t - WINDOW, 0) : t + WINDOW + 1])) == 1 for t in range(len(split))])
    report = pd.read_csv(run.parent / "report" / "clusters.csv", parse_dates=["time"]).set_index("time")
    theirs = report["faconvlstm_seed0"].reindex(pd.DatetimeIndex(found["time"].values))
    inside &= theirs.notna().values
    assert inside.sum() > 500
    np.testing.assert_array_equal(found["nearest"].values[inside], theirs[inside])
    assert (found["windows"].values[inside][WINDOW:-WINDOW] == WINDOW).all()


# What the frozen run does with new days


def test_one_window_from_a_file_gets_what_the_frozen_run_says(run: Path, put: Stage) -> None:
    """Variables in another order, south first, one variable too many; the climatology is not fitted again."""
    days = slice(400, 400 + WINDOW)
    window = raw(run).isel(time=days)
    other = (
        window[["sst"]]
        .assign(u10=window["z500"] * 0 + 5, z500=window["z500"])
        .isel(latitude=slice(None, None, -1))
    )
    other["u10"].attrs = {"units": "m s-1", "long_name": "10 metre U wind component"}
    outcome = put(as_file(other, run))
    assert outcome.status == 0, outcome.err
    cfg = settings(run)
    frozen = assign.require_finished(cfg)
    prepared = store.open_store(frozen.prepared).load()
    model = encoding.load_model(cfg, prepared, run / "checkpoints" / "best.ckpt")
    x, season = (torch.from_numpy(prepared[name].values[None, days]) for name in ("x", "season"))
    with torch.no_grad():
        vectors = model.embed(x, season)[0]
        error = (x[0] - model.decode(vectors)) ** 2
    weight = (
        (prepared["mask"] * prepared["area_weight"]).transpose("variable", "latitude", "longitude").values
    )
    mean = prepared["x"].values[prepared["split"].values == 0].mean(axis=0)
    missed = (error.numpy() * weight).sum((1, 2, 3)) / ((x[0].numpy() - mean) ** 2 * weight).sum((1, 2, 3))
    expected = assignment.assign(vectors.numpy(), missed, assign.learn(cfg, frozen))
    found = assigned(run)
    np.testing.assert_array_equal(found["cluster"], expected.cluster)
    np.testing.assert_allclose(found["confidence"], expected.confidence, atol=1e-3)
    np.testing.assert_allclose(found["distance"].T, expected.distance, rtol=1e-3)
    np.testing.assert_allclose(found["missed"], missed, rtol=1e-3)
    assert found["windows"].values.tolist() == [1] * WINDOW


def test_the_files_say_what_they_hold_and_where_it_comes_from(run: Path, put: Stage) -> None:
    assert put(as_file(raw(run).isel(time=slice(100, 130)), run)).status == 0
    found = assigned(run)
    assert found["cluster"].dtype == np.int8
    assert found["cluster"].attrs["flag_meanings"].split()[:2] == ["no_regime", "regime_1"]
    assert found["time"].values.tolist() == raw(run)["time"].values[100:130].tolist()
    manifest = read_manifest(run / "checkpoints.manifest.json")
    assert manifest is not None
    assert found.attrs["run_digest"] == manifest["digest"]
    assert found.attrs["prepared_digest"] == manifest["inputs"]["prepared"]
    assert "torch" in json.loads(found.attrs["versions"])
    table = pd.read_csv(made(run, ".csv"), parse_dates=["time"])
    np.testing.assert_array_equal(table["cluster"], found["cluster"])
    np.testing.assert_allclose(table["distance"], found["distance"].min("regime"), atol=1e-3)
    notes = read_manifest(made(run, ".manifest.json"))
    assert notes is not None
    assert sum(notes["days"].values()) == 30


def test_missing_days_stay_in_the_record_without_a_cluster(run: Path, put: Stage) -> None:
    """Days 10 and 11 are in no file; days 20 to 24 are a stretch shorter than a window; day 19 has no sst."""
    days = raw(run).isel(time=slice(100, 140))
    days["sst"][19] = np.nan
    days["z500"][25, :2] = np.nan  # an eighth of the cells
    outcome = put(as_file(days.isel(time=[*range(10), *range(12, 40)]), run), "dataset.allow_missing=true")
    assert outcome.status == 0, outcome.err
    found = assigned(run)
    assert found.sizes["time"] == 40
    missing = [10, 11, *range(19, 26)]
    assert np.flatnonzero(found["cluster"].values == -1).tolist() == missing
    assert np.flatnonzero(found["windows"].values == 0).tolist() == missing
    lines = made(run, ".csv").read_text(encoding="utf-8").splitlines()
    assert lines[11] == "2001-04-21,,,,,,0"
    assert "unassigned 9 days" in outcome.out


def test_a_few_missing_cells_count_as_their_mean(run: Path, put: Stage) -> None:
    days = raw(run).isel(time=slice(100, 100 + WINDOW))
    days["z500"][3, 5, 6] = np.nan
    assert put(as_file(days, run)).status == 0
    assert (assigned(run)["cluster"] >= 0).all()


@pytest.mark.parametrize(("none", "warned"), [(2, False), (4, True)])
def test_many_days_without_a_regime_are_told(
    none: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    regimes = assignment.Regimes(np.array([[0.0], [9.0]]), np.ones(2), limit=1, quantile=0.95, share=0.1)
    days = np.repeat([[3.0], [0.0], [np.nan]], [none, 10 - none, 1], axis=0)
    assign.tell(assignment.assign(days, np.zeros(11), regimes))
    assert f"assign: regime_1 {10 - none} days, no_regime {none} days, unassigned 1 days" in caplog.text
    assert ("40 % of the days have no regime, against 10 % of the training days" in caplog.text) == warned


# Repeated, changed, killed


def test_nothing_is_done_twice_and_a_changed_setting_does_it_again(run: Path, put: Stage) -> None:
    path = as_file(raw(run).isel(time=slice(100, 130)), run)
    assert "made" in put(path).out
    assert "is current" in put(path).out
    before = assigned(run)
    looser = put(path, "no_regime=1")
    assert "made" in looser.out
    assert (assigned(run)["radius"] > before["radius"]).all()
    made(run, ".csv").unlink()
    assert "made" in put(path).out
    xr.testing.assert_identical(assigned(run), before)
    other = put(path, "cluster.k=3")
    assert "with the settings of demo/" in other.out
    assert "cluster.k=3" in other.out
    assert assigned(run).sizes["regime"] == 3


def test_a_killed_assignment_leaves_nothing_that_counts(
    run: Path, put: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_file(raw(run).isel(time=slice(100, 130)), run)
    assert put(path).status == 0
    before = {end: made(run, end).read_bytes() for end in (".nc", ".csv")}

    def killed(*_: object) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(assign, "write_text", killed)
        assert put(path, "no_regime=0.6").status == 9
    assert not made(run, ".manifest.json").exists()
    assert "made" in put(path).out
    assert {end: made(run, end).read_bytes() for end in before} == before


def test_killed_and_run_again_it_gives_the_same_bytes(run: Path, put: Stage) -> None:
    path = as_file(raw(run).isel(time=slice(0, 300)), run)
    assert put(path).status == 0
    before = {end: made(run, end).read_bytes() for end in (".nc", ".csv")}
    folder = run.parents[1] / "new"
    shutil.rmtree(folder)
    paths = (f"paths.store={run.parents[2] / 'store'}", f"paths.runs={run.parents[1]}")
    words = ("dataset=files", "dataset.name=new", path, *CLUSTER, *paths, f"run=demo/{run.name}")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.assign", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not made(run, ".fields.part").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not any(made(run, end).exists() for end in before)
    assert put(path).status == 0
    assert {end: made(run, end).read_bytes() for end in before} == before
    assert sorted(folder.iterdir()) == sorted(made(run, end) for end in (*before, ".manifest.json"))


# Mistakes


def test_fewer_days_than_a_window_are_refused(run: Path, put: Stage) -> None:
    err = refused(put(as_file(raw(run).isel(time=slice(100, 105)), run)))
    assert (
        "the run takes windows of 6 steps, and the longest stretch of the new data without a gap has 5" in err
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda days: days[["z500"]], "the new data lack sst"),
        (lambda days: days.isel(latitude=slice(0, 8)), "the latitudes of the new data are"),
        (
            lambda days: days.isel(time=slice(None, None, 2)),
            "every 48 hours, and the run was trained on daily",
        ),
        (
            lambda days: days.assign(sst=days["sst"] + 12),
            "standard deviations from what the run was trained on",
        ),
    ],
)
def test_data_of_another_kind_are_refused(
    run: Path, put: Stage, change: Callable[[xr.Dataset], xr.Dataset], words: str
) -> None:
    with xr.set_options(keep_attrs=True):
        days = change(raw(run).isel(time=slice(100, 140)))
    assert words in refused(put(as_file(days, run)))
    assert not list((run.parents[1] / "new").glob("assigned-*")) or not (run.parents[1] / "new").exists()


def test_a_run_is_named_with_or_without_its_dataset(run: Path) -> None:
    for name in (run.name, f"demo/{run.name}", f"{run.parents[1]}/demo/{run.name}/"):
        for dataset in ("demo", "new"):
            assert assign.find_run(run.parents[1], dataset, name) == run


def test_the_run_of_its_own_dataset_comes_first(run: Path) -> None:
    shutil.copytree(run, run.parents[1] / "twin" / run.name)
    for dataset in ("demo", "twin"):
        assert assign.find_run(run.parents[1], dataset, run.name).parent.name == dataset


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("null", "run, a finished run, is not set: add run=… to the command; "),
        (
            "faconvlstm-12345678-seed0",
            "there is no finished run 'faconvlstm-12345678-seed0'; did you mean 'faconvlstm-",
        ),
        ("elsewhere/nothing", "there is no finished run 'elsewhere/nothing'; "),
        ("../../etc", "there is no finished run '../../etc'; "),
    ],
)
def test_a_run_that_is_not_there_is_named_with_those_that_are(
    run: Path, stage: Stage, wanted: str, words: str
) -> None:
    err = refused(stage("assign", *SMALL, f"run={wanted}"))
    assert words in err
    assert f"holds demo/{run.name}" in err


def test_a_run_that_two_datasets_have_is_asked_for_by_dataset(run: Path, stage: Stage) -> None:
    shutil.copytree(run, run.parents[1] / "twin" / run.name)
    err = refused(stage("assign", *SMALL, "dataset.name=new", f"run={run.name}"))
    assert f"is in several datasets: write one of demo/{run.name}, twin/{run.name}." in err


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("embeddings.manifest.json", "has no current embeddings: run python -m pipeline.embed"),
        ("embeddings.zarr", "has no current embeddings"),
        ("checkpoints", "has no current embeddings"),
    ],
)
def test_a_run_that_is_not_whole_is_not_used(run: Path, stage: Stage, gone: str, words: str) -> None:
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert words in refused(stage("assign", *SMALL, f"run={run.name}"))


def test_without_the_store_that_it_was_trained_on_a_run_is_not_used(run: Path, stage: Stage) -> None:
    (prepared,) = (run.parents[2] / "store" / "demo").glob("prepared-*.zarr")
    shutil.rmtree(prepared)
    err = refused(stage("assign", *SMALL, f"run={run.name}"))
    assert "which holds its statistics, is not there" in err
    assert "python -m pipeline.prepare" in err


def test_days_that_were_not_brought_are_asked_for(run: Path, stage: Stage) -> None:
    err = refused(stage("assign", *SMALL, "dataset.name=other", f"run=demo/{run.name}"))
    assert "there is no raw store of dataset other" in err
    assert "python -m pipeline.download" in err


@pytest.mark.parametrize("value", ["0.2", "1.5"])
def test_a_share_that_is_none_is_refused(run: Path, stage: Stage, value: str) -> None:
    err = refused(stage("assign", *SMALL, f"run={run.name}", f"no_regime={value}"))
    assert f"no_regime must be between 0.5 and 1. Received: {value}." in err
