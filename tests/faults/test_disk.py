"""Disks that are full, read-only or closed: one sentence, status 2, nothing corrupt, and going on once mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cds_server import KEY, FakeCds
from tests.data.cds.conftest import answer
from tests.faults.conftest import ROAD
from tests.faults.road import Ended, Stages, content
from tests.faults.test_kill import CDS

pytestmark = pytest.mark.faults
NOBODY = 65534
Before = Callable[[str], Path]
Travelled = dict[str, tuple[Path, Ended]]


def refused(ended: Ended, *words: str) -> None:
    """Status 2 and one sentence with the words."""
    assert ended.status == 2, ended.said
    assert "Traceback" not in ended.said
    errors = [line for line in ended.said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, ended.said
    for word in words:
        assert word in errors[0]


def mended(stages: Stages, stage: str, folder: Path, travelled: Travelled) -> None:
    """The same command goes on and ends as an undisturbed one."""
    ended = stages.run(stage, folder)
    assert ended.status == 0, ended.said
    assert content(folder) == content(travelled[stage][0])


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("stage", ROAD)
def test_no_room_for_a_file(
    stages: Stages, travelled: Travelled, before: Before, stage: str, size: int
) -> None:
    folder = before(stage)
    refused(stages.run(stage, folder, file_size=size), "no room to write", "make space, or set paths.store")
    mended(stages, stage, folder, travelled)


def test_no_room_for_what_is_downloaded(stages: Stages, tmp_path: Path) -> None:
    service = FakeCds(answer=answer).start()
    env = {"CDSAPI_URL": service.url, "CDSAPI_KEY": KEY}
    refused(stages.run("download", tmp_path, CDS, env=env, file_size=3000), "no room to write")
    ended = stages.run("download", tmp_path, CDS, env=env)
    assert ended.status == 0, ended.said
    assert len(service.submitted()) == len(set(service.submitted()))  # nothing is asked for twice
    whole = tmp_path / "whole"
    whole.mkdir()
    assert stages.run("download", whole, CDS, env=env).status == 0
    held = {name: text for name, text in content(tmp_path).items() if not name.startswith("whole")}
    assert held == content(whole)
    service.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("size=1m")`: a file system of its own, mounted anew with other options at every call."""
    place = tmp_path / "disk"

    def mount(options: str) -> Path:
        again = ",remount" if place.is_mount() else ""
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", options + again, "none", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("stage", ["download", "prepare"])
def test_a_full_disk_and_then_a_larger_one(
    stages: Stages, travelled: Travelled, small_disk: Callable[[str], Path], stage: str
) -> None:
    disk = small_disk("size=400k" if stage == "download" else "size=2m")
    if stage == "prepare":
        shutil.copytree(travelled["download"][0], disk, dirs_exist_ok=True)
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 150_000))
    refused(stages.run(stage, disk), "no room to write", "No space left on device")
    small_disk("size=64m")
    mended(stages, stage, disk, travelled)


@pytest.mark.parametrize("stage", ROAD)
def test_a_disk_that_is_read_only(
    stages: Stages, travelled: Travelled, small_disk: Callable[[str], Path], stage: str
) -> None:
    disk = small_disk("size=64m")
    if stage != ROAD[0]:
        shutil.copytree(travelled[ROAD[ROAD.index(stage) - 1]][0], disk, dirs_exist_ok=True)
    small_disk("size=64m,ro")
    refused(stages.run(stage, disk), "lies on a disk that is read-only: set paths.store and paths.runs")
    small_disk("size=64m,rw")
    mended(stages, stage, disk, travelled)


def test_a_folder_that_is_closed_to_the_user(stages: Stages, travelled: Travelled) -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        shutil.copytree(travelled["download"][0], folder, dirs_exist_ok=True)
        folder.chmod(0o755)
        ended = stages.run("prepare", folder, user=NOBODY)
        refused(
            ended, str(folder / "store/demo"), "is closed to this user (Permission denied)", "chmod u+rwX"
        )
        mended(stages, "prepare", folder, travelled)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("stage", "pattern"),
    [
        ("prepare", "store/demo/raw.zarr"),
        ("train", "store/demo/prepared-*.zarr"),
        ("embed", "runs/demo/*/checkpoints/best.ckpt"),
        ("cluster_report", "runs/demo/*/embeddings.zarr"),
    ],
)
def test_what_vanished_is_named_with_the_command_that_makes_it(
    stages: Stages, travelled: Travelled, before: Before, stage: str, pattern: str
) -> None:
    folder = before(stage)
    (path,) = folder.glob(pattern)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    maker = ROAD[ROAD.index(stage) - 1]
    refused(stages.run(stage, folder), f"python -m pipeline.{maker}")
    assert stages.run(maker, folder).status == 0
    for aside in folder.rglob("*.damaged"):
        shutil.rmtree(aside)
    mended(stages, stage, folder, travelled)
