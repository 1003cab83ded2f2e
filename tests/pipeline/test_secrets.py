"""The road from download to report with keys that are known, which are then searched for in all that is left."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cds_server import KEY, FakeCds, status
from tests.data.cds.conftest import answer
from tests.pipeline.conftest import Outcome
from tests.pipeline.test_download_cds import FAST

WANDB = "5ec2e7a1" * 5  # forty hexadecimal digits, as theirs are
SMALL = (
    "dataset=azores2021", "dataset.name=small", "dataset.area=[39,-29,38,-28]", "dataset.variables=[t2m]",
    "dataset.start=2021-01-01", "dataset.end=2021-02-28", *FAST, "window.length=4", "window.stride=4",
    "model.hidden_channels=4", "model.embedding_size=3", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "cluster.k=2", "cluster.n_init=1", "cluster.surrogates=0", "cluster.resamples=0", "logger=wandb",
)  # fmt: skip


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeCds]:
    server = FakeCds(answer=answer).start()
    monkeypatch.setenv("CDSAPI_URL", server.url)
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))
    yield server
    server.stop()


def forms(key: str) -> list[bytes]:
    """A key as it may stand in a file: plain, and in base64 at each offset."""
    padded = [base64.b64encode(b"x" * shift + key.encode()) for shift in range(3)]
    return [key.encode(), *(text[4:-8] for text in padded)]


def test_no_key_is_in_any_artifact_or_log(
    service: FakeCds, stage: Callable[..., Outcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.fault("GET", r"/jobs/", status(500, "failed", f"token {KEY} not known"), times=1)
    said = ""
    for name in ("download", "verify", "prepare", "train", "embed", "cluster_report", "inspect"):
        outcome = stage(name, *SMALL)
        assert outcome.status == 0, outcome.err
        said += outcome.out + outcome.err + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"index.html", "last.ckpt", "metrics.json", "inspect.html"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    for key in (KEY, WANDB):
        for form in forms(key):
            assert form not in said.encode()
            assert [path for path in files if form in path.read_bytes()] == []


def test_no_key_is_in_what_is_said_of_a_refused_one(
    service: FakeCds, stage: Callable[..., Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.fault("GET", r".*", status(401, "unauthorized", f"key {KEY} is wrong"))
    service.fault("POST", r".*", status(401, "unauthorized", f"key {KEY} is wrong"))
    outcome = stage("download", *SMALL)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert KEY not in outcome.out + outcome.err
