"""The layers with Keras's arguments, and the ways in which others use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.layers import LAYERS, NAMES, options_of
from models.layers.dropin import ConvLSTM2D, FAConvLSTM2D
from tests.models.conftest import shake

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("layer_class", [ConvLSTM2D, FAConvLSTM2D])


def fields(batch: int = 2, length: int = 5) -> Tensor:
    return torch.randn(batch, length, 3, 7, 6, dtype=torch.float64)


def made(layer_class: Any, **options: Any) -> Any:
    return shake(layer_class(3, 8, 3, **options).double())


@BOTH
def test_the_swap_in_a_model(layer_class: Any):
    """A ConvLSTM model takes either layer in the same place."""
    model = nn.Sequential(layer_class(3, 8, kernel_size=3), nn.Conv2d(8, 1, 1)).double()
    out = model(fields())
    assert out.shape == (2, 1, 7, 6)
    out.square().mean().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "attention" not in name)


@BOTH
def test_what_is_returned(layer_class: Any):
    x = fields()
    layer = made(layer_class, return_sequences=True, return_state=True)
    maps, state = layer(x)
    assert maps.shape == (2, 5, 8, 7, 6)
    layer.return_state = False
    assert torch.equal(layer(x), maps)
    layer.return_sequences = False
    assert torch.equal(layer(x), maps[:, -1])
    assert torch.equal(state.hidden, maps[:, -1])


@BOTH
def test_backwards_is_the_flipped_sequence(layer_class: Any):
    layer, x = made(layer_class, return_sequences=True), fields()
    forwards = layer(x.flip(1))
    layer.go_backwards = True
    assert torch.equal(layer(x), forwards)


@BOTH
def test_stateful_carries_on_without_the_derivative(layer_class: Any):
    layer, x = made(layer_class, return_sequences=True), fields(length=6)
    whole = layer(x)
    layer.stateful = True
    parts = torch.cat([layer(x[:, :2]), layer(x[:, 2:])], 1)
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=0)
    layer(x[:, :2]).sum().backward()
    layer.reset_state()
    torch.testing.assert_close(layer(x[:, :2]), whole[:, :2], atol=1e-10, rtol=0)


@BOTH
@pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
def test_dropout_acts_in_training_alone(layer_class: Any, which: str):
    layer, x = made(layer_class, return_sequences=True, **{which: 0.5}), fields()
    training = layer(x), layer(x)
    assert not torch.allclose(*training)
    layer.eval()
    evaluated = layer(x)
    setattr(layer, which, 0.0)
    layer.train()
    torch.testing.assert_close(layer(x), evaluated, atol=1e-12, rtol=0)


def test_recurrent_dropout_leaves_the_first_step():
    layer, x = made(FAConvLSTM2D, return_sequences=True, recurrent_dropout=0.5), fields()
    noisy = layer(x)
    layer.eval()
    torch.testing.assert_close(noisy[:, 0], layer(x)[:, 0], atol=1e-12, rtol=0)
    assert not torch.allclose(noisy[:, 1], layer(x)[:, 1])


def test_dropped_inputs_are_the_same_at_every_step():
    seen: list[Tensor] = []
    layer = made(FAConvLSTM2D, dropout=0.5)
    layer.layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    layer(torch.ones(2, 4, 3, 7, 6, dtype=torch.float64))
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert (seen[0] == seen[0][:, :1]).all()


def test_kernels_and_dilations_make_the_branches():
    def kinds(**options: Any) -> list[tuple[int, int]]:
        branches = FAConvLSTM2D(3, 8, **options).layer.gates.mixing.branches
        return [(branch.kernel_size[0], branch.dilation[0]) for branch in branches]

    assert kinds() == [(3, 1), (3, 2), (3, 4)]
    assert kinds(kernel_size=5, dilation=2) == [(5, 2)]
    assert kinds(kernel_size=(3, 5), dilation=(1, 3)) == [(3, 1), (5, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, received 1.0"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout must be at least 0"),
        ({"stateful": 1}, "stateful must be true or false"),
        ({"kernel_size": (3, 5)}, "must name as many branches"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        FAConvLSTM2D(3, 8, **options)


class Maps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = FAConvLSTM2D(3, 8, return_sequences=True, attention_every=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_torch_compile_gives_the_same():
    model, x = shake(Maps()), fields().float()
    torch.testing.assert_close(torch.compile(model, backend="aot_eager")(x), model(x), atol=1e-5, rtol=1e-5)
    torch.compiler.reset()


def test_torch_export_gives_the_same():
    model, x = shake(Maps()).eval(), fields().float()
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x), atol=1e-5, rtol=1e-5)


def test_autocast_gives_nearly_the_same():
    model, x = shake(Maps()), fields().float()
    model.layer.layer.path = "plain"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(x)
        low.float().sum().backward()
    torch.testing.assert_close(low.float(), model(x), atol=0.1, rtol=0.1)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(dtype: torch.dtype):
    model, x = shake(Maps()), fields().float()
    expected = model(x)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        found = model.cuda()(x.cuda())
    found.float().sum().backward()
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(found.float().cpu(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_torch_hub_loads_every_layer_from_a_folder(name: str):
    options = {"length": 5} if "length" in options_of(name) else {}
    layer = torch.hub.load(str(ROOT), name, source="local", in_channels=3, hidden_channels=8, **options)
    assert isinstance(layer, LAYERS[name])
    assert layer(fields().float())[0].shape == (2, 5, 8, 7, 6)


def test_torch_hub_offers_the_layers_and_nothing_else():
    import hubconf

    offered = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and name[0] != "_"]
    assert sorted(offered) == sorted(NAMES)


def test_the_layers_need_torch_alone():
    """Import them where everything else that the project uses cannot be imported."""
    forbidden = ["lightning", "numpy", "xarray", "pandas", "sklearn", "hydra", "omegaconf", "zarr", "dask"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({forbidden!r}))\n"
        "import torch, models.layers.dropin, models.interpret\n"
        "layer = models.layers.build('faconvlstm', 3, 8)\n"
        "layer(torch.zeros(1, 4, 3, 5, 5))[0].sum().backward()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
