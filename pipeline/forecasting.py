"""What embed does with a forecast head: forecasts of the unseen period, and how far off they are.

The network is given the window that ends today and nothing later, whichever encoder it is: the forecast comes from
the embedding of the window's last step alone, not from the day's mean over windows, which has seen tomorrow. Every
window with the days that it foretells lies within the unseen period.

Scores are those of WeatherBench 2 (Rasp et al. 2024), for each day, lead and variable, over the cells with data, a
the cell area, f and o the departures of forecast and truth from the climatology:

    squared error        sum a (f - o)^2 / sum a                          in the variable's units, squared
    anomaly correlation  sum a f o / sqrt(sum a f^2 sum a o^2)            none for climatology, whose f is zero

beside persistence (f is today's o) and climatology (f is zero) of the same days.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from data import split, windows
from models.autoencoder import Autoencoder

KINDS = ("model", "persistence", "climatology")


class Foretold(NamedTuple):
    """Forecasts of a few days, normalised.

    Attributes:
        today: (day,) places in the record.
        fields: (day, lead, variable, latitude, longitude).
    """

    today: NDArray[np.int64]
    fields: NDArray[np.float32]


def verify(model: Autoencoder, prepared: xr.Dataset, length: int, at_once: int) -> xr.Dataset:
    """Forecasts of all days of the unseen period on which one is due, held against what came.

    Args:
        model: with a forecast head.
        prepared: the prepared store.
        length: steps of a window.
        at_once: windows in a batch.

    Returns:
        forecast_error, forecast_correlation (kind, today, lead, variable), with today the time stamp of the last day
        that was seen.
    """
    store = prepared.transpose("time", "variable", "latitude", "longitude", ...)
    scores = [_score(found, store) for found in foretell(model, store, length, at_once)]
    today, error, correlation = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    dims = ("kind", "today", "lead", "variable")
    about = "forecasts of the unseen period, beside persistence and climatology"
    units = {"units": "squared units of the variable", "long_name": "area-weighted mean squared error"}
    return xr.Dataset(
        {
            "forecast_error": (dims, np.moveaxis(error, 2, 0), units | {"comment": about}),
            "forecast_correlation": (
                dims,
                np.moveaxis(correlation, 2, 0),
                {"units": "1", "long_name": "anomaly correlation", "comment": about},
            ),
        },
        coords={
            "kind": np.array(KINDS, object),
            "today": store["time"].values[today],
            "variable": store["variable"],
            "lead": ("lead", np.arange(1, model.forecast_steps + 1), {"units": "steps"}),
        },
    )


@torch.inference_mode()
def foretell(model: Autoencoder, prepared: xr.Dataset, length: int, at_once: int) -> Iterator[Foretold]:
    """The forecasts from every window of the unseen period after which there are days to be foretold, in batches.

    Raises:
        DataError: if no stretch is long enough.
    """
    times = pd.DatetimeIndex(prepared["time"].values)
    whole = length + model.forecast_steps
    starts = windows.starts(times, prepared["split"].values, period=split.TEST, length=whole)
    for first in range(0, len(starts), at_once):
        chosen = starts[first : first + at_once]
        x, season = (
            torch.from_numpy(np.stack([prepared[name][start : start + length].values for start in chosen]))
            for name in ("x", "season")
        )
        yield Foretold(chosen + length - 1, model.forecast(x, season).numpy())


def _score(
    found: Foretold, prepared: xr.Dataset
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The days, and squared error and correlation (day, lead, kind, variable) of the three kinds of forecast."""
    x, leads = prepared["x"], found.fields.shape[1]
    weight = (
        (prepared["mask"] * prepared["area_weight"]).transpose("variable", "latitude", "longitude").values
    )
    weight = weight / weight.sum(axis=(1, 2), keepdims=True)
    truth = np.stack([x[found.today + lead].values for lead in range(1, leads + 1)], axis=1)
    today = np.broadcast_to(x[found.today].values[:, None], truth.shape)
    forecasts = np.stack([found.fields, today, np.zeros_like(truth)], axis=2)
    scale = _scale(prepared)
    return found.today, *scores(forecasts * scale, truth[:, :, None] * scale, weight)


def scores(
    forecast: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area-weighted mean squared error and anomaly correlation (...,), NaN where there is no anomaly.

    Args:
        forecast: (..., latitude, longitude) departures from the climatology.
        truth: of a shape that goes with it.
        weight: (variable, latitude, longitude), which adds up to 1 for each variable.
    """
    forecast, truth = (np.asarray(field, np.float64) for field in (forecast, truth))
    error = ((forecast - truth) ** 2 * weight).sum(axis=(-2, -1))
    together, own, true = (
        (a * b * weight).sum(axis=(-2, -1))
        for a, b in ((forecast, truth), (forecast, forecast), (truth, truth))
    )
    spread = np.sqrt(own * true)
    nothing = np.full(spread.shape, np.nan)
    return error, np.divide(together, spread, out=nothing, where=spread > 0)


def _scale(prepared: xr.Dataset) -> NDArray[np.float64]:
    """(variable, latitude, longitude) or (variable, 1, 1): physical units per normalised unit."""
    scale = prepared["scale"].values[:, None, None]
    return scale * prepared["cell_scale"].values if "cell_scale" in prepared else scale
