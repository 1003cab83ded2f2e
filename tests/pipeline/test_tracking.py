"""Weights & Biases, read back from the files of its offline runs, and TensorBoard from its own."""

from __future__ import annotations

import csv
import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from pipeline import tracking
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
BLOCK = 32768  # bytes of a block of the file, which is a LevelDB log behind a header of 7 bytes
WANDB = ("logger=wandb", "cluster.resamples=0")


def records(path: Path) -> Iterator[Record]:
    """What a .wandb file holds; a record may be cut in pieces, which do not cross blocks."""
    held, at, whole = path.read_bytes(), 7, b""
    assert held[:4] == b":W&B"
    while at + 7 <= len(held):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", held[at : at + 7])
        whole += held[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, last
            yield Record.FromString(whole)
            whole = b""


def tracked(run: Path) -> list[Record]:
    """All records of a run, in order, whatever stage made them."""
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [record for path in files for record in records(path)]


def history(found: list[Record]) -> dict[str, list[Any]]:
    """What was logged, by its name; a picture or a table is a dict, whose entries come one by one."""
    logged: dict[str, list[Any]] = {}
    for record in found:
        whole: dict[str, dict[str, Any]] = {}
        for item in record.history.item:
            name, *inner = [item.key] if item.key else item.nested_key
            value = json.loads(item.value_json)
            if inner:
                whole.setdefault(name, {})[inner[0]] = value
            else:
                logged.setdefault(name, []).append(value)
        for name, entries in whole.items():
            logged.setdefault(name, []).append(entries)
    return logged


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A key, which must turn up nowhere and is forgotten again, and folders of wandb's own out of the way."""
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb"))
    yield
    wandb.teardown()


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs" / "demo").glob("faconvlstm-*-seed0")
    return run


@pytest.mark.usefixtures("quiet")
def test_a_run_is_tracked_through_all_stages(small: Stage, tmp_path: Path) -> None:
    small("download")
    small("prepare")
    small("train", *WANDB)
    run = run_of(tmp_path)
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    (run / "checkpoints.manifest.json").unlink()  # as if it had been killed at its end
    for stage in ("train", "embed", "cluster_report"):
        small(stage, *WANDB)
    found = tracked(run)
    assert {record.run.run_id for record in found if record.HasField("run")} == {run.name}
    groups = {record.run.run_group for record in found if record.HasField("run")}
    assert groups == {f"demo/{run.name.removesuffix('-seed0')}"}
    assert len(list(run.glob("wandb/offline-run-*"))) == 4  # of one id
    check_what_training_logged(found, run)
    check_what_later_stages_logged(found, run)
    for path in (tmp_path / "runs").rglob("*"):
        assert path.is_dir() or b"0123456789" * 4 not in path.read_bytes()

    run.rename(tmp_path / "tracked")
    small("train")
    assert not (run_of(tmp_path) / "wandb").exists()
    ours, theirs = curve(tmp_path / "tracked"), curve(run_of(tmp_path))
    np.testing.assert_array_equal(ours, theirs)  # tracking takes no part
    assert before


def curve(run: Path) -> np.ndarray:
    with (run / "training.csv").open(encoding="utf-8") as file:
        return np.array([list(map(float, list(row.values())[:-1])) for row in csv.DictReader(file)])


def check_what_training_logged(found: list[Record], run: Path) -> None:
    settings: dict[str, Any] = {}
    for record in found:
        for item in record.run.config.update:
            settings[item.key] = json.loads(item.value_json)
    assert settings["trainer"]["max_epochs"] == 2
    assert settings["model"]["hidden_channels"] == 8
    logged = history(found)
    expected = curve(run)
    np.testing.assert_allclose(logged["train_loss"], expected[:, 1])
    np.testing.assert_allclose(logged["validation_loss"], expected[:, 4])
    assert len(logged["windows_per_second"]) == 2
    assert min(logged["windows_per_second"]) > 0
    assert len(logged["gradient_norm"]) == len(logged["learning_rate"]) > 10
    assert min(logged["gradient_norm"]) > 0
    assert max(logged["learning_rate"]) <= 8e-3
    assert logged["learning_rate"][-1] < max(logged["learning_rate"])


def check_what_later_stages_logged(found: list[Record], run: Path) -> None:
    logged = history(found)
    pictures = {name: held[0] for name, held in logged.items() if name.startswith("reconstructions/")}
    assert len(pictures) == 4
    for held in (*pictures.values(), logged["composites"][0]):
        assert held["_type"] == "image-file"
        (path,) = run.glob(f"wandb/offline-run-*/files/{held['path']}")
        with Image.open(path) as image:
            assert image.width > 300
    (scores,) = logged["scores"]
    (path,) = run.glob(f"wandb/offline-run-*/files/{scores['path']}")
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table["columns"] == ["space", "period", "index", "value"]
    told = json.loads((run.parent / "report" / "metrics.json").read_text(encoding="utf-8"))
    values = {tuple(row[:3]): row[3] for row in table["data"]}
    silhouette = told["models"]["faconvlstm"]["scores"]["data"]["test"]["silhouette"]["values"][0]
    assert values["data", "test", "silhouette"] == silhouette
    artifacts = {record.artifact.name: record.artifact.type for record in found if record.artifact.name}
    assert artifacts[f"{run.name}-best"] == "checkpoint"
    assert artifacts[f"{run.name}-embeddings"] == "embeddings"


def test_nothing_is_imported_that_was_not_asked_for(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    small("download")
    small("prepare")
    for name in ("wandb", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    small("train", "trainer.max_epochs=1")
    small("embed", "trainer.max_epochs=1")


def test_without_a_key_online_is_refused_in_a_sentence(
    small: Stage, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    small("download")
    small("prepare")
    outcome = stage("train", *SMALL, "logger=wandb", "logger.mode=online")
    assert outcome.status == 2
    assert "Weights & Biases refuses (there is no key)" in outcome.err
    assert "logger.mode=offline" in outcome.err


def test_tensorboard_has_the_same_figures(small: Stage, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    small("download")
    small("prepare")
    small("train", "logger=tensorboard", "trainer.max_epochs=1")
    events = accumulator.EventAccumulator(str(run_of(tmp_path) / "tensorboard"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"train_loss", "validation_loss", "gradient_norm", "learning_rate", "windows_per_second"} <= names


def test_a_picture_has_a_map_for_every_row_and_column() -> None:
    rows = {"one": np.full((2, 4, 6), np.nan), "other": np.linspace(-1, 1, 48).reshape(2, 4, 6)}
    drawn = tracking.picture(rows, ["z500", "sst"])
    assert drawn.dtype == np.uint8
    assert drawn.shape == (340, 480, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 40
