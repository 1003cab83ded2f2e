"""What assign does with torch: new days through a run's frozen statistics and encoder, one vector a day.

A day's vector is the mean over all windows that cover it, as in the run's own embeddings. Memory is bounded by chunk
and window: the normalised fields go through a store that is removed afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from omegaconf import DictConfig

from data import split, store, windows
from data.frozen import Frozen
from data.places import remove
from pipeline import encoding, fitting
from pipeline.errors import PipelineError
from pipeline.progress import track

LACKING = 0.05  # share of a variable's cells that may be missing on a day: they count as their mean
MIXED_UP = 10.0  # in standard deviations; the wildest month has hardly 3


class Embedded(NamedTuple):
    """New days as the run's encoder sees them.

    Attributes:
        times: (time,) every step from the first to the last.
        embedding: (time, feature), NaN for a day that no window covers.
        missed: (time,) share of the day's squared anomaly that its reconstruction lacks, NaN as above.
        windows: (time,) number of windows of which the embedding is the mean.
    """

    times: pd.DatetimeIndex
    embedding: NDArray[np.float32]
    missed: NDArray[np.float64]
    windows: NDArray[np.int64]


def embed(cfg: DictConfig, prepared_path: Path, checkpoint: Path, raw: Path, scratch: Path) -> Embedded:
    """Embeds the days of a raw store as the run would have.

    Args:
        cfg: the run's settings.
        prepared_path: the store that the run was trained on.
        checkpoint: its weights.
        raw: the store of the new days.
        scratch: where the normalised fields lie meanwhile.

    Raises:
        DataError: if the new data are not of the kind that the run was trained on.
        PipelineError: if they hold no window.
    """
    fitting.quieten()
    prepared = store.open_store(prepared_path)
    remove(scratch)
    try:
        normalise(prepared, raw, scratch, cfg.window.length)
        fields = store.open_store(scratch)
        check_size(fields, prepared["mask"].values)
        model = encoding.load_model(cfg, prepared, checkpoint)
        source = encoding.window_source(cfg, fields, model)
        embedding, count = encoding.embed_record(model, source, (split.TEST,))
        error, anomaly = encoding.squares(model, fields["x"], prepared, embedding, count > 0)
    finally:
        remove(scratch)
    embedding[count == 0] = np.nan
    times = pd.DatetimeIndex(fields["time"].values)
    return Embedded(times, embedding, missed_share(error.sum(axis=1), anomaly.sum(axis=1)), count)


def missed_share(error: NDArray[np.float64], anomaly: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each day's squared anomaly that its reconstruction lacks; a day without any anomaly misses all."""
    return np.divide(error, anomaly, out=np.full(error.shape, np.inf), where=anomaly > 0)


def normalise(prepared: xr.Dataset, raw: Path, target: Path, length: int) -> None:
    """Writes new days as the run's encoder takes them: x, season, and split, which is -1 on days that are missing.

    Raises:
        DataError: if the data are not of the run's kind.
        PipelineError: if no stretch without a gap is as long as a window.
    """
    fields = Frozen.of(prepared).apply(store.open_store(raw))
    codes = np.where(fields["lacking"].values <= LACKING, split.TEST, split.UNUSED).astype(np.int8)
    times = pd.DatetimeIndex(fields["time"].values)
    longest = max((end - begin for begin, end in windows.runs(times, codes)), default=0)
    if longest < length:
        raise PipelineError(
            f"the run takes windows of {length} steps, and the longest stretch of the new data without a gap has "
            f"{longest} ({times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}): give at least {length} steps in a row."
        )
    held = fields[["x", "season"]].assign(split=("time", codes))
    store.write(held, target, lambda parts: track(parts, "assign, fields"))


def check_size(fields: xr.Dataset, mask: NDArray[np.bool_]) -> None:
    """Checks that the normalised fields are of the size of those that the run knows, whose root mean square is 1.

    Raises:
        PipelineError: if it is beyond 10 for a variable, as with wrong units under the right name.
    """
    days = np.flatnonzero(fields["split"].values == split.TEST)
    total = np.zeros(len(mask))
    for part in encoding.portions(days):
        total += (fields["x"][part].values.astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    size = np.sqrt(total / (len(days) * mask.sum(axis=(1, 2))))
    worst = int(size.argmax())
    if not size[worst] <= MIXED_UP:
        name = fields["variable"].values[worst]
        raise PipelineError(
            f"{name} of the new data lies {size[worst]:.0f} standard deviations from what "
            "the run was trained on, which no weather does: check its units and its level."
        )
