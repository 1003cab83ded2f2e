"""Where every artifact lies, its manifest, and whether it is complete, whole and current.

An artifact is known by the digest of what it depends on: its part of the configuration and the digests of its
inputs. It is complete when its manifest is there (written last, by atomic rename, after all else is on the disk),
whole when its files are those that the manifest lists, and current when the manifest's digest is the one asked for.
A manifest that does not agree with itself, having been edited or damaged, does not count.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data import places
from data.places import remove
from pipeline import content, locks
from pipeline.durable import flush, flush_folder, put_in_place, write_text

log = logging.getLogger(__name__)

LIBRARIES = ("faconvlstm", "torch", "lightning", "xarray", "zarr", "numpy", "scikit-learn")


def digest(value: Any) -> str:
    """The sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A file or folder with what it depends on.

    Attributes:
        kind: raw, prepared, checkpoints, embeddings or report.
        path: where it lies.
        config: the part of the configuration that decides its content.
        inputs: name and digest of each artifact that it is made from.
        version: raised when a stage's code comes to write something else from the same settings.
    """

    kind: str
    path: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    version: int = 1

    @property
    def digest(self) -> str:
        """What identifies the content."""
        return digest([self.kind, self.version, dict(self.config), dict(self.inputs)])

    @property
    def manifest_path(self) -> Path:
        """The manifest, beside the artifact."""
        return manifest_of(self.path)

    def manifest(self) -> dict[str, Any] | None:
        """What the last completed writing noted; None where there was none, or the files are not what it wrote."""
        manifest = read_manifest(self.manifest_path)
        if manifest is None or not self.path.exists():
            return None
        damage = content.damage(self.path, manifest["files"])
        if damage is not None:
            log.warning("%s is damaged (%s) and does not count.", self.path, damage)
            return None
        return manifest

    @property
    def part(self) -> Path:
        """Where it is written until it is whole."""
        return self.path.with_name(f"{self.path.name}.part")

    def is_current(self) -> bool:
        """Whether the artifact is complete, whole, and made from just these settings and inputs.

        What a writing that was killed after its last step has left beside it is removed.
        """
        manifest = self.manifest()
        if manifest is None or manifest.get("digest") != self.digest:
            return False
        locks.sweep(self.path, self.part)
        return True

    @contextmanager
    def writing(self, *, beside: Sequence[Path] = (), **notes: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Gives a folder to write to and a dict for the manifest's notes; puts both in place at the end.

        What an earlier, killed writing left is removed first. Nothing half-written is ever taken for whole:
        the manifest goes before the folder is replaced and comes back after. An object store has no renames: what is
        given there is the artifact's own place, without its manifest.

        Args:
            beside: files that are written with it and belong to it.
            notes: for the manifest.

        Raises:
            PipelineError: if another process is at it.
        """
        remote = places.is_remote(self.path)
        part = self.path if remote else self.part
        with locks.holding(self.path):
            if remote:
                remove(self.manifest_path)
            remove(part)
            started = time.time()
            try:
                yield part, notes
            except Exception:
                remove(part)  # of no use, and the disk may be full
                raise
            if not remote:
                self._put_in_place(part)
            self.complete(started, beside=beside, **notes)

    @contextmanager
    def resuming(self, part: Path | None = None, **notes: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
        """As `writing`, for work that is taken up again where it was killed.

        The folder that is given keeps what an earlier writing of the same artifact by the same versions has left;
        anything else is removed. What is at `whole_in(folder)` at the end becomes the artifact.

        Args:
            part: the folder; None for one beside the artifact.
            notes: for the manifest.

        Raises:
            PipelineError: if another process on this machine is at it.
        """
        part = part or self.part
        whole = self.whole_in(part)
        with locks.holding(part if whole == self.path else self.path):
            part.mkdir(parents=True, exist_ok=True)
            maker = {"digest": self.digest, "versions": versions()}
            if read_json(part / "maker.json") != maker:
                for left in part.iterdir():
                    remove(left)
                if whole == self.path:
                    remove(self.manifest_path)
                    remove(whole)
                write_text(part / "maker.json", json.dumps(maker) + "\n")
            started = time.time()
            yield part, notes
            if whole != self.path:
                self._put_in_place(whole)
            self.complete(started, **notes)
            remove(part)

    def whole_in(self, part: Path) -> Path:
        """Where it is written while what else its making takes lies in `part`; in an object store in its place."""
        return self.path if places.is_remote(self.path) else part / "whole"

    def _put_in_place(self, part: Path) -> None:
        flush(part)
        self.manifest_path.unlink(missing_ok=True)
        flush_folder(self.path.parent)
        put_in_place(part, self.path)

    def complete(
        self,
        started: float,
        *,
        beside: Sequence[Path] = (),
        files: Sequence[Path] | None = None,
        **notes: Any,
    ) -> None:
        """Writes the manifest, which declares the artifact whole.

        Args:
            started: when its making began, as time.time().
            beside: files that belong to it and lie elsewhere.
            files: those that are the artifact; None for all that lie in its folder.
            notes: for the manifest.
        """
        manifest = {
            "kind": self.kind,
            "digest": self.digest,
            "version": self.version,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - started, 1),
            "versions": versions(),
            **notes,
            "files": content.listing(
                self.path, [*(content.files(self.path) if files is None else files), *beside]
            ),
        }
        manifest = json.loads(json.dumps(manifest))
        manifest["seal"] = digest(manifest)
        write_text(self.manifest_path, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def manifest_of(path: Path) -> Path:
    """Where the manifest of an artifact lies."""
    return path.with_name(f"{path.stem}.manifest.json")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """A manifest as a dict; None where the file is absent, or is not what was written."""
    if not path.exists():
        return None
    manifest = read_json(path)
    if manifest is None or "seal" not in manifest or "files" not in manifest:
        log.warning("%s is not a manifest of this version and does not count.", path)
        return None
    seal = manifest.pop("seal")
    if digest(manifest) != seal:
        log.warning("%s was changed after it was written and does not count.", path)
        return None
    return manifest


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where the file is absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def versions() -> dict[str, str]:
    """Versions of the project and of the libraries that decide its numbers."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
