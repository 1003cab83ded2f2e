"""VMRNN: its blocks, its scans and its size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.errors import ModelError
from models.layers import build
from models.layers.vmrnn import SelectiveScan2d, VisionBlock, from_lines, to_lines
from tests.models.conftest import count, shake

OPTIONS = {"state_size": 16, "chunk": 64, "pad_mode": "zeros"}


@pytest.mark.parametrize(("width", "expected"), [(16, 8576), (32, 20736), (64, 55808), (128, 168960)])
def test_parameters_of_the_scans(width: int, expected: int):
    assert count(SelectiveScan2d(width, **OPTIONS)) == expected


@pytest.mark.parametrize(("width", "expected"), [(16, 9136), (32, 22880), (64, 64192), (128, 202112)])
def test_parameters_of_a_block(width: int, expected: int):
    assert count(VisionBlock(width, first=True, **OPTIONS)) == expected
    assert count(VisionBlock(width, first=False, **OPTIONS)) == expected - join(width)


def join(width: int) -> int:
    """Parameters of the map that reads the hidden tokens; the reference has it, unused, in every further block."""
    return 2 * width**2 + width


@pytest.mark.parametrize(
    ("channels", "patch", "blocks", "expected"), [(1, 2, 6, 1_214_721), (2, 4, 12, 2_579_970)]
)
def test_parameters_of_form_b(channels: int, patch: int, blocks: int, expected: int):
    layer = build("vmrnn", channels, channels, width=128, patch=patch, blocks=[blocks])
    assert count(layer) + (blocks - 1) * join(128) == expected


@pytest.mark.parametrize(("blocks", "expected"), [(None, 15_267_201), ([2, 2], 9_674_113)])
def test_parameters_of_form_d(blocks: list[int] | None, expected: int):
    with torch.device("meta"):
        layer = build("vmrnn", 1, 1, form="D", width=128, patch=2, blocks=blocks)
    widths = [128, 256, 512, 256]
    unused = sum((n - 1) * join(d) for d, n in zip(widths, 2 * (blocks or [2, 6]), strict=True))
    patches_of_the_way_up = 4 * 128 + 3 * 128
    assert count(layer) + unused + patches_of_the_way_up == expected


def test_lines_go_along_rows_and_columns_and_back():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    lines = to_lines(x)[:, 0, :, 0].T.tolist()
    rows, columns = [0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]
    assert lines == [rows, columns, rows[::-1], columns[::-1]]


def test_lines_are_put_back_in_place():
    x = torch.randn(2, 3, 4, 5)
    lines = to_lines(x)
    torch.testing.assert_close(from_lines(lines, (4, 5)), 4 * x.movedim(1, -1))
    for k in range(4):
        alone = torch.zeros_like(lines)
        alone[:, :, k] = lines[:, :, k]
        assert torch.equal(from_lines(alone, (4, 5)), x.movedim(1, -1))


def test_rows_and_columns_change_places_with_the_axes_of_the_map():
    """A transposed map, with the weights of rows and columns exchanged, gives the transposed result."""
    one, other = shake(SelectiveScan2d(4, **OPTIONS).double()), SelectiveScan2d(4, **OPTIONS).double()
    other.load_state_dict(one.state_dict())
    exchange = [1, 0, 3, 2]
    with torch.no_grad():
        for name in ("to_parameters", "to_step", "step_bias", "log_decay", "skip"):
            getattr(other, name).copy_(getattr(one, name)[exchange])
        other.convolution.weight.copy_(one.convolution.weight.transpose(2, 3))
    u = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(other(u.transpose(1, 2)), one(u).transpose(1, 2), atol=1e-12, rtol=1e-12)
    assert not torch.allclose(one(u.transpose(1, 2)), one(u).transpose(1, 2))


def test_one_pixel_by_the_equations():
    """On a map of one pixel every scan is y = (delta B x) C + S x."""
    mixing = shake(SelectiveScan2d(2, state_size=3, chunk=4, pad_mode="zeros").double())
    u = torch.randn(1, 1, 1, 2, dtype=torch.float64)
    x, z = (mixing.project_in.weight @ u.flatten()).chunk(2)
    x = functional.silu(mixing.convolution.weight[:, 0, 1, 1] * x + mixing.convolution.bias)
    y = torch.zeros(4, dtype=torch.float64)
    for k in range(4):
        dt, b, c = (mixing.to_parameters[k] @ x).split((1, 3, 3))
        delta = functional.softplus(mixing.to_step[k] @ dt + mixing.step_bias[k])
        y = y + delta * x * (b @ c) + mixing.skip[k] * x
    y = functional.layer_norm(y, (4,), mixing.norm.weight, mixing.norm.bias) * functional.silu(z)
    torch.testing.assert_close(mixing(u).flatten(), mixing.project_out.weight @ y, atol=1e-12, rtol=1e-12)


def test_a_pixel_reaches_the_whole_map():
    mixing = shake(SelectiveScan2d(4, **OPTIONS))
    u = torch.randn(1, 5, 6, 4)
    changed = u.clone()
    changed[0, 2, 3] += 1
    assert ((mixing(u) - mixing(changed)).abs().sum(-1) > 0).all()


def test_start():
    mixing = SelectiveScan2d(32, **OPTIONS)
    steps = functional.softplus(mixing.step_bias)
    assert 1e-3 * 0.999 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 0.1 * 1.001
    torch.testing.assert_close(mixing.log_decay.exp()[2, 7], torch.arange(1.0, 17))
    assert (mixing.skip == 1).all()


def test_the_chunk_changes_nothing_but_memory():
    layers = [build("vmrnn", 2, 4, width=8, patch=1, blocks=[2], chunk=chunk).double() for chunk in (5, 1000)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(1, 3, 2, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(layers[0](x)[0], layers[1](x)[0], atol=1e-12, rtol=1e-12)


def test_only_the_first_block_reads_the_hidden_tokens():
    layer = build("vmrnn", 2, 4, width=8, blocks=[3])
    blocks = layer.down[0].blocks
    assert [isinstance(block.join, nn.Linear) for block in blocks] == [True, False, False]


def test_cost_of_a_token():
    """Products and convolutions alone, as torch counts them; what has a state each is elementwise."""
    width, states = 32, 4
    mixing = SelectiveScan2d(width, state_size=states, chunk=8, pad_mode="zeros")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        mixing(torch.randn(1, 4, 5, width))
    inner, rank = 2 * width, 2
    assert counter.get_total_flops() == 2 * 20 * (6 * width**2 + inner * (9 + 8 * rank + 8 * states))


@pytest.mark.parametrize("option", ["state_size", "chunk"])
def test_mistakes(option: str):
    with pytest.raises(ModelError, match=f"{option} must be a whole number of at least 1, received 0"):
        build("vmrnn", 2, 4, **{option: 0})
