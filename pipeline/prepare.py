"""Stage 2: from the raw store to the prepared store, store/<dataset>/prepared-<digest>.zarr.

Two passes over the record: statistics of the training period (and where data are missing over the whole record), then
normalised fields. Both are cut into tasks for any number of workers (data.passes); a killed stage goes on after the
last task that it noted, and ends with the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from omegaconf import DictConfig

from data import climatology, normalise, passes, places, seasonal, split, store
from data.errors import DataError
from data.fields import Fields
from data.options import Options
from data.periods import Periods
from data.places import remove
from pipeline import command, compute
from pipeline.accounts import Accounts, Fitted
from pipeline.artifacts import Artifact
from pipeline.compute import Workers
from pipeline.config import plain
from pipeline.download import raw_digest, raw_path, require_raw, runs_folder
from pipeline.durable import flush
from pipeline.errors import PipelineError
from pipeline.progress import track

log = logging.getLogger(__name__)

VERSION = 2  # of what is written
COEFFICIENT_BYTES = 8 * 2**20  # of a chunk of the climatology


def prepared_artifact(cfg: DictConfig) -> Artifact:
    """The prepared store that these settings ask for; its raw store must be there."""
    settings = {
        **Options.of(plain(cfg.dataset)).settings(),
        "split": plain(cfg.dataset.split),
        "window": cfg.window.length,
    }
    inputs = {"raw": raw_digest(require_raw(cfg))}
    folder = raw_path(cfg).parent
    name = Artifact("prepared", folder, settings, inputs, VERSION).digest[:12]
    return Artifact("prepared", folder / f"prepared-{name}.zarr", settings, inputs, VERSION)


def require_prepared(cfg: DictConfig) -> Artifact:
    """The prepared store, complete.

    Raises:
        PipelineError: if it has not been made.
    """
    prepared = prepared_artifact(cfg)
    if not prepared.is_current():
        raise PipelineError(
            f"dataset {cfg.dataset.name} is not prepared with these settings: run {command.hint('prepare')}"
        )
    return prepared


def prepare(cfg: DictConfig) -> None:
    """Makes the prepared store, unless it is current."""
    if make(cfg):
        log.info("Next: %s", command.hint("train"))


def make(cfg: DictConfig) -> bool:
    """Makes the prepared store; False where it is current."""
    prepared = prepared_artifact(cfg)
    if prepared.is_current():
        log.info("prepare: %s is current.", prepared.path)
        return False
    fields = Fields(raw_path(cfg), Options.of(plain(cfg.dataset)), require_raw(cfg)["variables"])
    periods = Periods(fields, plain(cfg.dataset.split), cfg.window.length)
    with prepared.resuming(work_folder(cfg, prepared)) as (part, notes):
        try:
            with compute.workers(cfg.compute.scheduler, cfg.compute.workers) as workers:
                fitted = fit(fields, periods, part, workers)
                write(fields, periods, fitted, part, prepared.whole_in(part), workers)
        except DataError:
            remove(part)  # what is mended is another record
            raise
        notes |= describe(fields, periods, fitted)
    log.info("prepare: made %s.", prepared.path)
    return True


def work_folder(cfg: DictConfig, prepared: Artifact) -> Path:
    """Where what is done lies until all is: beside the store, or of one in an object store under paths.runs."""
    return runs_folder(cfg) / prepared.part.name if places.is_remote(prepared.path) else prepared.part


def fit(fields: Fields, periods: Periods, folder: Path, workers: Workers) -> Fitted:
    """First pass: the statistics, and which steps have data."""
    accounts = Accounts(fields, folder)
    todo = accounts.todo(passes.tasks(fields))
    if todo:
        log.info("prepare: statistics of the training period …")
    for task, account in track(
        workers.each(passes.account, todo, fields, periods.fitted), "prepare, statistics"
    ):
        accounts.take(task, account)
    fitted = accounts.fitted()
    periods.leave_out(fitted.present, fitted.some)
    check(fields.options, periods)
    return fitted


def check(options: Options, periods: Periods) -> None:
    """Checks that the statistics saw nothing that is to be unseen, and say something about every step that is used.

    Raises:
        DataError: if they do not.
    """
    unseen = periods.times[np.isin(periods.codes, (split.VALIDATION, split.TEST))]
    normalise.check_unseen(unseen, periods.seen)
    if options.deseasonalise:
        climatology.check_coverage(periods.seen, periods.kept)
        if options.climatology == "daily_mean":
            climatology.check_smoothed(periods.seen, periods.kept, options.smoothing_days)


def write(
    fields: Fields, periods: Periods, fitted: Fitted, folder: Path, path: Path, workers: Workers
) -> None:
    """Second pass: lays the store out with its statistics, then writes normalised fields region by region."""
    journal = folder / "regions.txt"
    if not (folder / "laid_out").exists() or not path.exists():
        journal.unlink(missing_ok=True)
        lay_out(fields, periods, fitted, path)
        flush(path)
        (folder / "laid_out").touch()
    if not places.is_remote(path):  # where a put is whole or not at all
        for stray in path.rglob("*.partial"):  # a killed writing's
            stray.unlink()
    noted = set(journal.read_text().split("\n")[:-1]) if journal.exists() else set()
    x: Any = store.open_group(path, "r")["x"]
    step = (x.shards or x.chunks)[0]
    regions = [part for part in store.time_slices(len(fields.used), step) if str(part.start) not in noted]
    results = workers.each(passes.write, regions, fields, path, uuid.uuid4().hex)
    with journal.open("a") as notes:
        for region, _ in track(results, "prepare, fields"):
            flush(path / "x" / "c" / str(region.start // step))  # what is noted is on the disk
            notes.write(f"{region.start}\n")
            notes.flush()
            os.fsync(notes.fileno())


def lay_out(fields: Fields, periods: Periods, fitted: Fitted, path: Path) -> None:
    """The store with everything but x."""
    dims = ("variable", "latitude", "longitude")
    season, names = seasonal.encode(periods.times)
    dataset = xr.Dataset(
        {
            "x": (("time", *dims), _template(fields), {"long_name": "normalised fields", "units": "1"}),
            "season": (("time", "season_feature"), season, {"long_name": "seasonal encoding"}),
            "split": ("time", periods.codes, _split_attributes()),
            "mask": (dims, fitted.mask, {"long_name": "data exist"}),
            "area_weight": ("latitude", fields.area_weight, {"long_name": "cell area, mean 1", "units": "1"}),
            "mean": ("variable", fitted.mean),
            "scale": ("variable", fitted.scale),
            "climatology_coefficient": (("variable", "term", *dims[1:]), fitted.coefficients),
            "fitted_time": ("fitted_step", periods.seen, {"long_name": "time steps that the statistics saw"}),
        },
        coords={
            "time": ("time", periods.times, {"standard_name": "time"}),
            "variable": np.array(fields.variables, object),  # strings of any length in Zarr
            "term": np.array(climatology.terms(fields.options), object),
            "latitude": (
                "latitude",
                fields.latitude,
                {"standard_name": "latitude", "units": "degrees_north"},
            ),
            "longitude": (
                "longitude",
                fields.longitude,
                {"standard_name": "longitude", "units": "degrees_east"},
            ),
            "season_feature": np.array(names, object),
        },
        attrs=_attributes(fields),
    )
    if fitted.cell_scale is not None:
        dataset["cell_scale"] = (
            dims,
            fitted.cell_scale,
            {"long_name": "scale of a cell over scale", "units": "1"},
        )
    settings = store.encoding(dataset)
    settings["fitted_time"] |= {key: settings["time"][key] for key in ("units", "dtype", "calendar")}
    settings["climatology_coefficient"]["chunks"] = _coefficient_chunks(dataset["climatology_coefficient"])
    store.lay_out(dataset, path, settings)
    if not isinstance(fitted.coefficients, np.ndarray):
        _write_lazily(path, fitted.coefficients)


def _template(fields: Fields) -> da.Array:
    """x before it is written, (time, variable, latitude, longitude)."""
    shape = (len(fields.used), len(fields.variables), *fields.shape)
    return da.zeros(shape, dtype=np.float32, chunks=(1, *shape[1:]))


def _coefficient_chunks(coefficients: xr.DataArray) -> tuple[int, ...]:
    """The whole of it where it is small, else some terms of one variable."""
    if coefficients.nbytes <= COEFFICIENT_BYTES:
        return coefficients.shape
    terms = max(COEFFICIENT_BYTES // (8 * coefficients[0, 0].size), 1)
    return 1, min(terms, coefficients.shape[1]), *coefficients.shape[2:]


def _write_lazily(path: Path, coefficients: da.Array) -> None:
    array: Any = store.writable(store.open_group(path, "r+")["climatology_coefficient"])
    for variable in range(coefficients.shape[0]):
        for terms in store.time_slices(coefficients.shape[1], array.chunks[1]):
            array[variable, terms] = coefficients[variable, terms].compute(scheduler="synchronous")


def _split_attributes() -> dict[str, Any]:
    return {
        "flag_values": [split.UNUSED, split.TRAIN, split.VALIDATION, split.TEST],
        "flag_meanings": "unused train validation test",
    }


def _attributes(fields: Fields) -> dict[str, Any]:
    def by_variable(key: str) -> str:
        return json.dumps({name: fields.attributes[name][key] for name in fields.variables})

    raw = fields.source_attributes
    return {
        **{key: raw[key] for key in ("source", "licence", "citation") if key in raw},
        "Conventions": "CF-1.8",
        "units": by_variable("units"),
        "long_name": by_variable("long_name"),
        "seasonal_cycle": "removed" if fields.options.deseasonalise else "kept",
        "preparation": json.dumps(fields.options.settings()),
    }


def describe(fields: Fields, periods: Periods, fitted: Fitted) -> dict[str, Any]:
    """What the manifest notes: periods, missing steps, masked cells, scales, grid."""
    days = {name: periods.times[periods.codes == code] for code, name in enumerate(split.NAMES)}
    return {
        "splits": {name: [found[0].isoformat(), found[-1].isoformat()] for name, found in days.items()},
        "statistics": [periods.seen[0].isoformat(), periods.seen[-1].isoformat(), len(periods.seen)],
        "missing_steps": int((~fitted.present[fields.used]).sum()),
        "masked_cells": {n: int((~m).sum()) for n, m in zip(fields.variables, fitted.mask, strict=True)},
        "scale": dict(zip(fields.variables, fitted.scale.round(6).tolist(), strict=True)),
        "grid": list(fields.shape),
    }


if __name__ == "__main__":
    command.run(prepare)
