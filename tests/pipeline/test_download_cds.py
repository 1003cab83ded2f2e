"""The download stage against a loopback Climate Data Store: killed, resumed, shown, verified."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.sources.progress import Status
from pipeline.board import chosen, clock, row, totals
from tests.cds_server import KEY, FakeCds, status
from tests.data.cds.conftest import answer, digest
from tests.pipeline.conftest import Outcome

ROOT = Path(__file__).resolve().parents[2]
Stage = Callable[..., Outcome]

FAST = (
    "dataset.transfer.poll_seconds=0.02",
    "dataset.transfer.retry_seconds=0.02",
    "dataset.transfer.retry_max_seconds=0.1",
    "dataset.transfer.cool_off_seconds=0.05",
    "dataset.transfer.tries=5",
    "dataset.transfer.timeout_seconds=2",
)
SMALL = (
    "dataset=azores2021",
    "dataset.name=small",
    "dataset.area=[39,-29,38.5,-28]",
    "dataset.variables=[t2m,sshf]",
    "dataset.start=2021-01-30",
    "dataset.end=2021-02-03",
    *FAST,
)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCds]:
    server = FakeCds(answer=answer).start()
    monkeypatch.setenv("CDSAPI_URL", server.url)
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    yield server
    server.stop()


def test_the_record_is_brought_written_and_prepared(service: FakeCds, stage: Stage, tmp_path: Path) -> None:
    made = stage("download", *SMALL)
    assert made.status == 0, made.err
    assert "2021-01 instant days 30-31 verified" in made.out
    assert "Next: python -m pipeline.prepare" in made.out
    asked = len(service.log)
    again = stage("download", *SMALL, "dataset.in_flight=1", "dataset.transfer.tries=9")
    assert "is current" in again.out
    assert len(service.log) == asked
    assert KEY not in made.out + made.err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    manifest = json.loads((tmp_path / "store/small/raw.manifest.json").read_text())
    assert manifest["attributes"]["citation"].startswith("Hersbach")
    assert set(manifest["checksums"]["sshf"]) == {"2021-01", "2021-02"}


def test_a_longer_period_makes_what_was_built_stale(service: FakeCds, stage: Stage) -> None:
    assert stage("download", *SMALL).status == 0
    longer = [word for word in SMALL if "dataset.end" not in word] + ["dataset.end=2021-02-05"]
    outcome = stage("prepare", *longer)
    assert outcome.status == 2
    assert "made with other settings" in outcome.err


def test_the_plan_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("CDSAPI")} | {
        "CDSAPI_RC": "/none"
    }
    command = [
        sys.executable,
        "-m",
        "pipeline.download",
        "dataset=azores2021",
        "plan",
        f"paths.store={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert "25 requests, 61322 fields" in done.stdout
    assert '"variable":["surface_latent_heat_flux","surface_sensible_heat_flux"]' in done.stdout
    assert "2022-01 accumulated day 01" in done.stdout
    assert not list(tmp_path.rglob("*.zarr"))


def test_the_makefile_lets_the_plan_through() -> None:
    done = subprocess.run(
        ["make", "-n", "download", "DATASET=azores2021", "ARGS=plan"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pipeline.download dataset=azores2021 plan" in done.stdout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.in_flight=0", "dataset.in_flight must be between 1 and 20. Received: 0."),
        ("dataset.source=clod", "dataset.source must be one of cds, cloud"),
        ("dataset.product=monthly", "dataset.product must be one of hourly, daily_statistics"),
        ("dataset.transfer.tris=3", "did you mean 'dataset.transfer.tries'?"),
        ("dataset.area=[1,2]", "dataset.area is north, west, south, east"),
        ("dataset.end=2199-01-01", "dataset.end 2199-01-01 is not published yet"),
    ],
)
def test_a_mistake_is_one_sentence(service: FakeCds, stage: Stage, override: str, words: str) -> None:
    outcome = stage("download", *SMALL, override)
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    assert not service.posts


def test_a_licence_that_is_missing_is_one_sentence(service: FakeCds, stage: Stage) -> None:
    words = "Not all the required licences have been accepted; please visit the page"
    service.fault("POST", r"/execution$", status(403, "required licences not accepted", words))
    outcome = stage("download", *SMALL)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err


# Verify


def test_verify_finds_nothing_wrong_with_what_was_made(service: FakeCds, stage: Stage) -> None:
    stage("download", *SMALL)
    outcome = stage("verify", *SMALL)
    assert outcome.status == 0, outcome.err
    assert "nothing is wrong" in outcome.out


def test_verify_names_a_damaged_part_and_the_next_download_fetches_just_that(
    service: FakeCds, stage: Stage, tmp_path: Path
) -> None:
    stage("download", *SMALL)
    before, posts = digest(tmp_path / "store/small/raw.zarr"), service.posts
    part = next((tmp_path / "store/small/parts").glob("2021-02-instant-*.nc"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(bytes(content))
    outcome = stage("verify", *SMALL)
    assert outcome.status == 2
    assert "2021-02 instant days 01-03: the file is damaged" in outcome.err
    assert "pipeline.download" in outcome.err
    assert stage("download", *SMALL).status == 0
    assert service.posts == posts + 1
    assert digest(tmp_path / "store/small/raw.zarr") == before
    assert stage("verify", *SMALL).status == 0


def test_verify_names_a_damaged_month_and_the_next_download_writes_it_again(
    service: FakeCds, stage: Stage, tmp_path: Path
) -> None:
    stage("download", *SMALL)
    raw = tmp_path / "store/small/raw.zarr"
    before, posts = digest(raw), service.posts
    chunk = next(path for path in (raw / "sshf" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(bytes(content))
    outcome = stage("verify", *SMALL)
    assert outcome.status == 2
    assert "2021-01 sshf: cannot be read" in outcome.err
    assert stage("download", *SMALL).status == 0
    assert (digest(raw), service.posts) == (before, posts)


def test_verify_looks_at_other_sources_too(stage: Stage) -> None:
    words = ("dataset.start=2001-01-01", "dataset.end=2001-12-31", "dataset.variables=[z500,sst]")
    assert stage("download", *words).status == 0
    assert stage("verify", *words).status == 0


# Killed


# Loads what the stage needs once, then forks: a kill costs a second, not the time that imports take.
LAUNCHER = """
import os, sys
import pipeline.download, data.store, data.sources.cds, multiurl, netCDF4
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.argv = ["download", *line.split()]
        try:
            pipeline.download.main()
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Launcher:
    """Runs the stage in processes of their own."""

    def __init__(self, folder: Path, server: FakeCds) -> None:
        env = {**os.environ, "CDSAPI_URL": server.url, "CDSAPI_KEY": KEY, "OMP_NUM_THREADS": "1"}
        self.said = (folder / "said.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            cwd=ROOT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
        )

    def start(self, *words: str) -> int:
        """The process's number."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def status(self) -> int:
        """The exit status of the last process, when it has ended."""
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        while (
            not (line := self.process.stdout.readline().strip()).lstrip("-").isdigit()
        ):  # the stage speaks too
            assert line or self.process.poll() is None
        return line

    def close(self) -> None:
        self.process.communicate(timeout=10)
        self.said.close()


YEAR = (
    "dataset=azores2021",
    "dataset.name=year",
    "dataset.area=[38.5,-28.5,38,-28]",
    "dataset.variables=[t2m,sshf]",
    *FAST,
)
KILLS = 20


def test_killed_at_any_moment_it_ends_in_the_same_store_with_nothing_asked_for_twice(
    service: FakeCds, tmp_path: Path
) -> None:
    launcher = Launcher(tmp_path, service)
    launcher.start(*YEAR, f"paths.store={tmp_path / 'whole'}")
    assert launcher.status() == 0
    expected = digest(tmp_path / "whole/year/raw.zarr")
    assert len(service.jobs) == 25

    # Slow enough that the kills spread over the whole of it: queue, transfer, writing.
    service.jobs.clear()
    service.log.clear()
    service.script[:] = ["accepted", "running", "successful"]
    service.delay = 0.01
    words = (*YEAR, f"paths.store={tmp_path / 'killed'}")
    moments = random.Random(4)
    for _ in range(KILLS):
        before = len(service.log)
        pid = launcher.start(*words)
        while len(service.log) == before and time.sleep(0.005) is None:
            pass
        time.sleep(moments.uniform(0.0, 0.6))
        os.kill(pid, signal.SIGKILL)
        assert launcher.status() == -signal.SIGKILL
    launcher.start(*words)
    assert launcher.status() == 0
    launcher.close()
    assert digest(tmp_path / "killed/year/raw.zarr") == expected
    assert len(service.submitted()) == len(set(service.submitted())) == 25
    assert service.posts == 25


def test_killed_while_it_writes_the_store_it_writes_it_anew(
    service: FakeCds, stage: Stage, tmp_path: Path
) -> None:
    assert stage("download", *SMALL).status == 0
    raw, manifest = tmp_path / "store/small/raw.zarr", tmp_path / "store/small/raw.manifest.json"
    before, posts = digest(raw), service.posts
    raw.rename(raw.with_name("raw.zarr.part"))
    (raw.with_name("raw.zarr.part") / "t2m/zarr.json").unlink()
    manifest.unlink()
    assert stage("download", *SMALL).status == 0
    assert (digest(raw), service.posts) == (before, posts)


# The display


def test_the_board_shows_state_age_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    loading = Status(
        "2021-03 instant", "2021-03", "downloading", since=90.0, done=20_000_000, total=40_000_000
    )
    assert " ".join(row(loading).split()) == "2021-03 instant downloading 20.0 of 40.0 MB, 2.0 MB/s 0:10"
    assert row(Status("2021-04 instant", "2021-04", "queued", since=-3600.0)).endswith(
        "queued " + " " * 37 + "1:01:40"
    )
    assert totals([loading, Status("a", "a", "verified"), Status("b", "b", "verified")]) == (
        "2 of 3 parts verified, 1 downloading"
    )
    assert clock(59.9) == "0:59"


def test_a_long_list_shows_what_is_under_way() -> None:
    states = ["verified"] * 50 + ["running", "queued"] + ["waiting"] * 50
    found = chosen([Status(str(i), "m", state) for i, state in enumerate(states)], 10)
    assert [status.label for status in found][:3] == ["50", "51", "52"]
    assert len(found) == 10
