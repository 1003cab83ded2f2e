"""What is found damaged when it is read, and the stage that makes it again.

Only manifests go, so that the stage has work to do; checkpoints are set aside, since training would go on from them.
"""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from data.places import remove
from pipeline import command
from pipeline.artifacts import manifest_of, read_manifest

MAKERS = {
    "raw.zarr": "download",
    "prepared-*.zarr": "prepare",
    "prepared-*.zarr.part": "prepare",
    "checkpoints": "train",
    "embeddings.zarr": "embed",
    "untrained.zarr": "cluster_report",
}
OF_RUNS = ("train", "embed")


def condemn(path: Path) -> str | None:
    """Sees to it that what is damaged is made again; returns the command that does so, None where nothing does."""
    for part in (path, *path.parents):
        stage = next((maker for name, maker in MAKERS.items() if fnmatch(part.name, name)), None)
        if stage is not None:
            words = _of_run(part.parent) if stage in OF_RUNS else []
            with suppress(OSError):  # on a read-only disk the user has to see to it
                _take_away(part)
            return command.hint(stage, *words)
    return None


def _take_away(path: Path) -> None:
    manifest_of(path).unlink(missing_ok=True)
    if path.name == "checkpoints":
        set_aside(path)
    elif path.suffix == ".part":
        remove(path)


def set_aside(path: Path) -> None:
    """Renames damaged checkpoints, so that training begins anew and nothing is lost."""
    aside = path.with_name(f"{path.name}.damaged")
    remove(aside)
    path.rename(aside)


def _of_run(folder: Path) -> list[str]:
    """The words that choose the run of a folder, where its manifest tells."""
    manifest = read_manifest(folder / "checkpoints.manifest.json") or {}
    return [f"{key}={manifest[key]}" for key in ("model", "seed") if key in manifest]
