"""What a model looked at, as the embeddings store tells it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from models.autoencoder import Autoencoder
from pipeline import insight
from tests.models.conftest import HEIGHT, VARIABLES, WIDTH, build_small, land_mask, shake

LENGTH = 5


def make_prepared(days: int = 60, height: int = HEIGHT, width: int = WIDTH) -> xr.Dataset:
    """A prepared store whose last third is the test period."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], days // 3).astype(np.int8)
    dims = ("time", "variable", "latitude", "longitude")
    return xr.Dataset(
        {
            "x": (dims, rng.normal(size=(days, VARIABLES, height, width)).astype(np.float32)),
            "season": (("time", "season_feature"), rng.normal(size=(days, 4)).astype(np.float32)),
            "split": ("time", codes),
        },
        coords={
            "time": pd.date_range("2001-01-01", periods=days, freq="D"),
            "variable": np.array(["z500", "sst"], object),
            "latitude": ("latitude", np.linspace(60, 35, height), {"units": "degrees_north"}),
            "longitude": ("longitude", np.linspace(-20, 15, width), {"units": "degrees_east"}),
        },
    )


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    torch.manual_seed(0)
    return shake(build_small("faconvlstm", layer__attention_every=2, layer__attention_tokens=3)).eval()


@pytest.fixture(scope="module")
def looked(model: Autoencoder) -> xr.Dataset:
    return insight.look(model, make_prepared(), LENGTH)


def test_names_and_shapes(looked: xr.Dataset) -> None:
    assert {name: array.dims for name, array in looked.data_vars.items() if "bounds" not in name} == {
        "occlusion_by_variable": ("variable",),
        "occlusion_by_region": ("latitude_block", "longitude_block"),
        "gate_activity": ("gate", "latitude", "longitude"),
        "gate_channel_mean": ("gate", "channel"),
        "gate_channel_spread": ("gate", "channel"),
        "excitation_mean": ("bottleneck_channel",),
        "excitation_spread": ("bottleneck_channel",),
        "attention_rows": ("latitude", "row_token"),
        "attention_columns": ("longitude", "column_token"),
        "row_token_longitude": ("row_token",),
        "column_token_latitude": ("column_token",),
    }
    assert looked["gate"].values.tolist() == ["input", "forget", "candidate", "output"]
    assert looked["variable"].values.tolist() == ["z500", "sst"]
    assert looked.attrs == {"insight_windows": 16, "insight_period": "test", "insight_layer": "FAConvLSTM"}
    for name, array in looked.data_vars.items():
        assert np.isfinite(array).all() or name == "gate_activity"
        assert {"long_name", "units"} <= set(array.attrs), name


def test_values_are_what_they_are_called(looked: xr.Dataset) -> None:
    for lines, tokens in (("attention_rows", "row_token"), ("attention_columns", "column_token")):
        np.testing.assert_allclose(looked[lines].sum(tokens), 1, atol=1e-5)
    assert ((looked["excitation_mean"] > 0) & (looked["excitation_mean"] < 1)).all()
    assert ((looked["gate_channel_mean"] > 0) & (looked["gate_channel_mean"] < 1)).all()
    assert (looked["occlusion_by_variable"] > 0).all()
    seen = land_mask().any(0).numpy()
    np.testing.assert_array_equal(np.isnan(looked["gate_activity"]).any("gate"), ~seen)


def test_blocks_and_tokens_lie_where_they_say(looked: xr.Dataset) -> None:
    """6 latitudes 60, 55, … 35 in blocks of 2; 8 longitudes -20, -15, … 15 in blocks of 2 and in 3 tokens."""
    np.testing.assert_allclose(looked["latitude_block_bounds"], [[62.5, 52.5], [52.5, 42.5], [42.5, 32.5]])
    np.testing.assert_allclose(looked["latitude_block"], [57.5, 47.5, 37.5])
    np.testing.assert_allclose(looked["longitude_block"], [-17.5, -7.5, 2.5, 12.5])
    np.testing.assert_allclose(looked["row_token_longitude"], [-15, 0, 12.5])  # of 3, 3 and 2 grid points
    np.testing.assert_allclose(looked["column_token_latitude"], [57.5, 47.5, 37.5])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_every_grid_point_is_in_one_block(size: int) -> None:
    axis = np.arange(7.0)
    edges = insight._edges(axis, size)
    assert len(edges) == -(-7 // size) + 1
    assert (np.histogram(axis, edges)[0] <= size).all()
    assert np.histogram(axis, edges)[0].sum() == 7


def test_a_point_that_the_embedding_rests_on_alone_is_found() -> None:
    class Corner(torch.nn.Module):
        layer = torch.nn.Identity()

        def embed(self, x: torch.Tensor, season: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            return x[:, :, 1, -1:, :1].flatten(2)

    found = insight.look(Corner(), make_prepared(), LENGTH)
    assert (found["occlusion_by_region"] > 0).values.nonzero()[0].tolist() == [
        2
    ]  # the southernmost row of blocks
    assert (found["occlusion_by_region"] > 0).values.nonzero()[1].tolist() == [0]  # the westernmost
    assert found["occlusion_by_variable"].values[0] == 0
    assert found["occlusion_by_variable"].values[1] > 0.5
    assert "gate_activity" not in found


def test_parts_that_are_off_are_absent_and_other_layers_have_occlusion_alone() -> None:
    bare = build_small("faconvlstm", layer__attention="none", layer__squeeze_excitation=False)
    found = insight.look(bare.eval(), make_prepared(), LENGTH)
    assert {"gate_activity", "occlusion_by_region"} <= set(found)
    assert not {name for name in found if name.startswith(("attention", "excitation"))}
    other = insight.look(build_small("convlstm").eval(), make_prepared(), LENGTH)
    assert {str(name) for name in other if "bounds" not in str(name)} == {
        "occlusion_by_variable",
        "occlusion_by_region",
    }


def test_a_test_period_of_few_windows_is_taken_whole() -> None:
    x, season = insight.sample(make_prepared(days=21), LENGTH)
    assert x.shape == (3, LENGTH, VARIABLES, HEIGHT, WIDTH)
    assert season.shape == (3, LENGTH, 4)


def test_the_sample_is_spread_over_the_test_period_alone() -> None:
    prepared = make_prepared(days=300)
    x, _ = insight.sample(prepared, LENGTH)
    np.testing.assert_array_equal(x[0], prepared["x"].values[200:205])
    np.testing.assert_array_equal(x[-1], prepared["x"].values[295:300])
    assert len(x) == insight.WINDOWS
