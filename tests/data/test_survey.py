"""What a store holds: figures against a plain computation, the year at a point, the layout on the disk."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from data import store, survey
from data.errors import DataError

DAYS = pd.date_range("2000-01-01", "2002-12-31", freq="D", unit="ns")
DIMS = ("time", "latitude", "longitude")


def record(times: pd.DatetimeIndex = DAYS) -> xr.Dataset:
    """t2m whole but for one day; sst missing over land and, in one cell, at times."""
    rng = np.random.default_rng(0)
    coords = {"time": times, "latitude": [60.0, 50, 40], "longitude": [-10.0, 0, 10, 20]}
    t2m = rng.normal(285, 3, (len(times), 3, 4)).astype(np.float32)
    sst = rng.normal(1e5, 1, (len(times), 3, 4)).astype(np.float32)
    sst[:, 0, 0] = np.nan
    sst[::3, 1, 1] = np.nan
    t2m[7:8] = np.nan
    arrays = {"t2m": (DIMS, t2m, {"units": "K", "long_name": "Temperature"}), "sst": (DIMS, sst)}
    return xr.Dataset(arrays, coords)


@pytest.mark.parametrize("chunk_bytes", [store.CHUNK_BYTES, 500])
def test_figures_equal_a_plain_computation(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", chunk_bytes)
    dataset = record()
    found = survey.raw(dataset, 1, 2)
    assert found["variable"].values.tolist() == ["t2m", "sst"]
    for name in ("t2m", "sst"):
        values, held = dataset[name].values.astype(np.float64), found.sel(variable=name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            np.testing.assert_allclose(held["mean"], np.nanmean(values, axis=0), rtol=1e-12)
            np.testing.assert_allclose(held["sd"], np.nanstd(values, axis=0), rtol=1e-9)
            np.testing.assert_array_equal(held["low"], np.nanmin(values, axis=0))
            np.testing.assert_array_equal(held["high"], np.nanmax(values, axis=0))
        np.testing.assert_allclose(held["missing"], np.isnan(values).mean(axis=0), atol=1e-15)


@given(cuts=st.lists(st.integers(0, 40), max_size=5), offset=st.sampled_from([0.0, 1e6]))
def test_moments_do_not_depend_on_the_chunks(cuts: list[int], offset: float) -> None:
    values = np.random.default_rng(1).normal(offset, 1, (40, 3))
    values[5:20, 1] = np.nan
    values[:, 2] = np.nan
    moments = survey.Moments((3,))
    ends = [0, *sorted(cuts), 40]
    for first, last in itertools.pairwise(ends):
        if last > first:
            moments.update(values[first:last])
    found = moments.fields()
    np.testing.assert_allclose(found["mean"][:2], np.nanmean(values[:, :2], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["sd"][:2], np.nanstd(values[:, :2], axis=0), rtol=1e-6)
    assert np.isnan([found[name][2] for name in ("mean", "sd", "low", "high")]).all()
    assert found["missing"].tolist() == [0, 15 / 40, 1]


def test_totals_are_weighted_by_area() -> None:
    dataset = record().isel(time=slice(0, 6))
    dataset["t2m"].values[:] = np.array([0.0, 10, 20])[:, None]
    weight = survey.grid.area_weights(dataset["latitude"].values) / 3
    total = survey.totals(survey.raw(dataset, 0, 0))["t2m"]
    mean = float(weight @ [0, 10, 20])
    assert (total.mean, total.low, total.high, total.missing) == (pytest.approx(mean), 0, 20, 0)
    assert total.sd == pytest.approx(float(np.sqrt(weight @ [0, 100, 400] - mean**2)))


def test_a_variable_without_any_value_has_no_figures() -> None:
    dataset = record()
    dataset["sst"].values[:] = np.nan
    total = survey.totals(survey.raw(dataset, 0, 0))["sst"]
    assert np.isnan([total.mean, total.sd, total.low, total.high]).all()
    assert total.missing == 1


def test_infinite_values_count_as_missing() -> None:
    dataset = record()
    dataset["t2m"].values[3, 0, 0] = np.inf
    found = survey.raw(dataset, 0, 0)
    assert float(found["missing"][0, 0, 0]) == pytest.approx(2 / len(DAYS))
    assert np.isfinite(found["high"][0, 0, 0])


def test_the_year_at_a_point() -> None:
    dataset = record()
    dataset["t2m"].values[:, 2, 1] = DAYS.day_of_year + 1000.0 * (DAYS.year == 2001)
    found = survey.raw(dataset, 2, 1).sel(variable="t2m")
    assert float(found["year_low"][0]) == 1
    assert float(found["year_high"][0]) == 1005
    assert float(found["year_mean"][10]) == pytest.approx(53 + 1000 / 3)
    assert float(found["year_high"][72]) == 1365
    half = survey.raw(dataset.isel(time=slice(0, 100)), 2, 1)
    assert np.isnan(half["year_mean"][0, 21:]).all()
    assert not np.isnan(half["year_mean"][0, :20]).any()


def test_one_step_of_one_cell() -> None:
    one = record().isel(time=[0], latitude=[1], longitude=[2])
    found = survey.raw(one, *survey.nearest(one, None))
    assert float(found["sd"][0, 0, 0]) == 0
    assert float(found["mean"][0, 0, 0]) == float(one["t2m"][0, 0, 0])


def test_a_prepared_store_is_read_by_its_mask() -> None:
    x = np.random.default_rng(2).normal(size=(30, 2, 3, 4)).astype(np.float32)
    mask = np.ones((2, 3, 4), bool)
    mask[1, 0] = False
    x[:, ~mask] = 0
    axes = {name: record()[name] for name in ("latitude", "longitude")}
    dataset = xr.Dataset(
        {"x": (("time", "variable", *DIMS[1:]), x), "mask": (("variable", *DIMS[1:]), mask)},
        coords={"time": DAYS[:30], "variable": ["z500", "sst"], **axes},
        attrs={"long_name": '{"z500": "Geopotential"}'},
    )
    found = survey.prepared(dataset, 0, 0)
    np.testing.assert_allclose(found["mean"].values[mask], x.mean(axis=0, dtype=np.float64)[mask], rtol=1e-9)
    assert np.isnan(found["mean"].values[~mask]).all()
    assert (found["missing"].values == ~mask).all()
    assert survey.by_variable(dataset, "long_name") == {"z500": "Geopotential", "sst": ""}


@pytest.mark.parametrize(
    ("point", "cell"),
    [(None, (1, 2)), ([41, 19], (2, 3)), ([62, 350], (0, 0)), ([50, -14.9], (1, 0))],
)
def test_the_nearest_cell(point: list[float] | None, cell: tuple[int, int]) -> None:
    assert survey.nearest(record(), point) == cell


def test_longitude_goes_round_the_globe() -> None:
    axes = {"latitude": [0.0, -60], "longitude": np.arange(-180.0, 180, 90)}
    assert survey.nearest(xr.Dataset(coords=axes), [-50, 179]) == (1, 0)


@pytest.mark.parametrize("point", [[66.0, 0.0], [50.0, 27.0], [50.0]])
def test_a_point_outside_is_refused(point: list[float]) -> None:
    with pytest.raises(DataError, match=r"dataset\.point"):
        survey.nearest(record(), point)


def test_each_chunk_of_a_store_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 48 * 100)
    store.write(record(), tmp_path / "raw.zarr")
    dataset, seen = store.open_store(tmp_path / "raw.zarr"), []
    survey.raw(dataset, 0, 0, lambda parts: seen.extend(parts) or parts)
    chunk = dataset["t2m"].encoding["chunks"][0]
    for place in (0, 1):
        parts = [part for index, part in seen if index == place]
        assert len(parts) > 1
        assert np.concatenate([np.arange(len(DAYS))[part] for part in parts]).tolist() == [*range(len(DAYS))]
        assert all(part.start % chunk == 0 for part in parts)
    held = survey.layout(tmp_path / "raw.zarr")
    assert {array.name for array in held[:2]} == {"t2m", "sst"}
    assert (held[0].chunks, held[0].size) == ((chunk, 3, 4), 4 * 12 * len(DAYS))
    assert 0 < held[0].stored < 3 * held[0].size


def test_memory_is_bounded_by_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    coords = {"time": DAYS[:800], "latitude": np.arange(40.0, 0, -1), "longitude": np.arange(50.0)}
    values = rng.normal(size=(800, 40, 50)).astype(np.float32)  # 6.4 MB
    monkeypatch.setattr(store, "CHUNK_BYTES", 160_000)
    store.write(xr.Dataset({"t2m": (DIMS, values)}, coords), tmp_path / "raw.zarr")
    dataset = store.open_store(tmp_path / "raw.zarr")
    tracemalloc.start()
    survey.raw(dataset, 0, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 2


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    store.write(record(), path)
    chunk = max((p for p in (path / "t2m" / "c").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read between 2000-01-01 and 2002-12-31"):
        survey.raw(store.open_store(path), 0, 0)
