"""A tiny record with planted regimes, and runs whose embeddings know them more or less well."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from evaluation import report
from evaluation.assessment import evaluate
from evaluation.inputs import ClusterSettings, Inputs, Run, Truth
from evaluation.results import Evaluation

K = 3
DAYS = 330
LATITUDE = np.array([60.0, 50.0, 40.0, 30.0])
LONGITUDE = np.array([-20.0, -10.0, 0.0, 10.0, 20.0])


def planted_labels(*, days: int = DAYS, k: int = K, seed: int = 0) -> np.ndarray:
    """Regimes with spells of about a week, the first more frequent than the rest."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(days, dtype=int)
    for day in range(1, days):
        stay = rng.random() > 1 / 7
        labels[day] = (
            labels[day - 1] if stay else rng.choice(k, p=np.array([0.5] + [0.5 / (k - 1)] * (k - 1)))
        )
    return labels


def make_prepared(
    *, days: int = DAYS, variables: Sequence[str] = ("z500", "sst"), noise: float = 0.6, seed: int = 0
) -> xr.Dataset:
    """A prepared store: planted patterns and noise; the second variable is missing in one corner."""
    rng = np.random.default_rng(seed)
    shape = (len(variables), len(LATITUDE), len(LONGITUDE))
    patterns = rng.normal(size=(K, *shape))
    mask = np.ones(shape, dtype=bool)
    mask[-1, :2, :2] = False
    x = patterns[planted_labels(days=days, seed=seed)] + noise * rng.normal(size=(days, *shape))
    x = np.where(mask, x - x[: days // 2].mean(axis=0), 0).astype(np.float32)
    split = np.full(days, -1, dtype=np.int8)
    split[: days // 2] = 0
    split[days // 2 + 5 : int(days * 0.7)] = 1
    split[int(days * 0.7) + 5 :] = 2
    weight = np.cos(np.deg2rad(LATITUDE))
    stated = {"z500": ("m**2 s**-2", "Geopotential at 500 hPa"), "sst": ("K", "Sea surface temperature")}
    return xr.Dataset(
        {
            "x": (("time", "variable", "latitude", "longitude"), x),
            "mask": (("variable", "latitude", "longitude"), mask),
            "area_weight": ("latitude", weight / weight.mean()),
            "split": ("time", split),
            "mean": ("variable", np.zeros(len(variables))),
            "scale": ("variable", np.arange(1.0, len(variables) + 1) * 100),
            "climatology_coefficient": (
                ("variable", "term", "latitude", "longitude"),
                np.ones((shape[0], 1, *shape[1:])),
            ),
        },
        coords={
            "time": pd.date_range("2001-01-01 12:00", periods=days, freq="D").to_numpy(),
            "variable": list(variables),
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
        },
        attrs={
            "units": json.dumps({name: stated.get(name, ("1", ""))[0] for name in variables}),
            "long_name": json.dumps({name: stated.get(name, ("", name))[1] for name in variables}),
            "source": "synthetic",
        },
    )


def make_run(
    prepared: xr.Dataset,
    *,
    model: str = "faconvlstm",
    seed: int = 0,
    noise: float = 0.3,
    skip: int = 3,
    settings: dict | None = None,
    full: bool = True,
    insight: xr.Dataset | None = None,
) -> Run:
    """A run whose embedding holds the planted regimes under noise; the first days are in no window."""
    rng = np.random.default_rng([seed, *model.encode()])
    labels = planted_labels(days=prepared.sizes["time"])
    embedding = np.eye(4)[labels] * 3 + noise * rng.normal(size=(len(labels), 4))
    days = np.flatnonzero(prepared["split"].values == 2)[[3, 40]]
    coordinates = {"time": prepared["time"].values[days]}
    examples = xr.DataArray(0.9 * prepared["x"].values[days], dims=prepared["x"].dims, coords=coordinates)
    epochs = np.arange(6)
    curve = pd.DataFrame({"epoch": epochs, "train_loss": 2.0**-epochs, "validation_loss": 1.1 * 2.0**-epochs})
    return Run(
        model=model,
        seed=seed,
        times=prepared["time"].values[skip:],
        embedding=embedding[skip:].astype(np.float32),
        explained_variance={"train": 0.9 - noise / 10, "test": 0.8 - noise / 10} if full else {},
        examples=examples if full else None,
        curve=curve if full else None,
        costs={"parameters": 1000, "flops_per_window": 20000, "train_step_seconds": 0.01} if full else {},
        settings=settings or {},
        insight=insight,
    )


def make_insight(*, seed: int = 0, inside: bool = True) -> xr.Dataset:
    """What the embed stage notes of a model on this grid: everything, or occlusion alone."""
    rng = np.random.default_rng(seed)
    edges = {"latitude": np.array([65.0, 45.0, 25.0]), "longitude": np.array([-25.0, 5.0, 25.0])}
    arrays = {
        "occlusion_by_variable": ("variable", [0.4, 0.1 + 0.01 * seed]),
        "occlusion_by_region": (("latitude_block", "longitude_block"), [[0.1, 0.2], [0.3, 0.9]]),
    }
    for name, edge in edges.items():
        arrays[f"{name}_block_bounds"] = ((f"{name}_block", "bound"), np.stack([edge[:-1], edge[1:]], axis=1))
    if inside:
        arrays |= {
            "gate_activity": (("gate", "latitude", "longitude"), rng.random((4, 4, 5))),
            "gate_channel_mean": (("gate", "channel"), np.full((4, 6), 0.5)),
            "excitation_mean": ("bottleneck_channel", rng.random(6)),
            "excitation_spread": ("bottleneck_channel", np.full(6, 0.05)),
            "attention_rows": (("latitude", "row_token"), np.full((4, 3), 1 / 3)),
            "row_token_longitude": ("row_token", [-15.0, 0.0, 15.0]),
            "attention_columns": (("longitude", "column_token"), np.full((5, 2), 0.5)),
            "column_token_latitude": ("column_token", [55.0, 35.0]),
        }
    coordinates = {f"{name}_block": (edge[1:] + edge[:-1]) / 2 for name, edge in edges.items()}
    coordinates |= {"variable": ["z500", "sst"], "latitude": LATITUDE, "longitude": LONGITUDE}
    if inside:
        coordinates["gate"] = ["input", "forget", "candidate", "output"]
    attrs = {"insight_windows": 16, "insight_period": "test", "insight_layer": "FAConvLSTM"}
    return xr.Dataset(arrays, coordinates, attrs)


def make_patterns() -> xr.DataArray:
    """Published patterns on a coarser grid over a part of the domain and beyond it."""
    latitude, longitude = np.arange(65.0, 20.0, -5.0), np.arange(-30.0, 31.0, 5.0)
    values = np.random.default_rng(5).normal(size=(2, len(latitude), len(longitude)))
    coordinates = {"regime": ["block", "zonal"], "latitude": latitude, "longitude": longitude}
    return xr.DataArray(values, coordinates, ("regime", "latitude", "longitude"), name="z500")


def make_chance(*, k: int = K, beyond: bool = True, seed: int | None = 0) -> dict:
    """What the comparison with surrogates gives: the record well above both kinds, or among them."""

    def against(value: float) -> dict:
        kinds = {
            kind: {"p": p if beyond else 10 * p, "mean": 0.1, "low": 0.05, "high": 0.15}
            for kind, p in (("ar1", 0.02), ("phase", 0.01))
        }
        return {"value": value, "p": kinds["ar1"]["p"], **kinds}

    indices = ("silhouette", "davies_bouldin", "calinski_harabasz")
    inside, outside = ({name: against(0.3 if beyond else 0.1) for name in indices} for _ in range(2))
    by_k = {
        str(n): {"embedding": inside | {"classifiability": against(0.9)}, "data": outside}
        for n in range(2, 11)
    }
    verdict = {
        "k": k,
        "space": "embedding",
        "index": "silhouette",
        "p": 0.02 if beyond else 0.2,
        "level": 0.05,
    }
    about = {"surrogates": {"ar1": 100, "phase": 100}, "days": 165, "components": 30, "variance_kept": 1.0}
    about |= {} if seed is None else {"seed": seed}  # EOFs have none
    return about | {"starts": 10, "by_k": by_k, "verdict": verdict | {"beyond_chance": beyond}}


def make_inputs(*, seeds: Sequence[int] = (0, 1, 2), **changes: object) -> Inputs:
    """FAConvLSTM, which knows the regimes well, ConvLSTM, which knows them less, and an untrained encoder."""
    prepared = make_prepared()
    levels = {"faconvlstm": 0.3, "convlstm": 1.6, "untrained": 4.0}
    runs = [
        make_run(prepared, model=model, seed=seed, noise=noise, full=model != "untrained", insight=looked)
        for model, noise in levels.items()
        for seed in seeds
        for looked in [
            None if model == "untrained" else make_insight(seed=seed, inside=model == "faconvlstm")
        ]
    ]
    truth = pd.Series(planted_labels(), index=prepared["time"].values)
    parts = {
        "dataset": "tiny",
        "prepared": prepared,
        "runs": runs,
        "cluster": ClusterSettings(k=K, n_init=20, resamples=60),
        "truth": Truth(truth, "planted regimes"),
        "patterns": {"published": make_patterns()},
        "indices": {
            "index": pd.Series(np.sin(np.arange(DAYS) / 9), index=prepared["time"].values, name="index")
        },
        "provenance": {
            "source": "synthetic",
            "licence": "none",
            "versions": {"numpy": np.__version__},
            "nothing": None,
        },
    }
    return Inputs(**(parts | changes))  # type: ignore[arg-type]


@pytest.fixture
def prepared() -> xr.Dataset:
    return make_prepared()


@pytest.fixture
def run_of(prepared: xr.Dataset) -> Callable[..., Run]:
    """Makes runs over the prepared store."""
    return lambda **options: make_run(prepared, **options)


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    """All models, three seeds, known truth, published patterns, an index, and surrogates."""
    found = {
        "faconvlstm": make_chance(),
        "convlstm": make_chance(beyond=False),
        "eof": make_chance(seed=None),
    }
    return evaluate(make_inputs(), lambda _: found)


@pytest.fixture(scope="session")
def folder(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of that evaluation."""
    return report.write(evaluation, tmp_path_factory.mktemp("runs") / "report").parent
