"""What a user can get wrong with times, periods and several files: each ends in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.data.conftest import DAYS, make, refused

T2M, MSL = {"t2m": ("K", 280.0)}, {"msl": ("Pa", 1e5)}


def test_times(write):
    raw = make(T2M)
    raw = raw.assign_coords(
        time=("time", np.arange(6), {"units": "days since 2000-01-01", "calendar": "noleap"})
    )
    refused(
        write("a.nc", raw), r"^a\.nc: the calendar is 'noleap', and only the real one is supported: convert"
    )
    raw = raw.assign_coords(time=("time", np.arange(6), {"units": "fortnights since 2000-01-01"}))
    refused(write("b.nc", raw), r"^b\.nc: the times cannot be read \(units 'fortnights since 2000-01-01'\)")
    raw = raw.assign_coords(time=("time", np.arange(6)))
    refused(write("c.nc", raw), r"^c\.nc: the times cannot be read \(units ''\)")
    raw = raw.assign_coords(
        time=("time", np.append(np.arange(5.0), np.nan), {"units": "days since 2000-01-01"})
    )
    refused(write("d.nc", raw), r"^d\.nc: 1 of 6 times are missing: mend the time coordinate")
    raw = make(T2M).isel(time=[0, 1, 1, 2])
    refused(
        write("e.nc", raw), r"^e\.nc: 1 times of t2m occur more than once, the first 2000-02-27 00:00: remove"
    )


def test_missing_steps(write):
    path = write("a.nc", T2M, times=DAYS.delete([2, 3]))
    words = (
        r"^a\.nc: t2m lacks 2 of the 6 steps from 2000-02-26 00:00 to 2000-03-02 00:00, the first 2000-02-28 00:00 .*"
        r"add the files, choose a period by dataset\.start and dataset\.end, or set dataset\.allow_missing=true\.$"
    )
    refused(path, words)
    refused(path, r"t2m lacks 1 of the 3 steps", start="2000-02-26", end="2000-02-28")


def test_irregular_steps(write):
    times = pd.DatetimeIndex(["2000-01-01", "2000-01-02", "2000-01-03", "2000-01-03 07:00"])
    words = r"^a\.nc: t2m: the time steps are irregular \(daily .* 2000-01-03 00:00 is followed by 2000-01-03 07:00\)"
    refused(write("a.nc", T2M, times=times), words)


def test_times_that_do_not_meet(write):
    write("a.nc", T2M)
    path = write("b.nc", MSL, times=DAYS + pd.Timedelta(hours=12))
    words = (
        r"^b\.nc: msl is daily from 2000-02-26 12:00, but t2m in a\.nc is daily from 2000-02-26 00:00: give files "
        r"with the same times, or choose among them by dataset\.variables\.$"
    )
    refused(path.parent, words)
    refused(path.parent, words, allow_missing=True)
    write("b.nc", MSL, times=pd.date_range(DAYS[0], periods=9, freq="6h"))
    refused(path.parent, r"msl is every 6 hours from .*, but t2m in a\.nc is daily")


def test_variables_that_cover_different_periods(write):
    write("a.nc", T2M, times=DAYS[:4])
    path = write("b.nc", MSL, times=DAYS)
    refused(path.parent, r"^a\.nc: t2m lacks 2 of the 6 steps .* \(it has 2000-02-26 to 2000-02-29\)")
    words = (
        r"^a\.nc: t2m has no value from 2000-03-01 to 2000-03-02, where other variables have: choose a period"
    )
    refused(path.parent, words, start="2000-03-01", allow_missing=True)


@pytest.mark.parametrize(
    "options",
    [{"start": "2000-02-25"}, {"end": "2000-03-03"}, {"start": "2001-01-01"}, {"end": "1999-12-31"}],
)
def test_periods_outside_the_record(write, options):
    option = next(iter(options))
    words = (
        rf"^a\.nc: dataset\.{option} {options[option]} lies outside the record, 2000-02-26 .* to 2000-03-02"
    )
    refused(write("a.nc", T2M), words, **options)


def test_grids_that_differ(write):
    write("a.nc", T2M)
    path = write("b.nc", MSL, longitude=np.array([-10.0, -5.0, 0.0, 5.5]))
    words = (
        r"^b\.nc: the grid of msl is 3 x 4 \(latitude 50 to 40, longitude -10 to 5\.5\), but t2m in a\.nc has 3 x 4 "
        r"\(latitude 50 to 40, longitude -10 to 5\): bring the files to one grid, or choose"
    )
    refused(path.parent, words)


def test_files_that_contradict_each_other(write):
    whole = make(T2M)
    write("a.nc", whole.isel(time=slice(4)))
    path = write(
        "b.nc", whole.isel(time=slice(3, None)) + xr.zeros_like(whole).where(whole["longitude"] != 5, 2)
    )
    raw = xr.open_dataset(path).load()
    raw["t2m"].attrs["units"] = "K"
    raw.close()
    write("b.nc", raw)
    words = (
        r"^b\.nc: t2m at 2000-02-29 00:00 contradicts a\.nc \(289.* and 287.* K\): keep one of the files\.$"
    )
    refused(path.parent, words)
