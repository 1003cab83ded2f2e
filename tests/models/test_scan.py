"""Scans along time against the plain loop in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.layers.scan import doubling, log_scan


def plain(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    h, found = start, []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        found.append(h)
    return torch.stack(found, 1)


def terms(length: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Factors in (0, 1), positive terms and a start, `(3, T, 5)`."""
    k = scale * torch.randn(3, length, 5, dtype=torch.float64)
    return 1 - k.sigmoid(), k.sigmoid() * torch.rand_like(k), torch.rand(3, 5, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
def test_doubling_is_the_loop(length: int):
    a, b, start = terms(length)
    a, b = a * torch.randn_like(a).sign(), b * torch.randn_like(b)
    torch.testing.assert_close(doubling(a, b, start), plain(a, b, start), atol=1e-12, rtol=0)
    turning = torch.polar(a.abs(), 3 * b)  # complex factors, as of a state space
    found = doubling(turning, b.to(turning), start.to(turning))
    torch.testing.assert_close(found, plain(turning, b.to(turning), start.to(turning)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 13])
def test_the_logarithm_is_the_loop(length: int):
    a, b, start = terms(length)
    torch.testing.assert_close(log_scan(a.log(), b.log(), start), plain(a, b, start), atol=1e-12, rtol=0)
    nothing = torch.zeros_like(start)
    expected = plain(a, b, nothing)
    torch.testing.assert_close(log_scan(a.log(), b.log(), None), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_scan(a.log(), b.log(), nothing), expected, atol=1e-12, rtol=0)


def test_a_start_of_zero_has_finite_gradients():
    a, b, start = (part.requires_grad_() for part in terms(6))
    log_scan(a.log(), b.log(), 0 * start).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in (a, b, start))


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
def test_doubling_keeps_its_digits_in_single_precision(scale: float):
    """A relative error below 2e-6 over a year of days, where the logarithm has lost at least ten times as many."""
    a, b, start = terms(365, scale)
    exact = plain(a, b, start)
    error = ((doubling(a.float(), b.float(), start.float()) - exact) / exact).abs().max()
    assert error < 2e-6
    lost = ((log_scan(a.log().float(), b.log().float(), start.float()) - exact) / exact).abs()
    assert lost.nan_to_num(1).max() > 10 * error
