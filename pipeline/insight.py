"""What a trained model looked at, from a sample of windows of the unseen period, for the embeddings store.

For every model: how far the embedding moves when a variable or a block of the map is hidden. For FAConvLSTM as well:
gate activity, squeeze-and-excitation and what its axial attention reads. A sample, so that it takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from data import split, windows
from models import interpret
from models.autoencoder import Autoencoder
from models.layers.axial import membership
from models.layers.base import Stack
from models.layers.faconvlstm import FAConvLSTM

WINDOWS = 16  # evenly spread over the unseen period
BLOCKS_A_SIDE = 5  # of the map, hidden one at a time
GATES = ("input", "forget", "candidate", "output")


def look(model: Autoencoder, prepared: xr.Dataset, length: int, at_once: int = WINDOWS) -> xr.Dataset:
    """What the model looked at, on windows of `length` steps of the test period, `at_once` of them in memory.

    Returns:
        for every model occlusion_by_variable (variable) and occlusion_by_region (latitude_block, longitude_block);
        for FAConvLSTM gate_activity (gate, latitude, longitude), gate_channel_mean and _spread (gate, channel),
        excitation_mean and _spread (bottleneck_channel), attention_rows (latitude, row_token) and attention_columns
        (longitude, column_token), without those of parts that are switched off. All are without units.
    """
    x, season = sample(prepared, length)
    found = occluded(partial(embed, model, season, at_once), x, prepared)
    layer = model.layer.layers[-1] if isinstance(model.layer, Stack) else model.layer
    if isinstance(layer, FAConvLSTM):
        found = found.merge(active(model, x, prepared))
    for array in found.data_vars.values():
        array.attrs.setdefault("units", "1")
    found.attrs = {
        "insight_windows": len(x),
        "insight_period": split.NAMES[split.TEST],
        "insight_layer": type(layer).__name__,
    }
    return found


def sample(prepared: xr.Dataset, length: int) -> tuple[Tensor, Tensor]:
    """Windows evenly spread over the test period: x (B, T, C, H, W) and season (B, T, S)."""
    times = pd.DatetimeIndex(prepared["time"].values)
    starts = windows.starts(times, prepared["split"].values, period=split.TEST, length=length)
    chosen = np.unique(np.linspace(0, len(starts) - 1, WINDOWS).round().astype(int))
    x, season = (
        torch.from_numpy(
            np.stack([prepared[name][start : start + length].values for start in starts[chosen]])
        )
        for name in ("x", "season")
    )
    return x, season


def embed(model: Autoencoder, season: Tensor, at_once: int, x: Tensor) -> Tensor:
    """The embedding (B, T, D) of x (B, T, C, H, W), so many windows at a time."""
    pieces = zip(x.split(at_once), season.split(at_once), strict=True)
    return torch.cat([model.embed(*piece) for piece in pieces])


def occluded(embed: Callable[[Tensor], Tensor], x: Tensor, prepared: xr.Dataset) -> xr.Dataset:
    """How far the embedding moves when a variable, or a block of all variables, is hidden."""
    latitude, longitude = (prepared[name].values for name in ("latitude", "longitude"))
    region = [-(-len(axis) // BLOCKS_A_SIDE) for axis in (latitude, longitude)]
    moved = interpret.occlusion(embed, x, region)
    about = (
        "root-mean-square change of the embedding, relative to its root-mean-square distance from its mean"
    )
    return xr.Dataset(
        {
            "occlusion_by_variable": (
                "variable",
                moved.by_variable.numpy(),
                {"long_name": "change of the embedding with the variable hidden", "comment": about},
            ),
            "occlusion_by_region": (
                ("latitude_block", "longitude_block"),
                moved.by_region.numpy(),
                {"long_name": "change of the embedding with the block hidden", "comment": about},
            ),
            **_bounds("latitude", latitude, region[0]),
            **_bounds("longitude", longitude, region[1]),
        },
        coords={
            "variable": prepared["variable"],
            **_middles("latitude", latitude, region[0]),
            **_middles("longitude", longitude, region[1]),
        },
    )


def active(model: Autoencoder, x: Tensor, prepared: xr.Dataset) -> xr.Dataset:
    """What the gates, the squeeze-and-excitation and the attention of FAConvLSTM did."""
    weight = model.area_weight[:, None] * model.mask.any(0)
    seen = interpret.activity(model.layer, x, weight)
    gates = np.where(model.mask.any(0).numpy(), seen.gates.numpy(), np.nan)
    arrays: dict[str, Any] = {
        "gate_activity": (("gate", "latitude", "longitude"), gates, {"long_name": "mean gate activity"}),
        "gate_channel_mean": (
            ("gate", "channel"),
            seen.gate_mean.numpy(),
            _over("area mean", "gate activity"),
        ),
        "gate_channel_spread": (
            ("gate", "channel"),
            seen.gate_spread.numpy(),
            _over("standard deviation", "gate activity"),
        ),
    }
    if seen.excitation_mean is not None and seen.excitation_spread is not None:
        for name, what, values in (
            ("mean", "mean", seen.excitation_mean),
            ("spread", "standard deviation", seen.excitation_spread),
        ):
            arrays[f"excitation_{name}"] = (
                "bottleneck_channel",
                values.numpy(),
                _over(what, "squeeze-and-excitation factor"),
            )
    return xr.Dataset(
        arrays | _attention(seen, prepared),
        coords={
            "gate": ("gate", np.array(GATES, object), {"comment": "the candidate counts by its size"}),
            "latitude": prepared["latitude"],
            "longitude": prepared["longitude"],
        },
    )


def _over(statistic: str, what: str) -> dict[str, str]:
    return {"long_name": f"{statistic} of the {what}", "comment": "over windows and steps"}


def _attention(seen: interpret.Activity, prepared: xr.Dataset) -> dict[str, Any]:
    """What each row and column reads, and where its tokens lie."""
    arrays: dict[str, Any] = {}
    for line, weights, along, across in (
        ("row", seen.rows, "longitude", "latitude"),
        ("column", seen.columns, "latitude", "longitude"),
    ):
        if weights is None:
            continue
        token = f"{line}_token"
        arrays[f"attention_{line}s"] = (
            (across, token),
            weights.numpy(),
            {
                "long_name": f"share of its attention that a {line} gives to each token",
                "comment": "sums to 1",
            },
        )
        arrays[f"{token}_{along}"] = (
            token,
            _centres(prepared[along].values, weights.shape[-1]),
            {"long_name": f"{along} of the token's middle", **_units(along)},
        )
    return arrays


def _centres(axis: NDArray[np.floating], tokens: int) -> NDArray[np.float64]:
    member = membership(len(axis), tokens, torch.zeros(1, dtype=torch.float64)).numpy()
    return np.asarray(axis @ member / member.sum(0))


def _middles(name: str, axis: NDArray[np.floating], size: int) -> dict[str, Any]:
    edges = _edges(axis, size)
    attrs = {"long_name": f"{name} of the block's middle", "bounds": f"{name}_block_bounds"}
    return {f"{name}_block": (f"{name}_block", (edges[1:] + edges[:-1]) / 2, attrs | _units(name))}


def _bounds(name: str, axis: NDArray[np.floating], size: int) -> dict[str, Any]:
    edges = np.stack([_edges(axis, size)[:-1], _edges(axis, size)[1:]], axis=1)
    attrs = {"long_name": f"{name}s between which the block lies"}
    return {f"{name}_block_bounds": ((f"{name}_block", "bound"), edges, attrs | _units(name))}


def _units(name: str) -> dict[str, str]:
    return {"units": "degrees_north" if name == "latitude" else "degrees_east"}


def _edges(axis: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Edges of blocks of `size` grid points: halfway between points, and half a step beyond the outermost."""
    axis = np.asarray(axis, np.float64)
    if len(axis) == 1:
        return np.array([axis[0], axis[0]])
    middle = (axis[1:] + axis[:-1]) / 2
    edges = np.concatenate([[2 * axis[0] - middle[0]], middle, [2 * axis[-1] - middle[-1]]])
    return np.append(edges[:-1:size], edges[-1])
