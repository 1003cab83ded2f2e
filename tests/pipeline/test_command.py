from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import command
from tests.pipeline.conftest import Outcome

ROOT = Path(__file__).resolve().parents[2]
Stage = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("window.lenght=6", "no setting 'window.lenght'; did you mean 'window.length'?"),
        ("dataset.pth=x", "no setting 'dataset.pth'"),
        ("datset=demo", "no setting 'datset'; did you mean 'dataset'?"),
        ("dataset=file", "dataset=file is not known; did you mean 'files'?; there are: azores2021, demo,"),
        ("model=faconvlsm", "did you mean 'faconvlstm'?"),
        ("window.length=long", "window.length: Value 'long' of type 'str' could not be converted to Integer"),
        ("window.length=0", "window.length must be between 1 and 1000000. Received: 0."),
        ("dataset.split.test=1.5", "dataset.split.test must be between 0.01 and 0.9. Received: 1.5."),
        ("cluster.k=1", "cluster.k must be between 2 and 10000. Received: 1."),
        ("trainer.accelerator=tpu9", "trainer.accelerator must be one of auto, cpu"),
        ("dataset.name=../elsewhere", "dataset.name names a folder"),
        ("dataset.start=yesterdayish", "dataset.start must be a date"),
        ("+window.lenght=6", "no setting 'window.lenght'; did you mean 'window.length'?"),
        ("window=6", "window=6: window= takes one of: daily."),
        ("model=null", "model= takes one of: convgru, convlstm"),
        ("~window", "window is not set: add window=… to the command."),
        ("dataset=[demo,files]", "conf/dataset/files_schema.yaml cannot be taken as it is"),
        ("dataset.season=XYZ", "dataset.season must be the initials of consecutive months"),
        ("window.length", "'window.length' cannot be read as a setting: write key=value"),
        (
            "paths.store=/proc/nowhere",
            "/proc/nowhere is not there (No such file or directory): check the path",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(stage: Stage, override: str, words: str) -> None:
    outcome = stage("download", override)
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: [files, _self_]\npth: x\n", "cannot be taken as it is: Key 'pth' not in 'FilesDataset'."),
        ("defaults: [files, _self_]\n  path: [x\n", "a file under conf is not YAML"),
        ("name: x\nsource: files\n", "dataset has no schema, which says what may be set"),
    ],
)
def test_a_wrong_file_of_settings_is_one_sentence_too(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    conf = Path(shutil.copytree(command.CONF, tmp_path / "conf"))
    (conf / "dataset" / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(command, "CONF", conf)
    outcome = stage("download", "dataset=mine")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err


def test_the_nearest_key_is_looked_for_in_the_dataset_that_was_chosen(stage: Stage) -> None:
    assert "did you mean 'dataset.path'?" in stage("download", "dataset=files", "dataset.pth=x").err


def test_a_setting_that_has_no_default_is_asked_for(stage: Stage) -> None:
    outcome = stage("download", "dataset=files")
    assert outcome.status == 2
    assert "dataset.path is not set: add dataset.path=" in outcome.err


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("prepare", "pipeline.download"),
        ("train", "pipeline.download"),
        ("cluster_report", "pipeline.download"),
    ],
)
def test_a_stage_without_its_input_names_the_command_that_makes_it(
    stage: Stage, name: str, needs: str
) -> None:
    outcome = stage(name)
    assert outcome.status == 2
    assert f"python -m {needs}" in outcome.err


def test_a_bug_has_status_1_and_a_traceback() -> None:
    code = "from pipeline import command\ncommand.run(lambda cfg: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_an_interrupt_has_status_130() -> None:
    code = "from pipeline import command\ndef f(cfg): raise KeyboardInterrupt\ncommand.run(f)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (130, 0)


@pytest.mark.parametrize("flag", [("--help",), ("--cfg", "job")])
def test_help_and_configuration_name_the_settings(flag: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pipeline.download", *flag]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for words in ("deseasonalise", "embedding_size", "max_epochs", "n_init"):
        assert words in done.stdout
