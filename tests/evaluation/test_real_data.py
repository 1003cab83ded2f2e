"""A plain baseline on genuine reanalysis, whose figures are known from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from evaluation.agreement import agreement, align_labels
from evaluation.baselines import explained_variance, fit_eof
from evaluation.clustering import cluster

RECORD = "erai_euroatlantic_daily/erai_z500_t850_msl_daily_2000-2006.nc"
LABELS = "regime_labels/dorrington_era5_extended/daily_regimes_DJF_1950-12_2006-12.csv"


@pytest.fixture(scope="module")
def weighted(real_data: Path) -> xr.DataArray:
    """(time, cell): anomalies from a harmonic day-of-year mean, scaled by variable, times root area."""
    with xr.open_dataset(real_data / RECORD) as opened:
        fields = opened[["z", "t", "msl"]].to_array().transpose("time", ...).load()
    angle = 2 * np.pi * fields["time"].dt.dayofyear.values / 365.25
    season = np.stack(
        [np.ones_like(angle), *(f(n * angle) for n in (1, 2, 3) for f in (np.sin, np.cos))], axis=1
    )
    flat = fields.values.reshape(len(angle), -1)
    anomaly = flat - season @ np.linalg.lstsq(season, flat, rcond=None)[0]
    cells = fields.copy(data=anomaly.reshape(fields.shape))
    cells = (
        cells / cells.std(["time", "latitude", "longitude"]) * np.sqrt(np.cos(np.deg2rad(fields["latitude"])))
    )
    return cells.stack(cell=["variable", "latitude", "longitude"])


def test_eofs_of_other_years_explain_what_they_are_known_to(weighted: xr.DataArray) -> None:
    train = weighted["time"].dt.year.values < 2005
    data = weighted.values
    for size, known in ((10, 0.869), (16, 0.924)):
        eof = fit_eof(data[train], size)
        share = explained_variance(data[~train], eof.reconstruct(eof.scores(data[~train])), eof.mean)
        assert share == pytest.approx(known, abs=0.01)


def test_eofs_and_k_means_agree_with_published_winter_regimes(
    weighted: xr.DataArray, real_data: Path
) -> None:
    labels = pd.read_csv(real_data / LABELS, index_col="date", parse_dates=True)["ccr_k7"]
    truth, classes = align_labels(weighted["time"].values, labels)
    winter = truth >= 0
    data = weighted.values[winter]
    found = cluster(fit_eof(data, 10).scores(data), np.ones(len(data), dtype=bool), k=7)
    assert len(classes) == 7
    assert winter.sum() == 630
    assert agreement(found.labels, truth[winter])["ari"] == pytest.approx(0.18, abs=0.05)
