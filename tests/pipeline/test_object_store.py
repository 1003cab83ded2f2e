"""Stores in an object store: S3 itself, as moto's server speaks it over HTTP on this machine."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import requests
import torch
import xarray as xr

from data import fields, memory, passes, places, store
from pipeline.artifacts import read_manifest
from tests.pipeline.conftest import SMALL, Outcome

s3fs = pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")
pytest.importorskip("upath")

# s3fs 2026.9 closes no session of a client that zarr's own loop uses
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed (client session|connector):ResourceWarning",
    "ignore:Exception ignored in.*(ClientSession|Connector):pytest.PytestUnraisableExceptionWarning",
)

Stage = Callable[..., Outcome]
ADDRESS = "s3://weather/some/where"
STEP = 4 * 16 * 24  # bytes of a variable of the small record


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An endpoint with an empty bucket, and credentials in the environment."""
    for key, value in {"ACCESS_KEY_ID": "very-secret", "SECRET_ACCESS_KEY": "very-secret-key"}.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10)  # what it held for an earlier test
    forget()
    fsspec.filesystem("s3").mkdir("weather")
    yield f"http://{host}:{port}"
    running.stop()
    forget()


def forget() -> None:
    """Clients keep the credentials and the endpoint that they found, and leave their sessions open."""
    for client in list(s3fs.S3FileSystem._cache.values()):
        if client._s3 is not None:
            s3fs.S3FileSystem.close_session(client._loop, client._s3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    s3fs.S3FileSystem.clear_instance_cache()
    places._at.cache_clear()


def objects(prefix: str) -> dict[str, bytes]:
    """What is under an address, by the name after it; manifests apart."""
    files = fsspec.filesystem("s3", use_listings_cache=False)
    root = prefix.removeprefix("s3://")
    found = {name.removeprefix(root): files.cat_file(name) for name in files.find(root)}
    return {name: held for name, held in found.items() if not name.endswith("manifest.json")}


def content(folder: Path) -> dict[str, bytes]:
    """The same of a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("manifest.json")]
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in paths}


def test_the_road_is_that_of_a_folder(
    s3: str, small: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("trainer.max_epochs=1", "cluster.resamples=0", f"paths.runs={tmp_path / 'remote'}")
    stages = ("download", "prepare", "train", "embed", "cluster_report")
    for name in stages:
        small(name, *words[:2])
    monkeypatch.setattr(memory, "available", lambda: 0)  # windows are read from the store as they are needed
    for name in stages:
        told = small(name, *words, f"paths.store={ADDRESS}").out
        assert "very-secret" not in told
    assert "is current" in small("prepare", *words, f"paths.store={ADDRESS}").out

    assert objects(ADDRESS) == content(tmp_path / "store")
    assert manifests(tmp_path / "remote") == manifests(tmp_path / "runs")
    ours, theirs = (torch_weights(tmp_path / name) for name in ("remote", "runs"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = (embeddings(tmp_path / name) for name in ("remote", "runs"))
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (metrics(tmp_path / name)["models"] for name in ("remote", "runs"))
    assert ours["faconvlstm"]["scores"] == theirs["faconvlstm"]["scores"]
    for path in (tmp_path / "remote").rglob("*"):
        assert path.is_dir() or b"very-secret" not in path.read_bytes()


def manifests(runs: Path) -> dict[str, str]:
    """The digest of every artifact."""
    found = {
        str(path.relative_to(runs)): read_manifest(path) for path in sorted(runs.rglob("*.manifest.json"))
    }
    assert len(found) == 4
    return {name: manifest["digest"] for name, manifest in found.items() if manifest}


def torch_weights(runs: Path) -> dict[str, torch.Tensor]:
    (path,) = runs.rglob("last.ckpt")
    return dict(torch.load(path, weights_only=True)["state_dict"])


def embeddings(runs: Path) -> np.ndarray:
    (path,) = runs.rglob("embeddings.zarr")
    return np.asarray(store.open_store(path)["embedding"].values)


def metrics(runs: Path) -> dict[str, Any]:
    return dict(json.loads((runs / "demo" / "report" / "metrics.json").read_text(encoding="utf-8")))


class Killed(BaseException):
    """Ends a stage as abruptly as a test within this process can."""


def test_a_killed_preparation_goes_on(
    s3: str, small: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (fields, "BLOCK_BYTES", 30 * STEP),
        (store, "CHUNK_BYTES", 60 * STEP),
        (store, "SHARD_BYTES", 120 * STEP),
    ):
        monkeypatch.setattr(module, name, value)
    there = (f"paths.store={ADDRESS}", "compute.workers=1")
    small("download")
    small("prepare")
    small("download", *there)
    written: list[slice] = []

    def write(record: Any, path: Path, token: str, part: slice) -> None:
        if len(written) == 4:
            raise Killed
        undisturbed(record, path, token, part)
        written.append(part)

    undisturbed = passes.write
    monkeypatch.setattr(passes, "write", write)
    with pytest.raises(Killed):
        small("prepare", *there)
    assert not [name for name in objects(ADDRESS) if "maker.json" in name or "journal" in name]
    half, first = len(objects(ADDRESS)), list(written)
    written[:] = []
    monkeypatch.setattr(passes, "write", lambda *words: written.append(words[-1]) or undisturbed(*words))
    assert "is current" not in small("prepare", *there).out
    assert objects(ADDRESS) == content(tmp_path / "store")
    assert half < len(objects(ADDRESS))
    assert not {part.start for part in written} & {part.start for part in first[:3]}  # what was noted is kept
    assert not list((tmp_path / "runs" / "demo").glob("*.part"))


def test_what_is_wrong_with_an_address_is_said(
    s3: str, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(*words: str) -> str:
        outcome = stage("download", *SMALL, *words)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        return outcome.err

    assert "s3://absent/here: there is no such bucket" in told("paths.store=s3://absent/here")
    assert "nowhere://x/y" in told("paths.store=nowhere://x/y")
    assert "paths.runs must be a folder" in told(f"paths.runs={ADDRESS}")
    assert "there is no raw store of dataset demo in s3://weather/some/where/demo" in str(
        stage("prepare", *SMALL, f"paths.store={ADDRESS}").err
    )

    forget()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"{ADDRESS} cannot be reached (NoCredentialsError" in told(f"paths.store={ADDRESS}")


def test_a_store_in_any_other_place_that_fsspec_knows(tmp_path: Path) -> None:
    where = places.place("memory://somewhere/store.zarr")
    held = xr.Dataset(
        {"x": (("time", "cell"), np.arange(12, dtype=np.float32).reshape(4, 3))},
        coords={
            "time": np.arange("2001-01-01", "2001-01-05", dtype="datetime64[D]").astype("datetime64[ns]")
        },
    )
    store.write(held, where)
    store.write(held, tmp_path / "store.zarr")
    opened = store.open_store(where)
    np.testing.assert_array_equal(opened["x"].values, held["x"].values)
    assert store.open_array(where, "x").shape == (4, 3)
    assert places.count_files(where) == places.count_files(tmp_path / "store.zarr")
    places.remove(where)
    assert not where.exists()
    places.remove(where)
