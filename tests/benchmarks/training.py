"""What the settings of the trainer are worth: `python -m tests.benchmarks.training [model] [rounds]`.

Steps of the optimiser on azores2021's grid (41 x 41, 7 variables, 8 windows of 12), each setting against none of
them, side by side in every round, on one thread; and the peak memory of a step in a process of its own. Prints
ratios: above 1 is slower, or more memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import torch

from models.autoencoder import build_autoencoder
from models.cost import resident_rise
from models.training import AutoencoderModule
from pipeline import config
from tests.benchmarks.timing import interleave, ratio

GRID, VARIABLES, LENGTH, BATCH = (41, 41), 7, 12, 8
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "accumulate=2": {"accumulate": 2},
    "accumulate=4": {"accumulate": 4},
    "precision=bf16-mixed": {"bf16": True},
    "precision=64": {"double": True},
    "compile=true": {"compiled": True},
}


def module(model: str) -> AutoencoderModule:
    """A model as conf/ has it, for this grid, in single precision."""
    torch.manual_seed(0)
    cfg = _settings(model)
    network = build_autoencoder(
        config.plain(cfg.model),
        in_channels=VARIABLES,
        grid=GRID,
        season_features=8,
        mask=torch.ones(VARIABLES, *GRID, dtype=torch.bool),
        area_weight=torch.ones(GRID[0]),
        cyclic_longitude=False,
    )
    return AutoencoderModule(network, learning_rate=1e-3, weight_decay=0.01, epochs=1, laplacian_weight=0.01)


def batch(part: slice = slice(None), kind: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Some windows of a step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, LENGTH, VARIABLES, *GRID, generator=generator, dtype=kind)
    return {"x": x[part], "season": x[part, :, 0, 0, :8]}


def step(
    model: str, *, accumulate: int = 1, bf16: bool = False, double: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """A step of the optimiser as Lightning takes it under these settings."""
    kind = torch.float64 if double else torch.float32
    trained = module(model).to(kind)
    if compiled:
        trained.autoencoder.compile()
    optimiser = torch.optim.AdamW(trained.parameters(), 1e-3)
    size = BATCH // accumulate
    parts = [batch(slice(first, first + size), kind) for first in range(0, BATCH, size)]

    def take() -> None:
        optimiser.zero_grad()
        for part in parts:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = trained.losses(part)["loss"] / accumulate
            loss.backward()
        optimiser.step()

    return take


def _settings(model: str) -> Any:
    config.register()
    folder = str(Path(__file__).resolve().parents[2] / "conf")
    with hydra.initialize_config_dir(folder, version_base="1.3"):
        return hydra.compose("config", overrides=[f"model={model}", f"window.length={LENGTH}"])


def memory(model: str, name: str) -> int:
    """Bytes by which a step raises the resident set, in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.training", model, "--peak", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _peak(model: str, name: str) -> int:
    torch.set_num_threads(1)
    take = step(model, **SETTINGS[name])
    take()  # so that what a first step alone allocates is there
    return resident_rise(take)


def main(model: str, rounds: int) -> None:
    """Prints a line a setting."""
    torch.set_num_threads(1)
    steps = {name: step(model, **options) for name, options in SETTINGS.items()}
    seconds = interleave(steps, rounds)
    peaks = {name: memory(model, name) for name in SETTINGS}
    for name in SETTINGS:
        found = ratio(seconds[name], seconds["none"])
        sys.stdout.write(
            f"{model} {name}: {json.dumps(found | {'memory': round(peaks[name] / peaks['none'], 2)})}\n"
        )


if __name__ == "__main__":
    words = sys.argv[1:]
    if "--peak" in words:
        sys.stdout.write(f"{_peak(words[0], words[2])}\n")
    else:
        main(words[0] if words else "faconvlstm", int(words[1]) if len(words) > 1 else 7)
