from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import fields, store
from data.errors import DataError
from data.fields import Fields
from data.options import Options

LATITUDE = np.arange(60.0, 39, -5)
LONGITUDE = np.arange(-180.0, 180, 30)
DAYS = pd.date_range("2003-11-01", periods=150)


def raw(times: pd.DatetimeIndex = DAYS, names: tuple[str, ...] = ("u10", "v10", "t2m")) -> xr.Dataset:
    rng = np.random.default_rng(0)
    shape = (len(times), len(LATITUDE), len(LONGITUDE))
    units = {"u10": "m s-1", "v10": "m s-1", "t2m": "K", "tp": "m"}
    return xr.Dataset(
        {
            name: (
                ("time", "latitude", "longitude"),
                rng.normal(9, 1, shape).astype(np.float32),
                {"units": units[name], "long_name": name},
            )
            for name in names
        },
        coords={"time": times, "latitude": LATITUDE, "longitude": LONGITUDE},
    )


def whole(found: Fields, name: str) -> np.ndarray:
    return found.read(name, slice(0, len(found.times)))


def test_without_options_fields_are_those_of_the_record() -> None:
    record = raw()
    found = Fields(record, Options())
    assert found.variables == ("u10", "v10", "t2m")
    assert found.times.equals(DAYS)
    assert len(found.used) == len(DAYS)
    np.testing.assert_array_equal(whole(found, "v10"), record["v10"].values)
    assert found.attributes["t2m"] == {"units": "K", "long_name": "t2m"}


def test_derived_fields_and_a_choice_in_its_own_order() -> None:
    record = raw()
    found = Fields(record, Options.of({"fields": ["t2m", "10m_wind_speed"]}))
    assert found.variables == ("t2m", "si10")
    np.testing.assert_array_equal(whole(found, "si10"), np.hypot(record["u10"].values, record["v10"].values))
    assert found.attributes["si10"] == {"units": "m s-1", "long_name": "10 metre wind speed"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ["si100"],
            "dataset.fields asks for si100, and the raw store has no u100 nor v100 .it has u10, v10, t2m.",
        ),
        (["sst"], "dataset.fields asks for sst, and the raw store has no sst"),
        (["nonsense"], "variable 'nonsense' is not known"),
    ],
)
def test_what_is_not_there_is_refused(asked: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Fields(raw(), Options.of({"fields": asked}))


def test_region_blocks_days_and_running_mean_together_equal_one_computation_in_memory() -> None:
    hours = pd.date_range("2003-11-01", periods=24 * 40, freq="h")
    record = raw(hours)
    record["u10"][100, 1, 11] = np.nan
    options = Options.of(
        {
            "fields": ["si10"],
            "region": [60, 150, 45, -150],
            "coarsen": 2,
            "frequency": "daily",
            "running_mean_days": 3,
        }
    )
    found = Fields(record, options)
    speed = np.hypot(record["u10"].values, record["v10"].values)[:, :4, [11, 0]].astype(np.float64)
    edges = np.deg2rad(np.clip(LATITUDE[:4, None] + [2.5, -2.5], -90, 90))
    area = np.sin(edges[:, 0]) - np.sin(edges[:, 1])
    weights = np.broadcast_to(area[None, :, None] * [[[1.0, 1.0]]], speed.shape) * np.isfinite(speed)
    filled = np.nan_to_num(speed)
    coarse = np.stack(
        [
            (filled * weights)[:, rows].sum(axis=(1, 2)) / weights[:, rows].sum(axis=(1, 2))
            for rows in (slice(0, 2), slice(2, 4))
        ],
        axis=1,
    )
    days = coarse.reshape(40, 24, 2).mean(axis=1)
    expected = (days[:-2] + days[1:-1] + days[2:]) / 3
    assert found.times.equals(pd.date_range("2003-11-02", periods=38))
    assert found.latitude.tolist() == [57.5, 47.5]
    assert found.longitude.tolist() == [165.0]
    np.testing.assert_allclose(whole(found, "si10")[:, :, 0], expected, rtol=1e-6)


def test_any_part_and_any_rows_are_the_same_as_out_of_the_whole() -> None:
    hours = pd.date_range("2003-11-01", periods=24 * 12, freq="h")
    options = Options.of({"coarsen": 2, "frequency": "daily", "running_mean_days": 3})
    found = Fields(raw(hours, ("t2m", "tp")), options)
    for name in ("t2m", "tp"):
        every = whole(found, name)
        np.testing.assert_array_equal(found.read(name, slice(3, 7), slice(1, 2)), every[3:7, 1:2])


def test_blocks_are_bounded_and_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = pd.date_range("2003-11-01", periods=24 * 12, freq="h")
    found = Fields(raw(hours), Options.of({"frequency": "daily"}))
    monkeypatch.setattr(fields, "BLOCK_BYTES", 2 * 24 * 4 * 5 * 12)
    blocks = list(found.blocks(slice(1, 10)))
    assert [(block.start, block.stop) for block in blocks] == [(1, 3), (3, 5), (5, 7), (7, 9), (9, 10)]


def test_a_season_leaves_stretches() -> None:
    found = Fields(raw(pd.date_range("2003-01-01", "2005-12-31")), Options.of({"season": "DJF"}))
    assert found.times[found.used].month.unique().tolist() == [1, 2, 12]
    stretches = found.stretches()
    assert [part.stop - part.start for part, _ in stretches] == [59, 91, 90, 31]  # with a leap day
    assert [position for _, position in stretches] == [0, 59, 150, 240]
    inside = found.stretches(slice(50, 70))
    assert [(part.stop - part.start, position) for part, position in inside] == [(9, 0), (11, 9)]


def test_a_season_that_the_record_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"no step of the record .* is in the months \[7\]"):
        Fields(raw(), Options.of({"season": [7]}))


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    store.write(raw(), tmp_path / "raw.zarr")
    found = Fields(tmp_path / "raw.zarr", Options())
    expected = whole(found, "t2m")
    np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(found)), "t2m"), expected)


def test_infinite_values_are_refused() -> None:
    record = raw()
    record["v10"][7, 2, 3] = np.inf
    with pytest.raises(DataError, match="v10 is infinite at 2003-11-08 00:00:00"):
        whole(Fields(record, Options()), "v10")


def test_one_point_and_one_step() -> None:
    one = raw().isel(time=[0], latitude=[2], longitude=[3])
    found = Fields(one, Options())
    assert whole(found, "t2m").shape == (1, 1, 1)
    assert found.area_weight.tolist() == [1.0]


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="the record has no time step"):
        Fields(raw().isel(time=slice(0, 0)), Options())
