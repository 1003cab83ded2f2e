"""Shows what is in a dataset's stores: in the terminal, and as runs/<dataset>/inspect.html.

Variables, period, step, grid, chunks, sizes, missing values, statistics, split and origin of the raw store and,
where it has been made with the same settings, of the prepared one; the page adds maps and the year at a point. Each
store is read once; memory is bounded by its chunks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from omegaconf import DictConfig

from data import places, split, store, survey
from data.errors import DataError
from data.timeaxis import complete, infer_step
from evaluation import quicklook
from evaluation.quicklook import Look
from evaluation.units import degrees
from pipeline import command
from pipeline.artifacts import Artifact
from pipeline.download import raw_path, require_raw
from pipeline.prepare import prepared_artifact
from pipeline.progress import track

log = logging.getLogger(__name__)
COLUMNS = ("units", "mean", "sd", "lowest", "highest", "missing")
SIZES = ("size", "on disk")
ORIGIN = ("source", "licence", "citation")


def inspect(cfg: DictConfig) -> None:
    """Prints what the stores hold and draws the page, unless it is current.

    Raises:
        PipelineError: if there is no raw store with these settings.
    """
    require_raw(cfg)
    prepared = prepared_artifact(cfg)
    held = {"raw": Artifact("raw", raw_path(cfg), {})} | (
        {"prepared": prepared} if prepared.is_current() else {}
    )
    point = None if cfg.dataset.point is None else [float(value) for value in cfg.dataset.point]
    manifests = {name: artifact.manifest() or {} for name, artifact in held.items()}
    path = Path(cfg.paths.runs) / cfg.dataset.name / "inspect.html"
    inputs = {name: str(manifest["digest"]) for name, manifest in manifests.items()}
    page = Artifact("inspect", path, {"point": point}, inputs)
    if not page.is_current():
        looks = [look(name, artifact.path, manifests[name], point) for name, artifact in held.items()]
        with page.writing(text=[line for shown in looks for line in lines(shown)]) as (part, _):
            part.write_text(quicklook.page(cfg.dataset.name, looks), encoding="utf-8")
    for line in (page.manifest() or {})["text"]:
        log.info("%s", line)
    next_stage = "train" if "prepared" in held else "prepare"
    log.info("inspect: the maps are in %s. Next: %s", path, command.hint(next_stage))


def look(kind: str, path: Path, manifest: Mapping[str, Any], point: list[float] | None) -> Look:
    """What there is to see in one store.

    Args:
        kind: raw or prepared.
        path: of the store.
        manifest: of the store; a raw store's names the variables in their order.
        point: latitude and longitude of the point whose year is drawn; None for the middle.
    """
    dataset = store.open_store(path)
    if kind == "raw":
        dataset = dataset[manifest["variables"]]
    row, column = survey.nearest(dataset, point)
    surveyed = (survey.raw if kind == "raw" else survey.prepared)(
        dataset, row, column, lambda parts: track(parts, f"inspect, {kind}")
    )
    units = (
        survey.by_variable(dataset, "units") if kind == "raw" else dict.fromkeys(survey.names(dataset), "1")
    )
    return Look(
        key=kind,
        title=f"The {kind} store",
        facts=[*facts(dataset, path), ("digest", manifest["digest"])],
        columns=COLUMNS + SIZES * (kind == "raw"),
        rows=rows(surveyed, units, path),
        surveyed=surveyed,
        units=units,
        long_names=survey.by_variable(dataset, "long_name"),
        point=(float(dataset["latitude"][row]), float(dataset["longitude"][column])),
    )


def facts(dataset: xr.Dataset, path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of what is known of a store as a whole."""
    yield "path", str(path)
    yield from ((name, str(dataset.attrs[name])) for name in ORIGIN if name in dataset.attrs)
    times = pd.DatetimeIndex(dataset["time"].values)
    yield "period", period(times)
    if "split" in dataset:
        yield "split", _split(times, dataset["split"].values)
    yield "grid", _grid(dataset)
    yield "layout", _layout(path)


def period(times: pd.DatetimeIndex) -> str:
    """First and last time, how many there are, their step, and how many are missing between them."""
    told = f"{_date(times[0])} to {_date(times[-1])}: {len(times)} time step{'s' * (len(times) > 1)}"
    try:
        step = infer_step(times)
    except DataError:
        return f"{told}, irregular"
    lacking = len(complete(times, step)) - len(times)
    every = "" if step is None else f", {step}"
    return f"{told}{every}{f', {lacking} missing between them' if lacking else ''}"


def _date(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d}" if time == time.normalize() else f"{time:%Y-%m-%d %H:%M}"


def _split(times: pd.DatetimeIndex, codes: np.ndarray) -> str:
    parts = []
    for code, name in enumerate(split.NAMES):
        held = times[codes == code]
        dates = f" ({_date(held[0])} to {_date(held[-1])})" if len(held) else ""
        parts.append(f"{name} {len(held)}{dates}")
    return ", ".join([*parts, f"in none {int((codes == split.UNUSED).sum())}"])


def _grid(dataset: xr.Dataset) -> str:
    axes = []
    for name, letters in (("latitude", "NS"), ("longitude", "EW")):
        values = dataset[name].values
        steps = np.abs(np.diff(values))
        every = ""
        if len(steps):
            even = np.allclose(steps, steps[0], rtol=1e-3)
            every = f" every {steps[0]:g}°" if even else f" every {steps.min():g} to {steps.max():g}°"
        axes.append(f"{degrees(values[0], letters)} to {degrees(values[-1], letters)}{every}")
    return f"{dataset.sizes['latitude']} x {dataset.sizes['longitude']}: {'; '.join(axes)}"


def _layout(path: Path) -> str:
    arrays = survey.layout(path)
    largest = arrays[0]
    shards = "no shards" if largest.shards is None else f"shards of {_shape(largest.shards)}"
    files = places.count_files(path)
    size, stored = sum(array.size for array in arrays), sum(array.stored for array in arrays)
    return (
        f"arrays of {_shape(largest.shape)} in chunks of {_shape(largest.chunks)}, {shards}; "
        f"{_bytes(size)} uncompressed, {_bytes(stored)} in {files} files"
    )


def _shape(lengths: tuple[int, ...]) -> str:
    return " x ".join(map(str, lengths))


def rows(surveyed: xr.Dataset, units: dict[str, str], path: Path) -> list[list[str]]:
    """The table of variables: name, one text for each of COLUMNS and, in a raw store, of SIZES."""
    sizes = {array.name: array for array in survey.layout(path)}
    found = []
    for name, total in survey.totals(surveyed).items():
        figures = [f"{value:.5g}" for value in (total.mean, total.sd, total.low, total.high)]
        array = sizes.get(name)  # a prepared store holds all variables in one
        disk = [_bytes(array.size), _bytes(array.stored)] if array else []
        found.append([name, units[name], *figures, f"{100 * total.missing:.3g}%", *disk])
    return found


def lines(shown: Look) -> Iterator[str]:
    """What is printed of a store: facts, then the table in columns."""
    yield shown.title
    width = max(len(name) for name, _ in shown.facts)
    yield from (f"  {name:<{width}}  {text}" for name, text in shown.facts)
    table = [["variable", *shown.columns], *map(list, shown.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, unit, *rest in table:
        cells = [text.rjust(size) for text, size in zip(rest, widths[2:], strict=True)]
        yield "  " + "  ".join([first.ljust(widths[0]), unit.ljust(widths[1]), *cells])
    yield ""


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


if __name__ == "__main__":
    command.run(inspect)
