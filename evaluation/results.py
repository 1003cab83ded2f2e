"""What the evaluation hands on to the page: models with their clusters, and the metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluation.clustering import Clustering
from evaluation.fields import Fields
from evaluation.inputs import SPLITS, Inputs, Run

if TYPE_CHECKING:
    from evaluation.physics import Physics

TITLES = {
    "faconvlstm": "FAConvLSTM",
    "convlstm": "ConvLSTM",
    "convgru": "ConvGRU",
    "minconvgru": "MinConvGRU",
    "minconvlstm": "MinConvLSTM",
    "faminconv": "FA-MinConv",
    "vmrnn": "VMRNN",
    "swinlstm": "SwinLSTM",
    "predrnn": "PredRNN",
    "convs5": "ConvS5",
    "simvpv2": "SimVPv2",
    "predformer": "PredFormer",
    "raw": "Raw fields",
    "untrained": "Untrained encoder",
}
BASELINES = ("eof", "eof10", "raw", "untrained")


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model with all its seeds.

    Attributes:
        label: as in metrics.json.
        runs: one a seed, in the order of the seeds.
        embeddings: (time, feature) on the evaluated days, one a seed.
        clusterings: one a seed.
        shown: place of the seed whose clusters the page draws: the one that agrees most with the other seeds.
        stability: mean adjusted Rand index between the clusters of two seeds; None with a single seed.
    """

    label: str
    runs: tuple[Run, ...]
    embeddings: tuple[np.ndarray, ...]
    clusterings: tuple[Clustering, ...]
    shown: int
    stability: float | None

    @property
    def title(self) -> str:
        """The name for the reader."""
        return title(self.label, self.size)

    @property
    def trained(self) -> bool:
        """Whether the model was trained: not one of the baselines."""
        return not is_baseline(self.label)

    @property
    def size(self) -> int:
        """Numbers a day in the embedding."""
        return self.embeddings[0].shape[1]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [run.seed for run in self.runs]

    @property
    def labels(self) -> np.ndarray:
        """(time,) 0 … K-1, the clusters that the page draws."""
        return self.clusterings[self.shown].labels


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that a report is written from.

    Attributes:
        inputs: what was handed in.
        fields: the fields of the evaluated days.
        models: by label, in the order of the page.
        metrics: metrics.json.
        physics: what the drawn clusters are as weather, by label.
    """

    inputs: Inputs
    fields: Fields
    models: dict[str, ModelResult]
    metrics: dict[str, Any]
    physics: Mapping[str, Physics] = field(default_factory=dict)

    def clusters(self) -> pd.DataFrame:
        """clusters.csv: time, split and a column of clusters 1 … K for each model and seed."""
        columns = {
            run.name: result.labels + 1
            for model in self.models.values()
            for run, result in zip(model.runs, model.clusterings, strict=True)
        }
        split = [SPLITS[int(value)] for value in self.fields.split]
        return pd.DataFrame({"time": self.fields.times, "split": split, **columns})


def is_baseline(label: str) -> bool:
    """Whether a label stands for something that nobody trained."""
    return label in BASELINES or label.startswith("untrained")


def order(labels: list[str]) -> list[str]:
    """FAConvLSTM, ConvLSTM, other models by name, then the baselines from the strongest rival to the weakest."""

    def place(label: str) -> tuple[int, str]:
        if is_baseline(label):
            return 3 + BASELINES.index(label if label in BASELINES else "untrained"), label
        return {"faconvlstm": 0, "convlstm": 1}.get(label, 2), label

    return sorted(labels, key=place)


def title(label: str, size: int | None = None) -> str:
    """The name for the reader: the model's own spelling, and for EOFs the number of components.

    >>> title("eof", 16), title("faconvlstm-3f2a")
    ('EOF (16)', 'FAConvLSTM-3f2a')
    """
    if label in ("eof", "eof10"):
        return f"EOF ({size})" if size else "EOF"
    base = re.match(r"[a-z0-9]*", label).group()  # type: ignore[union-attr]
    return label.replace(base, TITLES[base], 1) if base in TITLES else label
