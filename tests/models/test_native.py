"""The compiled passes: where they come from, and that without them everything is the same."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import ModelError
from models.layers import build, fused, native
from tests.models.conftest import shake

ROOT = Path(__file__).parents[2]
DTYPE = torch.float32


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A process that has loaded nothing yet, with an empty cache; skipped where nothing can be compiled."""
    if native.passes(DTYPE, 1) is None:
        pytest.skip("there are no compiled passes here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native._load.cache_clear()
    yield tmp_path / "faconvlstm"
    native._load.cache_clear()


def compiler(folder: Path, script: str) -> Path:
    """Write a compiler that is a shell script."""
    path = folder / "cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def layer_and_fields(**options: object) -> tuple[torch.nn.Module, Tensor]:
    return shake(build("faconvlstm", 3, 12, attention_every=2, **options)), torch.randn(2, 5, 3, 9, 10)


def assert_torch_takes_over(caplog: pytest.LogCaptureFixture) -> str:
    """The layer gives the numbers of the plain path, and the log says once why it has no passes."""
    layer, x = layer_and_fields()
    plain = build("faconvlstm", 3, 12, attention_every=2, path="plain")
    plain.load_state_dict(layer.state_dict())
    with caplog.at_level(logging.INFO, logger=native.__name__):
        for _ in range(2):
            torch.testing.assert_close(layer(x)[0], plain(x)[0], atol=1e-5, rtol=1e-5)
    assert native.passes(DTYPE, 1) is None
    assert [record.levelname for record in caplog.records] == ["INFO"]
    return caplog.text


def test_it_is_compiled_once_and_found_again(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    assert native.passes(DTYPE, 1) is not None
    (made,) = fresh.iterdir()
    written = made.stat().st_mtime_ns
    native._load.cache_clear()
    assert native.passes(DTYPE, 1) is not None
    assert [path.stat().st_mtime_ns for path in fresh.iterdir()] == [written]


@pytest.mark.parametrize(("inner", "share"), [(0, 1), (8, 2), (9, 1), (16, 1), (20, 2), (32, 1)])
@pytest.mark.parametrize("channels", [12, 32])
def test_a_bottleneck_that_does_not_fill_long_vectors_gets_shorter_ones(
    inner: int, share: int, channels: int
):
    longest = native.passes(DTYPE, 1)
    if longest is None or longest.vector_bytes != native.LONGEST:
        pytest.skip("this machine has no vectors of 64 bytes")
    found = native.passes(DTYPE, 1, inner, channels)
    assert found is not None
    assert found.vector_bytes == found.lanes * 4 == native.LONGEST // share


def test_without_a_compiler(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler found" in assert_torch_takes_over(caplog)


def test_with_a_compiler_that_fails(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    broken = 'if [ "$1" = --version ]; then echo 1; else echo "no such flag" >&2; exit 1; fi'
    monkeypatch.setenv("CC", str(compiler(tmp_path, broken)))
    assert "no such flag" in assert_torch_takes_over(caplog)
    assert list(fresh.iterdir()) == []


def test_with_a_compiler_that_writes_nonsense(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    nonsense = 'if [ "$1" = --version ]; then echo 1; else for last; do :; done; echo nonsense > "$last"; fi'
    monkeypatch.setenv("CC", str(compiler(tmp_path, nonsense)))
    assert_torch_takes_over(caplog)


def test_with_a_cache_that_cannot_be_written(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    (tmp_path / "file").write_text("")  # a folder without permissions would not stop root
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert_torch_takes_over(caplog)


def test_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.SWITCH, "0")
    assert native.passes(DTYPE, 1) is None


def test_two_processes_at_once(fresh: Path, tmp_path: Path):
    code = (
        "import torch\nfrom models.layers import native\nassert native.passes(torch.float32, 1) is not None\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=tmp_path) for _ in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len(list(fresh.iterdir())) == 1


def test_the_structures_are_those_of_the_header():
    """Every field of passes.h is 8 bytes: an int64_t or a pointer."""
    sequence = native._structure("Sequence")
    names = [name for name, _ in sequence._fields_]
    assert names[:3] == ["batch", "length", "kept"]
    assert names[-1] == "d_mean"
    assert sequence.first_hidden.size == 8


def passes_or_skip() -> native.Passes:
    passes = native.passes(DTYPE, torch.get_num_threads())
    if passes is None:
        pytest.skip("there are no compiled passes here")
    return passes


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(value: float):
    """As with torch's operations: no value that says nothing may come out as one that does."""
    passes_or_skip()
    layer, x = layer_and_fields()
    x[0, 1, 2, 4, 5] = value
    x.requires_grad_()
    hidden, _ = layer(x)
    assert torch.isfinite(hidden[0, 0]).all()
    assert torch.isfinite(hidden[1]).all()
    assert not torch.isfinite(hidden[0, 1:]).flatten(1).all(1).any()
    hidden.sum().backward()
    assert not torch.isfinite(layer.gates.to_gates.weight.grad).all()


def test_auto_takes_them(monkeypatch: pytest.MonkeyPatch):
    passes_or_skip()
    taken: list[str] = []
    for loop in (fused.Forward, fused.Backward):
        run = loop.run
        monkeypatch.setattr(
            loop,
            "run",
            lambda self, *given, run=run: (taken.append(type(self).__name__), run(self, *given))[1],
        )
    layer, x = layer_and_fields()
    layer(x)[0].sum().backward()
    assert taken == ["Forward", "Backward"]


def test_a_grid_too_narrow_to_go_round_is_refused():
    passes_or_skip()
    layer, _ = layer_and_fields(pad_mode="cylinder")
    with pytest.raises(ModelError, match="the grid has 3"):
        layer(torch.randn(1, 2, 3, 9, 3))


def run(threads: int, layer: torch.nn.Module, x: Tensor) -> list[Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        hidden, state = layer(x)
        return [hidden, state.cell, *torch.autograd.grad(hidden.square().sum(), [x, *layer.parameters()])]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_runs_give_the_same_bits(threads: int):
    passes_or_skip()
    layer, x = layer_and_fields()
    x = torch.randn(3, 5, 3, 9, 20, requires_grad=True)
    first, second = (run(threads, layer, x) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for ours, alone in zip(first, run(1, layer, x), strict=True):
        torch.testing.assert_close(ours, alone, atol=1e-3, rtol=1e-4)


def test_threads_share_the_work(monkeypatch: pytest.MonkeyPatch):
    """With more parts than images and than pixels of a block, with fewer, and with whole images for each."""
    passes_or_skip()
    team = native.team
    monkeypatch.setattr(native, "team", lambda *work: {**team(*work), "threads": 5})
    layer, _ = layer_and_fields()
    layer.double()
    for shape in ((1, 5, 3, 2, 3), (2, 5, 3, 11, 7), (7, 2, 3, 1, 1), (10, 4, 3, 5, 6)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        five = run(2, layer, x)
        with monkeypatch.context() as context:
            context.setenv(native.SWITCH, "0")
            plain = run(1, layer, x)
        for ours, theirs in zip(five, plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("channels", [1, 5, 12, 20, 32, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_channels(channels: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    passes_or_skip()
    layer = shake(build("faconvlstm", 3, channels, attention_every=2, attention_tokens=3), 0.1).to(dtype)
    x = torch.randn(2, 4, 3, 7, 8, dtype=dtype, requires_grad=True)
    ours = run(1, layer, x)
    monkeypatch.setenv(native.SWITCH, "0")
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for mine, theirs in zip(ours, run(1, layer, x), strict=True):
        assert (mine - theirs).abs().max() <= tolerance * theirs.abs().max().clamp(min=1e-2)


def test_every_thread_keeps_to_its_own_room(monkeypatch: pytest.MonkeyPatch):
    """Also where tokens, width and pixels of a line fill vectors badly and a line takes more than all else."""
    passes_or_skip()
    layer = shake(build("faconvlstm", 3, 16, attention="exact", attention_every=1), 0.1).double()
    x = torch.randn(4, 3, 3, 5, 41, dtype=torch.float64, requires_grad=True)
    ours = run(2, layer, x)
    monkeypatch.setenv(native.SWITCH, "0")
    for mine, theirs in zip(ours, run(1, layer, x), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["faconvlstm", "faminconv"])
def test_parameters_in_any_layout(name: str):
    passes_or_skip()
    layer = shake(build(name, 3, 12, attention_every=2))
    x = torch.randn(2, 4, 3, 7, 8, requires_grad=True)

    def found() -> list[Tensor]:
        hidden, _ = layer(x)
        return [hidden, *torch.autograd.grad(hidden.square().sum(), [x, *layer.parameters()])]

    before = found()
    for parameter in layer.parameters():
        parameter.data = torch.stack([parameter.data] * 2, dim=-1)[..., 0]
    assert all(torch.equal(a, b) for a, b in zip(before, found(), strict=True))


@pytest.mark.parametrize("last", [True, False])
def test_fields_and_derivatives_in_any_layout(last: bool):
    """Channels last, first, or cut out of something larger."""
    passes_or_skip()
    layer, x = layer_and_fields()
    like = x.movedim(2, -1).contiguous().movedim(-1, 2) if last else torch.stack([x, x], -1)[..., 0]
    weight = torch.randn(2, 5, 12, 9, 10)
    found = []
    for fields, by in ((x, weight), (like, weight.movedim(2, -1).contiguous().movedim(-1, 2))):
        fields = fields.detach().requires_grad_()
        found.append(torch.autograd.grad(layer(fields)[0], fields, by)[0])
    assert torch.equal(*found)


def test_a_thread_that_always_comes_late_is_not_waited_for(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    """As where another process holds a core; the numbers are those of threads that are in time."""
    pool = native.pool()
    if pool.parallel is None:
        pytest.skip("there are no compiled passes for several threads here")
    layer = shake(build("faconvlstm", 3, 12, attention_every=2))
    x = torch.randn(3, 60, 3, 24, 24)  # three images for two threads, which meet at every pass
    shared = []

    @ctypes.CFUNCTYPE(
        None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
    )
    def late(work: Callable[[int], None], job: int, threads: int, _: int) -> None:
        work(job)  # alone, and so all parts
        shared.append(threads)
        time.sleep(0.02)

    def run() -> Tensor:
        with torch.no_grad():
            return layer(x)[0]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = run()
        address = ctypes.cast(late, ctypes.c_void_p).value
        monkeypatch.setattr(native, "pool", lambda: pool._replace(parallel=address))
        torch.testing.assert_close(run(), expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)
    assert set(shared) == {2}
    assert len(shared) < 10  # of 240 calls
