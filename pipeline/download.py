"""Stage 1: from a source to the raw store, store/<dataset>/raw.zarr.

The source is whatever dataset.source names: files, synthetic, cds, cloud. What comes in parts is kept under
store/<dataset>/parts, so that a killed download goes on from where it was. Known labels, where the source plants any,
go to store/<dataset>/labels.csv and are used for scoring only. The word `plan` shows what would be asked for instead.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from omegaconf import DictConfig

from data import inspect, places, sources
from data.places import remove
from data.sources import InParts, Source
from data.sources.progress import nobody
from pipeline import command, locks
from pipeline.artifacts import Artifact, digest
from pipeline.board import Board
from pipeline.config import plain
from pipeline.durable import write_text
from pipeline.errors import PipelineError
from pipeline.progress import track

log = logging.getLogger(__name__)

# settings of the dataset that later stages use and the raw store does not depend on
LATER = (
    *("deseasonalise", "climatology", "harmonics", "smoothing_days", "detrend", "standardise"),
    *(
        "reference_start",
        "reference_end",
        "fields",
        "region",
        "coarsen",
        "frequency",
        "running_mean_days",
        "season",
    ),
    *("labels", "label_column", "indices", "patterns", "point", "split"),
)
# settings of how, not what
MANNER = ("in_flight", "transfer")


def request(cfg: DictConfig) -> dict[str, Any]:
    """The dataset's settings that decide what is in the raw store."""
    return {key: value for key, value in plain(cfg.dataset).items() if key not in LATER + MANNER}


def raw_path(cfg: DictConfig) -> Path:
    """Where the raw store lies."""
    return places.place(cfg.paths.store) / cfg.dataset.name / "raw.zarr"


def labels_path(cfg: DictConfig) -> Path:
    """Where planted labels lie, if there are any."""
    return raw_path(cfg).with_name("labels.csv")


def require_raw(cfg: DictConfig) -> dict[str, Any]:
    """The raw store's manifest.

    Raises:
        PipelineError: if the store is missing, or was made with other settings.
    """
    raw = Artifact("raw", raw_path(cfg), {})
    manifest = raw.manifest()
    if manifest is None or manifest.get("request") != request(cfg):
        state = "there is no raw store" if manifest is None else "the raw store was made with other settings"
        raise PipelineError(
            f"{state} of dataset {cfg.dataset.name} in {raw.path.parent}: run {command.hint('download')}"
        )
    return manifest


def parts_path(cfg: DictConfig) -> Path:
    """Where a source that brings its record in parts keeps them: files, so on this machine."""
    raw = raw_path(cfg)
    return (runs_folder(cfg) if places.is_remote(raw) else raw.parent) / "parts"


def runs_folder(cfg: DictConfig) -> Path:
    """Where what is computed of the dataset lies."""
    return Path(cfg.paths.runs) / cfg.dataset.name


def build_source(cfg: DictConfig, board: Board | None = None) -> Source:
    """The dataset's source; `board` shows how far it is."""
    return sources.build(plain(cfg.dataset), parts_path(cfg), nobody if board is None else board.show)


def download(cfg: DictConfig) -> None:
    """Fills the raw store, unless it is current."""
    from data import store

    board = Board()
    source = build_source(cfg, board)
    if is_current(cfg, source):
        log.info("download: %s is current.", raw_path(cfg))
        return
    with locks.holding(raw_path(cfg)):
        with board:
            dataset = source.open()
        if is_current(cfg, source):  # what was fetched anew has not changed
            log.info("download: %s is current.", raw_path(cfg))
            return
        store.check_raw(dataset)
        write(cfg, raw_artifact(cfg, source), dataset, source.labels())  # with the checksums of what is new
    log.info("download: made %s. Next: %s", raw_path(cfg), command.hint("prepare"))


def write(cfg: DictConfig, raw: Artifact, dataset: xr.Dataset, labels: pd.Series | None) -> None:
    """Writes the raw store, and the planted labels where there are any."""
    from data import store

    log.info("download: writing %s (%s) …", raw.path, describe(dataset))
    beside = () if labels is None else (labels_path(cfg),)
    with raw.writing(beside=beside, request=request(cfg), **summary(dataset)) as (part, notes):
        store.write(dataset, part, lambda parts: track(parts, "download"))
        notes["checksums"] = inspect.checksums(store.open_store(part))
        remove(raw.manifest_path)  # store and labels are whole together or not at all
        remove(labels_path(cfg))
        if labels is not None:
            write_labels(labels, labels_path(cfg))


def raw_artifact(cfg: DictConfig, source: Source) -> Artifact:
    """The raw store that the source gives."""
    return Artifact("raw", raw_path(cfg), {"source": source.fingerprint()})


def is_current(cfg: DictConfig, source: Source) -> bool:
    """Whether the raw store is what the source would give."""
    raw = raw_artifact(cfg, source)
    return raw.is_current() and (raw.manifest() or {}).get("request") == request(cfg)


def show_plan(cfg: DictConfig) -> None:
    """Shows what would be asked for, and how much it is, without a credential or a network."""
    source = build_source(cfg)
    lines = (
        source.plan_lines()
        if isinstance(source, InParts)
        else [f"nothing: {cfg.dataset.source} needs no plan"]
    )
    for line in lines:
        log.info("%s", line)


def summary(dataset: Any) -> dict[str, Any]:
    """What the manifest notes of a raw store's content."""
    times = pd.DatetimeIndex(dataset["time"].values)
    return {
        "start": times[0].isoformat(),
        "end": times[-1].isoformat(),
        "n_times": len(times),
        "variables": [str(name) for name in dataset.data_vars],
        "grid": [dataset.sizes["latitude"], dataset.sizes["longitude"]],
        "attributes": {str(key): value for key, value in dataset.attrs.items()},
    }


def describe(dataset: Any) -> str:
    """A line for the log: variables, period, grid."""
    facts = summary(dataset)
    height, width = facts["grid"]
    period = f"{facts['start'][:10]} to {facts['end'][:10]}"
    return f"{', '.join(facts['variables'])}; {period}, {facts['n_times']} steps; {height} x {width}"


def write_labels(labels: pd.Series, path: Path) -> None:
    """Planted labels as CSV: date, label."""
    days = pd.DatetimeIndex(labels.index).strftime("%Y-%m-%d")
    lines = [f"{day},{label}" for day, label in zip(days, labels, strict=True)]
    write_text(path, "\n".join(["date,label", *lines]) + "\n")


def raw_digest(manifest: dict[str, Any]) -> str:
    """What later stages depend on: the content of the raw store, wherever it came from."""
    return digest(manifest["config"])


def main() -> None:
    """The command: `plan` among its words shows the plan."""
    if "plan" in sys.argv[1:]:
        sys.argv.remove("plan")
        command.run(show_plan)
    else:
        command.run(download)


if __name__ == "__main__":
    main()
