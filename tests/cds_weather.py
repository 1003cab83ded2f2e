"""Made-up ERA5 in the forms in which the Climate Data Store answers: the loopback service's data.

Every value depends on variable, moment and place only, so that a test can make the truth by another road.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

# CDS name: short name, ECMWF parameter, units, long name, kind, middle and swing of the made-up values
VARIABLES: dict[str, tuple[str, int, str, str, str, float, float]] = {
    "2m_temperature": ("t2m", 167, "K", "2 metre temperature", "instant", 288, 6),
    "sea_surface_temperature": ("sst", 34, "K", "Sea surface temperature", "instant", 291, 3),
    "10m_u_component_of_wind": ("u10", 165, "m s**-1", "10 metre U wind component", "instant", 2, 8),
    "10m_v_component_of_wind": ("v10", 166, "m s**-1", "10 metre V wind component", "instant", 0, 8),
    "surface_pressure": ("sp", 134, "Pa", "Surface pressure", "instant", 101500, 1200),
    "mean_sea_level_pressure": ("msl", 151, "Pa", "Mean sea level pressure", "instant", 101600, 1200),
    "surface_sensible_heat_flux": ("sshf", 146, "J m**-2", "Surface sensible heat flux", "accum", -5e4, 2e5),
    "surface_latent_heat_flux": ("slhf", 147, "J m**-2", "Surface latent heat flux", "accum", -4e5, 3e5),
    "total_precipitation": ("tp", 228, "m", "Total precipitation", "accum", 2e-4, 2e-4),
    "geopotential": ("z", 129, "m**2 s**-2", "Geopotential", "instant", 54000, 1500),
    "temperature": ("t", 130, "K", "Temperature", "instant", 275, 10),
}


# The made-up weather


def values(variable: str, level: float | None, times: pd.DatetimeIndex, lat: Any, lon: Any) -> np.ndarray:
    """A field (time, latitude, longitude) that depends on the moment and the place only, never on the request."""
    middle, swing = VARIABLES[variable][5:]
    phase = VARIABLES[variable][1] / 10 + (level or 0) / 100
    hours = np.asarray((times - pd.Timestamp("2000-01-01")) / pd.Timedelta(hours=1), float)[:, None, None]
    y, x = np.deg2rad(np.asarray(lat))[None, :, None], np.deg2rad(np.asarray(lon))[None, None, :]
    wave = np.sin(hours / 9.7 + phase + 7 * y) * np.cos(5 * x + hours / 61) + 0.3 * np.sin(
        2 * np.pi * hours / 24 + x
    )
    field = (middle + swing * wave / 1.4).astype(np.float32)
    if variable == "sea_surface_temperature":
        field[:, (np.abs(y[0] - 0.68) < 0.008) & (np.abs(x[0] + 0.49) < 0.008)] = np.nan  # an island
    return field


def times_of(request: dict[str, Any]) -> pd.DatetimeIndex:
    """The times that a request asks for; impossible days are left out."""
    lists = {key: listed(request.get(key, "00:00")) for key in ("year", "month", "day", "time")}
    stamps = [
        f"{y}-{m}-{d}T{t}"
        for y in lists["year"]
        for m in lists["month"]
        for d in lists["day"]
        for t in lists["time"]
    ]
    found = pd.to_datetime(pd.Series(stamps), errors="coerce", format="%Y-%m-%dT%H:%M").dropna()
    return pd.DatetimeIndex(found).sort_values().as_unit("ns")


def grid_of(request: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes, descending, and longitudes of a request's area."""
    north, west, south, east = map(float, request["area"])
    high, wide = map(float, request.get("grid", (0.25, 0.25)))
    lat = north - high * np.arange(round((north - south) / high) + 1)
    return lat, west + wide * np.arange(round((east - west) / wide) + 1)


def dataset_of(
    request: dict[str, Any], variables: Sequence[str] | None = None, preliminary: str | None = None
) -> xr.Dataset:
    """The answer to a request as the service lays it out; stamps from `preliminary` on are ERA5T."""
    times, (lat, lon) = times_of(request), grid_of(request)
    levels = [float(level) for level in listed(request.get("pressure_level", []))]
    dims = (
        ("valid_time", "pressure_level", "latitude", "longitude")
        if levels
        else ("valid_time", "latitude", "longitude")
    )
    arrays = {}
    for name in variables or listed(request["variable"]):
        short, number, units, long_name, kind = VARIABLES[name][:5]
        attrs = {"units": units, "long_name": long_name, "GRIB_paramId": number, "GRIB_stepType": kind}
        stack = [_field(request, name, level, times, lat, lon) for level in levels or [None]]
        arrays[short] = (dims, np.stack(stack, axis=1) if levels else stack[0], attrs)
    version = np.where(times >= pd.Timestamp(preliminary or "2200-01-01"), "0005", "0001")
    coords: dict[str, Any] = {
        "number": 0,
        "valid_time": times,
        "latitude": ("latitude", lat, {"units": "degrees_north"}),
        "longitude": ("longitude", lon, {"units": "degrees_east"}),
        "expver": ("valid_time", version),
    }
    if levels:
        coords["pressure_level"] = ("pressure_level", levels, {"units": "hPa"})
    return xr.Dataset(arrays, coords, {"institution": "loopback", "Conventions": "CF-1.7"})


def _field(
    request: dict[str, Any], name: str, level: float | None, times: pd.DatetimeIndex, lat: Any, lon: Any
) -> Any:
    if request.get("daily_statistic") != "daily_mean":
        return values(name, level, times, lat, lon)
    first = 1 if VARIABLES[name][4] == "accum" else 0
    hours = pd.DatetimeIndex([t + pd.Timedelta(hours=h) for t in times for h in range(first, first + 24)])
    hourly = values(name, level, hours, lat, lon).astype(np.float64)
    return hourly.reshape(len(times), 24, len(lat), len(lon)).mean(axis=1).astype(np.float32)


def netcdf(dataset: xr.Dataset, compressed: bool = True) -> bytes:
    """A dataset as NetCDF-4 bytes."""
    zipped = {"zlib": True, "complevel": 1, "shuffle": True} if compressed else {}
    encoding: dict[str, Any] = {str(name): dict(zipped) for name in dataset.data_vars}
    encoding["valid_time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.nc"
        dataset.to_netcdf(path, engine="netcdf4", encoding=encoding)
        return path.read_bytes()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive of members, always with the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def grib(dataset: xr.Dataset) -> bytes:
    """A dataset of single-level or pressure-level fields as GRIB 1 messages."""
    import eccodes

    out = io.BytesIO()
    for array in dataset.data_vars.values():
        levels = dataset["pressure_level"].values if "pressure_level" in array.dims else [None]
        for level in levels:
            layer = array if level is None else array.sel(pressure_level=level)
            for step, time_ in enumerate(pd.DatetimeIndex(dataset["valid_time"].values)):
                handle = eccodes.codes_grib_new_from_samples(
                    "regular_ll_sfc_grib1" if level is None else "regular_ll_pl_grib1"
                )
                lat, lon = dataset["latitude"].values, dataset["longitude"].values
                keys = {
                    "paramId": array.attrs["GRIB_paramId"],
                    "dataDate": int(f"{time_:%Y%m%d}"),
                    "dataTime": time_.hour * 100,
                    "Ni": len(lon),
                    "Nj": len(lat),
                    "latitudeOfFirstGridPointInDegrees": lat[0],
                    "latitudeOfLastGridPointInDegrees": lat[-1],
                    "longitudeOfFirstGridPointInDegrees": lon[0] % 360,
                    "longitudeOfLastGridPointInDegrees": lon[-1] % 360,
                    "iDirectionIncrementInDegrees": lon[1] - lon[0],
                    "jDirectionIncrementInDegrees": lat[0] - lat[1],
                    "bitsPerValue": 24,
                    "expver": "0001",
                }
                if level is not None:
                    keys["level"] = int(level)
                for key, value in keys.items():
                    eccodes.codes_set(handle, key, value)
                block = layer.isel(valid_time=step).values.astype(float)
                if np.isnan(block).any():
                    eccodes.codes_set(handle, "bitmapPresent", 1)
                    eccodes.codes_set(handle, "missingValue", 9999)
                eccodes.codes_set_values(handle, np.where(np.isnan(block), 9999, block).ravel())
                out.write(eccodes.codes_get_message(handle))
                eccodes.codes_release(handle)
    return out.getvalue()


def plain_answer(dataset: str, request: dict[str, Any]) -> bytes:
    """What the service sends when all is well: NetCDF or GRIB, or for daily statistics of several variables a zip."""
    if dataset.startswith("derived-") and len(listed(request["variable"])) > 1:
        single = {name: netcdf(dataset_of(request, [name])) for name in listed(request["variable"])}
        return zipped({f"{name}_0_daily-mean.nc": content for name, content in single.items()})
    return grib(dataset_of(request)) if request.get("data_format") == "grib" else netcdf(dataset_of(request))


def listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
