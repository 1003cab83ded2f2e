"""All encoders side by side: parameters, multiply-adds, time and memory, against length and grid.

`figures` gives the ratios that are kept in bench.json; `python -m tests.benchmarks.encoders` prints each encoder at
each size as it is measured, and writes runs/bench/encoders.json, encoders.md (the table) and encoders.svg. Times are
of one core, by the processor's clock, so that a busy machine disturbs them little. What would take too long or too
much memory, going by the same encoder at a smaller size, is skipped, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.layers import NAMES
from tests.benchmarks import encoder_plot, peak
from tests.benchmarks.contestants import Setting, encoder
from tests.benchmarks.timing import fastest, interleave, ratio

MAIN = Setting(41, 41, 32, batch=2)
LENGTHS = (12, 48, 128)
GRIDS = ((21, 24), (41, 41), (121, 240))
MOST_SECONDS, MOST_MEGABYTES = 60.0, 4096.0  # that an encoder may take at a size
Figure = tuple[str, dict[str, Any]]


def figures(full: bool, only: str = "") -> Iterator[Figure]:
    """Measure the figures that begin with `only`: encoders that are parallel in time against their recurrent kin."""
    pairs = [
        ("minconvgru", ["convgru"], (24, 128)),
        ("faminconv", [n for n in NAMES if n != "faminconv"], (128,)),
    ]
    for name, against, lengths in pairs:
        for length in lengths:
            figure = f"{name}.train_step.speedup.t{length}"
            if figure.startswith(only) and (full or name == "minconvgru"):
                yield figure, speedup(name, against, MAIN._replace(length=length))


def speedup(name: str, against: list[str], setting: Setting, rounds: int = 5) -> dict[str, Any]:
    """Return how many times faster an encoder's training step is than the fastest of others."""
    torch.set_num_threads(setting.threads)
    runs = {other: encoder(other, setting).train_step for other in (name, *against)}
    seconds = interleave(runs, rounds)
    medians = {other: round(statistics.median(values), 5) for other, values in seconds.items()}
    mine = seconds.pop(name)
    best = fastest(seconds)
    return {
        **ratio(seconds[best], mine),
        "unit": "times as fast",
        "against": best,
        "setting": setting._asdict(),
        "seconds": medians,
    }


def row(name: str, setting: Setting, rounds: int) -> dict[str, Any]:
    """Return what an encoder costs at a setting; the operations are those that torch counts."""
    torch.set_num_threads(setting.threads)
    contestant = encoder(name, setting)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        contestant.run(contestant.x.detach())
    steps = {"forward": contestant.forward, "train_step": contestant.train_step}
    seconds = interleave(steps, rounds, time.process_time)
    found = {
        **_which(name, setting),
        "parameters": sum(p.numel() for p in contestant.module.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
        **{f"{step}_seconds": round(statistics.median(taken), 5) for step, taken in seconds.items()},
    }
    del contestant
    if peak.available():
        found["megabytes"] = round(peak.measure(name, setting) / 2**20, 1)
    return found


def _which(name: str, setting: Setting) -> dict[str, Any]:
    return {"encoder": name, "length": setting.length, "grid": [setting.height, setting.width]}


def settings() -> list[Setting]:
    """All grids at the shortest length and all lengths on the middle grid, from the smallest to the largest."""
    grids = [MAIN._replace(length=LENGTHS[0], height=h, width=w) for h, w in GRIDS]
    lengths = [MAIN._replace(length=length) for length in LENGTHS[1:]]
    return sorted([*grids, *lengths], key=_size)


def _size(setting: Setting) -> int:
    return setting.length * setting.height * setting.width


def too_much(rows: list[dict[str, Any]], name: str, setting: Setting, rounds: int) -> str | None:
    """Return why an encoder is not measured at a setting, judged by its largest row so far; None where it is."""
    mine = [found for found in rows if found["encoder"] == name and "skipped" not in found]
    if not mine:
        return None
    last = mine[-1]
    times = _size(setting) / (last["length"] * math.prod(last["grid"]))
    step, seconds = last["train_step_seconds"], last["train_step_seconds"] + last["forward_seconds"]
    if (rounds + 1) * seconds * times > MOST_SECONDS:
        return f"a training step would take about {step * times:.0f} s"
    if last.get("megabytes", 0) * times > MOST_MEGABYTES:
        return f"a training step would take about {last['megabytes'] * times / 1024:.0f} GB"
    return None


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table: an encoder a row, a size a group of columns."""
    sizes = list(dict.fromkeys((found["length"], tuple(found["grid"])) for found in rows))
    heads = [f"T {length}, {height} x {width}" for length, (height, width) in sizes]
    lines = ["| | parameters | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 2) + "|"]
    for name in dict.fromkeys(found["encoder"] for found in rows):
        mine = {(f["length"], tuple(f["grid"])): f for f in rows if f["encoder"] == name}
        cells = [_cell(mine.get(size)) for size in sizes]
        count = next((f"{f['parameters']:,}" for f in mine.values() if "parameters" in f), "")
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if "skipped" in found:
        return found["skipped"].replace("a training step would take about ", "skipped, ~")
    parts = [f"{found['multiply_adds'] / 1e9:.2g} G", f"{found['forward_seconds']:.2g} s"]
    parts.append(f"{found['train_step_seconds']:.2g} s")
    if "megabytes" in found:
        parts.append(f"{found['megabytes']:.0f} MB")
    return " / ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encoders", description=__doc__)
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=NAMES, help="encoders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for setting in settings():
        for name in options.names:
            why = too_much(rows, name, setting, options.rounds)
            found = row(name, setting, options.rounds) if why is None else _which(name, setting)
            rows.append(found | ({} if why is None else {"skipped": why}))
            sys.stdout.write(" ".join(f"{key} {value}" for key, value in rows[-1].items()) + "\n")
            sys.stdout.flush()
            (options.folder / "encoders.json").write_text(json.dumps(rows, indent=1) + "\n")
            (options.folder / "encoders.md").write_text(table(rows))
    measured = [found for found in rows if "skipped" not in found]
    (options.folder / "encoders.svg").write_text(encoder_plot.draw(measured))
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
