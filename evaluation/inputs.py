"""What the evaluation takes: plain objects, checked at the door.

Supports any number of models and seeds over one prepared store. Does not read or write files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from evaluation.errors import EvaluationError

SPLITS = {0: "train", 1: "validation", 2: "test"}
PREPARED_NAMES = ("x", "mask", "area_weight", "split", "mean", "scale", "climatology_coefficient")
RESULT_NAMES = ("parameters", "flops_per_window", "train_step_seconds")
INSIGHT = (
    "occlusion_by_variable",
    "occlusion_by_region",
    "latitude_block_bounds",
    "longitude_block_bounds",
    "gate_activity",
    "gate_channel_mean",
    "excitation_mean",
    "excitation_spread",
    "attention_rows",
    "row_token_longitude",
    "attention_columns",
    "column_token_latitude",
)


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model, or one baseline, with one seed.

    Attributes:
        model: label under which the runs of several seeds are put together, as "faconvlstm".
        seed: of the training; with the cluster seed it also decides the k-means starts.
        times: (time,) datetime64, strictly increasing.
        embedding: (time, feature) float.
        explained_variance: share of the variance that the reconstruction holds, by split name.
        explained_variance_by_variable: the same by variable, then by split name.
        squares: (time, 2), the reconstruction's squared error of each day and the day's squared anomaly.
        examples: (time, variable, latitude, longitude), reconstructed days in normalised units.
        curve: the training by epoch: columns epoch, train_loss, validation_loss and, where known, their parts.
        costs: any of parameters, flops_per_window, train_step_seconds.
        settings: the configuration, nested; compared between models for the warning on unlike training.
        insight: what the model looked at, see evaluation/insight.py.
        forecast: how its forecasts of the unseen period came out, see evaluation/forecasts.py.
    """

    model: str
    seed: int
    times: np.ndarray
    embedding: np.ndarray
    explained_variance: Mapping[str, float] = field(default_factory=dict)
    explained_variance_by_variable: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    squares: np.ndarray | None = None
    examples: xr.DataArray | None = None
    curve: pd.DataFrame | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    insight: xr.Dataset | None = None
    forecast: xr.Dataset | None = None

    def __post_init__(self) -> None:
        if self.embedding.ndim != 2 or len(self.embedding) != len(self.times):
            raise EvaluationError(
                f"The embedding of {self.name} must have shape (time, feature) with {len(self.times)} times. "
                f"Received: shape {self.embedding.shape}."
            )
        if not np.isfinite(self.embedding).all():
            raise EvaluationError(
                f"The embedding of {self.name} holds values that are not finite: train the model again, "
                "with a smaller learning rate if the loss was not finite either."
            )

    @property
    def name(self) -> str:
        """Model and seed, as the columns of clusters.csv are called."""
        return f"{self.model}_seed{self.seed}"


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels known from elsewhere, used for scoring only.

    Attributes:
        labels: index: dates (time of day is ignored); values: labels of any type, NaN where there is none.
        title: what they are, for the reader, as "planted regimes" or "ccr_k7".
    """

    labels: pd.Series
    title: str = "known regimes"


@dataclass(frozen=True)
class ClusterSettings:
    """k-means, and how it is judged; see conf/cluster/kmeans.yaml.

    Attributes:
        k: number of clusters.
        n_init: starts, of which the best is kept.
        seed: of the starts, and of the resamples and samples.
        surrogates: of each kind, that the clusters are held against; 0 for none.
        resamples: of the days; 0 for intervals over seeds alone.
        memory: bytes of distances held at a time.
        silhouette_sample: days from which silhouettes are estimated; None takes all.
    """

    k: int = 7
    n_init: int = 20
    seed: int = 0
    surrogates: int = 100
    resamples: int = 500
    memory: int = 2**28
    silhouette_sample: int | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything that one report is made from.

    Attributes:
        dataset: its name.
        prepared: the prepared store: x (time, variable, latitude, longitude) normalised, mask (variable, latitude,
            longitude), area_weight (latitude), split (time), mean and scale (variable), climatology_coefficient;
            attrs units and long_name as JSON by variable.
        runs: all models and seeds; baselines that need no training are added by the evaluation itself.
        cluster: k-means settings.
        truth: known labels, where there are some.
        patterns: published patterns (regime, latitude, longitude) by title, named after their variable.
        indices: indices of the circulation by name, by day or by month; NaN where missing.
        provenance: JSON-able; the page knows source, licence, citation, command, versions and configuration and
            shows whatever else there is as it comes.
    """

    dataset: str
    prepared: xr.Dataset
    runs: tuple[Run, ...]
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    truth: Truth | None = None
    patterns: Mapping[str, xr.DataArray] = field(default_factory=dict)
    indices: Mapping[str, pd.Series] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))
        missing = [name for name in PREPARED_NAMES if name not in self.prepared]
        if missing:
            raise EvaluationError(
                f"The prepared store lacks {', '.join(missing)}: run the prepare stage again."
            )
        if not self.runs:
            raise EvaluationError(f"There is no finished run of dataset {self.dataset}: train a model first.")
        names = [run.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise EvaluationError(
                f"{', '.join(twice)} is given more than once: runs of one model with unlike settings need "
                "unlike labels."
            )


def run_from_store(
    embeddings: xr.Dataset,
    *,
    model: str,
    seed: int,
    curve: pd.DataFrame | None = None,
    costs: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """A Run from an embeddings store, as the embed stage writes it.

    Args:
        embeddings: embedding (time, feature); where given, reconstruction (example, variable, latitude, longitude)
            with example_time (example), squared_error and squared_anomaly (time), what the model looked at (INSIGHT),
            forecast_error and forecast_correlation (kind, today, lead, variable),
            and the attrs explained_variance and explained_variance_by_variable (JSON).
        model: label of the model.
        seed: of its training.
        curve: the training by epoch.
        costs: the manifest's results; what is not a cost is passed over.
        settings: the manifest's configuration.
    """
    return Run(
        model=model,
        seed=seed,
        times=embeddings["time"].values,
        embedding=embeddings["embedding"].transpose("time", ...).values,
        explained_variance=_json_attribute(embeddings, "explained_variance"),
        explained_variance_by_variable=_json_attribute(embeddings, "explained_variance_by_variable"),
        squares=_squares(embeddings),
        examples=_examples(embeddings),
        curve=curve,
        costs={name: value for name, value in (costs or {}).items() if name in RESULT_NAMES},
        settings=settings or {},
        insight=_insight(embeddings),
        forecast=_forecast(embeddings),
    )


def _json_attribute(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    return dict(json.loads(dataset.attrs.get(name, "{}")))


def _squares(embeddings: xr.Dataset) -> np.ndarray | None:
    names = ("squared_error", "squared_anomaly")
    if not all(name in embeddings for name in names):
        return None
    return np.stack([embeddings[name].values for name in names], axis=1)


def _examples(embeddings: xr.Dataset) -> xr.DataArray | None:
    if "reconstruction" not in embeddings:
        return None
    examples = embeddings["reconstruction"].load()
    dims = ("example", "variable", "latitude", "longitude")
    return xr.DataArray(
        examples.transpose(*dims).values,
        dims=("time", *dims[1:]),
        coords={"time": embeddings["example_time"].values},
        name="reconstruction",
    )


def _insight(embeddings: xr.Dataset) -> xr.Dataset | None:
    held = [name for name in INSIGHT if name in embeddings]
    return embeddings[held].load() if "occlusion_by_variable" in held else None


def _forecast(embeddings: xr.Dataset) -> xr.Dataset | None:
    names = ["forecast_error", "forecast_correlation"]
    return embeddings[names].load() if names[0] in embeddings else None
