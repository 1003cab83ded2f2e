from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from data import store
from data.errors import DamagedError, DataError


def raw(n_times: int = 30) -> xr.Dataset:
    fields = np.random.default_rng(0).standard_normal((n_times, 3, 4)).astype(np.float32)
    fields[2, 1, 1] = np.nan
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), fields, {"units": "K"})},
        coords={
            "time": pd.date_range("2001-01-01T12", periods=n_times),
            "latitude": np.array([10.0, 5.0, 0.0]),
            "longitude": np.array([-20.0, -10.0, 0.0, 10.0]),
        },
        attrs={"source": "test"},
    )


@pytest.mark.parametrize("chunk_bytes", [1, 200, 10**7])
def test_what_is_read_is_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", chunk_bytes)
    store.write(raw(), tmp_path / "raw.zarr")
    xr.testing.assert_identical(store.open_store(tmp_path / "raw.zarr").load(), raw())


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        store.write(raw(), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 4
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def shard_of(path: Path, name: str = "t2m") -> Path:
    return next(p for p in (path / name).rglob("*") if p.is_file() and "c" in p.relative_to(path).parts)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.999])
@pytest.mark.parametrize("chunk_bytes", [200, 10**7])
def test_a_flipped_byte_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, place: float
) -> None:
    """In a chunk, and in the index of a shard."""
    monkeypatch.setattr(store, "CHUNK_BYTES", chunk_bytes)
    path = tmp_path / "raw.zarr"
    store.write(raw(), path)
    shard = shard_of(path)
    content = bytearray(shard.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    shard.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match=r"(?i)raw\.zarr is damaged \(t2m: .*checksum"):
        store.open_store(path)["t2m"].load()
    with pytest.raises(DataError, match=r"raw\.zarr is damaged \(steps 0 to 29 of t2m: .*make it again"):
        store.read(store.open_array(path, "t2m"), slice(0, 30), path)


@pytest.mark.parametrize("kept", [0, 3, 100])
def test_a_truncated_file_is_noticed(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "raw.zarr"
    store.write(raw(), path)
    shard = shard_of(path)
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match="is damaged"):
        store.read(store.open_array(path, "t2m"), slice(0, 30), path)


def test_a_missing_file_is_noticed_though_zarr_reads_it_as_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    store.write(raw(), path)
    held, array = store.open_store(path), store.open_array(path, "t2m")
    shard_of(path).unlink()
    assert bool(xr.open_zarr(path)["t2m"].isnull().all())
    with pytest.raises(DamagedError, match="its file t2m/c/0/0/0 is not there"):
        held["t2m"].load()
    with pytest.raises(DamagedError, match="its file t2m/c/0/0/0 is not there"):
        store.read(array, slice(0, 3), path)
    with pytest.raises(DamagedError, match="1 of 1 chunks of t2m are not there"):
        store.open_array(path, "t2m")


def test_what_is_missing_everywhere_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    sea = raw().assign(sst=xr.full_like(raw()["t2m"], np.nan))
    store.write(sea, path)
    assert shard_of(path, "sst").exists()
    xr.testing.assert_identical(store.open_store(path).load(), sea)


def test_damage_can_be_told_from_process_to_process(tmp_path: Path) -> None:
    error = DamagedError(tmp_path, "a b")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.reason) == (str(error), tmp_path, "a b")


def prepared(n_times: int = 50) -> xr.Dataset:
    """Steps of 480 bytes."""
    rng = np.random.default_rng(0)
    dims = ("time", "variable", "latitude", "longitude")
    return xr.Dataset(
        {
            "x": (dims, rng.standard_normal((n_times, 2, 6, 10)).astype(np.float32)),
            "season": (("time", "season_feature"), rng.standard_normal((n_times, 8)).astype(np.float32)),
            "split": ("time", rng.integers(-1, 3, n_times).astype(np.int8)),
            "mask": (dims[1:], rng.random((2, 6, 10)) < 0.5),
        },
        coords={
            "time": pd.date_range("2001-01-01", periods=n_times),
            "variable": np.array(["z500", "a longer name"], object),
        },
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 3 steps of x and shards of 12."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 3 * 480)
    monkeypatch.setattr(store, "SHARD_BYTES", 12 * 480 + 100)


@pytest.mark.usefixtures("small")
def test_small_chunks_lie_in_few_files(tmp_path: Path) -> None:
    path = tmp_path / "prepared.zarr"
    layout = store.encoding(prepared())
    assert layout["x"]["chunks"] == (3, 2, 6, 10)
    assert layout["x"]["shards"] == (12, 2, 6, 10)
    assert store.region_step(layout["x"]) == 12
    assert [part.start for part in store.regions(prepared())] == [0, 12, 24, 36, 48]
    assert "shards" not in layout["split"]
    store.write(prepared(), path)
    assert len([p for p in (path / "x" / "c").rglob("*") if p.is_file()]) == 5
    assert len([p for p in (path / "season" / "c").rglob("*") if p.is_file()]) == 1
    xr.testing.assert_identical(store.open_store(path).load(), prepared())


@pytest.mark.usefixtures("small")
def test_a_window_decodes_only_the_chunks_that_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prepared.zarr"
    store.write(prepared(), path)
    array = store.open_array(path, "x")
    decoded: list[int] = []
    decode = BloscCodec._decode_single

    async def counted(self: BloscCodec, *arguments: object) -> object:
        decoded.append(1)
        return await decode(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BloscCodec, "_decode_single", counted)
    np.testing.assert_array_equal(array[10:16], prepared()["x"].values[10:16])
    assert len(decoded) == 3


@pytest.mark.usefixtures("small")
def test_regions_are_written_in_any_order_to_the_bytes_of_one_writing(tmp_path: Path) -> None:
    dataset = prepared()
    store.write(dataset, tmp_path / "once")
    template = dataset.assign(x=xr.zeros_like(dataset["x"].chunk()))
    store.lay_out(template, tmp_path / "parts", store.encoding(dataset))
    for part in reversed(store.regions(dataset)):
        store.write_region(dataset.isel(time=part), tmp_path / "parts", part)
    files = sorted(p.relative_to(tmp_path / "once") for p in (tmp_path / "once").rglob("*") if p.is_file())
    assert all((tmp_path / "once" / f).read_bytes() == (tmp_path / "parts" / f).read_bytes() for f in files)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("part", [slice(0, 5), slice(3, 12), slice(12, 30), slice(40, 50)])
def test_a_part_of_a_shard_is_refused(tmp_path: Path, part: slice) -> None:
    store.lay_out(prepared(), tmp_path / "p", store.encoding(prepared()))
    with pytest.raises(DataError, match="are not whole shards of 12 steps of x"):
        store.write_region(prepared().isel(time=part), tmp_path / "p", part)


@pytest.mark.parametrize("n_times", [1, 2, 7, 365])
@pytest.mark.parametrize("bytes_per_step", [0, 1, 47068, 2**20, 10**9])
def test_shards_are_whole_chunks_and_no_longer_than_needed(bytes_per_step: int, n_times: int) -> None:
    chunk = store.steps_per_chunk(bytes_per_step, n_times)
    shard = store.steps_per_shard(bytes_per_step, n_times)
    assert 1 <= chunk <= n_times
    assert shard % chunk == 0
    assert shard < n_times + chunk
    assert shard * bytes_per_step <= store.SHARD_BYTES or shard == 1


def test_a_lazy_record_of_one_shard_is_written(tmp_path: Path) -> None:
    lazy = prepared().chunk(time=7)
    store.write(lazy, tmp_path / "p")
    xr.testing.assert_identical(store.open_store(tmp_path / "p").load(), prepared())


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4000), st.integers(1, 9000))
def test_any_layout_gives_back_what_was_written(n_times: int, chunk: int, shard: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(store, "CHUNK_BYTES", chunk)
        patch.setattr(store, "SHARD_BYTES", shard)
        dataset = prepared(n_times)
        store.write(dataset, Path(folder) / "p")
        xr.testing.assert_identical(store.open_store(Path(folder) / "p").load(), dataset)
        store.open_array(Path(folder) / "p", "x")


def test_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a readable Zarr store"):
        store.open_store(tmp_path / "nothing.zarr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.astype(np.float64), "must be float32"),
        (lambda d: d.transpose("latitude", "time", "longitude"), "must be float32 \\(time"),
        (lambda d: d.isel(time=[0, 0, 1]), "must increase without repeats"),
        (lambda d: d.isel(latitude=slice(None, None, -1)), "latitude must descend"),
        (lambda d: d.assign_coords(longitude=[0.0, 100.0, 200.0, 300.0]), "longitude must ascend"),
        (lambda d: d.drop_vars("t2m"), "gave no variable"),
    ],
)
def test_the_contract_of_the_raw_store(change: object, words: str) -> None:
    store.check_raw(raw())
    with pytest.raises(DataError, match=words):
        store.check_raw(change(raw()))  # type: ignore[operator]
