"""What embed does with torch: a vector for every time step, how much of the fields it holds, what the model saw.

A day's vector is the mean over all windows of its period that cover it. The reconstruction that is judged is the
decoder's of that one vector, so explained variance is that of `embedding_size` numbers a day.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from lightning import seed_everything
from numpy.typing import NDArray
from omegaconf import DictConfig

from data import split, store
from data.datamodule import WindowDataModule
from data.errors import DamagedError
from models.autoencoder import Autoencoder
from models.layers.faconvlstm import FAConvLSTM
from models.training import autoencoder_state
from pipeline import fitting, forecasting, insight
from pipeline.config import plain
from pipeline.errors import PipelineError
from pipeline.progress import track

log = logging.getLogger(__name__)

EXAMPLES = 4  # reconstructed days kept for the report
DAYS_AT_ONCE = 256
PERIODS = (split.TRAIN, split.VALIDATION, split.TEST)
BATCH_BYTES = 32 * 2**20  # of hidden maps at one time
MOST_WINDOWS = 64  # in a batch; more gain nothing


def write(cfg: DictConfig, prepared_path: Path, checkpoint: Path | None, target: Path) -> None:
    """Embeds the whole record and writes the embeddings store.

    Args:
        cfg: all settings.
        prepared_path: the prepared store.
        checkpoint: the trained weights; None for fresh ones, drawn with the run's seed as training draws them.
        target: the store to write.
    """
    fitting.quieten()
    prepared = store.open_store(prepared_path)
    model = load_model(cfg, prepared, checkpoint)
    embedding, count = embed_record(model, window_source(cfg, prepared, model))
    covered = count > 0
    error, anomaly = squares(model, prepared["x"], prepared, embedding, covered)
    explained, by_variable = explained_variance(error, anomaly, prepared)
    examples = example_steps(prepared["split"].values, covered)
    dataset = xr.Dataset(
        {
            "embedding": (("time", "feature"), embedding[covered], {"long_name": "embedding", "units": "1"}),
            "split": prepared["split"][covered].drop_vars("time").variable,
            "squared_error": (
                "time",
                error[covered].sum(axis=1),
                {"long_name": "what is missed", "units": "1"},
            ),
            "squared_anomaly": (
                "time",
                anomaly[covered].sum(axis=1),
                {"long_name": "what there was", "units": "1"},
            ),
            "reconstruction": (
                ("example", "variable", "latitude", "longitude"),
                decode(model, embedding[examples]),
                {"long_name": "reconstruction, normalised", "units": "1"},
            ),
            "example_time": ("example", prepared["time"].values[examples]),
        },
        coords={
            "time": prepared["time"][covered],
            "feature": np.arange(embedding.shape[1]),
            **{name: prepared[name] for name in ("variable", "latitude", "longitude")},
        },
        attrs={
            "explained_variance": json.dumps(explained),
            "explained_variance_by_variable": json.dumps(by_variable),
        },
    )
    if checkpoint is not None:
        at_once = windows_at_once(model, cfg.window.length, cfg.trainer.batch_size)
        looked = insight.look(model, prepared, cfg.window.length, at_once)
        dataset = dataset.merge(looked).assign_attrs(dataset.attrs | looked.attrs)
        if model.forecast_steps:
            dataset = dataset.merge(forecasting.verify(model, prepared, cfg.window.length, at_once))
    store.write(dataset, target)
    log.info("embed: explained variance %s", ", ".join(f"{k} {v:.3f}" for k, v in explained.items()))


def load_model(cfg: DictConfig, prepared: xr.Dataset, checkpoint: Path | None) -> Autoencoder:
    """The network in evaluation mode.

    Raises:
        DamagedError: if the checkpoint cannot be read.
    """
    seed_everything(cfg.seed, workers=True, verbose=False)
    model = fitting.build_model(plain(cfg.model), prepared)
    if checkpoint is not None:
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:
            raise DamagedError(checkpoint, type(error).__name__) from error
        model.load_state_dict(autoencoder_state(state))
    return model.eval()


def window_source(cfg: DictConfig, prepared: xr.Dataset, model: Autoencoder) -> WindowDataModule:
    """The windows of a prepared store, in batches for inference."""
    windows = fitting.datamodule(cfg, prepared)
    windows.batch_size = windows_at_once(model, windows.length, cfg.trainer.batch_size)
    return windows


def windows_at_once(model: Autoencoder, length: int, usual: int) -> int:
    """Windows in a batch for inference: for FAConvLSTM as many as make hidden maps of BATCH_BYTES, else the usual.

    FAConvLSTM goes through a batch in pieces that fit the cache, so that a larger one only means fewer calls: a fifth
    to a quarter quicker than 8 windows at 16 x 24 and 21 x 24 on a core, and no slower at 41 x 41. ConvLSTM is up to
    twice slower, its gates leaving the cache. It depends on the run alone, so that embeddings can be made again.
    """
    if not isinstance(model.layer, FAConvLSTM):
        return usual
    window = 4 * length * model.layer.hidden_channels * model.mask.shape[-2] * model.mask.shape[-1]
    return min(max(BATCH_BYTES // window, 1), MOST_WINDOWS)


@torch.no_grad()
def embed_record(
    model: Autoencoder,
    windows: WindowDataModule,
    periods: Sequence[int] = PERIODS,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The embedding of every time step, (time, feature), and of how many windows it is the mean, (time,)."""
    n_times = windows.prepared.sizes["time"]
    total: NDArray[np.float64] | None = None
    count = np.zeros(n_times, np.int64)
    for period in periods:
        for batch in track(windows.all_windows(period), f"embed, {split.NAMES[period]}"):
            vectors = model.embed(batch["x"], batch["season"]).double().numpy()
            if total is None:
                total = np.zeros((n_times, vectors.shape[-1]))
            steps = batch["start"].numpy()[:, None] + np.arange(windows.length)
            np.add.at(total, steps, vectors)
            np.add.at(count, steps, 1)
    if total is None:
        raise PipelineError("no window covers any day of the record: lower window.length.")
    return (total / np.maximum(count, 1)[:, None]).astype(np.float32), count


@torch.no_grad()
def decode(model: Autoencoder, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """The fields of some embeddings: (time, feature) to (time, variable, latitude, longitude)."""
    return np.asarray(model.decode(torch.from_numpy(embedding)).numpy())


def squares(
    model: Autoencoder,
    x: xr.DataArray,
    prepared: xr.Dataset,
    embedding: NDArray[np.float32],
    covered: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the reconstruction of each step misses, and what there was: sums of squares (time, variable).

    sum w (x - x_hat)^2 and sum w (x - mean)^2, w the cell area where data exist, mean the training period's mean
    field; 0 for steps that no window covers.

    Args:
        model: the network.
        x: (time, variable, latitude, longitude), normalised fields.
        prepared: the store that the network was trained on.
        embedding: (time, feature).
        covered: (time,) which steps have an embedding.
    """
    weight = (
        (prepared["mask"] * prepared["area_weight"]).transpose("variable", "latitude", "longitude").values
    )
    mean = _mean_field(prepared, np.flatnonzero(prepared["split"].values == split.TRAIN))
    error, anomaly = np.zeros((2, len(covered), len(weight)))
    for steps in portions(np.flatnonzero(covered)):
        fields = x[steps].values.astype(np.float64)
        error[steps] = np.einsum("tvyx,vyx->tv", (fields - decode(model, embedding[steps])) ** 2, weight)
        anomaly[steps] = np.einsum("tvyx,vyx->tv", (fields - mean) ** 2, weight)
    return error, anomaly


def explained_variance(
    error: NDArray[np.float64], anomaly: NDArray[np.float64], prepared: xr.Dataset
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Share of the variance about the training period's mean field that the reconstruction holds.

        1 - sum error / sum anomaly          as `squares` gives them

    Returns:
        by period; and by variable and period.
    """
    days = {name: prepared["split"].values == code for code, name in enumerate(split.NAMES)}
    overall = {name: _share(error[held].sum(), anomaly[held].sum()) for name, held in days.items()}
    by_variable = {
        str(name): {
            period: _share(error[held, v].sum(), anomaly[held, v].sum()) for period, held in days.items()
        }
        for v, name in enumerate(prepared["variable"].values)
    }
    return overall, by_variable


def _share(lost: float, total: float) -> float:
    return round(float(1 - lost / total), 6)


def _mean_field(prepared: xr.Dataset, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    total = sum(prepared["x"][part].values.astype(np.float64).sum(axis=0) for part in portions(steps))
    return np.asarray(total / len(steps))


def portions(steps: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Time steps cut into pieces that are in memory at one time."""
    return [steps[a : a + DAYS_AT_ONCE] for a in range(0, len(steps), DAYS_AT_ONCE)]


def example_steps(codes: NDArray[np.integer], covered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A few days of the test period, evenly spread over it."""
    unseen = np.flatnonzero(covered & (codes == split.TEST))
    return unseen[np.linspace(0, len(unseen) - 1, EXAMPLES).round().astype(int)]
