from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from data import store
from data.places import remove
from pipeline import content
from pipeline.artifacts import Artifact, digest, read_manifest


def artifact(folder: Path, **config: object) -> Artifact:
    return Artifact("raw", folder / "raw.zarr", config, {"source": "abc"})


def make(one: Artifact, content: str = "x") -> None:
    with one.writing(note=1) as (part, notes):
        part.mkdir()
        (part / "data").write_text(content, encoding="utf-8")
        notes["n_times"] = 3


def half_write(one: Artifact) -> None:
    with one.writing() as (part, _):
        part.mkdir()
        (part / "half").touch()
        raise RuntimeError("killed")


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})


def test_what_a_link_leads_to_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "file").exists()


def test_a_kill_after_the_last_step_leaves_nothing_behind(tmp_path: Path) -> None:
    one = artifact(tmp_path)
    make(one)
    held = sorted(tmp_path.iterdir())
    one.part.mkdir()
    (tmp_path / "raw.zarr.lock").touch()
    assert one.is_current()
    assert sorted(tmp_path.iterdir()) == held


def test_complete_and_current(tmp_path: Path) -> None:
    one = artifact(tmp_path, start="2001")
    assert not one.is_current()
    make(one)
    assert one.is_current()
    assert not artifact(tmp_path, start="2002").is_current()
    manifest = read_manifest(one.manifest_path)
    assert manifest is not None
    assert (manifest["config"], manifest["note"], manifest["n_times"]) == ({"start": "2001"}, 1, 3)
    assert set(manifest["versions"]) >= {"torch", "zarr"}


def test_what_is_half_written_is_never_taken_for_whole(tmp_path: Path) -> None:
    one = artifact(tmp_path)
    make(one, "old")
    with pytest.raises(RuntimeError, match="killed"):
        half_write(artifact(tmp_path, start="2002"))
    assert one.is_current()  # the old one still is what it was
    assert (one.path / "data").read_text(encoding="utf-8") == "old"
    make(one, "new")
    assert [path.name for path in one.path.iterdir()] == ["data"]


def flip(path: Path) -> None:
    path.write_text("y", encoding="utf-8")


def cut(path: Path) -> None:
    path.write_text("", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip, "its file data has other bytes than were written"),
        (cut, "its file data has 0 bytes in place of 1"),
        (Path.unlink, "its file data is not there"),
    ],
)
def test_files_that_are_not_those_that_were_written_do_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], words: str
) -> None:
    one = artifact(tmp_path)
    make(one)
    harm(one.path / "data")
    assert not one.is_current()
    assert f"raw.zarr is damaged ({words})" in caplog.text


def test_files_beside_it_belong_to_an_artifact(tmp_path: Path) -> None:
    one, labels = artifact(tmp_path), tmp_path / "labels.csv"
    with one.writing(beside=[labels]) as (part, _):
        part.mkdir()
        labels.write_text("date,label\n", encoding="utf-8")
    assert one.is_current()
    labels.unlink()
    assert not one.is_current()


def test_chunks_are_listed_by_size_alone_since_they_carry_checksums(tmp_path: Path) -> None:
    store.write(xr.Dataset({"a": ("time", np.arange(3.0))}), tmp_path / "raw.zarr")
    listed = content.listing(tmp_path / "raw.zarr", content.files(tmp_path / "raw.zarr"))
    assert set(listed) == {"zarr.json", "a/zarr.json", "a/c/0"}
    assert [name for name, (_, checksum) in listed.items() if checksum is None] == ["a/c/0"]
    assert content.damage(tmp_path / "raw.zarr", listed) is None


def test_an_edited_manifest_does_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = artifact(tmp_path)
    make(one)
    text = one.manifest_path.read_text(encoding="utf-8")
    one.manifest_path.write_text(text.replace('"note": 1', '"note": 2'), encoding="utf-8")
    assert not one.is_current()
    assert "raw.manifest.json was changed after it was written and does not count" in caplog.text
    one.manifest_path.write_text(text.replace('"note": 1', '"note":1'), encoding="utf-8")
    assert one.is_current()  # spaces are no change


def test_what_fails_leaves_no_half_written_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        half_write(artifact(tmp_path))
    assert not list(tmp_path.iterdir())


def test_all_is_on_the_disk_before_the_manifest_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def name(path: Path) -> str:
        return str(path.relative_to(tmp_path))

    def syncing(handle: int) -> None:
        done.append(f"sync {name(Path(f'/proc/self/fd/{handle}').readlink())}")
        sync(handle)

    def replacing(path: Path, target: Path) -> Path:
        done.append(f"name {name(target)}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    make(artifact(tmp_path))
    assert done == [
        *("sync raw.zarr.part/data", "sync raw.zarr.part", "sync .", "name raw.zarr", "sync ."),
        *("sync raw.manifest.json.part", "name raw.manifest.json", "sync ."),
    ]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"digest": "other"}'])
def test_a_damaged_manifest_is_no_manifest(tmp_path: Path, damage: str) -> None:
    one = artifact(tmp_path)
    make(one)
    one.manifest_path.write_text(damage, encoding="utf-8")
    assert not one.is_current()


def test_an_artifact_that_was_removed_is_not_current(tmp_path: Path) -> None:
    one = artifact(tmp_path)
    make(one)
    (one.path / "data").unlink()
    one.path.rmdir()
    assert not one.is_current()


def test_a_manifest_is_json_with_the_names_of_the_contract(tmp_path: Path) -> None:
    one = artifact(tmp_path)
    make(one)
    manifest = json.loads(one.manifest_path.read_text(encoding="utf-8"))
    assert {"kind", "digest", "config", "inputs", "versions", "started", "seconds"} <= set(manifest)


def resume(one: Artifact, name: str, *, stop: bool = False) -> list[str]:
    """Goes on with a writing that takes several steps; returns what lay there before."""
    with one.resuming() as (part, notes):
        whole = part / "whole"
        before = sorted(path.name for path in whole.iterdir()) if whole.exists() else []
        whole.mkdir(exist_ok=True)
        (whole / name).touch()
        if stop:
            raise RuntimeError("killed")
        notes["before"] = before
    return before


def test_what_is_resumed_finds_what_was_left_of_the_same_artifact_alone(tmp_path: Path) -> None:
    one = artifact(tmp_path, start="2001")
    with pytest.raises(RuntimeError, match="killed"):
        resume(one, "first", stop=True)
    assert not one.is_current()
    assert resume(one, "second") == ["first"]
    assert one.is_current()
    assert sorted(path.name for path in one.path.iterdir()) == ["first", "second"]
    with pytest.raises(RuntimeError, match="killed"):
        resume(artifact(tmp_path, start="2002"), "third", stop=True)
    assert one.is_current()
    assert resume(artifact(tmp_path, start="2003"), "fourth") == []
    assert not list(tmp_path.glob("*.part"))


def test_what_other_versions_left_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = artifact(tmp_path)
    with pytest.raises(RuntimeError, match="killed"):
        resume(one, "first", stop=True)
    monkeypatch.setattr("pipeline.artifacts.versions", lambda: {"numpy": "99"})
    assert resume(one, "second") == []
