"""Damage in every artifact is met before it is used, named, and made good by the command that the message names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.road import Ended, Stages, content
from tests.faults.test_disk import refused

pytestmark = pytest.mark.faults


def flip(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 0xFF
    path.write_bytes(bytes(found))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def vanish(path: Path) -> None:
    path.unlink()


def edit(path: Path) -> None:
    """As a hand would: another number in a manifest that stays valid JSON."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["seconds"] = 1e6
    path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


RAW, PREPARED = "store/demo/raw", "store/demo/prepared-*"
CHUNKS = {
    f"{RAW}.zarr/z500/c/0/0/0": ("prepare", "download"),
    f"{PREPARED}.zarr/x/c/0/0/0/0": ("train", "prepare"),
    f"{PREPARED}.zarr/mask/c/0/0/0": ("train", "prepare"),
    "runs/demo/*/embeddings.zarr/embedding/c/0/0": ("cluster_report", "embed"),
    "runs/demo/*/embeddings.zarr/time/c/0": ("cluster_report", "embed"),
}
OTHERS = {
    f"{RAW}.zarr/zarr.json": ("prepare", "download"),
    f"{RAW}.zarr/z500/zarr.json": ("prepare", "download"),
    f"{PREPARED}.zarr/x/zarr.json": ("train", "prepare"),
    "runs/demo/*/checkpoints/best.ckpt": ("embed", "train"),
    "runs/demo/*/training.csv": ("embed", "train"),
}
MANIFESTS = {
    f"{RAW}.manifest.json": ("prepare", "download"),
    f"{PREPARED}.manifest.json": ("train", "prepare"),
    "runs/demo/*/checkpoints.manifest.json": ("embed", "train"),
    "runs/demo/*/embeddings.manifest.json": ("cluster_report", "embed"),
}
CASES = [
    *((harm, pattern, *CHUNKS[pattern]) for harm in (flip, truncate, vanish) for pattern in CHUNKS),
    *((harm, pattern, *OTHERS[pattern]) for harm in (flip, truncate, vanish) for pattern in OTHERS),
    *((edit, pattern, *MANIFESTS[pattern]) for pattern in MANIFESTS),
]


@pytest.mark.parametrize(
    ("harm", "pattern", "user", "maker"),
    CASES,
    ids=lambda v: getattr(v, "__name__", str(v)).replace("/", ":"),
)
def test_damage_is_named_and_made_good(
    stages: Stages, after: Path, harm: Callable[[Path], None], pattern: str, user: str, maker: str
) -> None:
    whole = content(after)
    for made in _made_by(user, after):
        made.unlink()
    (path,) = after.glob(pattern)
    harm(path)
    ended = stages.run(user, after)
    refused(ended, f"python -m pipeline.{maker}")
    assert re.search(r"damaged|changed after|made with other|no raw store", ended.said)
    words = _command(ended.said, maker)
    assert stages.run(maker, after, words).status == 0
    ended = stages.run(user, after)
    assert ended.status == 0, ended.said
    for aside in after.rglob("*.damaged"):
        shutil.rmtree(aside)
    assert content(after) == whole


def _made_by(stage: str, folder: Path) -> list[Path]:
    """The manifests of what a stage makes, without which it has work to do."""
    patterns = {
        "prepare": "store/demo/prepared-*.manifest.json",
        "train": "runs/demo/*/checkpoints.manifest.json",
        "embed": "runs/demo/*/embeddings.manifest.json",
        "cluster_report": "runs/demo/report.manifest.json",
    }
    return list(folder.glob(patterns[stage]))


def _command(said: str, maker: str) -> tuple[str, ...]:
    """The words of the command that a message names."""
    found = re.findall(rf"python -m pipeline\.{maker}([^\n]*)", said)
    return tuple(shlex.split(found[-1].split(" and then ")[-1]))


def test_damage_is_found_by_the_stage_that_made_it(
    stages: Stages, travelled: dict[str, tuple[Path, Ended]], after: Path
) -> None:
    for stage, pattern in (
        ("download", f"{RAW}.zarr/sst/c/0/0/0"),
        ("prepare", f"{PREPARED}.zarr/x/c/0/0/0/0"),
        ("embed", "runs/demo/*/embeddings.zarr/embedding/c/0/0"),
        ("cluster_report", "runs/demo/report/metrics.json"),
    ):
        (path,) = after.glob(pattern)
        path.unlink()
        ended = stages.run(stage, after)
        assert ended.status == 0, ended.said
        assert "is damaged" in ended.said
    assert content(after) == content(travelled["cluster_report"][0])
