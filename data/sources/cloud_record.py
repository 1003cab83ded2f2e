"""A public Zarr store of ERA5, opened: which of its arrays, times and cells are wanted, and their daily values.

Supports fields (time, [level,] latitude, longitude) in any order of dimensions and directions, longitudes from 0 to
360, CDS long names, and time axes that are laid out further than there are data. Only the chunks that are needed are
read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import catalogue, daily
from data.daily import Daily
from data.errors import DataError
from data.sources.address import UnsafeAddressError, watched
from data.sources.cds.plan import Wish
from data.sources.cds.settings import Transfer
from data.sources.cds.transfer import pause

log = logging.getLogger(__name__)
T = TypeVar("T")

WATCHED = {"client_kwargs": {"trace_configs": [watched()]}}
OPENED = {
    "http": WATCHED,
    "https": WATCHED,
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
    "s3": {"anon": True},
}
READERS = 8  # chunks that are on their way at one time


class Record:
    """The opened store: which of its arrays, times and cells are wanted.

    Raises:
        DataError: it cannot be opened, or lacks what is wanted.
    """

    def __init__(self, wanted: Wish, address: str, settings: Transfer, *, allow_missing: bool) -> None:
        self.wish = wanted
        self.address = address
        self.settings = settings
        self.allow_missing = allow_missing
        self.dataset = self._patiently(self._open)
        self.arrays = {name: self._array(name) for name in wanted.variables}
        self._check_period()

    def _open(self) -> xr.Dataset:
        scheme = self.address.partition("://")[0]
        return xr.open_dataset(
            self.address, engine="zarr", chunks=None, cache=False, consolidated=True, decode_timedelta=False,
            storage_options=OPENED.get(scheme),
        )  # fmt: skip

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Asks again after an error of the network.

        Raises:
            DataError: too many errors in a row, or a store that is not there.
        """
        for tries in range(1, self.settings.tries + 1):
            try:
                return ask()
            except (FileNotFoundError, KeyError) as error:
                raise DataError(
                    f"dataset.store {self.address} is not a Zarr store with consolidated metadata ({error}): give "
                    "arco, weatherbench2 or the address of one."
                ) from None
            except UnsafeAddressError as error:
                raise DataError(
                    f"dataset.store {self.address}: {error}: give the address of the store itself."
                ) from None
            except (TypeError, AttributeError, MemoryError):
                raise
            except Exception as error:  # fsspec's backends raise errors of their own kinds
                if tries == self.settings.tries:
                    reason = " ".join(str(error).split())[:160] or type(error).__name__
                    raise DataError(
                        f"{self.address} cannot be read ({reason}): run the same command again later; the months "
                        "that have been brought are kept."
                    ) from None
                log.info("download: %s: again (%s)", self.address, type(error).__name__)
                time.sleep(pause(self.settings, tries))
        raise AssertionError("unreachable")

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """The store's time axis."""
        return pd.DatetimeIndex(self.dataset["time"].values).as_unit("ns")

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Where the wanted latitudes are, from the north."""
        north, _, south, _ = self.wish.area
        values = self.dataset["latitude"].values.astype(np.float64)
        return self._within("latitude", -values, -north, -south)

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """Where the wanted longitudes are, from the west."""
        _, west, _, east = self.wish.area
        return self._within(
            "longitude", wrapped(self.dataset["longitude"].values.astype(np.float64)), west, east
        )

    def _within(self, name: str, values: NDArray[np.float64], low: float, high: float) -> NDArray[np.intp]:
        order = np.argsort(values, kind="stable")
        found = order[(values[order] >= low - 1e-6) & (values[order] <= high + 1e-6)]
        if len(found) < 2:
            raise DataError(f"{self.address} has {len(found)} {name}s in dataset.area: choose a larger one.")
        return found.astype(np.intp)

    def _array(self, name: str) -> xr.DataArray:
        variable, level = catalogue.parse(name)
        names = {str(held).casefold(): str(held) for held in self.dataset.data_vars}
        held = next(
            (
                names[alias.casefold()]
                for alias in variable.names()[1:] + variable.names()
                if alias.casefold() in names
            ),
            None,
        )
        if held is None:
            raise DataError(
                f"{self.address} does not hold {variable.cds} ({name}): leave it out of dataset.variables."
            )
        array = self.dataset[held]
        if level is None:
            return array.transpose("time", "latitude", "longitude")
        levels = self.dataset["level"].values.astype(float)
        if level not in levels:
            have = ", ".join(f"{value:g}" for value in levels)
            raise DataError(
                f"{self.address} does not hold {variable.cds} at {level:g} hPa ({name}); it has {have} hPa."
            )
        return array.isel(level=int(np.flatnonzero(levels == level)[0])).transpose(
            "time", "latitude", "longitude"
        )

    def _check_period(self) -> None:
        attrs = self.dataset.attrs
        # The axis is laid out for years to come: what lies outside these holds no data.
        first = pd.Timestamp(str(attrs.get("valid_time_start", self.times[0])))
        last = pd.Timestamp(str(attrs.get("valid_time_stop", self.times[-1])))
        last = (
            last + pd.Timedelta(hours=23) if last == last.normalize() and "valid_time_stop" in attrs else last
        )
        needed = self.wish.end + pd.Timedelta(
            hours=24 if self._needs_midnight() else 24 - self.wish.step_hours
        )
        if self.wish.start < first or needed > last:
            raise DataError(
                f"{self.address} has final data from {first:%Y-%m-%d} to {last:%Y-%m-%d %H:%M}, and dataset.start "
                f"{self.wish.start:%Y-%m-%d} to dataset.end {self.wish.end:%Y-%m-%d} needs more: choose one within."
            )

    def _needs_midnight(self) -> bool:
        return any(catalogue.parse(name)[0].kind != "instant" for name in self.wish.variables)

    def days(self, days: pd.DatetimeIndex) -> xr.Dataset:
        """Daily values of consecutive days.

        Raises:
            DataError: hours are missing, or values are not possible.
        """
        hours = pd.date_range(
            days[0], periods=len(days) * 24 // self.wish.step_hours + 1, freq=f"{self.wish.step_hours}h"
        )
        positions = self.times.get_indexer(hours)
        arrays = {name: self._variable(name, days, positions) for name in self.wish.variables}
        return xr.Dataset(arrays)

    def _variable(self, name: str, days: pd.DatetimeIndex, positions: NDArray[np.intp]) -> xr.DataArray:
        rule = daily.reduction(name, self.wish.step_hours)
        shape = (len(days), len(self.rows), len(self.columns))
        needed = np.arange(len(days))[:, None] * rule.steps + rule.first + np.arange(rule.steps)
        if (positions[needed] < 0).any():
            raise DataError(
                f"{self.address} has no field every {self.wish.step_hours} hours in {days[0]:%Y-%m}: set "
                "dataset.step_hours to the step that it has (weatherbench2: 6)."
            )

        def read(steps: NDArray[np.intp]) -> NDArray[np.float32]:
            return self._read(name, positions[steps])

        block = Daily(read, shape, rule, rule.steps).days(np.arange(len(days)))
        self._check(name, rule.units, block, days)
        latitude = np.round(self.dataset["latitude"].values[self.rows].astype(np.float64), 6)
        longitude = np.round(wrapped(self.dataset["longitude"].values[self.columns].astype(np.float64)), 6)
        coords = {"time": days, "latitude": latitude, "longitude": longitude}
        return xr.DataArray(block, coords, ("time", "latitude", "longitude"), attrs=rule.attributes())

    def _read(self, name: str, positions: NDArray[np.intp]) -> NDArray[np.float32]:
        """Fields at positions of the store's time axis; several chunks are on their way at one time."""
        array = self.arrays[name]

        def one(position: int) -> NDArray[np.float32]:
            # The globe is one chunk in any case; cutting it here keeps what is in memory small.
            field = self._patiently(lambda: array.isel(time=position).values)
            return field[self.rows][:, self.columns].astype(np.float32)

        with ThreadPoolExecutor(READERS) as pool:
            return np.stack(list(pool.map(one, positions.tolist())))

    def _check(self, name: str, units: str, block: NDArray[np.float32], days: pd.DatetimeIndex) -> None:
        present = np.isfinite(block).any(axis=(1, 2))
        if not present.all() and not self.allow_missing:
            raise DataError(
                f"{self.address}: {name} lacks hours on {int((~present).sum())} days, the first "
                f"{days[int(np.argmin(present))]:%Y-%m-%d}: choose another period, or set dataset.allow_missing=true."
            )
        low, high = daily.plausible(name, units)
        if present.any() and (np.nanmin(block) < low or np.nanmax(block) > high):
            raise DataError(
                f"{self.address}: {name} has values from {np.nanmin(block):.6g} to {np.nanmax(block):.6g} {units} in "
                f"{days[0]:%Y-%m}, outside the {low:.6g} to {high:.6g} that are possible: choose another store."
            )


def wrapped(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes in [-180, 180)."""
    return (longitude + 180) % 360 - 180
