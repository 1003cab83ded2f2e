"""PredRNN against numbers worked by hand, its zigzag memory, its decoupling loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import ModelError
from models.layers import build
from models.layers.predrnn import STLSTMCell, likeness
from models.training import AutoencoderModule
from tests.models.conftest import batch, build_small, count, shake, shipped_config

GOLDEN_C = [0.3807970780, 0.6591820486, 0.8626977694]
GOLDEN_M = [0.2310585786, 0.3999759347, 0.5234644169]
GOLDEN_H = [0.2727160121, 0.3926706894, 0.4411618336]


@pytest.mark.parametrize(
    ("channels", "width", "kernel", "expected"), [(4, 8, 3, 7328), (16, 128, 5, 4_077_568)]
)
def test_parameters_of_a_cell(channels: int, width: int, kernel: int, expected: int):
    assert count(STLSTMCell(channels, width, kernel, "zeros")) == expected


@pytest.mark.parametrize(
    ("patch", "weight", "expected"), [(4, 0, 23_838_720), (2, 0, 23_568_384), (4, 0.1, 23_855_104)]
)
def test_parameters_of_the_published_models(patch: int, weight: float, expected: int):
    with torch.device("meta"):
        layer = build("predrnn", 1, 1, width=128, patch=patch, layers=4, decoupling_weight=weight)
    assert count(layer) == expected


def test_constant_gates():
    """All convolutions give 0, but g = 1, g' = 0.5, and the last 1 x 1 adds C and M."""
    cell = STLSTMCell(1, 1, 1, "zeros").double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.to_hidden.weight.fill_(1)
    projected = torch.zeros(1, 7, 1, 1, dtype=torch.float64)
    projected[0, 2], projected[0, 5] = 1, 0.5
    hidden = c = m = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for expected in zip(GOLDEN_H, GOLDEN_C, GOLDEN_M, strict=True):
        hidden, c, m, _, _ = cell(projected, hidden, c, m)
        assert [hidden.item(), c.item(), m.item()] == pytest.approx(expected, abs=1e-9)


def test_gates_read_what_they_should():
    """Which of X, H, C and M each of H, C and M moves with, through one gate at a time."""
    cell = shake(STLSTMCell(2, 2, 1, "zeros").double())
    x, hidden, c, m = (torch.randn(1, n, 1, 1, dtype=torch.float64) for n in (14, 2, 2, 2))
    before = cell(x, hidden, c, m)[:3]

    def moved(*changed: Tensor) -> list[bool]:
        return [not torch.equal(a, b) for a, b in zip(before, cell(*changed)[:3], strict=True)]

    assert moved(x, hidden + 1, c, m) == [True, True, False]
    assert moved(x, hidden, c + 1, m) == [True, True, False]
    assert moved(x, hidden, c, m + 1) == [True, False, True]


def test_memory_goes_in_zigzag():
    """The lowest layer reads the memory that the highest left, the cells stay in their layers."""
    layer = build("predrnn", 1, 1, width=2, patch=1, layers=2, kernel_size=1)
    seen: list[tuple[Tensor, ...]] = []
    for cell in layer.cells:
        cell.register_forward_hook(lambda _, given, result: seen.append((*given[1:], *result[:3])))
    _, state = layer(torch.randn(1, 2, 1, 3, 3))
    for earlier, later in ((0, 1), (1, 2), (2, 3)):
        assert seen[later][2] is seen[earlier][5]  # M: bottom, top, bottom, top
    assert seen[2][1] is seen[0][4]
    assert seen[3][1] is seen[1][4]
    assert state.memory is seen[3][5]
    assert [state.cell[0], state.cell[1]] == [seen[2][4], seen[3][4]]


def test_hidden_maps_of_the_cells_are_bounded():
    _, state = shake(build("predrnn", 2, 4, width=6, patch=2), 1.0)(10 * torch.randn(2, 8, 2, 5, 6))
    assert all(hidden.abs().max() < 1 for hidden in state.hidden)


def test_likeness_is_the_cosine_over_the_map():
    a = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]]])
    b = torch.tensor([[[[0.0, 2.0]], [[-3.0, 0.0]]]])
    assert likeness(a, b).tolist() == pytest.approx([(0 + 0.5**0.5) / 2])
    assert likeness(a, -5 * a).tolist() == pytest.approx([1])


def test_decoupling_is_the_mean_over_layers_and_steps():
    layer = shake(build("predrnn", 1, 1, width=3, patch=1, layers=2, kernel_size=1, decoupling_weight=0.5))
    news: list[tuple[Tensor, Tensor]] = []
    for cell in layer.cells:
        cell.register_forward_hook(lambda *call: news.append(call[-1][3:]))
    _, state = layer(torch.randn(2, 3, 1, 4, 4))
    assert len(news) == 6
    terms = [likeness(layer.adapter(c), layer.adapter(m)).mean() for c, m in news]
    torch.testing.assert_close(layer.penalty(state), 0.5 * torch.stack(terms).mean())


def test_decoupling_is_part_of_the_loss_and_trains_the_adapter():
    options = shipped_config("predrnn")["layer"]
    model = shake(build_small("predrnn", layer={**options, "width": 4, "decoupling_weight": 0.3}))
    data = batch()
    module = AutoencoderModule(model, learning_rate=1e-2, weight_decay=0, epochs=1, laplacian_weight=0)
    parts, penalty = module.losses(data), model(data["x"], data["season"]).penalty
    assert penalty.item() > 0
    torch.testing.assert_close(parts["loss"], parts["reconstruction"] + penalty)
    parts["loss"].backward()
    assert model.layer.adapter.weight.grad.abs().sum() > 0
    model.layer.decoupling_weight = 0.0
    torch.testing.assert_close(module.losses(data)["loss"], parts["reconstruction"])


def test_without_decoupling_there_is_no_penalty():
    layer = build("predrnn", 1, 1, width=3, depth=2)
    assert layer.penalty(layer(torch.randn(1, 2, 1, 4, 4))[1]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be a whole number of at least 1"),
        ({"width": 1.5}, "width must be a whole number of at least 1"),
        ({"patch": 5}, "patch must be a power of two"),
        ({"kernel_size": 4}, "kernel_size must be an odd whole number"),
        ({"decoupling_weight": -1}, "decoupling_weight must be a number of at least 0"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build("predrnn", 2, 4, **options)
