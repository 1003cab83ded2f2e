"""The passes in Triton against the plain path: on a GPU, or on the CPU by Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

GPU = torch.cuda.is_available()
pytest.importorskip("triton", reason="Triton is not installed")

from models.layers import build, gpu, paths, sequence
from models.layers.faconvlstm import FAConvLSTM, FAConvLSTMState
from tests.models.conftest import shake
from tests.models.test_sequence import SETTINGS, C, F, results

DEVICE = "cuda" if GPU else "cpu"
HEIGHT, WIDTH = 9, 10


@pytest.fixture(autouse=True)
def _passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything by the passes, wherever they run."""
    if not GPU:
        monkeypatch.setattr(gpu, "serves", lambda _: True)


def pair(hidden_channels: int = F, **options: Any) -> tuple[FAConvLSTM, FAConvLSTM]:
    """A layer on the fast path and the same on the plain one, in float64 on the CPU, away from its start."""
    fast = shake(build("faconvlstm", C, hidden_channels, path="fast", **options))
    plain = build("faconvlstm", C, hidden_channels, path="plain", **options)
    plain.load_state_dict(fast.state_dict())
    return fast.to(DEVICE), plain.double()


def fields(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE, requires_grad=True)


def some_state(batch: int, height: int, width: int, steps: int) -> FAConvLSTMState:
    hidden, cell = torch.randn(2, batch, F, height, width, device=DEVICE)
    return FAConvLSTMState(hidden.requires_grad_(), cell.requires_grad_(), steps)


def in_double(x: Tensor, state: FAConvLSTMState | None) -> tuple[Tensor, FAConvLSTMState | None]:
    def double(part: Tensor) -> Tensor:
        return part.detach().double().cpu().requires_grad_()

    if state is None:
        return double(x), None
    return double(x), FAConvLSTMState(double(state.hidden), double(state.cell), state.steps)


def assert_near(options: dict[str, Any], x: Tensor, state: FAConvLSTMState | None) -> None:
    compare(*pair(**options), x, state)


def compare(fast: FAConvLSTM, plain: FAConvLSTM, x: Tensor, state: FAConvLSTMState | None) -> None:
    for ours, theirs in zip(results(fast, x, state), results(plain, *in_double(x, state)), strict=True):
        torch.testing.assert_close(ours.double().cpu(), theirs, atol=2e-4, rtol=2e-4, check_dtype=False)


# The interpreter is slow, and more than twice as slow where lines are counted: one test sees to these.
uncounted = pytest.mark.no_cover
# Without a GPU the others would take long.
INTERPRETED = ("default", "exact", "nothing", "no bottleneck", "holes", "cylinder", "circular")
# The interpreter cannot multiply matrices of bfloat16.
LOW = (torch.float16, torch.bfloat16) if GPU else (torch.float16,)


@pytest.mark.parametrize("name", SETTINGS if GPU else INTERPRETED)
def test_numbers_and_derivatives_are_those_of_the_plain_path(name: str):
    assert_near(SETTINGS[name], fields(2, 3, C, HEIGHT, WIDTH), some_state(2, HEIGHT, WIDTH, steps=1))


@uncounted
@pytest.mark.parametrize("shape", [(1, 1, 9, 10), (1, 4, 1, 1), (2, 4, 1, 7), (3, 2, 13, 2)])
def test_any_batch_length_and_grid(shape: tuple[int, ...]):
    batch, length, height, width = shape
    assert_near({"attention_tokens": 3, "attention_every": 2}, fields(batch, length, C, height, width), None)


@uncounted
def test_blocks_smaller_than_the_map_and_its_channels(monkeypatch: pytest.MonkeyPatch):
    for name, block in (("PIXELS", 16), ("CELL", (16, 16)), ("CELL_PROGRAMS", 8)):
        monkeypatch.setattr(gpu, name, block)
    monkeypatch.setattr(gpu, "TAP_PIXELS", 16)
    monkeypatch.setattr(gpu, "TAP_PROGRAMS", 2)
    fast, plain = pair(hidden_channels=40, attention_every=2)
    compare(fast, plain, fields(2, 2, C, 5, 7), None)


@uncounted
@pytest.mark.parametrize("dtype", LOW)
def test_autocast_gives_nearly_the_same(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    """Errors are those of the type, and cells stay float32."""
    monkeypatch.setattr(sequence, "map_type", lambda _: dtype)
    fast, plain = pair(hidden_channels=16, attention_every=2)
    x = fields(2, 4, C, HEIGHT, WIDTH)
    found, expected = results(fast, x, None), results(plain, *in_double(x, None))
    assert [part.dtype for part in found[:3]] == [dtype, dtype, torch.float32]
    for ours, theirs in zip(found, expected, strict=True):
        error = (ours.double().cpu() - theirs).norm() / theirs.norm().clamp(min=1e-3)
        assert error < 20 * torch.finfo(dtype).eps, error


@uncounted
def test_two_runs_give_the_same_bits():
    fast, _ = pair(attention_every=2)
    x = fields(2, 3, C, HEIGHT, WIDTH)
    for first, second in zip(results(fast, x, None), results(fast, x, None), strict=True):
        assert torch.equal(first, second)


def test_what_needs_no_derivative_keeps_nothing_and_gives_the_same():
    fast, _ = pair(attention_every=2)
    x = fields(1, 5, C, HEIGHT, WIDTH)
    with torch.no_grad():
        quick, state = fast(x)
    hidden, after = fast(x)
    assert torch.equal(quick, hidden.detach())
    assert torch.equal(state.cell, after.cell.detach())


@pytest.mark.skipif(GPU, reason="Triton compiles here")
def test_what_stands_in_the_way_is_told(monkeypatch: pytest.MonkeyPatch):
    gpu.obstacle.cache_clear()
    assert "Triton cannot compile here" in str(gpu.obstacle())  # there is no GPU
    gpu.obstacle.cache_clear()


@pytest.mark.skipif(not GPU, reason="no GPU here")
def test_layers_on_a_gpu_take_the_passes():
    layer, x = FAConvLSTM(C, F).cuda(), fields(2, 3, C, HEIGHT, WIDTH)
    assert paths.obstacle(layer, x, None) is None
    assert "at most 32 bits" in str(paths.obstacle(layer.double(), x.double(), None))


TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", torch.int8: "*i8"}
SHARED = 99 * 1024  # bytes that a program has at most on the smallest of the GPUs served


def launches(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, channels: int, **options: Any) -> list[Any]:
    """Return name, arguments and constants of all passes of a training step, none of them started."""
    found: dict[str, Any] = {}

    def record(launch: gpu.Launch, *arguments: Tensor | int) -> None:
        names = [name for name in launch.kernel.arg_names if name not in launch.constants]
        told = {
            name: value if isinstance(value, int) else TYPES[value.dtype]
            for name, value in zip(names, arguments, strict=True)
        }
        whole = [launch.kernel.__name__, told, launch.constants]
        found[json.dumps(whole)] = whole

    monkeypatch.setattr(gpu.Launch, "__call__", record)
    monkeypatch.setattr(sequence, "map_type", lambda _: dtype)
    layer = build("faconvlstm", C, channels, path="fast", attention_every=2, **options)
    hidden, _ = layer(torch.randn(2, 2, C, 41, 41, requires_grad=True))
    hidden.float().sum().backward()
    return list(found.values())


@pytest.mark.skipif(GPU, reason="the others compile them")
@pytest.mark.parametrize(
    ("capability", "dtype", "channels", "ratio"),
    [
        (80, torch.bfloat16, 128, 4),
        (90, torch.bfloat16, 128, 4),
        (86, torch.bfloat16, 64, 1),
        (80, torch.float32, 64, 4),
    ],
)
def test_passes_compile_for_gpus_that_are_not_here(
    capability: int, dtype: torch.dtype, channels: int, ratio: int, monkeypatch: pytest.MonkeyPatch
):
    """The interpreter takes what a compiler would not; and registers and shared memory have an end."""
    given = json.dumps(launches(monkeypatch, dtype, channels, bottleneck_ratio=ratio))
    command = [sys.executable, "-m", "tests.models.compile_passes", str(capability)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    for name, shared, spilled in json.loads(done.stdout):
        assert shared <= SHARED, name
        assert spilled == 0 or dtype is torch.float32, name
