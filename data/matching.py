"""Whether new data are of the kind that a run was trained on: variables, units, grid and time step.

What differs in a way that does not matter is put right (the order of variables, more variables, a larger area), and
said. What matters is refused. Nothing is regridded, converted or averaged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from data import timeaxis, units
from data.errors import DataError

log = logging.getLogger(__name__)

GRID_TOLERANCE = 1e-3  # degrees; coordinates in float32 differ by 3e-5


@dataclass(frozen=True)
class Kind:
    """What a run was trained on.

    Attributes:
        variables: names, in the order of the variable axis.
        units: by variable.
        latitude: degrees north.
        longitude: degrees east.
        step: of the time axis; None where it is not known.
    """

    variables: Sequence[str]
    units: Mapping[str, str]
    latitude: NDArray[np.floating]
    longitude: NDArray[np.floating]
    step: timeaxis.Step | None = None


def match(raw: xr.Dataset, kind: Kind) -> xr.Dataset:
    """The new data as the run takes them: its variables in its order, its grid, a time axis with every step.

    Args:
        raw: under the raw-store contract.
        kind: what the run was trained on.

    Returns:
        the same values, lazily where they were lazy; steps that the record lacks are NaN.

    Raises:
        DataError: variables, units, grid or step differ, saying how.
    """
    _check_variables(raw, kind)
    chosen = raw[list(kind.variables)]
    _check_units(chosen, kind)
    rows = _positions("latitude", chosen["latitude"].values, kind.latitude)
    columns = _positions("longitude", chosen["longitude"].values, kind.longitude)
    if (len(rows), len(columns)) != (chosen.sizes["latitude"], chosen.sizes["longitude"]):
        log.info("the new data reach beyond the run's grid and are cut to it: %s", _span(kind))
    cut = chosen.isel(latitude=slice(rows[0], rows[-1] + 1), longitude=slice(columns[0], columns[-1] + 1))
    return _complete(cut, kind.step)


def _check_variables(raw: xr.Dataset, kind: Kind) -> None:
    there = [str(name) for name in raw.data_vars]
    lacking = [name for name in kind.variables if name not in there]
    if lacking:
        raise DataError(
            f"the new data lack {', '.join(lacking)}: the run was trained on {', '.join(kind.variables)}, and they "
            f"hold {', '.join(there)}; add what is missing, or choose another run."
        )
    if more := [name for name in there if name not in kind.variables]:
        log.info("the run does not know %s: left out", ", ".join(more))


def _check_units(chosen: xr.Dataset, kind: Kind) -> None:
    for name in kind.variables:
        found, wanted = str(chosen[name].attrs.get("units", "")), kind.units.get(name, "")
        if units.canonical(found) != units.canonical(wanted):
            raise DataError(
                f"{name} is in '{found}' in the new data, and the run was trained on '{wanted}': convert it, or take "
                "it from the source that the run's data came from."
            )


def _positions(name: str, axis: NDArray[np.floating], wanted: NDArray[np.floating]) -> NDArray[np.intp]:
    """Where the wanted coordinates stand on an axis, one after the other."""
    apart = np.abs(axis[None, :] - np.asarray(wanted)[:, None])
    places = apart.argmin(axis=1)
    if (apart.min(axis=1) > GRID_TOLERANCE).any() or (np.diff(places) != 1).any():
        raise DataError(
            f"the {name}s of the new data are {_axis(axis)}, and the run was trained on {_axis(wanted)}: bring the "
            "data to the run's grid."
        )
    return places


def _complete(chosen: xr.Dataset, step: timeaxis.Step | None) -> xr.Dataset:
    times = pd.DatetimeIndex(chosen["time"].values)
    try:
        found = timeaxis.infer_step(times)
    except DataError as error:
        raise DataError(f"the new data cannot be used: {error}") from error
    if step is not None and found is not None and found != step:
        raise DataError(
            f"the new data are {found}, and the run was trained on {step} fields: bring them to the run's time step."
        )
    axis = timeaxis.complete(times, step if step is not None else found)
    if len(axis) == len(times):
        return chosen
    steps = max(len(times) // 8, 1)  # lazily: a record with a gap may be as large as any
    return chosen.chunk({"time": steps}).reindex(time=axis)


def _axis(values: NDArray[np.floating]) -> str:
    if len(values) < 2:
        return f"{values[0]:g} alone"
    step = abs(float(np.median(np.diff(values))))
    return f"{values[0]:g} to {values[-1]:g} by {step:g}"


def _span(kind: Kind) -> str:
    return f"latitudes {_axis(kind.latitude)}, longitudes {_axis(kind.longitude)}"
