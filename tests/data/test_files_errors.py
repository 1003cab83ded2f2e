"""What a user can get wrong with files: each ends in one sentence with the file, what was found, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.data.conftest import make, refused

T2M, MSL = {"t2m": ("K", 280.0)}, {"msl": ("Pa", 1e5)}


def changed(name: str = "t2m", **attrs) -> xr.Dataset:
    raw = make(T2M)
    raw[name].attrs |= attrs
    return raw


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variables": ["t2n"]}, r"^dataset\.variables: variable 't2n' is not known \(did you mean .*t2m"),
        ({"variables": []}, r"^dataset\.variables is empty"),
        ({"levels": 5}, r"^dataset\.levels must be a mapping such as {z: 500}"),
        ({"levels": {"z5": 500, "zz": 1}}, r"^dataset\.levels: variable 'zz' is not known"),
        ({"levels": {"msl": 500}}, r"^dataset\.levels: 'msl: 500' is not a variable on pressure levels"),
        ({"levels": {"z": 50000}}, r"^dataset\.levels: 'z: 50000' is not .* in hPa: write it as \{z: 500\}"),
        ({"levels": {"z": "500 hPa"}}, r"^dataset\.levels: 'z: 500 hPa' is not"),
        ({"start": "2000-13-01"}, r"^dataset\.start '2000-13-01' is not a date: write it as 2006-12-31"),
        (
            {"start": "2001-01-01", "end": "2000-01-01"},
            r"^dataset\.end 2000-01-01 lies before dataset\.start 2001-01-01",
        ),
    ],
)
def test_options(options, words):
    refused("none", words, **options)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none.nc", r"^dataset\.path '.*none\.nc' does not exist: give a file, a folder or a glob"),
        ("*.grib", r"^dataset\.path '.*\*\.grib' holds no NetCDF, GRIB or zip file: it holds nothing"),
        ("empty", r"^dataset\.path '.*empty' holds no NetCDF, GRIB or zip file: it holds nothing"),
        ("texts", r"^dataset\.path '.*texts' holds no NetCDF, GRIB or zip file: it holds a\.csv, b\.txt"),
        ("store.zarr", r"holds no NetCDF, GRIB or zip file: a Zarr store, which this source does not read"),
    ],
)
def test_paths(tmp_path, path, words):
    for name in ("empty/", "texts/a.csv", "texts/b.txt", "store.zarr/zarr.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch() if not name.endswith("/") else (tmp_path / name).mkdir()
    refused(tmp_path / path, words)


def test_a_remote_address():
    refused(
        "s3://bucket/a.nc", r"^dataset\.path 's3://bucket/a\.nc' is a remote address, which is not supported"
    )


SCRIPT = """
import os, sys
sys.path[:0] = {path!r}
from data.errors import DataError
from data.sources.discover import digest, find_files, sniff
os.setuid(65534)
for step, file in {steps!r}:
    try:
        [globals()[step](found) for found in find_files(file)]
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can try as another user")
def test_what_another_user_may_not_read(write):
    path, locked = write("a.nc", T2M), write("sub/b.nc", T2M)
    for folder in path.parents:  # also pytest's own, which other users may not enter
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o055)
    path.chmod(0)
    locked.parent.chmod(0)
    steps = [
        ("digest", str(path)),
        ("sniff", str(path)),
        ("sniff", str(locked)),
        ("sniff", str(locked.parent)),
    ]
    code = SCRIPT.format(path=sys.path, steps=steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    locked.parent.chmod(0o755)
    assert done.stdout.splitlines() == [
        "a.nc: cannot be opened (Permission denied): check that you may read it.",
        "a.nc: cannot be opened (Permission denied): check that you may read it.",
        f"dataset.path '{locked}' cannot be read (Permission denied): check that you may read it.",
        f"dataset.path '{locked.parent}' cannot be read (Permission denied): check that you may read it.",
    ]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all")
def test_what_the_user_may_not_read(write):
    path = write("a.nc", T2M)
    path.chmod(0)
    refused(path, r"^a\.nc: cannot be opened \(Permission denied\): check that you may read it\.$")


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_64BIT"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file(write, form, share):
    path = write("a.nc", T2M, times=pd.date_range("2000-01-01", periods=99), format=form)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(
        path,
        r"^a\.nc: the (NetCDF )?file is (truncated|damaged|truncated or damaged) \(.*\): get it again\.$",
    )


def test_a_file_with_a_damaged_piece(write):
    raw = make(T2M, times=pd.date_range("2000-01-01", periods=400))
    raw["t2m"] += np.random.default_rng(0).normal(size=raw["t2m"].shape)  # so that it fills most of the file
    path = write("a.nc", raw, encoding={"t2m": {"zlib": True, "chunksizes": (50, 3, 4)}})
    content = bytearray(path.read_bytes())
    place = len(content) * 3 // 4
    content[place : place + 300] = b"\xaa" * 300
    path.write_bytes(content)
    refused(path, r"^a\.nc: t2m cannot be read \(.*\): the file is damaged, get it again\.$")


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        (
            {"units": "m s-1"},
            r"^a\.nc: t2m has units 'm s-1', and t2m is expected in 'K' or what converts to it: convert",
        ),
        ({"units": ""}, r"^a\.nc: t2m has no units, and t2m is expected in 'K' .*: add a units attribute"),
    ],
)
def test_units(write, attrs, words):
    refused(write("a.nc", changed(**attrs)), words)


def test_values_that_do_not_fit_their_units(write):
    words = (
        r"^a\.nc: t2m has values from 16.* to 17.* K \(they look like degrees Celsius\) .* the 170 to 340 K"
    )
    refused(write("a.nc", {"t2m": ("K", 10.0)}), words)
    words = r"^a\.nc: msl has values from 1006.* Pa .* outside the 85000 to 112000 Pa .*units \('Pa'\) in the file\."
    refused(write("a.nc", {"msl": ("Pa", 1000.0)}), words)


def test_heights_that_do_not_fit_their_level(write):
    path = write("a.nc", {"z": ("m**2 s**-2", 54000.0)})
    refused(
        path, r"z has values from 5400.* that are possible at 850 hPa: .*dataset\.levels", levels={"z": 850}
    )


def test_a_variable_that_is_not_known(write):
    raw = make({**T2M, "2m_temperatur": ("K", 280.0)})
    raw["2m_temperatur"].attrs["long_name"] = "Temperatur in 2 m"
    words = (
        r"^a\.nc: '2m_temperatur' \(Temperatur in 2 m\) is not in the catalogue: choose among what is known by "
        r"dataset\.variables=\[t2m,msl\]\.$"
    )
    path = write("a.nc", raw)
    write("b.nc", MSL)
    refused(path.parent, words)
    words = r"^a\.nc: '2m_temperatur' .* \(did you mean 2m_temperature or .*\?\): rename it in the file\.$"
    refused(write("a.nc", raw[["2m_temperatur"]]), words)


def test_a_variable_that_is_not_there(write):
    write("a.nc", T2M)
    path = write("b.nc", MSL)
    words = (
        r"^a\.nc, b\.nc: dataset\.variables asks for sst, which is not in the files: they hold t2m, msl\.$"
    )
    refused(path.parent, words, variables=["t2m", "sst"])


def test_a_level_that_nobody_states(write):
    path = write("a.nc", {"z": ("m**2 s**-2", 54000.0)})
    words = (
        r"^a\.nc: .* asks for z500, and the files do not state the level of z: set dataset\.levels=\{z: 500\}"
    )
    refused(path, words, variables=["z500"])


def test_a_level_that_is_not_there(write):
    path = write("z850.nc", {"z": ("m**2 s**-2", 14000.0)})
    refused(path, r"asks for z500, which is not in the files: they hold z850\.$", variables=["z500"])


def test_axes(write):
    refused(
        write("a.nc", make(T2M).isel(time=0, drop=True)),
        r"^a\.nc: the file has no time axis \(t2m has latitude, lon",
    )
    refused(write("b.nc", make(T2M).drop_vars("time")), r"^b\.nc: the time axis 'time' has no values")
    refused(
        write("c.nc", make(T2M).drop_vars("latitude")), r"^c\.nc: the latitude axis 'latitude' has no values"
    )
    refused(
        write("d.nc", make(T2M).mean("longitude")),
        r"^d\.nc: no variable has both latitudes and longitudes \(the file",
    )
    raw = make(T2M).rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    raw = raw.assign_coords(latitude=(("y", "x"), np.zeros((3, 4)), {"units": "degrees_north"}))
    refused(write("e.nc", raw), r"^e\.nc: the grid is curvilinear \('latitude' has two dimensions\): regrid")
    raw = make(T2M, latitude=np.array([500.0, 450, 400]))
    refused(write("f.nc", raw), r"^f\.nc: the latitudes are not degrees \(400 to 500")
    raw = make(T2M, latitude=np.array([50.0, 45, 45]))
    refused(write("g.nc", raw), r"^g\.nc: the latitude 45 occurs twice")
    refused(
        write("h.nc", make(T2M).expand_dims(step=[1, 2])),
        r"^h\.nc: t2m has a dimension 'step' of 2, which is none of",
    )
    raw = make({"t": ("K", 280.0)}).expand_dims(level=[1, 2])
    raw["level"].attrs["units"] = "level"
    refused(write("i.nc", raw), r"^i\.nc: t has 2 levels along 'level' that are not pressures: interpolate")
    raw = make(T2M, longitude=np.array([-180.0, 0, 180]))
    raw["t2m"][..., 2] += 1
    refused(write("j.nc", raw), r"^j\.nc: the meridian -180 occurs twice in t2m with different values")
    raw = make(T2M).expand_dims(valid_time=pd.DatetimeIndex(["2000-01-01"]))
    refused(write("k.nc", raw), r"^k\.nc: t2m has two axes of one kind")


def test_several_members(write):
    raw = xr.concat([make(T2M) for _ in range(3)], pd.Index([0, 1, 2], name="number"))
    path = write("a.nc", raw)
    refused(path, r"^a\.nc: t2m has 3 ensemble members \(0, 1, 2\): choose one by dataset\.number\.$")
    refused(path, r"members \(0, 1, 2, not 7\)", number=7)


def test_files_without_any_field(write):
    raw = make(T2M)[[]].assign(x=("k", np.arange(3)))
    refused(write("a.nc", raw), r"^a\.nc: no variable has both latitudes and longitudes")


def test_several_kinds_of_trouble_name_the_file_in_its_folder(write):
    write("1999/a.nc", T2M)
    path = write("2000/a.nc", changed(units="furlong"))
    refused(path.parents[1], r"^2000/a\.nc: t2m has units 'furlong'")
