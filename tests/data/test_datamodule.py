from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from data import loader, memory, sampler, split, store
from data.datamodule import WindowDataModule
from data.errors import DataError
from data.loader import WindowLoader

LENGTH = 6


@pytest.fixture
def prepared() -> xr.Dataset:
    rng = np.random.default_rng(0)
    codes = np.full(60, split.TRAIN, np.int8)
    codes[40:45], codes[45:] = split.UNUSED, split.VALIDATION
    return xr.Dataset(
        {
            "x": (
                ("time", "variable", "latitude", "longitude"),
                rng.standard_normal((60, 2, 3, 4)).astype(np.float32),
            ),
            "season": (("time", "season_feature"), rng.standard_normal((60, 8)).astype(np.float32)),
            "split": ("time", codes),
        },
        coords={
            "time": pd.date_range("2001-01-01", periods=60).delete(20).insert(59, pd.Timestamp("2001-03-02"))
        },
    )


@pytest.fixture
def stored(prepared: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    """The same, in chunks of 5 steps and shards of 15."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 5 * 96)
    monkeypatch.setattr(store, "SHARD_BYTES", 15 * 96)
    store.write(prepared, tmp_path / "prepared.zarr")
    return store.open_store(tmp_path / "prepared.zarr")


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 0)


def module(prepared: xr.Dataset, seed: int = 0) -> WindowDataModule:
    return WindowDataModule(prepared, length=LENGTH, stride=2, batch_size=4, seed=seed)


def starts(loader: WindowLoader, epoch: int = 0) -> list[int]:
    loader.sampler.set_epoch(epoch)
    return torch.cat([batch["start"] for batch in loader]).tolist()


def assert_same(ours: WindowLoader, theirs: WindowLoader) -> None:
    pairs = list(zip(ours, theirs, strict=True))
    assert pairs
    for one, other in pairs:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_is_batch_first_and_holds_what_its_start_says(prepared: xr.Dataset) -> None:
    batch = next(iter(module(prepared).train_dataloader()))
    assert batch["x"].shape == (4, LENGTH, 2, 3, 4)
    assert batch["x"].dtype == torch.float32
    first = int(batch["start"][2])
    np.testing.assert_array_equal(batch["x"][2].numpy(), prepared["x"].values[first : first + 6])
    np.testing.assert_array_equal(batch["season"][2].numpy(), prepared["season"].values[first : first + 6])


def test_a_batch_begins_at_a_cache_line_wherever_the_heap_would_put_it(prepared: xr.Dataset) -> None:
    kept = []
    for batch in module(prepared).train_dataloader():
        kept += [batch, np.empty(5)]
        assert batch["x"].data_ptr() % 64 == batch["season"].data_ptr() % 64 == 0


def test_no_window_crosses_a_gap_or_the_border_of_a_period(prepared: xr.Dataset) -> None:
    """Day 20 of the record is missing, and steps 40 to 44 are in no period."""
    found = starts(module(prepared).train_dataloader())
    assert sorted(found) == [0, 2, 4, 6, 8, 10, 12, 14, 20, 22, 24, 26, 28, 30, 32, 34]
    assert len(set(found)) == len(found)


def test_validation_windows_come_in_order_from_their_period(prepared: xr.Dataset) -> None:
    assert starts(module(prepared).val_dataloader()) == [45, 47, 49, 51, 53, 54]


def test_the_order_is_decided_by_seed_and_epoch(prepared: xr.Dataset) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return starts(module(prepared, seed).train_dataloader(), epoch)

    assert order(0, 4) == order(0, 4)
    assert order(0, 4) != order(0, 5)
    assert order(0, 4) != order(1, 4)


@pytest.mark.parametrize("period", [split.TRAIN, split.VALIDATION])
@pytest.mark.parametrize("buffer_steps", [25, 1000])
def test_streaming_gives_the_windows_of_memory(
    stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch, period: int, buffer_steps: int
) -> None:
    monkeypatch.setattr(sampler, "BUFFER_BYTES", buffer_steps * 96)
    in_memory = module(stored)
    in_memory.windows(period)
    monkeypatch.setattr(memory, "available", lambda: 0)
    streamed = module(stored)
    assert streamed.windows(period).record.memory is None
    assert in_memory.windows(period).record.memory is not None
    assert_same(streamed.all_windows(period), in_memory.all_windows(period))
    assert_same(streamed.train_dataloader(), in_memory.train_dataloader())


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize(("buffer_steps", "chunks", "at_most"), [(1000, 1, 8), (25, 1, 12), (1000, 2, 4)])
def test_a_chunk_is_decoded_once_for_all_windows_of_a_buffer(
    stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch, buffer_steps: int, chunks: int, at_most: int
) -> None:
    """The training period is 40 of the 60 steps, 8 chunks; a window reaches into the next block by one."""
    monkeypatch.setattr(sampler, "BUFFER_BYTES", buffer_steps * 96)
    monkeypatch.setattr(loader, "READ_BYTES", chunks * 5 * 96)
    parts: list[int] = []
    read = store.read
    monkeypatch.setattr(
        store, "read", lambda array, part, path: parts.append(part.start) or read(array, part, path)
    )
    windows = starts(module(stored).train_dataloader())
    assert len(windows) == 16
    assert set(parts) == set(range(0, 40, 5 * chunks))
    assert len(parts) <= at_most


@pytest.mark.usefixtures("no_memory")
def test_what_lies_in_memory_already_is_not_looked_for_on_disk(prepared: xr.Dataset) -> None:
    assert len(starts(module(prepared).train_dataloader())) == 16


@pytest.mark.usefixtures("no_memory")
def test_a_part_of_a_stored_record_is_not_taken_for_the_whole(stored: xr.Dataset) -> None:
    part = stored.isel(time=slice(21, None))
    batch = next(iter(module(part).all_windows(split.TRAIN)))
    np.testing.assert_array_equal(batch["x"][0].numpy(), stored["x"].values[21:27])


@pytest.mark.parametrize("available", [0, 2**40])
def test_a_damaged_store_is_named_with_what_to_do(
    stored: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    monkeypatch.setattr(memory, "available", lambda: available)
    shard = tmp_path / "prepared.zarr/x/c/1/0/0/0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 0xFF
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"prepared\.zarr is damaged .*: remove it and make it again\.$"):
        list(module(stored).train_dataloader())


@pytest.mark.usefixtures("no_memory")
def test_a_missing_shard_is_not_taken_for_missing_values(stored: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "prepared.zarr/x/c/1/0/0/0").unlink()
    with pytest.raises(DataError, match=r"prepared\.zarr is damaged .*chunks of x are not there"):
        module(stored).train_dataloader()


@pytest.mark.parametrize("available", [0, 2**40])
@pytest.mark.parametrize("given", range(5))
def test_an_epoch_goes_on_after_the_batches_that_were_given(
    stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch, available: int, given: int
) -> None:
    monkeypatch.setattr(memory, "available", lambda: available)
    whole = starts(module(stored).train_dataloader(), epoch=3)
    first = module(stored)
    loader = first.train_dataloader()
    loader.sampler.set_epoch(3)
    batches = iter(loader)
    seen = [start for _ in range(given) for start in next(batches)["start"].tolist()]
    assert seen == whole[: 4 * given]

    second = module(stored)
    second.load_state_dict(first.state_dict())
    resumed = second.train_dataloader()
    assert len(resumed) == 4
    assert starts(resumed, epoch=3) == (whole[4 * given :] or whole)
    assert starts(resumed, epoch=4) == starts(module(stored).train_dataloader(), epoch=4)


def test_a_state_is_taken_once(stored: xr.Dataset) -> None:
    resumed = module(stored)
    resumed.load_state_dict({"given": 2})
    assert len(starts(resumed.train_dataloader())) == 8
    assert len(starts(resumed.train_dataloader())) == 16


def test_memory_is_judged_by_what_is_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:    100 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available() == 102400
    for name, value in {"max": "5000", "current": "3000", "stat": "anon 7\ninactive_file 100"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{value}\n")
    assert memory.available() == 2100
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == 102400
    (tmp_path / "meminfo").unlink()
    assert memory.available() == memory.UNKNOWN


def test_every_process_needs_its_own_memory(stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 60 * 96 * 4)
    options = {"length": LENGTH, "stride": 2, "batch_size": 4, "seed": 0}
    few = WindowDataModule(stored, **options, processes=2)
    many = WindowDataModule(stored, **options, processes=3)
    assert few.windows(split.TRAIN).record.memory is not None
    assert many.windows(split.TRAIN).record.memory is None


@pytest.mark.parametrize("available", [0, 2**40])
def test_processes_of_a_distributed_run_see_windows_of_their_own(
    stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    monkeypatch.setattr(memory, "available", lambda: available)

    def of_rank(rank: int) -> WindowLoader:
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        made = module(stored)
        made.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank, world_size=3, accumulate_grad_batches=1, strategy=strategy
        )
        return made.train_dataloader()

    each = [starts(of_rank(rank)) for rank in range(3)]
    assert sorted(start for found in each for start in found) == sorted(
        starts(module(stored).train_dataloader())
    )
    assert {len(of_rank(rank)) for rank in range(3)} == {4}  # steps of four windows between them
    first = next(iter(of_rank(0)))
    assert len(first["x"]) == 2
    assert first["weight"] == 1.5
