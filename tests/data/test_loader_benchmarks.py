"""The benchmarks of the loader and of layouts, on records of a few steps."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from data import memory, sampler, split, store
from tests.benchmarks import fields, loader, stores

TINY = loader.Setting(40, 2, 5, 6, stride=loader.LENGTH, buffer_steps=20)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * 240)
    return fields.make(tmp_path / "store.zarr", *TINY[:4])


def test_fields_vary_and_are_the_same_each_time() -> None:
    record = fields.record(40, 2, 5, 6).load()
    assert record["x"].dims == ("time", "variable", "latitude", "longitude")
    assert (record["x"].std("time") > 0).sum() > 0.5 * record["x"][0].size
    np.testing.assert_array_equal(record["x"], fields.record(40, 2, 5, 6)["x"])
    assert (record["split"] == split.TRAIN).all()


def test_streaming_is_only_within() -> None:
    before = memory.available, sampler.BUFFER_BYTES
    with loader.streaming(TINY):
        assert memory.available() == 0
        assert sampler.BUFFER_BYTES == 20 * 240
    assert (memory.available, sampler.BUFFER_BYTES) == before


def test_the_ratio_to_zarr(tiny: xr.Dataset) -> None:
    with loader.streaming(TINY):
        found = loader.against_zarr(tiny, TINY)
    assert found["low"] <= found["ratio"] <= found["high"]
    assert found["against"] in {"zarr, 4 steps a time", "zarr, 12 steps a time"}


@pytest.mark.parametrize(("step", "share"), [(0.0, 1.0), (0.03, 0.5), (0.09, 0.25)])
def test_waiting_is_the_share_of_the_time_that_batches_take(
    tiny: xr.Dataset, monkeypatch: pytest.MonkeyPatch, step: float, share: float
) -> None:
    monkeypatch.setattr(loader, "STEP_SECONDS", step)
    monkeypatch.setattr(loader, "_loader", lambda *_: (time.sleep(0.03) or 1 for _ in range(4)))
    found = loader.waiting(tiny, TINY)
    assert found["low"] <= share + 0.15
    assert found["high"] >= share - 0.15


def test_xbatcher_gives_the_loader_s_windows(tiny: xr.Dataset) -> None:
    if importlib.util.find_spec("xbatcher") is None:
        pytest.skip("xbatcher is not installed; it is needed for a benchmark only")
    setting = TINY._replace(stride=4)
    with loader.streaming(setting):
        assert loader.against_xbatcher(tiny, setting)["ratio"] > 0


def test_names_of_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_measured", lambda *_: {"ratio": 1})
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda _: True)
    assert [name for name, _ in loader.figures(False)] == [
        "loader.rate.zarr",
        "loader.rate.xbatcher",
        "loader.wait",
    ]
    assert [name for name, _ in loader.figures(False, "loader.wait")] == ["loader.wait"]
    assert len(dict(loader.figures(True))) == 9
    assert list(loader.figures(True, "faconvlstm")) == []


def test_a_layout_is_measured_and_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vars(store).copy()
    with stores.layout(CHUNK_BYTES=4 * 240, SHARD_BYTES=8 * 240):
        cost = stores.measure(fields.record(40, 2, 5, 6).load(), tmp_path)
    assert vars(store) == before
    assert (cost.chunk_steps, cost.shard_steps) == (4, 8)
    assert cost.files == 6  # five shards and the metadata
    assert min(cost.write, cost.read, cost.windows, cost.share) > 0
