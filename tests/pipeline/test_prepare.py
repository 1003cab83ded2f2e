from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import climatology, store
from tests.pipeline.conftest import SMALL, Outcome, seal_again

Stage = Callable[..., Outcome]


def prepared(folder: Path) -> xr.Dataset:
    (path,) = (folder / "store" / "demo").glob("prepared-*.zarr")
    return store.open_store(path).load()


@pytest.mark.parametrize("chunk_bytes", [store.CHUNK_BYTES, 40_000])
def test_it_equals_a_plain_float64_computation(
    small: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    small("download")
    monkeypatch.setattr(store, "CHUNK_BYTES", chunk_bytes)
    small("prepare")
    found = prepared(tmp_path)
    raw = store.open_store(tmp_path / "store/demo/raw.zarr").load()
    times = pd.DatetimeIndex(raw.time.values)
    train = found["split"].values == 0
    for index, name in enumerate(("z500", "sst")):
        values = raw[name].values.astype(np.float64)
        mask = ~np.isnan(values).any(axis=0)
        matrix = np.column_stack([np.ones(len(times)), climatology.regressors(times, 3, trend=False)])
        terms = np.linalg.lstsq(matrix[train], values[train][:, mask], rcond=None)[0]
        anomaly = values[:, mask] - matrix @ terms
        weight = np.broadcast_to(found["area_weight"].values[:, None], mask.shape)[mask]
        scale = np.sqrt(np.average((anomaly[train] ** 2).mean(axis=0), weights=weight))
        np.testing.assert_array_equal(found["mask"].values[index], mask)
        np.testing.assert_allclose(found["x"].values[:, index, mask], anomaly / scale, atol=2e-4)
        assert (found["x"].values[:, index, ~mask] == 0).all()


def test_the_axes_and_names_of_the_contract(small: Stage, tmp_path: Path) -> None:
    small("download")
    small("prepare")
    found = prepared(tmp_path)
    assert found["x"].dims == ("time", "variable", "latitude", "longitude")
    assert found["x"].dtype == np.float32
    assert found["mask"].dims == ("variable", "latitude", "longitude")
    assert found["season"].shape == (found.sizes["time"], 8)
    assert found["variable"].values.tolist() == ["z500", "sst"]
    assert found["split"].attrs["flag_meanings"] == "unused train validation test"
    assert float(found["area_weight"].mean()) == pytest.approx(1)


def test_nothing_is_done_twice_and_a_changed_setting_makes_another_store(
    small: Stage, tmp_path: Path
) -> None:
    small("download")
    assert "made" in small("prepare").out
    assert "is current" in small("prepare").out
    assert "made" in small("prepare", "dataset.deseasonalise=false").out
    assert "is current" in small("prepare").out
    assert len(list((tmp_path / "store" / "demo").glob("prepared-*.zarr"))) == 2


def test_a_raw_store_made_with_other_settings_is_not_used(small: Stage, stage: Stage) -> None:
    small("download")
    outcome = stage("prepare", *SMALL, "dataset.end=2002-06-30")
    assert outcome.status == 2
    assert "the raw store was made with other settings" in outcome.err


def test_less_than_a_year_to_train_on_is_refused_and_the_way_out_named(small: Stage, stage: Stage) -> None:
    short = ("dataset.start=2001-01-01", "dataset.end=2001-12-31")
    small("download", *short)
    outcome = stage("prepare", *SMALL, *short)
    assert outcome.status == 2
    assert "set dataset.deseasonalise=false" in outcome.err
    small("prepare", *short, "dataset.deseasonalise=false")


def test_a_record_shorter_than_its_windows_is_refused(small: Stage, stage: Stage) -> None:
    short = ("dataset.start=2001-01-01", "dataset.end=2001-01-20")
    small("download", *short)
    outcome = stage("prepare", *SMALL, *short)
    assert outcome.status == 2
    assert "too short for dataset.split and window.length" in outcome.err


def test_a_damaged_chunk_of_the_raw_store_is_named_before_anything_is_made_of_it(
    small: Stage, stage: Stage, tmp_path: Path
) -> None:
    small("download")
    chunk = next(path for path in (tmp_path / "store/demo/raw.zarr/z500/c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(bytes(content))
    outcome = stage("prepare", *SMALL)
    assert outcome.status == 2
    assert "raw.zarr is damaged (between 2001-01-01 and" in outcome.err
    assert "): run python -m pipeline.download " in outcome.err
    assert not list((tmp_path / "store/demo").glob("prepared-*.zarr"))
    assert "made" in small("download").out  # as the message says
    small("prepare")


def test_a_day_on_which_a_variable_is_missing_is_in_no_window_and_a_cell_missing_once_is_masked(
    small: Stage, tmp_path: Path
) -> None:
    small("download")
    path = tmp_path / "store/demo/raw.zarr"
    raw = store.open_store(path).load()
    raw["sst"][50] = np.nan
    raw["z500"][60, 3, 4] = np.nan
    store.write(raw, path)
    seal_again(path)
    small("prepare")
    found = prepared(tmp_path)
    assert found["split"].values[50] == -1
    assert found["split"].values[60] == 0
    assert not found["mask"].values[0, 3, 4]
    assert (found["x"].values[:, 0, 3, 4] == 0).all()
    assert found["mask"].values[0].sum() == found["mask"].values[0].size - 1


def test_another_record_under_the_same_name_makes_what_was_built_from_it_stale(
    small: Stage, stage: Stage
) -> None:
    small("download")
    small("prepare")
    small("download", "dataset.seed=1")
    outcome = stage("train", *SMALL, "dataset.seed=1")
    assert outcome.status == 2
    assert "dataset demo is not prepared with these settings" in outcome.err
