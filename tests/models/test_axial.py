"""Axial attention: tokens, position, holes in the data."""

from __future__ import annotations

import torch

from models.layers.axial import AxialAttention, LineAttention, relative_bias
from tests.models.conftest import shake


def line(tokens: int | None, weight: torch.Tensor | None = None, cyclic: bool = False) -> LineAttention:
    return shake(LineAttention(6, 4, 2, tokens, cyclic, weight).double())


def test_few_pixels_are_their_own_tokens():
    light, exact = line(16), line(None)
    exact.load_state_dict(light.state_dict())
    h = torch.randn(2, 5, 9, 6, dtype=torch.float64)
    torch.testing.assert_close(light(h), exact(h))


def test_tokens_are_means_by_weight():
    """Four pixels in two tokens with weights 1, 3 and 2, 0."""
    weight = torch.tensor([[1.0, 3.0, 2.0, 0.0]], dtype=torch.float64)
    attention = line(2, weight)
    y = torch.randn(1, 1, 4, 6, dtype=torch.float64)
    tokens, absent = attention._tokens(y)
    torch.testing.assert_close(tokens[0, 0, 0], (y[0, 0, 0] + 3 * y[0, 0, 1]) / 4)
    torch.testing.assert_close(tokens[0, 0, 1], y[0, 0, 2])
    assert absent is not None
    assert not absent.any()


def test_what_is_not_there_is_not_seen():
    weight = torch.ones(3, 8, dtype=torch.float64)
    weight[1, 4:] = 0
    for tokens in (2, 4, None):
        attention = line(tokens, weight)
        h = torch.randn(1, 3, 8, 6, dtype=torch.float64)
        changed = h.clone()
        changed[0, 1, 4:] += 1
        assert torch.equal(attention(h)[0, 1, :4], attention(changed)[0, 1, :4])
        changed = h.clone()
        changed[0, 1, 0, 0] += 1
        assert not torch.allclose(attention(h)[0, 1, 1:4], attention(changed)[0, 1, 1:4])


def test_a_line_with_nothing_in_it_is_finite():
    weight = torch.ones(3, 8, dtype=torch.float64)
    weight[0] = 0
    for tokens in (2, None):
        attention = line(tokens, weight)
        out = attention(torch.randn(1, 3, 8, 6, dtype=torch.float64))
        out.sum().backward()
        assert torch.isfinite(out).all()
        assert all(torch.isfinite(p.grad).all() for p in attention.parameters())


def test_lines_do_not_see_each_other():
    h = torch.randn(1, 3, 8, 6, dtype=torch.float64)
    changed = h.clone()
    changed[0, 0] += torch.randn(8, 6)
    attention = line(4)
    assert torch.equal(attention(h)[0, 1:], attention(changed)[0, 1:])


def test_bias_goes_round_on_a_closed_line():
    coefficient = torch.randn(2, 8, dtype=torch.float64)
    closed = relative_bias(coefficient, 10, 10, cyclic=True)
    torch.testing.assert_close(closed.roll((1, 1), (1, 2)), closed)
    flat = relative_bias(coefficient, 10, 10, cyclic=False)
    torch.testing.assert_close(flat[:, 1:, 1:], flat[:, :-1, :-1])  # by offset alone
    assert not torch.allclose(flat.roll((1, 1), (1, 2)), flat)


def test_bias_knows_left_from_right_and_is_independent_of_resolution():
    coefficient = torch.randn(1, 8, dtype=torch.float64)
    bias = relative_bias(coefficient, 10, 10, cyclic=False)[0]
    assert not torch.allclose(bias, bias.T)
    finer = relative_bias(coefficient, 30, 30, cyclic=False)[0]
    torch.testing.assert_close(finer[1::3, 1::3], bias)


def test_rows_come_first():
    attention = shake(AxialAttention(6, 4, heads=2, tokens=16).double())
    h = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    rows = attention.rows(h.permute(0, 2, 3, 1))
    columns = attention.columns(rows.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(attention(h), columns.permute(0, 3, 1, 2))
    assert attention.rows.query.weight.shape == (4, 6)


def test_width_is_rounded_up_to_the_heads():
    assert LineAttention(6, 5, 2, None, False, None).query.out_features == 6
