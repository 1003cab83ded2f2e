"""FAConvLSTM against the fastest ConvLSTM: time forward, time of a training step, memory, growth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import torch

from tests.benchmarks import peak
from tests.benchmarks.contestants import Setting, convlstms, faconvlstm
from tests.benchmarks.timing import fastest, interleave, ratio

MAIN = Setting(41, 41, 64)
QUICK = [
    MAIN,
    Setting(41, 41, 64, threads=2),
    Setting(41, 41, 32),
    Setting(41, 41, 128),
    Setting(21, 24, 32),
    Setting(21, 24, 64),
]
FULL = [
    Setting(*grid, channels, threads)
    for grid in ((41, 41), (21, 24), (121, 240))
    for channels in (32, 64, 128)
    for threads in (1, 2)
]
GROWTH = {
    "length": [MAIN._replace(length=length) for length in (6, 12, 24)],
    "pixels": [MAIN._replace(height=side, width=side) for side in (21, 41, 82)],
    "channels": [MAIN._replace(hidden_channels=channels) for channels in (32, 64, 128)],
}
Figure = tuple[str, dict[str, Any]]


def figures(full: bool, only: str = "") -> Iterator[Figure]:
    """Measure the figures that begin with `only`; those of the main setting have no setting in their name."""
    for setting in FULL if full else QUICK:
        suffix = "" if setting == MAIN else f".{setting.label()}"
        for step in ("forward", "train_step"):
            name = f"faconvlstm.{step}.speedup{suffix}"
            if name.startswith(only):
                yield name, _speed(setting, step)
        name = f"faconvlstm.train_step.memory{suffix}"
        if name.startswith(only) and peak.available() and (full or setting == MAIN):
            yield name, _memory(setting)
    for axis in GROWTH:
        for name in ("faconvlstm", "convlstm"):
            if f"{name}.growth.{axis}".startswith(only):
                yield f"{name}.growth.{axis}", _growth(name, axis)


def multiply_adds(name: str, setting: Setting) -> float:
    """Return the multiply-adds of the forward pass, by formula: projections, mixing, gates, attention."""
    c, f = setting.in_channels, setting.hidden_channels
    steps = setting.batch * setting.length * setting.height * setting.width
    if name != "faconvlstm":
        return steps * 9 * (c + f) * 4 * f
    inner = max(4, f // 4)
    tokens = min(16, setting.height)
    # An axis: q, k and v; means over tokens; products with keys and values; the way back.
    axis = f * 3 * inner + 2 * inner * tokens + 2 * inner * tokens + inner * f
    return steps * (c * inner + f * inner + 27 * inner + 4 * inner * f + 2 * axis / 4)


def _speed(setting: Setting, step: str) -> dict[str, Any]:
    torch.set_num_threads(setting.threads)
    contestants = {"faconvlstm": faconvlstm(setting)}
    contestants |= {name: make() for name, make in convlstms(setting).items()}
    runs = {name: getattr(contestant, step) for name, contestant in contestants.items()}
    seconds = interleave(runs, rounds=7 if setting.height < 100 else 3)
    mine = seconds.pop("faconvlstm")
    best = fastest(seconds)
    return {**ratio(seconds[best], mine), **_context(best, setting, mine, seconds)}


def _context(
    best: str, setting: Setting, mine: list[float], theirs: dict[str, list[float]]
) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in {"faconvlstm": mine, **theirs}.items()}
    return {
        "unit": "times as fast",
        "against": best,
        "setting": setting._asdict(),
        "seconds": {name: round(value, 5) for name, value in medians.items()},
    }


def _memory(setting: Setting) -> dict[str, Any]:
    rounds = 3
    names = [name for name in convlstms(setting) if name != "keras"]
    taken = {
        name: sorted(peak.measure(name, setting) for _ in range(rounds)) for name in ("faconvlstm", *names)
    }
    mine = taken.pop("faconvlstm")
    best = fastest(taken)
    # A share, so the smaller the better: ours over the most frugal ConvLSTM's.
    return {
        **ratio(mine, taken[best]),
        "unit": "share of the memory",
        "against": best,
        "setting": setting._asdict(),
        "megabytes": {
            name: round(values[1] / 2**20, 1) for name, values in {"faconvlstm": mine, **taken}.items()
        },
    }


def _growth(name: str, axis: str) -> dict[str, Any]:
    """Fit time = a n^b of a training step; the ratio is the exponent b."""
    torch.set_num_threads(1)
    settings = GROWTH[axis]
    sizes = [_size(axis, setting) for setting in settings]
    layers = [faconvlstm(s) if name == "faconvlstm" else convlstms(s)["convlstm"]() for s in settings]
    seconds = interleave({str(k): layer.train_step for k, layer in enumerate(layers)}, rounds=3)
    exponents = [_exponent(sizes, list(values)) for values in zip(*seconds.values(), strict=True)]
    medians = [statistics.median(values) for values in seconds.values()]
    work = [multiply_adds(name, setting) for setting in settings]
    return {
        "ratio": round(statistics.median(exponents), 3),
        "low": round(min(exponents), 3),
        "high": round(max(exponents), 3),
        "rounds": len(exponents),
        "unit": f"exponent of the time of a training step in {axis}",
        "against": f"multiply-adds: {_exponent(sizes, work):.3f}",
        "setting": {"sizes": sizes, **MAIN._asdict()},
        "seconds": [round(value, 5) for value in medians],
        "multiply_adds": work,
        # A training step counts three times the forward pass.
        "share_of_floor": [round(3 * w / s / peak_rate(), 4) for w, s in zip(work, medians, strict=True)],
    }


def _size(axis: str, setting: Setting) -> int:
    return {
        "length": setting.length,
        "pixels": setting.height * setting.width,
        "channels": setting.hidden_channels,
    }[axis]


def _exponent(sizes: list[int], values: list[float]) -> float:
    """Return the least-squares slope of log(value) over log(size)."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return statistics.linear_regression(x, y).slope


def peak_rate() -> float:
    """Return the multiply-adds a second of a dense convolution, the fastest thing here: the floor."""
    if not _RATE:
        x, kernel = torch.ones(4, 64, 41, 41), torch.ones(256, 64, 3, 3)
        seconds = interleave({"convolution": lambda: torch.conv2d(x, kernel, padding=1)}, 7)["convolution"]
        _RATE.append(4 * 41 * 41 * 64 * 256 * 9 / statistics.median(seconds))
    return _RATE[0]


_RATE: list[float] = []
