"""The first pass's results as they come in: merged in order, kept on the disk, and fitted when a variable is whole.

What is merged so far is saved now and then, what is fitted at once, so that a killed stage does no more than some
seconds of work twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from data import normalise, passes
from data.climatology import Fit
from data.fields import Fields
from data.frozen import LAZY_BYTES
from data.passes import Account, Task

SECONDS_BETWEEN_SAVES = 10.0


@dataclass(frozen=True)
class Fitted:
    """The statistics of a record, as data.normalise has them, and which of its steps have data.

    Attributes:
        mean: (variable,).
        scale: (variable,).
        cell_scale: (variable, latitude, longitude), or None.
        coefficients: (variable, term, latitude, longitude), lazy where they are large.
        mask: (variable, latitude, longitude).
        present: whether every variable has data (time,).
        some: whether any variable has (time,).
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    cell_scale: NDArray[np.float64] | None
    coefficients: NDArray[np.float64] | da.Array
    mask: NDArray[np.bool_]
    present: NDArray[np.bool_]
    some: NDArray[np.bool_]


class Accounts:
    """Takes the results of the first pass in order.

    Args:
        fields: the record.
        folder: where results are kept.
    """

    def __init__(self, fields: Fields, folder: Path) -> None:
        self.fields = fields
        self.folder = folder
        self._running: Account | None = None
        self._saved = time.monotonic()

    def todo(self, tasks: list[Task]) -> list[Task]:
        """The tasks whose results are not kept yet."""
        left = [task for task in tasks if not self._path("fit", task.variable, task.rows).exists()]
        running = self.folder / "running.npz"
        if not left or not running.exists():
            return left
        arrays = _load(running)
        variable, first_row, done = (int(n) for n in arrays["at"])
        if (variable, first_row) != (left[0].variable, left[0].rows.start):
            return left
        self._running = Account.from_arrays(arrays)
        return [
            t for t in left if (t.variable, t.rows.start) != (variable, first_row) or t.part.start >= done
        ]

    def take(self, task: Task, account: Account) -> None:
        """Merges the result of a task; fits and keeps what is whole.

        Raises:
            DataError: if the steps do not determine the climatology.
        """
        if self._running is None:
            self._running = account
        else:
            self._running.merge(account)
        if task.last:
            self._keep(task, self._running)
            self._running = None
        elif time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            at = np.array([task.variable, task.rows.start, task.part.stop])
            _save(self.folder / "running.npz", {"at": at} | self._running.arrays())
            self._saved = time.monotonic()

    def _keep(self, task: Task, account: Account) -> None:
        nothing = np.full_like(account.used.mean_x, np.nan)
        fit = (
            account.fit(self.fields.options)
            if account.present.any()
            else Fit(nothing[None], nothing, nothing)
        )
        coefficients = self._path("coefficients", task.variable, task.rows).with_suffix(".npy")
        _save(coefficients, fit.coefficients)
        size = account.used.mean_x
        found: dict[str, NDArray[Any]] = {"mean": fit.mean, "variance": fit.variance, "size": size}
        found |= {"absent": account.absent, "present": account.present}
        _save(self._path("fit", task.variable, task.rows), found)

    def fitted(self) -> Fitted:
        """The statistics of the whole record, when all tasks are done.

        Raises:
            DataError: if a variable does not vary, or exists nowhere.
        """
        bands = passes.bands(self.fields)
        by_cell = self.fields.options.standardise == "cell"
        scalings, masks, coefficients, present = [], [], [], []
        for variable, name in enumerate(self.fields.variables):
            parts = [_load(self._path("fit", variable, rows)) for rows in bands]
            there = np.any([part["present"] for part in parts], axis=0)
            mean, variance, size, absent = (
                np.concatenate([part[key] for part in parts])
                for key in ("mean", "variance", "size", "absent")
            )
            mask = (absent == (~there).sum()) & there.any()
            left = Fit(np.empty(0), mean, variance)
            scalings.append(
                normalise.scaling(name, left, size, mask, self.fields.area_weight, by_cell=by_cell)
            )
            masks.append(mask)
            present.append(there)
            coefficients.append(self._coefficients(variable, mask, scalings[-1].offset))
        return Fitted(
            mean=np.array([one.mean for one in scalings]),
            scale=np.array([one.scale for one in scalings]),
            cell_scale=np.stack([one.cell for one in scalings]) if by_cell else None,
            coefficients=_in_memory(da.stack(coefficients)),
            mask=np.stack(masks),
            present=np.all(present, axis=0),
            some=np.any(present, axis=0),
        )

    def _coefficients(self, variable: int, mask: NDArray[np.bool_], offset: NDArray[np.float64]) -> da.Array:
        """(term, latitude, longitude) of a variable, 0 where it is masked, with its scaling's offset."""
        bands = []
        for rows in passes.bands(self.fields):
            path = self._path("coefficients", variable, rows).with_suffix(".npy")
            terms = np.load(path, mmap_mode="r", allow_pickle=False)
            bands.append(da.from_array(terms, chunks=(max(LAZY_BYTES // (32 * terms[0].nbytes), 1), -1, -1)))
        found = da.where(mask, da.concatenate(bands, axis=1), 0.0)
        if offset.any():
            found = da.concatenate([found[:1] + offset, found[1:]])
        return found

    def _path(self, kind: str, variable: int, rows: slice) -> Path:
        return self.folder / f"{kind}-{variable}-{rows.start}.npz"


def _in_memory(coefficients: da.Array) -> NDArray[np.float64] | da.Array:
    return coefficients if coefficients.nbytes > LAZY_BYTES else coefficients.compute(scheduler="synchronous")


def _save(path: Path, arrays: Mapping[str, NDArray[Any]] | NDArray[Any]) -> None:
    """Saves arrays durably: under another name first, flushed to the disk, then renamed."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        if isinstance(arrays, np.ndarray):
            np.save(_Written(file), arrays)
        else:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class _Written:
    """A file that numpy can only write to: its own way of writing does not say that a disk is full."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
