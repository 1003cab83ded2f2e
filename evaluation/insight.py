"""What a model looked at: occlusion for every model; gates, excitation and axial attention for FAConvLSTM.

Supports what the embeddings store holds of it, seed by seed; a part that is not there is not drawn. What was
sampled, how many windows of which period, stands in the captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from evaluation import svg
from evaluation.fields import Fields
from evaluation.geography import Domain, ground
from evaluation.maps import MAP_WIDTH
from evaluation.pictures import CHART, OKABE_ITO, Group, Panel, Picture
from evaluation.results import ModelResult
from evaluation.significance import estimate
from evaluation.svg import FAINT, Drawing
from evaluation.units import degrees, number, place

GATES = ("input", "forget", "candidate", "output")
SEQUENTIAL = "viridis"
ACCENT = OKABE_ITO[4]


def summary(model: ModelResult) -> dict[str, Any]:
    """For metrics.json: windows and period of the sample, occlusion over the seeds, and the shown seed's gates.

    Empty where no run holds anything.
    """
    held = _seeds(model)
    if not held:
        return {}
    first = next(iter(held.values()))
    found: dict[str, Any] = {
        "windows": int(first.attrs["insight_windows"]),
        "period": str(first.attrs["insight_period"]),
        "occlusion_by_variable": {
            str(name): estimate(
                [float(seed["occlusion_by_variable"].sel(variable=name)) for seed in held.values()]
            )
            for name in first["variable"].values
        },
        "occlusion_by_region": _mean(list(held.values()), "occlusion_by_region").round(6).tolist(),
    }
    shown = held.get(model.seeds[model.shown], first)
    if "gate_activity" in shown:
        found["gates"] = {
            str(gate): float(shown["gate_channel_mean"].sel(gate=gate).mean())
            for gate in shown["gate"].values
        }
    if "excitation_mean" in shown:
        found["excitation"] = {
            part: shown[f"excitation_{part}"].values.astype(float).round(6).tolist()
            for part in ("mean", "spread")
        }
    return found


def occlusion(models: Sequence[ModelResult], fields: Fields) -> list[Picture]:
    """What each embedding rests on, the models side by side: by variable, and by region of the map."""
    held = {model.label: list(_seeds(model).values()) for model in models}
    having = [model for model in models if held[model.label]]
    if not having:
        return []
    first = held[having[0].label][0]
    reach = max(float(seed["occlusion_by_variable"].max()) for seeds in held.values() for seed in seeds)
    bars = [Panel(_bars(model, held[model.label], reach), model.title) for model in having]
    means = {model.label: _mean(held[model.label], "occlusion_by_region") for model in having}
    scale = Normalize(0.0, max(float(mean.max()) for mean in means.values()) or 1.0)
    regions = [
        Panel(_regions(model, means[model.label], held[model.label][0], fields, scale), model.title)
        for model in having
    ]
    caption = (
        f"How far the embedding moves, in units of its own spread, when a variable (or a block of the map, all "
        f"variables) is set to its mean: the more, the more rests on it. {_sample(first)}, mean over the seeds; "
        "dots are the seeds."
    )
    bar = _bar(scale, "change of the embedding, in its spread", "occlusion-b")
    groups = (Group(tuple(bars), "One variable hidden"), Group(tuple(regions), "One block hidden", bar))
    return [Picture("occlusion", "What the embeddings rest on", caption, groups, min(len(having), 3))]


def gates(model: ModelResult, fields: Fields) -> Picture | None:
    """Gate activity of the shown seed on the map; None where the model has no gates to show."""
    seen = model.runs[model.shown].insight
    if seen is None or "gate_activity" not in seen:
        return None
    panels = []
    for gate in GATES:
        values = seen["gate_activity"].sel(gate=gate).values
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        ends = f"{number(low, 2)} to {number(high, 2)}"
        scale = Normalize(low, max(high, low + 1e-6))
        drawing = _map(values, fields, scale, f"{model.title}, {gate} gate: {ends}", f"{model.label}-g{gate}")
        panels.append(Panel(drawing, f"{gate} {ends}"))
    caption = (
        f"How far the gates of {model.title} (seed {model.seeds[model.shown]}) were open, mean over channels and "
        f"steps: 0 shut, 1 open; the forget gate is the share of its memory that a cell keeps. {_sample(seen)}. Each "
        "map has its own colours, from its lowest to its highest value, which stand above it: where they are close, "
        "the gate does nearly the same everywhere."
    )
    return Picture(f"{model.label}-gates", f"{model.title}: gates", caption, (Group(tuple(panels)),), 4)


def attention(model: ModelResult) -> Picture | None:
    """Axial attention and squeeze-and-excitation of the shown seed; None where the model has neither."""
    seen = model.runs[model.shown].insight
    groups = [] if seen is None else [*_attention(model, seen), *_excitation(model, seen)]
    if seen is None or not groups:
        return None
    caption = (
        f"What {model.title} (seed {model.seeds[model.shown]}) chose. {_sample(seen)}. Attention: the share that "
        "each row (column) of the map reads from each piece of itself; even colour means that it reads everything "
        "alike. Excitation: the factor by which each channel of the bottleneck passes, with its standard deviation "
        "over days; bars of one height mean that no channel is chosen."
    )
    title = f"{model.title}: attention and excitation"
    return Picture(f"{model.label}-attention", title, caption, tuple(groups), 2)


def _seeds(model: ModelResult) -> dict[int, xr.Dataset]:
    """What the seeds hold of it, by seed."""
    return {run.seed: run.insight for run in model.runs if run.insight is not None}


def _sample(seen: xr.Dataset) -> str:
    period = {"test": "unseen period", "train": "training period"}.get(
        str(seen.attrs["insight_period"]), "record"
    )
    return f"From {int(seen.attrs['insight_windows'])} windows spread over the {period}"


def _mean(held: Sequence[xr.Dataset], name: str) -> np.ndarray:
    return np.mean([seed[name].values.astype(float) for seed in held], axis=0)


def _bars(model: ModelResult, held: Sequence[xr.Dataset], reach: float) -> Drawing:
    names = [str(name) for name in held[0]["variable"].values]
    values = np.array([seed["occlusion_by_variable"].values for seed in held], dtype=float)
    fig = svg.figure(CHART[0], 34 * len(names) + 46)
    axes = fig.add_axes((0.17, 40 / (34 * len(names) + 46), 0.8, 1 - 46 / (34 * len(names) + 46)))
    axes.barh(range(len(names)), values.mean(axis=0), height=0.6, color=ACCENT, alpha=0.75)
    for seed in values:
        axes.plot(seed, range(len(names)), "o", markersize=3.5, color=OKABE_ITO[5], markeredgewidth=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * reach or 1.0)
    axes.set_xlabel("change of the embedding, in its spread")
    axes.tick_params(length=0)
    axes.grid(True, axis="x", color=FAINT)
    axes.set_axisbelow(True)
    told = ", ".join(
        f"{name} {number(value, 2)}" for name, value in zip(names, values.mean(axis=0), strict=True)
    )
    return svg.draw(
        fig, f"{model.title}, change of the embedding with a variable hidden: {told}", f"{model.label}-ov"
    )


def _regions(
    model: ModelResult, values: np.ndarray, seen: xr.Dataset, fields: Fields, scale: Normalize
) -> Drawing:
    blocks = [_block(getattr(fields, n), seen[f"{n}_block_bounds"].values) for n in ("latitude", "longitude")]
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    where = place(
        *(float(seen[f"{n}_block"].values[i]) for n, i in (("latitude", row), ("longitude", column)))
    )
    most = f"most {number(values.max(), 2)} around {where}"
    words = f"{model.title}, change of the embedding with a block hidden: {most}"
    return _map(values[np.ix_(*blocks)], fields, scale, words, f"{model.label}-or", width=0.9 * CHART[0])


def _block(axis: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(point,): the block whose bounds (block, 2) hold each grid point."""
    sides = (axis[:, None] - bounds[:, 0]) * (axis[:, None] - bounds[:, 1])
    return np.argmin(sides, axis=1)


def _attention(model: ModelResult, seen: xr.Dataset) -> list[Group]:
    lines = {
        "rows": ("row_token_longitude", "latitude", "EW", "NS", "longitude read"),
        "columns": ("column_token_latitude", "longitude", "NS", "EW", "latitude read"),
    }
    held = {line: how for line, how in lines.items() if f"attention_{line}" in seen}
    if not held:
        return []
    scale = Normalize(0.0, max(float(seen[f"attention_{line}"].max()) for line in held))
    panels = []
    for line, (token, across, read_letters, own_letters, label) in held.items():
        values = seen[f"attention_{line}"]
        ends = (seen[token].values, read_letters), (seen[across].values, own_letters)
        drawing = _heat(
            values.values, *ends, (label, across), scale, f"{model.title}, {line}", f"{model.label}-a{line}"
        )
        panels.append(Panel(drawing, f"what the {line} of the map read"))
    bar = _bar(scale, "share of the attention", f"{model.label}-ab")
    return [Group(tuple(panels), "Axial attention, share", bar)]


def _heat(
    values: np.ndarray,
    read: tuple[np.ndarray, str],
    own: tuple[np.ndarray, str],
    labels: tuple[str, str],
    scale: Normalize,
    who: str,
    key: str,
) -> Drawing:
    """Shares (line, token) as an image, the lines downwards as on the map."""
    fig = svg.figure(CHART[0], 230)
    axes = fig.add_axes((0.2, 0.2, 0.77, 0.76))
    axes.imshow(values, cmap=SEQUENTIAL, norm=scale, aspect="auto", interpolation="none")
    for axis, (coordinate, letters) in ((axes.xaxis, read), (axes.yaxis, own)):
        ticks = np.unique(np.linspace(0, len(coordinate) - 1, min(5, len(coordinate))).round().astype(int))
        axis.set_ticks(ticks, [degrees(round(float(coordinate[i]), 1), letters) for i in ticks])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.tick_params(length=2, labelsize=9.5)
    line, token = np.unravel_index(int(np.argmax(values)), values.shape)
    most = degrees(round(float(read[0][token]), 1), read[1])
    alike = number(1 / values.shape[1], 3)
    words = (
        f"{who}: shares of attention from {number(float(values.min()), 3)} to {number(float(values.max()), 3)}, most "
        f"at {degrees(round(float(own[0][line]), 1), own[1])} for {most}; reading all alike would be {alike}"
    )
    return svg.draw(fig, words, key)


def _excitation(model: ModelResult, seen: xr.Dataset) -> list[Group]:
    if "excitation_mean" not in seen:
        return []
    mean, spread = (seen[f"excitation_{part}"].values.astype(float) for part in ("mean", "spread"))
    order = np.argsort(-mean, kind="stable")
    fig = svg.figure(CHART[0], 180)
    axes = fig.add_axes((0.12, 0.22, 0.85, 0.74))
    axes.bar(range(len(mean)), mean[order], width=0.85, color=ACCENT, alpha=0.75)
    axes.vlines(
        range(len(mean)), (mean - spread)[order], (mean + spread)[order], color=OKABE_ITO[5], linewidth=1
    )
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.7, len(mean) - 0.3)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(mean)} channels of the bottleneck, by factor")
    axes.set_ylabel("factor")
    axes.grid(True, axis="y", color=FAINT)
    axes.set_axisbelow(True)
    words = (
        f"{model.title}, squeeze-and-excitation factors of {len(mean)} channels, from {number(mean.min(), 2)} to "
        f"{number(mean.max(), 2)}; standard deviation over days up to {number(spread.max(), 3)}"
    )
    return [
        Group(
            (Panel(svg.draw(fig, words, f"{model.label}-se"), "factor by channel"),), "Squeeze-and-excitation"
        )
    ]


def _map(
    values: np.ndarray, fields: Fields, scale: Normalize, words: str, key: str, width: float = MAP_WIDTH
) -> Drawing:
    """Values (latitude, longitude) on the map of the domain."""
    domain = Domain.of(fields.latitude, fields.longitude)
    fig = svg.figure(width, domain.height(width))
    axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    latitude, longitude, coarse = domain.coarse(values)
    axes.pcolormesh(
        longitude, latitude, coarse, cmap=SEQUENTIAL, norm=scale, rasterized=True, shading="nearest"
    )
    ground(axes, domain, width)
    return svg.draw(fig, words, key)


def _bar(scale: Normalize, label: str, key: str) -> Drawing:
    fig = svg.figure(320, 46)
    axes = fig.add_axes((0.05, 0.72, 0.9, 0.24))
    bar = fig.colorbar(ScalarMappable(scale, SEQUENTIAL), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    bar.solids.set_rasterized(True)  # type: ignore[union-attr]
    axes.tick_params(length=2, labelsize=9.5)
    axes.set_xlabel(label, fontsize=9.5, labelpad=1)
    return svg.draw(fig, f"Colour scale of the {label}, from {scale.vmin:.3g} to {scale.vmax:.3g}", key)
