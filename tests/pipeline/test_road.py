"""The whole road, from a source to the report, on small settings."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
REAL = (
    "dataset=files",
    "dataset.name=erai",
    "dataset.start=2003-01-01",
    "dataset.end=2006-12-31",
    "dataset.variables=[z,msl]",
    "window.length=6",
    "window.stride=6",
    "model.hidden_channels=8",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "cluster.n_init=4",
    "cluster.surrogates=0",
)


def travel(stage: Stage, *overrides: str) -> None:
    for name in ("download", "prepare", "train", "embed"):
        outcome = stage(name, *overrides)
        assert outcome.status == 0, outcome.err


def metrics(folder: Path, dataset: str = "demo") -> dict[str, Any]:
    return dict(
        json.loads((folder / "runs" / dataset / "report" / "metrics.json").read_text(encoding="utf-8"))
    )


def test_two_models_and_two_seeds_to_a_report(small: Stage, tmp_path: Path) -> None:
    for model in ("faconvlstm", "convlstm"):
        for seed in (0, 1):
            travel(small, f"model={model}", f"seed={seed}", "model.forecast_steps=1")
    out = small("cluster_report").out
    assert "FAConvLSTM" in out
    assert "index.html" in out
    found = metrics(tmp_path)
    assert set(found["models"]) >= {"faconvlstm", "convlstm", "eof", "raw", "untrained"}
    ours = found["models"]["faconvlstm"]
    assert ours["seeds"] == [0, 1]
    assert len(ours["scores"]["data"]["test"]["silhouette"]["values"]) == 2
    assert {"ari", "nmi"} <= set(ours["agreement"]["test"])
    verdict = found["comparison"]["faconvlstm_minus_convlstm"]["data"]["train"]["silhouette"]["verdict"]
    assert verdict in {"better", "worse", "no difference shown"}
    with (tmp_path / "runs/demo/report/clusters.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert 1 <= int(row["faconvlstm_seed0"]) <= 7
    foretold = found["forecast"]["scores"]
    assert set(foretold) == {"faconvlstm", "convlstm", "persistence", "climatology"}
    assert len(foretold["convlstm"]["z500"]["1"]["acc"]["values"]) == 2
    with (tmp_path / "runs/demo/report/tables/forecast-1.csv").open(encoding="utf-8") as file:
        rows = {row["Model"]: row for row in csv.DictReader(file)}
    metres = foretold["persistence"]["z500"]["1"]["rmse"]["mean"] / 9.80665
    assert float(rows["Persistence"]["z500 RMSE"]) == pytest.approx(metres)
    for curve in (tmp_path / "runs/demo").glob("*-seed?/training.csv"):
        assert "validation_forecast" in curve.read_text().split("\n")[0]
    assert "is current" in small("cluster_report").out


def test_the_embedding_of_a_day_is_the_mean_over_the_windows_that_cover_it(
    small: Stage, tmp_path: Path
) -> None:
    import torch
    from hydra import compose, initialize_config_dir

    from data import store
    from pipeline import command, encoding, fitting

    travel(small)
    (run,) = (tmp_path / "runs/demo").glob("faconvlstm-*")
    found = xr.open_zarr(run / "embeddings.zarr").load()
    (path,) = (tmp_path / "store/demo").glob("prepared-*.zarr")
    prepared = store.open_store(path).load()
    with initialize_config_dir(str(command.CONF), version_base="1.3"):
        cfg = compose("config", overrides=list(SMALL))
    model = encoding.load_model(cfg, prepared, run / "checkpoints" / "best.ckpt")
    fitting.quieten()
    day = 100  # well inside the training period: six windows cover it
    x, season = torch.from_numpy(prepared["x"].values), torch.from_numpy(prepared["season"].values)
    with torch.no_grad():
        vectors = [
            model.embed(x[None, s : s + 6], season[None, s : s + 6])[0, day - s]
            for s in range(day - 5, day + 1)
        ]
    position = int(np.flatnonzero(found["time"].values == prepared["time"].values[day])[0])
    np.testing.assert_allclose(
        found["embedding"].values[position], torch.stack(vectors).mean(0).numpy(), rtol=1e-4, atol=1e-5
    )
    assert set(np.unique(found["split"].values)) == {0, 1, 2}
    # every step of every period is covered
    assert found.sizes["time"] == int((prepared["split"].values >= 0).sum())


def test_runs_of_one_model_with_two_settings_are_told_apart(small: Stage, tmp_path: Path) -> None:
    travel(small)
    travel(small, "model.hidden_channels=4")
    small("cluster_report")
    names = [name for name in metrics(tmp_path)["models"] if name.startswith("faconvlstm")]
    assert len(names) == 2
    assert "faconvlstm" in names


def test_embeddings_made_again_are_the_same_to_the_last_bit(small: Stage, tmp_path: Path) -> None:
    travel(small)
    (run,) = (tmp_path / "runs/demo").glob("faconvlstm-*")
    first = xr.open_zarr(run / "embeddings.zarr").load()
    (run / "embeddings.manifest.json").unlink()
    small("embed")
    xr.testing.assert_identical(xr.open_zarr(run / "embeddings.zarr").load(), first)


def test_real_reanalysis_with_published_regimes(stage: Stage, tmp_path: Path, real_data: Path) -> None:
    path = real_data / "erai_euroatlantic_daily/*_ei_2000-2006.nc"
    labels = real_data / "regime_labels/dorrington_era5_extended/daily_regimes_DJF_1950-12_2006-12.csv"
    overrides = (*REAL, f"dataset.path={path}", f"dataset.labels={labels}")
    travel(stage, *overrides)
    outcome = stage("cluster_report", *overrides)
    assert outcome.status == 0, outcome.err
    found = metrics(tmp_path, "erai")
    assert found["dataset"]["grid"] == [21, 24]
    assert found["dataset"]["n_times"] == 1461
    ours, eof = found["models"]["faconvlstm"], found["models"]["eof"]
    assert eof["explained_variance"]["test"]["mean"] > 0.9
    assert ours["explained_variance"]["test"]["mean"] > 0.5
    # regimes were published for winter days alone: those are scored, and beat chance
    assert eof["agreement"]["train"]["ari"]["mean"] > 0.1
    assert ours["agreement"]["train"]["ari"]["mean"] > 0.05
