"""Forecasts of the unseen period: known answers, and nothing from the future; test_road sees them in a report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from models.autoencoder import Autoencoder
from pipeline.forecasting import foretell, scores, verify
from tests.models.conftest import build_small

LENGTH, AHEAD, DAYS = 5, 2, 40
WEIGHT = np.array([[[0.3, 0.1], [0.2, 0.4]]])  # one variable


def record(change_after: int | None = None) -> xr.Dataset:
    """A prepared store whose last 30 days are unseen; noise, which may be another one after a day."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(DAYS, 2, 6, 8)).astype(np.float32)
    if change_after is not None:
        x[change_after + 1 :] = np.random.default_rng(1).normal(size=x[change_after + 1 :].shape)
    mask = np.ones((2, 6, 8), dtype=bool)
    mask[1, 2:4, 5:] = False
    return xr.Dataset(
        {
            "x": (("time", "variable", "latitude", "longitude"), x * mask),
            "season": (("time", "season_feature"), rng.normal(size=(DAYS, 4)).astype(np.float32)),
            "mask": (("variable", "latitude", "longitude"), mask),
            "area_weight": ("latitude", np.linspace(0.5, 1.5, 6)),
            "split": ("time", np.repeat([0, 2], [10, 30]).astype(np.int8)),
            "scale": ("variable", [10.0, 0.5]),
        },
        coords={
            "time": np.datetime64("2001-01-01T12") + np.arange(DAYS) * np.timedelta64(1, "D"),
            "variable": ["z500", "sst"],
        },
    )


def model(name: str) -> Autoencoder:
    torch.manual_seed(0)
    return build_small(name, forecast_steps=AHEAD).eval()


def test_a_perfect_forecast() -> None:
    truth = np.random.default_rng(0).normal(size=(3, 1, 2, 2))
    error, correlation = scores(truth, truth, WEIGHT)
    np.testing.assert_array_equal(error, 0)
    np.testing.assert_allclose(correlation, 1)


def test_scores_by_hand() -> None:
    forecast, truth = np.array([[[1.0, 0], [0, 2]]]), np.array([[[1.0, 1], [0, -2]]])
    error, correlation = scores(forecast, truth, WEIGHT)
    assert error[0] == pytest.approx(0.1 * 1 + 0.4 * 16)
    together, own, true = 0.3 - 0.4 * 4, 0.3 + 0.4 * 4, 0.3 + 0.1 + 0.4 * 4
    assert correlation[0] == pytest.approx(together / np.sqrt(own * true))
    assert scores(-truth, truth, WEIGHT)[1][0] == pytest.approx(-1)
    assert np.isnan(scores(0 * truth, truth, WEIGHT)[1][0])  # climatology has no anomaly


def test_persistence_of_a_field_that_stays() -> None:
    prepared = record()
    prepared["x"][:] = prepared["x"][0]
    found = verify(model("convlstm"), prepared, LENGTH, at_once=8).sel(kind="persistence")
    np.testing.assert_array_equal(found["forecast_error"], 0)
    np.testing.assert_allclose(found["forecast_correlation"], 1)


def test_references_are_in_physical_units_over_the_cells_with_data() -> None:
    prepared = record()
    found = verify(model("convlstm"), prepared, LENGTH, at_once=8)
    assert len(found["today"]) == 30 - LENGTH - AHEAD + 1
    today = int(np.flatnonzero(prepared["time"].values == found["today"].values[3])[0])
    assert today == 10 + LENGTH - 1 + 3
    x = prepared["x"].values * np.array([10, 0.5])[:, None, None]
    weight = (prepared["mask"] * prepared["area_weight"]).transpose("variable", ...).values
    for lead in (1, 2):
        one = found.isel(today=3).sel(lead=lead)["forecast_error"]
        for v, name in enumerate(("z500", "sst")):
            for kind, forecast in (("persistence", x[today, v]), ("climatology", 0)):
                expected = np.average((forecast - x[today + lead, v]) ** 2, weights=weight[v])
                assert one.sel(kind=kind, variable=name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["faconvlstm", "simvpv2", "predformer", "vmrnn"])
def test_another_future_changes_no_forecast(name: str) -> None:
    """To the bit, also for encoders that see a window from both sides."""
    foreteller, last = model(name), 25
    found = [
        list(foretell(foreteller, prepared, LENGTH, at_once=4))
        for prepared in (record(), record(change_after=last))
    ]
    days = np.concatenate([part.today for part in found[0]])
    one, other = (np.concatenate([part.fields for part in parts]) for parts in found)
    assert (days <= last).sum() > 5
    assert (days > last).sum() > 5
    np.testing.assert_array_equal(one[days <= last], other[days <= last])
    assert (one[days > last] != other[days > last]).any(axis=(1, 2, 3, 4)).all()


def test_every_forecast_and_what_it_foretells_is_unseen() -> None:
    prepared = record()
    prepared["split"][20:24] = -1  # a gap
    days = np.concatenate([part.today for part in foretell(model("convgru"), prepared, LENGTH, at_once=8)])
    codes = prepared["split"].values
    for today in days:
        assert (codes[today - LENGTH + 1 : today + AHEAD + 1] == 2).all()
    assert list(days) == [14, 15, 16, 17, *range(28, 38)]
