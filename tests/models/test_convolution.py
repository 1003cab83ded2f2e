"""The convolution of few channels against torch's, whose derivative it has written out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.layers import convolution, product
from models.layers.convolution import PAD_MODES, PaddedConv2d


def run(layer: PaddedConv2d, x: Tensor) -> Iterator[Tensor]:
    y = layer(x)
    yield y
    yield from torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])


@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_the_written_derivative_is_torchs(pad_mode: str, kernel_size: int, monkeypatch: pytest.MonkeyPatch):
    layer = PaddedConv2d(2, 6, kernel_size, pad_mode=pad_mode).double()
    x = torch.randn(3, 2, 7, 9, dtype=torch.float64, requires_grad=True)
    assert "_Convolution" in layer(x).grad_fn.name()
    mine = list(run(layer, x))
    monkeypatch.setattr(layer, "thin", False)
    assert "_Convolution" not in layer(x).grad_fn.name()
    for one, other in zip(mine, run(layer, x), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_fields_without_a_derivative_cost_none(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("the derivative by the fields is not asked for")

    monkeypatch.setattr(product, "_by_input", refuse)
    layer = PaddedConv2d(2, 6, 3)
    layer(torch.randn(3, 2, 7, 9)).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    ("channels", "options"),
    [(9, {}), (2, {"stride": 2}), (2, {"dilation": 2}), (2, {"groups": 2}), (2, {"bias": False})],
)
def test_it_is_for_plain_convolutions_of_few_channels(
    channels: int, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> Tensor:
        raise AssertionError("torch's own is to be taken")

    monkeypatch.setattr(convolution, "convolution", refuse)
    layer, x = PaddedConv2d(channels, 6, 3, **options), torch.randn(3, channels, 7, 9)
    layer(x)
    plain = PaddedConv2d(2, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain(x[:, :2]).dtype == torch.bfloat16
    with torch.no_grad():
        plain(x[:, :2])
    with pytest.raises(AssertionError, match="torch's own"):
        plain(x[:, :2])
