"""A raw store read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data import store
from data.inspect import Finding, checksums, inspect, months

DAYS = pd.date_range("2001-01-20", "2001-03-10", freq="D", unit="ns")


def record() -> xr.Dataset:
    """t2m and sst, which is missing over land."""
    rng = np.random.default_rng(0)
    shape = (len(DAYS), 3, 4)
    coords = {"time": DAYS, "latitude": [40.0, 39, 38], "longitude": [0.0, 1, 2, 3]}
    dims = ("time", "latitude", "longitude")
    t2m = rng.normal(285, 3, shape).astype(np.float32)
    sst = rng.normal(290, 1, shape).astype(np.float32)
    sst[:, 0, 0] = np.nan
    arrays = {"t2m": (dims, t2m, {"units": "K"}), "sst": (dims, sst, {"units": "K"})}
    return xr.Dataset(arrays, coords)


def told(dataset: xr.Dataset, noted: dict[str, dict[str, str]] | None = None) -> list[str]:
    return [str(finding) for finding in inspect(dataset, noted or {})]


def test_nothing_is_wrong_with_a_whole_record() -> None:
    assert told(record(), checksums(record())) == []


def test_months_cover_the_record() -> None:
    assert [(month, part.stop - part.start) for month, part in months(record())] == [
        ("2001-01", 12),
        ("2001-02", 28),
        ("2001-03", 10),
    ]


def test_a_missing_and_a_repeated_day_are_named() -> None:
    assert told(record().drop_isel(time=[20])) == ["2001-02: the time 2001-02-09 00:00:00 is missing"]
    twice = record().isel(time=[*range(15), 14, *range(15, len(DAYS))])
    assert told(twice) == ["2001-02: the time 2001-02-03 00:00:00 occurs twice"]
    swapped = record().isel(time=[1, 0, *range(2, len(DAYS))])
    assert told(swapped) == ["2001-01: the time 2001-01-21 00:00:00 is followed by 2001-01-20 00:00:00"]


def test_missing_values_are_named_where_they_are_not_expected() -> None:
    broken = record()
    broken.t2m[15] = np.nan
    broken.sst[45, 1, 1] = np.nan
    assert told(broken) == [
        "2001-02 t2m: 1 of 28 days are missing everywhere",
        "2001-03 sst: 1 cells are missing on some days that are there on most others",
    ]
    broken.sst[3, 0, 0] = 290
    assert "2001-01 sst: 1 cells are there on a few days only" in told(broken)


def test_impossible_values_are_named() -> None:
    broken = record()
    broken.t2m[0, 0, 0] = 12.0
    (line,) = told(broken)
    assert line.startswith("2001-01 t2m: holds 12 to ")


def test_a_flux_is_judged_by_its_units() -> None:
    flux = record().rename(t2m="sshf")
    flux["sshf"].attrs["units"] = "W m-2"
    flux["sshf"] = flux.sshf * 20
    assert [finding.name for finding in inspect(flux, {})] == ["sshf", "sshf", "sshf"]
    flux["sshf"] = (flux.sshf / 20).assign_attrs(units="W m-2")
    assert told(flux) == []


def test_a_value_that_changed_since_the_writing_is_named() -> None:
    noted = checksums(record())
    changed = record()
    changed.sst[40, 2, 2] += 1e-3
    assert inspect(changed, noted) == [
        Finding("2001-03", "sst", "has other values than were written (its checksum differs)", decayed=True)
    ]


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    store.write(record(), path)
    chunk = max((p for p in (path / "t2m" / "c").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(bytes(content))
    found = inspect(store.open_store(path), checksums(record()))
    assert {(finding.name, finding.decayed) for finding in found} == {("t2m", True)}
    assert found[0].what.startswith("cannot be read")


@pytest.mark.parametrize("name", ["unknown", "t2m"])
def test_what_the_catalogue_does_not_know_has_no_range(name: str) -> None:
    strange = record()[["t2m"]].rename(t2m=name) if name != "t2m" else record()[["t2m"]]
    strange[name] = strange[name] * 100
    assert bool(told(strange)) == (name == "t2m")
