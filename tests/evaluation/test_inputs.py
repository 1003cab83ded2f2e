"""What is handed in is checked at the door."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from evaluation.errors import EvaluationError
from evaluation.inputs import Run, run_from_store
from tests.evaluation.conftest import make_inputs, make_insight, make_prepared, make_run

TIMES = pd.date_range("2001-01-01", periods=4, freq="D").to_numpy()


def test_an_embedding_must_have_a_row_for_each_time() -> None:
    with pytest.raises(
        EvaluationError, match=r"faconvlstm_seed2 must have shape \(time, feature\) with 4 times"
    ):
        Run(model="faconvlstm", seed=2, times=TIMES, embedding=np.zeros((3, 2)))


def test_an_embedding_must_be_finite() -> None:
    with pytest.raises(EvaluationError, match=r"convlstm_seed0 holds values that are not finite"):
        Run(model="convlstm", seed=0, times=TIMES, embedding=np.array([[1.0], [np.inf], [0.0], [0.0]]))


def test_the_store_must_be_a_prepared_one() -> None:
    with pytest.raises(EvaluationError, match="lacks mask, split"):
        make_inputs(prepared=make_prepared().drop_vars(["mask", "split"]))


def test_at_least_one_run_and_none_twice() -> None:
    with pytest.raises(EvaluationError, match="no finished run of dataset tiny"):
        make_inputs(runs=[])
    run = make_run(make_prepared())
    with pytest.raises(EvaluationError, match="faconvlstm_seed0 is given more than once"):
        make_inputs(runs=[run, run])


def test_a_run_from_an_embeddings_store() -> None:
    store = xr.Dataset(
        {
            "embedding": (("feature", "time"), np.arange(8.0).reshape(2, 4)),
            "split": ("time", [0, 0, 2, 2]),
            "reconstruction": (("example", "variable", "latitude", "longitude"), np.ones((1, 1, 2, 3))),
            "example_time": ("example", TIMES[2:3]),
        },
        coords={"time": TIMES},
        attrs={
            "explained_variance": json.dumps({"train": 0.9}),
            "explained_variance_by_variable": json.dumps({"z": {"train": 0.8}}),
        },
    )
    run = run_from_store(
        store, model="convlstm", seed=1, costs={"parameters": 5, "epochs": 30}, settings={"a": 1}
    )
    np.testing.assert_array_equal(run.embedding, np.arange(8.0).reshape(2, 4).T)
    assert run.explained_variance == {"train": 0.9}
    assert run.explained_variance_by_variable == {"z": {"train": 0.8}}
    assert run.costs == {"parameters": 5}
    assert run.examples is not None
    assert run.examples.sel(time=TIMES[2]).shape == (1, 2, 3)


def test_a_store_without_reconstructions_gives_a_run_without() -> None:
    run = run_from_store(
        xr.Dataset({"embedding": (("time", "feature"), np.ones((4, 1)))}, {"time": TIMES}), model="m", seed=0
    )
    assert run.examples is None
    assert run.insight is None
    assert run.explained_variance == {}


def test_what_the_model_looked_at_comes_with_the_run() -> None:
    seen = make_insight(inside=False)
    embedding = xr.DataArray(np.ones((4, 1)), {"time": TIMES}, ("time", "feature"))
    run = run_from_store(
        seen.assign(embedding=embedding, gate_channel_spread=("gate", [0.1])), model="m", seed=0
    )
    assert run.insight is not None
    assert set(run.insight.data_vars) == set(seen.data_vars)
    assert run.insight.attrs["insight_windows"] == 16
