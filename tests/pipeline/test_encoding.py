"""What embed computes: vectors that do not depend on the batch, and shares of variance from sums by day."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from data.datamodule import WindowDataModule
from models.autoencoder import Autoencoder
from pipeline import encoding
from tests.models.conftest import HEIGHT, build_small, land_mask, shake
from tests.pipeline.test_insight import LENGTH, make_prepared


@pytest.fixture(scope="module")
def prepared() -> xr.Dataset:
    found = make_prepared()
    found["mask"] = ("variable", "latitude", "longitude"), land_mask().numpy()
    found["area_weight"] = "latitude", np.linspace(0.5, 1.5, HEIGHT)
    found["x"] = (found["x"] + 0.5) * found["mask"]
    return found


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    torch.manual_seed(0)
    return shake(build_small("faconvlstm", layer__attention_every=2)).eval()


def source(prepared: xr.Dataset, batch_size: int) -> WindowDataModule:
    return WindowDataModule(prepared, length=LENGTH, stride=1, batch_size=batch_size, seed=0)


def test_vectors_do_not_depend_on_the_batch_beyond_rounding(model: Autoencoder, prepared: xr.Dataset) -> None:
    one, count = encoding.embed_record(model, source(prepared, 1))
    many, same = encoding.embed_record(model, source(prepared, 11))
    np.testing.assert_allclose(many, one, atol=1e-5)
    np.testing.assert_array_equal(same, count)


def test_every_day_is_the_mean_of_the_windows_that_cover_it(model: Autoencoder, prepared: xr.Dataset) -> None:
    """Periods of 20 days: 1 … 5 windows at the ends, 5 within; of other periods than asked for none."""
    _, count = encoding.embed_record(model, source(prepared, 4))
    period = [1, 2, 3, 4, *[5] * 12, 4, 3, 2, 1]
    assert count.tolist() == period * 3
    _, count = encoding.embed_record(model, source(prepared, 4), (2,))
    assert count.tolist() == [0] * 40 + period


def test_sums_of_squares_and_explained_variance_are_the_plain_ones(
    model: Autoencoder, prepared: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "DAYS_AT_ONCE", 7)
    embedding, count = encoding.embed_record(model, source(prepared, 8))
    covered = count > 0
    covered[[3, 50]] = False
    error, anomaly = encoding.squares(model, prepared["x"], prepared, embedding, covered)
    x = prepared["x"].values.astype(np.float64)
    with torch.no_grad():
        lost = x - model.decode(torch.from_numpy(embedding)).numpy()
    weight = prepared["mask"].values * prepared["area_weight"].values[:, None]
    expected = ((lost**2) * weight).sum((2, 3)) * covered[:, None]
    around = (((x - x[:20].mean(axis=0)) ** 2) * weight).sum((2, 3)) * covered[:, None]
    np.testing.assert_allclose(error, expected, rtol=1e-6)
    np.testing.assert_allclose(anomaly, around, rtol=1e-6)
    overall, by_variable = encoding.explained_variance(error, anomaly, prepared)
    assert overall["test"] == pytest.approx(1 - expected[40:].sum() / around[40:].sum(), abs=1e-6)
    assert by_variable["sst"]["train"] == pytest.approx(
        1 - expected[:20, 1].sum() / around[:20, 1].sum(), abs=1e-6
    )


@pytest.mark.parametrize(("name", "windows"), [("faconvlstm", 64), ("convlstm", 8)])
def test_faconvlstm_takes_larger_batches(name: str, windows: int) -> None:
    assert encoding.windows_at_once(build_small(name), LENGTH, usual=8) == windows


def test_the_batch_is_as_large_as_its_hidden_maps_allow_and_holds_a_window() -> None:
    model = build_small("faconvlstm")  # 8 channels on 6 x 8
    assert encoding.windows_at_once(model, 10**3, usual=8) == 2**25 // (4 * 1000 * 8 * 6 * 8)
    assert encoding.windows_at_once(model, 10**6, usual=8) == 1
