"""The options of prepare, from the command line to the store, on planted and on real records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import store
from data.fields import Fields
from data.frozen import Frozen
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]
WITHOUT_CYCLE = "dataset.deseasonalise=false"


def check(folder: Path) -> xr.Dataset:
    """What holds for any prepared store, against the raw store read in one piece; returns the store."""
    (path,) = folder.glob("prepared-*.zarr")
    found = store.open_store(path).load()
    frozen = Frozen.of(found)
    statistics = frozen.statistics
    raw = Fields(
        folder / "raw.zarr", frozen.options, statistics.variables if frozen.options.fields is None else None
    )
    every = slice(0, len(raw.times))
    fields = np.stack([raw.read(name, every) for name in raw.variables], axis=1)[raw.used].astype(np.float64)
    times = pd.DatetimeIndex(found["time"].values)
    assert times.equals(raw.times[raw.used])
    there = found["split"].values >= 0
    assert np.isfinite(found["x"].values).all()
    # scaling undone gives the input
    back = statistics.restore(found["x"].values, times)
    scale = np.broadcast_to(statistics.scale[:, None, None], statistics.mask.shape)
    error = np.abs(back - fields)[there][:, statistics.mask] / scale[statistics.mask]
    assert error.max() < 1e-4
    # a cell is masked just where it is missing at some step that has data
    whole = np.isfinite(fields).any(axis=(2, 3)).all(axis=1)
    np.testing.assert_array_equal(statistics.mask, np.isfinite(fields[whole]).all(axis=0))
    assert (found["x"].values[:, ~statistics.mask] == 0).all()
    # mean 0 and variance 1 over the steps that the statistics saw
    seen = np.isin(times, statistics.seen) & there
    x = found["x"].values[seen].astype(np.float64)
    weight = np.where(statistics.mask, found["area_weight"].values[:, None], 0)
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    if frozen.options.deseasonalise or frozen.options.standardise == "cell":
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=2e-5)
    np.testing.assert_allclose((weight * x.mean(axis=0)).sum(axis=(1, 2)), 0, atol=2e-5)
    np.testing.assert_allclose((weight * (x**2).mean(axis=0)).sum(axis=(1, 2)), 1, rtol=1e-4)
    assert not len(statistics.seen.intersection(times[found["split"].values > 0]))
    assert json.loads(found.attrs["preparation"]) == frozen.options.settings()
    return found


@pytest.mark.parametrize(
    "settings",
    [
        ("detrend=true",),
        ("climatology=daily_mean", "smoothing_days=21", "detrend=true"),
        ("standardise=cell", "coarsen=3"),
        ("deseasonalise=false", "detrend=true", "standardise=cell"),
        ("season=NDJFM", "region=[60,-30,35,10]", "fields=[sst]"),
        ("running_mean_days=5", "reference_start=2001-02-01", "reference_end=2002-02-10"),
    ],
)
def test_every_option_keeps_what_a_store_promises(
    small: Stage, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    small("download")
    small("prepare", *(f"dataset.{setting}" for setting in settings))
    found = check(tmp_path / "store/demo")
    manifest = json.loads(next((tmp_path / "store/demo").glob("prepared-*.manifest.json")).read_text())
    for setting in settings:
        assert setting.split("=")[0] in manifest["config"]
    if "season=NDJFM" in settings:
        assert set(pd.DatetimeIndex(found["time"].values).month) == {11, 12, 1, 2, 3}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("season=summer", "dataset.season must be"),
        ("fields=[z850]", "dataset.fields asks for z850, and the raw store has no z850"),
        ("coarsen=99", "dataset.coarsen=99 is more than the grid"),
        ("region=[10,0,0,5]", "dataset.region [10,0,0,5] holds no point"),
        ("running_mean_days=4", "dataset.running_mean_days must be an odd number"),
        ("reference_end=2002-12-31", "the reference period holds"),
        ("standardise=row", "dataset.standardise must be one of variable, cell"),
        ("climatologie=daily_mean", "did you mean 'dataset.climatology'?"),
        ("reference_start=soon", "dataset.reference_start must be a date"),
    ],
)
def test_a_wrong_option_is_one_sentence(small: Stage, stage: Stage, setting: str, words: str) -> None:
    small("download", "dataset.start=2001-01-01", "dataset.end=2002-12-31")
    outcome = stage("prepare", *SMALL, f"dataset.{setting}")
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


REAL = {
    "hourly GRIB to days": (
        "grib/era5-2mt-2019-03-uk.grib",
        "dataset.frequency=daily dataset.deseasonalise=false window.length=2",
        31,
    ),
    "daily statistics, wind speed": (
        "cds_new_format/era5_daily_statistics_nw_france_2024-10",
        "dataset.fields=[si10,t2m,tp] dataset.deseasonalise=false dataset.coarsen=2 window.length=2",
        31,
    ),
    "ERA-Interim winters": (
        "erai_euroatlantic_daily/*_ei_2000-2006.nc",
        "dataset.season=DJF dataset.climatology=daily_mean dataset.detrend=true dataset.coarsen=3 "
        "dataset.running_mean_days=5 dataset.reference_end=2003-12 dataset.levels={z:500,t:850} window.length=6",
        630 - 2,  # the running mean takes two days at each end of the record
    ),
    "months across the date line": (
        "monthly/ncep_hgt500_nh_monthly_1981-2010.nc",
        "dataset.region=[70,150,20,-120] dataset.levels={z:500} dataset.standardise=cell window.length=3",
        360,
    ),
    "monthly winters": (
        "monthly/ncep_hgt500_nh_monthly_1981-2010.nc",
        "dataset.season=DJF dataset.harmonics=2 window.length=2",
        90,
    ),
    "sea temperature with coasts": ("monthly/erai_sst_nino34_monthly_1981-2010.nc", "window.length=12", 360),
}


@pytest.mark.parametrize("name", REAL)
def test_real_records(stage: Stage, tmp_path: Path, real_data: Path, name: str) -> None:
    path, settings, steps = REAL[name]
    overrides = ("dataset=files", "dataset.name=real", f"dataset.path={real_data / path}", *settings.split())
    for command in ("download", "prepare"):
        outcome = stage(command, *overrides)
        assert outcome.status == 0, outcome.err
    found = check(tmp_path / "store/real")
    assert found.sizes["time"] == steps
    longitude = found["longitude"].values
    assert np.ptp(np.diff(longitude)) < 1e-3
    if "date line" in name:
        assert (longitude[0], longitude[-1]) == (150, 240)


def test_days_of_a_real_month_are_the_means_of_their_hours(
    stage: Stage, tmp_path: Path, real_data: Path
) -> None:
    path, settings, _ = REAL["hourly GRIB to days"]
    overrides = ("dataset=files", "dataset.name=real", f"dataset.path={real_data / path}", *settings.split())
    stage("download", *overrides)
    stage("prepare", *overrides)
    hours = store.open_store(tmp_path / "store/real/raw.zarr")["t2m"].values.astype(np.float64)
    (prepared,) = (tmp_path / "store/real").glob("prepared-*.zarr")
    found = store.open_store(prepared).load()
    back = Frozen.of(found).statistics.restore(found["x"].values, pd.DatetimeIndex(found["time"].values))
    np.testing.assert_allclose(back[:, 0], hours.reshape(31, 24, *hours.shape[1:]).mean(axis=1), atol=2e-3)


@pytest.mark.parametrize(
    ("path", "settings", "words"),
    [
        (
            "cds_new_format/era5_hourly_germany_2025-11-04",
            "dataset.frequency=daily",
            "too short for dataset.split",
        ),
        (
            "cds_old_format/era5_global_0p25_single_field",
            "dataset.levels={t:850}",
            "too short for dataset.split",
        ),
        ("cds_old_format/era5_msl_lsm_sst_monthly_2005", "dataset.frequency=daily", "cannot be made daily"),
        ("monthly/erai_sst_nino34_monthly_1981-2010.nc", "dataset.running_mean_days=5", "needs daily steps"),
    ],
)
def test_real_records_that_cannot_be_prepared_so(
    stage: Stage, real_data: Path, path: str, settings: str, words: str
) -> None:
    overrides = ("dataset=files", "dataset.name=real", f"dataset.path={real_data / path}", *settings.split())
    assert stage("download", *overrides).status == 0
    outcome = stage("prepare", *overrides)
    assert outcome.status == 2
    assert words in outcome.err
