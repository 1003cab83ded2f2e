"""Runs stages as the command line does, in this process, on small settings."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

from pipeline import command, content
from pipeline.artifacts import digest, manifest_of

# a small record and a small network: the whole road in seconds
SMALL = (
    "dataset.start=2001-01-01",
    "dataset.end=2002-12-31",
    "dataset.variables=[z500,sst]",
    "window.length=6",
    "window.stride=6",
    "model.hidden_channels=8",
    "model.embedding_size=4",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "cluster.n_init=2",
    "cluster.surrogates=0",
)


class Outcome(NamedTuple):
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Callable[..., Outcome]:
    """`stage("prepare", "dataset=demo")`, with artifacts under tmp_path."""

    def call(name: str, *overrides: str) -> Outcome:
        paths = (f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}")
        monkeypatch.setattr(sys, "argv", [name, *paths, *overrides])
        GlobalHydra.instance().clear()
        caplog.clear()
        caplog.set_level("INFO")
        module = importlib.import_module(f"pipeline.{name}")
        status = 0
        try:
            command.run(getattr(module, name))
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Outcome(status, printed.out + caplog.text, printed.err)

    return call


@pytest.fixture
def small(stage: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """A stage on the small settings, which must succeed."""

    def call(name: str, *overrides: str) -> Outcome:
        outcome = stage(name, *SMALL, *overrides)
        assert outcome.status == 0, outcome.err
        return outcome

    return call


def seal_again(path: Path) -> None:
    """Lets a store that a test changed, with what belongs to it, count as written so."""
    manifest = json.loads(manifest_of(path).read_text())
    del manifest["seal"]
    beside = [path.parent / name.removeprefix("../") for name in manifest["files"] if name.startswith("../")]
    manifest["files"] = json.loads(json.dumps(content.listing(path, [*content.files(path), *beside])))
    manifest_of(path).write_text(json.dumps(manifest | {"seal": digest(manifest)}))
