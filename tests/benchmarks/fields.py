"""Smooth fields of any size, quickly made: as hard to compress as normalised anomalies of reanalyses are."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from data import split, store

PATTERNS = 8


def record(n_times: int, variables: int, height: int, width: int) -> xr.Dataset:
    """A prepared store's x, season and split; x is lazy, a block of steps a time."""
    rng = np.random.default_rng(0)
    waves = rng.integers(1, 9, (PATTERNS, 2))
    rows, columns = np.linspace(0, np.pi, height), np.linspace(0, 2 * np.pi, width, endpoint=False)
    patterns = np.stack([np.outer(np.sin(a * rows), np.cos(b * columns)) for a, b in waves]).astype(
        np.float32
    )
    amplitude = rng.standard_normal((n_times, variables, PATTERNS)).astype(np.float32)
    phase = amplitude.cumsum(axis=0) / np.sqrt(1 + np.arange(n_times, dtype=np.float32))[:, None, None]
    x = da.einsum("tvp,pyx->tvyx", da.from_array(phase, chunks=(16, -1, -1)), patterns)
    return xr.Dataset(
        {
            "x": (("time", "variable", "latitude", "longitude"), x.astype(np.float32)),
            "season": (("time", "season_feature"), rng.standard_normal((n_times, 8)).astype(np.float32)),
            "split": ("time", np.full(n_times, split.TRAIN, np.int8)),
        },
        coords={"time": pd.date_range("2001-01-01", periods=n_times)},
    )


def make(path: Path, n_times: int, variables: int, height: int, width: int) -> xr.Dataset:
    """The same as a store, opened."""
    store.write(record(n_times, variables, height, width), path)
    return store.open_store(path)
