"""MinConvGRU against published numbers and its invariants."""

from __future__ import annotations

import pytest
import torch

from models.cost import parameters
from models.layers import build
from models.layers.minconv import MinConvState
from tests.models.conftest import shake

SCANS = ("linear", "doubling", "log")


@pytest.mark.parametrize(("channels", "hidden", "expected"), [(16, 16, 4640), (4, 4, 296)])
def test_parameters(channels: int, hidden: int, expected: int):
    assert parameters(build("minconvgru", channels, hidden)) == expected


@pytest.mark.parametrize("scan", SCANS)
def test_constant_gates(scan: str):
    """z = sig(0) and g(0) = 1/2 from a memory of exactly zero, whatever the input."""
    layer = build("minconvgru", 2, 3, scan=scan).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    hidden, state = layer(torch.randn(2, 3, 2, 4, 5, dtype=torch.float64))
    for t, expected in enumerate((0.25, 0.375, 0.4375)):
        assert hidden[:, t].flatten().tolist() == pytest.approx([expected] * 120, abs=1e-12)
    assert torch.equal(state.hidden, hidden[:, -1])


@pytest.mark.parametrize("scan", SCANS)
def test_a_carried_memory_enters_as_it_is(scan: str):
    """Neither mapped by g nor shifted: with z near 0 it goes on unchanged."""
    layer = build("minconvgru", 2, 3, scan=scan).double()
    with torch.no_grad():
        layer.convolution.weight.zero_()
        layer.bias[:3] = -40.0
    memory = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    hidden, _ = layer(torch.randn(1, 6, 2, 4, 5, dtype=torch.float64), MinConvState(memory))
    torch.testing.assert_close(hidden, memory[:, None].expand_as(hidden), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scan", SCANS)
def test_the_memory_is_a_mean_of_its_candidates_and_its_start(scan: str):
    layer = shake(build("minconvgru", 2, 4, scan=scan).double())
    x, start = torch.randn(1, 30, 2, 5, 6, dtype=torch.float64), torch.rand(1, 4, 5, 6, dtype=torch.float64)
    _, c = layer.project_input(x).chunk(2, dim=2)
    candidates = torch.where(c >= 0, c + 0.5, c.sigmoid())
    hidden, _ = layer(x, MinConvState(start))
    everything = torch.cat([start[:, None], candidates], 1)
    assert (hidden >= everything.cummin(1).values[:, 1:] - 1e-12).all()
    assert (hidden <= everything.cummax(1).values[:, 1:] + 1e-12).all()


def test_the_channels_start_with_memories_up_to_the_longest():
    """A pulse is forgotten by a factor of 1 - 1/tau a step, tau evenly spaced in its logarithm up to `memory`."""
    layer = build("minconvgru", 1, 4, memory=16.0)
    kept = 1 - layer.bias[:4].sigmoid()
    torch.testing.assert_close(1 / (1 - kept), torch.tensor([2.0, 4.0, 8.0, 16.0]), rtol=1e-5, atol=0)


def test_a_layer_sees_as_far_as_its_kernel_and_no_farther():
    layer, x = shake(build("minconvgru", 1, 3, kernel_size=5)), torch.randn(1, 4, 1, 11, 11)
    changed = x.clone()
    changed[:, 0, :, 5, 5] += 1
    touched = (layer(x)[0] - layer(changed)[0])[0].abs().amax((0, 1)) > 0
    assert touched.nonzero().aminmax(dim=0).min.tolist() == [3, 3]
    assert touched.nonzero().aminmax(dim=0).max.tolist() == [7, 7]
