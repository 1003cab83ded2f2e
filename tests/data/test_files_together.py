"""The files source on files split by variable and time, on parts of a record, and how it reads them."""

from __future__ import annotations

import gc
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.sources import field
from data.sources.files import FilesSource
from tests.data.conftest import DAYS, assert_known, expected, make, opened

T2M = {"t2m": ("K", 280.0)}


@pytest.mark.parametrize("split", ["variable", "time", "both", "interleaved", "overlapping"])
def test_files_may_be_split(write, split):
    whole = make({**T2M, "msl": ("Pa", 1e5)})
    parts = {
        "variable": [whole[["t2m"]], whole[["msl"]]],
        "time": [whole.isel(time=slice(3, None)), whole.isel(time=slice(3))],
        "both": [whole[[v]].isel(time=s) for v in ("msl", "t2m") for s in (slice(2, None), slice(2))],
        "interleaved": [whole.isel(time=slice(1, None, 2)), whole.isel(time=slice(0, None, 2))],
        "overlapping": [whole.isel(time=slice(4)), whole.isel(time=slice(2, None))],
    }[split]
    for number, part in enumerate(parts):
        path = write(f"part{number}.nc", part)
    dataset = opened(path.parent)
    assert dataset["time"].values.tolist() == DAYS.as_unit("ns").asi8.tolist()
    assert_known(dataset, "t2m", 280)
    assert_known(dataset, "msl", 1e5)


def test_an_overlap_may_differ_by_the_packing(write):
    whole = make({"msl": ("Pa", 1e5)})
    for number, offset in enumerate([1e5, 1e5 + 0.7]):
        packing = {"dtype": "int16", "scale_factor": 1.0, "add_offset": offset, "_FillValue": -32767}
        path = write(f"{number}.nc", whole.isel(time=slice(number, 4 + number)), encoding={"msl": packing})
    assert_known(opened(path.parent), "msl", 1e5, atol=0.51)


def test_a_glob_a_list_and_a_folder_mean_the_same(write):
    whole = make(T2M)
    paths = [write(f"sub/{n}.nc", whole.isel(time=slice(n, n + 3))) for n in (0, 3)]
    (paths[0].parent / "notes.txt").write_text("no data")
    (paths[0].parent / "0.nc.part").write_bytes(b"CDF\x01half")
    (paths[0].parent / ".hidden.nc").write_bytes(b"")
    one = opened(paths[0].parents[1])
    assert opened(f"{paths[0].parents[1]}/**/*.nc").drop_attrs().equals(one.drop_attrs())
    assert opened(paths).drop_attrs().equals(one.drop_attrs())
    assert one.sizes["time"] == 6


def test_variables_are_in_the_order_asked_for(write):
    path = write("a.nc", {**T2M, "msl": ("Pa", 1e5), "sst": ("K", 290.0), "strange": ("1", 0.0)})
    assert list(opened(path, variables=["msl", "2m_temperature"]).data_vars) == ["msl", "t2m"]


def test_what_is_not_asked_for_need_not_be_right(write):
    raw = make({**T2M, "msl": ("furlong", 1.0)}).expand_dims(step=[1])
    raw["msl"] = raw["msl"].expand_dims(other=[1, 2])
    assert list(opened(write("a.nc", raw), variables=["t2m"]).data_vars) == ["t2m"]


def test_a_period_is_cut_out_with_both_ends(write):
    dataset = opened(write("a.nc", T2M), start="2000-02-28", end="2000-03-01")
    assert [str(t)[:10] for t in dataset["time"].values] == ["2000-02-28", "2000-02-29", "2000-03-01"]
    assert_known(dataset, "t2m", 280)


def test_variables_of_different_length_are_read_where_all_are_there(write):
    write("t2m.nc", T2M, times=DAYS[:5])
    path = write("msl.nc", {"msl": ("Pa", 1e5)}, times=DAYS[1:])
    dataset = opened(path.parent, start=str(DAYS[1].date()), end=str(DAYS[4].date()))
    assert dataset.sizes["time"] == 4
    assert_known(dataset, "msl", 1e5)
    filled = opened(path.parent, allow_missing=True)
    assert np.isnan(filled["t2m"]).all(("latitude", "longitude")).values.tolist() == [False] * 5 + [True]
    assert np.isnan(filled["msl"]).all(("latitude", "longitude")).values.tolist() == [True] + [False] * 5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 28), min_size=1, max_size=9))
def test_missing_days_become_nan_where_they_are_allowed(write, dropped):
    times = pd.date_range("2000-02-10", periods=30, freq="D")
    path = write("a.nc", T2M, times=times.delete(sorted(dropped)))
    dataset = opened(path, allow_missing=True)
    assert pd.DatetimeIndex(dataset["time"].values).equals(times.as_unit("ns"))
    empty = np.isnan(dataset["t2m"].values).all(axis=(1, 2))
    assert set(np.flatnonzero(empty)) == dropped
    there = dataset.isel(time=~empty)
    assert_known(there, "t2m", 280)


def test_a_gap_at_the_border_of_the_period_is_kept(write):
    times = DAYS.delete([1, 2])
    dataset = opened(write("a.nc", T2M, times=times), start=str(DAYS[1].date()), allow_missing=True)
    assert dataset.sizes["time"] == 5
    assert np.isnan(dataset["t2m"][:2]).all()


def test_unsorted_times_are_sorted(write):
    assert_known(opened(write("a.nc", make(T2M).isel(time=[3, 0, 5, 1, 2, 4]))), "t2m", 280)


def test_monthly_files(write):
    months = pd.date_range("1999-11-01", periods=5, freq="MS")
    assert_known(opened(write("a.nc", T2M, times=months), start="1999-11", end="2000-03-31"), "t2m", 280)


def test_compressed_files_are_read_piece_by_piece_and_each_piece_once(write, monkeypatch):
    times = pd.date_range("2000-01-01", periods=60, freq="D")
    encoding = {"t2m": {"zlib": True, "chunksizes": (25, 3, 4)}}
    path = write("a.nc", T2M, times=times, encoding=encoding)
    monkeypatch.setattr("data.sources.merge.steps_per_chunk", lambda *_: 10)
    reads = []
    read = field.FieldReader._read
    monkeypatch.setattr(
        field.FieldReader, "_read", lambda self, steps: reads.append(steps) or read(self, steps)
    )
    dataset = FilesSource(path).open()
    reads.clear()
    parts = [dataset.isel(time=slice(i, i + 10)).load(scheduler="sync") for i in range(0, 60, 10)]
    assert_known(xr.concat(parts, "time"), "t2m", 280)
    assert [(r.start, r.stop) for r in reads] == [(0, 25), (25, 50), (50, 75)]


def test_opening_does_not_read_the_record(write, monkeypatch):
    path = write(
        "a.nc", T2M, times=pd.date_range("2000-01-01", periods=500, freq="D"), format="NETCDF3_64BIT"
    )
    monkeypatch.setattr("data.sources.merge.steps_per_chunk", lambda *_: 10)
    steps = []
    layer = field.FieldReader._layer
    monkeypatch.setattr(
        field.FieldReader, "_layer", lambda self, v, s: steps.append(s.stop - s.start) or layer(self, v, s)
    )
    dataset = FilesSource(path).open()
    assert sum(steps) <= 2
    dataset["t2m"][17].load()
    assert sum(steps) <= 12
    np.testing.assert_allclose(dataset["t2m"][17], expected(280, dataset)[17], rtol=1e-6)


def test_the_attributes_name_files_without_their_folders(write):
    raw = make(T2M).assign_attrs(
        history="2020 by /opt/tool/bin/convert /home/me/secret/in.grib", license="CC-BY"
    )
    attrs = opened(write("deep/a.nc", raw), variables=["t2m"]).attrs
    assert attrs["source"] == "files: a.nc (2020 by convert in.grib)"
    assert (attrs["licence"], attrs["citation"]) == ("CC-BY", "as stated by the data's provider")
    assert attrs["Conventions"] == "CF-1.8"
    assert json.loads(attrs["request"]) == {
        "source": "files", "variables": ["t2m"], "start": None, "end": None, "levels": {}, "number": None,
        "allow_missing": False, "files": ["a.nc"],
    }  # fmt: skip


def test_the_fingerprint_follows_content_and_options_not_the_place(write, tmp_path):
    path = write("a.nc", T2M)
    first = FilesSource(path).fingerprint()
    assert json.loads(json.dumps(first)) == first
    assert first["files"][0].keys() == {"name", "size", "sha256"}
    moved = tmp_path / "elsewhere" / "a.nc"
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    assert FilesSource(moved).fingerprint() == first
    assert FilesSource(moved, start="2000-02-27").fingerprint() != first
    moved.write_bytes(path.read_bytes()[:-1] + b"x")
    assert FilesSource(moved).fingerprint()["files"] != first["files"]


def test_files_plant_no_labels(write):
    assert FilesSource(write("a.nc", T2M)).labels() is None


def test_a_dataset_outlives_its_source_and_its_scratch(write, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    dataset = FilesSource(write("a.nc", T2M)).open()
    assert len(list(tmp_path.glob("faconvlstm-*"))) == 1
    assert_known(dataset, "t2m", 280)
    del dataset
    gc.collect()
    assert list(tmp_path.glob("faconvlstm-*")) == []


def test_errors_come_at_reading_too(write):
    raw = make(T2M, times=pd.date_range("2000-01-01", periods=30, freq="D"))
    raw["t2m"][20] = 15.0
    dataset = FilesSource(write("a.nc", raw)).open()
    with pytest.raises(DataError, match=r"a\.nc: t2m has values from 15 to .* outside the 170 to 340 K that"):
        dataset.load()
