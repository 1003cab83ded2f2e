from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from data import memory
from models.training import AutoencoderModule
from pipeline import resuming
from pipeline.artifacts import read_manifest
from tests.pipeline.conftest import SMALL, Outcome

ROOT = Path(__file__).resolve().parents[2]
Stage = Callable[..., Outcome]
EPOCHS = "trainer.max_epochs=5"


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs" / "demo").glob("faconvlstm-*-seed0")
    return run


def weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return dict(torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"])


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def curve(run: Path) -> list[dict[str, Any]]:
    with (run / "training.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture
def ready(small: Stage) -> Stage:
    small("download")
    small("prepare")
    return small


def test_a_run_has_checkpoints_a_curve_and_its_costs(ready: Stage, tmp_path: Path) -> None:
    ready("train")
    run = only_run(tmp_path)
    manifest = read_manifest(run / "checkpoints.manifest.json")
    assert manifest is not None
    results = manifest["results"]
    assert results["epochs"] == len(curve(run)) == 2
    assert results["parameters"] > 1000
    assert results["flops_per_window"] > 1e6
    assert results["train_step_seconds"] > 0
    losses = [float(row["validation_loss"]) for row in curve(run)]
    assert results["best_validation_loss"] == pytest.approx(min(losses))
    assert (manifest["seed"], manifest["model"]) == (0, "faconvlstm")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_training_again_does_nothing_and_another_seed_is_another_run(ready: Stage, tmp_path: Path) -> None:
    ready("train")
    before = weights(only_run(tmp_path))
    assert "is current" in ready("train").out
    ready("train", "seed=1")
    assert len(list((tmp_path / "runs" / "demo").iterdir())) == 2
    (other,) = (tmp_path / "runs" / "demo").glob("faconvlstm-*-seed1")
    assert any(not torch.equal(before[name], value) for name, value in weights(other).items())


def test_where_a_run_runs_does_not_make_it_another_run(ready: Stage) -> None:
    ready("train", "trainer.accelerator=cpu")
    assert "is current" in ready("train", "trainer.accelerator=auto").out


def test_the_same_seed_gives_the_same_weights(ready: Stage, tmp_path: Path) -> None:
    ready("train")
    first = weights(only_run(tmp_path))
    only_run(tmp_path).rename(tmp_path / "first")
    ready("train")
    assert_same(weights(only_run(tmp_path)), first)


def alone(tmp_path: Path, *overrides: str) -> subprocess.Popen[str]:
    """Training in a process of its own, as a user runs it; what tests did to this one plays no part."""
    paths = (f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}")
    command = [sys.executable, "-m", "pipeline.train", *SMALL, *overrides, *paths]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(ready: Stage, tmp_path: Path) -> None:
    undisturbed = alone(tmp_path, EPOCHS)
    undisturbed.communicate()
    run = only_run(tmp_path)
    last, best, losses = weights(run), weights(run, "best.ckpt"), curve(run)
    run.rename(tmp_path / "undisturbed")

    process = alone(tmp_path, EPOCHS)
    deadline = time.monotonic() + 120
    while not (run / "training.csv").exists() or len(curve(run)) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (run / "checkpoints.manifest.json").exists()

    assert "going on after epoch" in alone(tmp_path, EPOCHS).communicate()[0]
    assert_same(weights(run), last)
    assert_same(weights(run, "best.ckpt"), best)
    assert curve(run) == losses


def test_training_does_not_depend_on_what_its_process_did_before(ready: Stage, tmp_path: Path) -> None:
    alone(tmp_path).communicate()
    fresh = weights(only_run(tmp_path))
    only_run(tmp_path).rename(tmp_path / "fresh")
    ready("train")
    assert_same(weights(only_run(tmp_path)), fresh)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_killed_within_an_epoch_goes_on_at_its_next_window(
    ready: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    """Whether the record is in memory or read from the store, which changes nothing of what is learned either."""
    ready("train")
    run = only_run(tmp_path)
    undisturbed, best, losses = weights(run), weights(run, "best.ckpt"), curve(run)
    run.rename(tmp_path / "undisturbed")

    def kill(trainer: lightning.Trainer, path: Path | str, *_: object, **__: object) -> None:
        save(trainer, path)
        if Path(path).name == "middle.ckpt" and trainer.current_epoch == 1:
            raise Killed

    save = lightning.Trainer.save_checkpoint
    if streamed:
        monkeypatch.setattr(memory, "available", lambda: 0)
    with monkeypatch.context() as patch:
        patch.setattr(lightning.Trainer, "save_checkpoint", kill)
        for _ in range(2):  # the second ends a step later, having gone on from the first
            with pytest.raises(Killed):
                ready("train", "trainer.checkpoint_minutes=1e-9")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "middle.ckpt",
    }

    assert "going on within epoch 1, at step" in ready("train").out
    assert_same(weights(run), undisturbed)
    assert_same(weights(run, "best.ckpt"), best)
    assert curve(run) == losses
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


class Killed(BaseException):
    """Ends a run as abruptly as a test within this process can."""


def test_a_damaged_checkpoint_is_named_and_set_aside(ready: Stage, stage: Stage, tmp_path: Path) -> None:
    ready("train")
    run = only_run(tmp_path)
    whole = weights(run)
    (run / "checkpoints.manifest.json").unlink()
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    outcome = stage("train", *SMALL)
    assert outcome.status == 2
    assert "last.ckpt is damaged" in outcome.err
    assert "run python -m pipeline.train" in outcome.err
    assert "going on" not in ready("train").out
    assert_same(weights(run), whole)
    assert (run / "checkpoints.damaged" / "best.ckpt").exists()


def test_what_a_checkpoint_says_of_its_files_holds_where_a_run_is_moved(tmp_path: Path) -> None:
    here, there = (resuming.Checkpoints(tmp_path / name, "validation_loss") for name in ("here", "there"))
    here.best_model_path = here.kth_best_model_path = str(tmp_path / "here" / "best.ckpt")
    here.best_k_models = {here.best_model_path: torch.tensor(0.5)}
    here.best_model_score = torch.tensor(0.5)
    state = here.state_dict()
    assert str(tmp_path) not in str(state)
    there.load_state_dict(state)
    assert there.best_k_models == {str(tmp_path / "there" / "best.ckpt"): torch.tensor(0.5)}
    assert there.kth_best_model_path == there.best_model_path == str(tmp_path / "there" / "best.ckpt")
    assert there.last_model_path == ""
    assert there.best_model_score == torch.tensor(0.5)


def test_checkpoints_hold_no_path_and_no_secret(
    ready: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDSAPI_KEY", "very-secret-key")
    monkeypatch.setenv("WANDB_API_KEY", "very-secret-key")
    ready("train")
    for path in only_run(tmp_path).rglob("*"):
        assert path.is_dir() or b"very-secret-key" not in path.read_bytes()
        assert path.suffix != ".ckpt" or str(tmp_path).encode() not in path.read_bytes()


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    ready: Stage, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = AutoencoderModule.losses

    def broken(self: AutoencoderModule, batch: Any) -> dict[str, torch.Tensor]:
        found = losses(self, batch)
        return found if self.current_epoch < 1 else found | {"loss": found["loss"] * torch.nan}

    monkeypatch.setattr(AutoencoderModule, "losses", broken)
    outcome = stage("train", *SMALL)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "The training loss became nan in epoch 1, batch 0 (step " in outcome.err
    assert "lower trainer.learning_rate" in outcome.err
    run = only_run(tmp_path)
    kept = weights(run)
    assert all(bool(torch.isfinite(value).all()) for value in kept.values())
    assert not (run / "checkpoints.manifest.json").exists()
    monkeypatch.setattr(AutoencoderModule, "losses", losses)
    assert "going on after epoch" in ready("train").out  # mended, it goes on from there
    assert [row["epoch"] for row in curve(run)] == ["0", "1"]
