"""What a run of a search is judged by beside its loss, with torch: its embedding of the validation period.

The store that is given ends before the test period, so that no day of it can be embedded, clustered or scored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from omegaconf import DictConfig

from data import split, store
from evaluation.agreement import agreement, align_labels
from evaluation.clustering import cluster
from pipeline import cluster_report, encoding, fitting
from pipeline.errors import PipelineError

PERIODS = (split.TRAIN, split.VALIDATION)


def of_run(cfg: DictConfig, seen: Path, checkpoint: Path) -> float:
    """The objective that the settings name, higher being better.

    Args:
        cfg: settings of the run.
        seen: the prepared store up to the test period.
        checkpoint: its weights.
    """
    fitting.quieten()
    prepared = store.open_store(seen)
    model = encoding.load_model(cfg, prepared, checkpoint)
    embedding, count = encoding.embed_record(model, encoding.window_source(cfg, prepared, model), PERIODS)
    if cfg.search.objective == "agreement":
        return validation_agreement(cfg, prepared, embedding, count > 0)
    error, anomaly = encoding.squares(model, prepared["x"], prepared, embedding, count > 0)
    days = (prepared["split"].values == split.VALIDATION) & (count > 0)
    return float(1 - error[days].sum() / anomaly[days].sum())


def validation_agreement(
    cfg: DictConfig, prepared: xr.Dataset, embedding: np.ndarray, covered: np.ndarray
) -> float:
    """Adjusted Rand index with the known labels in the validation period, of clusters fitted in training.

    Raises:
        PipelineError: if no two labels are known there.
    """
    known = cluster_report.truth(cfg)
    if known is None:
        raise PipelineError("search.objective=agreement needs known labels: give dataset.labels.")
    codes, _ = align_labels(prepared["time"].values[covered], known.labels)
    periods = prepared["split"].values[covered]
    labels = cluster(
        embedding[covered],
        periods == split.TRAIN,
        k=cfg.cluster.k,
        n_init=cfg.cluster.n_init,
        seed=cfg.cluster.seed,
    ).labels
    days = periods == split.VALIDATION
    found = agreement(labels[days], codes[days])
    if "ari" not in found:
        raise PipelineError(
            "the validation period has fewer than two known labels: agreement cannot be scored."
        )
    return found["ari"]
