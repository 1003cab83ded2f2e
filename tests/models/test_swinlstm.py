"""SwinLSTM: windows, who sees whom in them, and the size of the published models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.errors import ModelError
from models.layers import build
from models.layers.swinlstm import SwinBlock, WindowAttention, axis, from_windows, to_windows
from tests.models.conftest import count, shake


@pytest.mark.parametrize(("width", "expected"), [(32, 14980), (64, 58436), (128, 231364)])
def test_parameters_of_a_block(width: int, expected: int):
    def block(reads: bool) -> SwinBlock:
        return SwinBlock(width, heads=4, window=4, shifted=False, reads=reads, pad_mode="zeros")

    assert count(block(True)) == expected
    assert count(block(False)) == expected - join(width)


def join(width: int) -> int:
    """Parameters of the map that reads a context; the reference has it, unused, in every odd block."""
    return 2 * width**2 + width


def test_parameters_of_form_d():
    with torch.device("meta"):
        layer = build("swinlstm", 1, 1, form="D", width=128, patch=2)
    unused = sum(n // 2 * join(d) for d, n in zip([128, 256, 512, 256], [2, 6, 2, 6], strict=True))
    patches_of_the_way_up = 4 * 128 + 3 * 128
    assert count(layer) + unused + patches_of_the_way_up == 20_191_969


def test_heads_double_on_the_way_down_and_halve_on_the_way_up():
    layer = build("swinlstm", 1, 1, form="D", width=8, blocks=[1, 1], heads=2)
    cells = [*layer.down, *layer.up]
    assert [cell.blocks[0].attention.heads for cell in cells] == [2, 4, 4, 2]


def test_even_blocks_read_and_odd_ones_are_shifted():
    blocks = build("swinlstm", 1, 1, width=8, blocks=[4], heads=2).down[0].blocks
    assert [block.join is not None for block in blocks] == [True, False, True, False]
    assert [block.attention.shifted for block in blocks] == [False, True, False, True]


def test_windows_are_put_back_in_place():
    x = torch.arange(24.0).view(1, 4, 6, 1)
    windows = to_windows(x, 2, 3)
    assert windows[0, 1, :, 0].tolist() == [3, 4, 5, 9, 10, 11]
    rows, columns = (axis(n, m, shifted=False, circular=False) for n, m in ((4, 2), (6, 3)))
    assert torch.equal(from_windows(windows, rows, columns), x)


def sees(attention: WindowAttention, height: int, width: int, place: tuple[int, int]) -> Tensor:
    """Which tokens change when the one at `place` does."""
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    changed = x.clone()
    changed[0, place[0], place[1]] += 1
    return (attention(x) - attention(changed)).abs().sum(-1)[0] > 1e-12


def attention(shifted: bool, pad_mode: str = "zeros", window: int = 4) -> WindowAttention:
    module = WindowAttention(8, heads=2, window=window, shifted=shifted, pad_mode=pad_mode)
    return shake(module.double())


def block_of(height: int, width: int, rows: list[int], columns: list[int]) -> Tensor:
    expected = torch.zeros(height, width, dtype=torch.bool)
    expected[torch.tensor(rows)[:, None], torch.tensor(columns)] = True
    return expected


def test_a_token_is_seen_in_its_window():
    seen = sees(attention(False), 8, 12, (5, 2))
    assert torch.equal(seen, block_of(8, 12, [4, 5, 6, 7], [0, 1, 2, 3]))


def test_shifted_windows_do_not_go_over_the_border():
    seen = sees(attention(True), 8, 12, (0, 1))
    assert torch.equal(seen, block_of(8, 12, [0, 1], [0, 1]))
    seen = sees(attention(True), 8, 12, (3, 11))
    assert torch.equal(seen, block_of(8, 12, [2, 3, 4, 5], [10, 11]))


def test_shifted_windows_go_round_the_globe():
    seen = sees(attention(True, "cylinder"), 8, 12, (3, 11))
    assert torch.equal(seen, block_of(8, 12, [2, 3, 4, 5], [10, 11, 0, 1]))
    seen = sees(attention(True, "circular"), 8, 12, (0, 11))
    assert torch.equal(seen, block_of(8, 12, [0, 1, 6, 7], [10, 11, 0, 1]))


def test_tokens_of_windows_that_the_map_does_not_fill():
    seen = sees(attention(False), 7, 10, (6, 9))
    assert torch.equal(seen, block_of(7, 10, [4, 5, 6], [8, 9]))
    seen = sees(attention(True), 7, 10, (6, 9))
    assert torch.equal(seen, block_of(7, 10, [6], [6, 7, 8, 9]))


def test_padding_is_invisible():
    """On a map that fills part of a window the result is that of a window of the map's size."""
    module = attention(False, window=5)
    x = torch.randn(1, 3, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x)[:, :, :5], module(x[:, :, :5]), atol=1e-12, rtol=0)
    torch.testing.assert_close(module(x)[:, :, 5:], module(x[:, :, 5:]), atol=1e-12, rtol=0)


def test_the_bias_belongs_to_the_offset():
    module = attention(False, window=3)
    bias = module._bias(2, 3)
    table = module.relative_bias.view(5, 5, 2)
    assert torch.equal(bias[:, 0, 0], table[2, 2])
    assert torch.equal(bias[:, 1, 5], table[1, 1])  # from (0, 1) to (1, 2): one up, one left of it
    assert torch.equal(bias[:, 5, 0], table[3, 4])


def test_one_window_by_the_equations():
    module = attention(False, window=2)
    x = torch.randn(4, 8, dtype=torch.float64)
    query, key, value = module.query_key_value(x).view(4, 3, 2, 4).unbind(1)
    logits = torch.einsum("qhc,khc->hqk", query, key) / 2 + module._bias(2, 2)
    mixed = torch.einsum("hqk,khc->qhc", logits.softmax(-1), value).flatten(1)
    torch.testing.assert_close(
        module(x.view(1, 2, 2, 8)).view(4, 8), module.project(mixed), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide the width of the tokens, received 3 heads for a width of 64"),
        ({"heads": 0}, "heads must be a whole number of at least 1"),
        ({"window": 0}, "window must be a whole number of at least 1"),
    ],
)
def test_mistakes(options: dict[str, int], message: str):
    with pytest.raises(ModelError, match=message):
        build("swinlstm", 2, 4, **options)
