"""The memory of the minimal recurrences: the sweep with its derivative written out, against the scans.

Where there are compiled passes, the sweep is tested with them and without.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.layers import minimal, native

SHAPE = (2, 7, 3, 4)
FORMS = [
    minimal.Form(gate, kind) for gate in ("single", "sigmoid", "exponential") for kind in minimal.CANDIDATES
]


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the sweep is done."""
    if request.param == "torch":
        monkeypatch.setenv(native.SWITCH, "0")
    elif native.passes(torch.float64, torch.get_num_threads()) is None:
        pytest.skip("there are no compiled passes here")


def inputs(form: minimal.Form, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A start, then the maps, with values of both signs and a candidate at the very kink."""
    parts = [2 * torch.randn(SHAPE, dtype=dtype) for _ in range(form.parts)]
    parts[-1][0, 0, 0, 0] = 0
    return [part.requires_grad_() for part in (torch.rand(2, 3, 4, dtype=dtype), *parts)]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("scan_by", ["doubling", "log"])
def test_all_ways_agree_in_values_and_derivatives(form: minimal.Form, scan_by: str):
    if scan_by == "log" and form.candidate != "positive":
        pytest.skip("the logarithm takes positive candidates only")
    held, weight = inputs(form), torch.randn(SHAPE, dtype=torch.float64)
    found = []
    for way, fused in (("linear", True), (scan_by, False)):
        h, last = minimal.remember(held[1:], held[0], form, scan_by=way, fused=fused)
        found.append((h, *torch.autograd.grad((h * weight).sum() + (last**2).sum(), held)))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_written_derivative_is_right(form: minimal.Form):
    held = [part.detach().clone() for part in inputs(form)]
    held[-1][held[-1].abs() < 0.1] = 0.5  # the positive candidate has a kink at zero
    assert torch.autograd.gradcheck(
        lambda start, *parts: minimal.remember(parts, start, form, scan_by="linear", fused=True),
        [part.requires_grad_() for part in held],
        fast_mode=True,
    )


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_maps_in_one_tensor_are_the_same_maps(form: minimal.Form):
    start, *parts = inputs(form)
    joint, weight = torch.cat(parts, dim=2), torch.randn(SHAPE, dtype=torch.float64)
    for fused in (True, False):
        one, _ = minimal.remember([joint], start, form, scan_by="linear", fused=fused)
        many, _ = minimal.remember(parts, start, form, scan_by="linear", fused=fused)
        torch.testing.assert_close(one, many, atol=1e-14, rtol=0)
    by_joint = torch.autograd.grad((one * weight).sum(), joint, retain_graph=True)[0]
    by_parts = torch.autograd.grad((many * weight).sum(), parts, retain_graph=True)
    torch.testing.assert_close(by_joint, torch.cat(by_parts, dim=2), atol=1e-14, rtol=0)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_step_by_step_is_the_whole(form: minimal.Form):
    h, *parts = inputs(form)
    whole, last = minimal.remember(parts, h, form, scan_by="linear", fused=True)
    for t in range(SHAPE[1]):
        h = minimal.step(torch.cat([part[:, t] for part in parts], dim=1), h, form)
        torch.testing.assert_close(h, whole[:, t], atol=1e-14, rtol=0)
    torch.testing.assert_close(h, last, atol=1e-14, rtol=0)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_last_step_alone_has_the_derivative_of_the_whole(form: minimal.Form):
    """As where a loss sees the final state only."""
    start, *parts = inputs(form)
    h, last = minimal.remember(parts, start, form, scan_by="linear", fused=True)
    by_last = torch.autograd.grad((last**2).sum(), (start, *parts), retain_graph=True)
    for mine, other in zip(by_last, torch.autograd.grad((h[:, -1] ** 2).sum(), (start, *parts)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-14, rtol=0)


def test_the_candidate_and_its_logarithm():
    c = torch.tensor([-60.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([8.75651076e-27, 0.2689414214, 0.5, 2.5], dtype=torch.float64)
    torch.testing.assert_close(minimal.candidate(c, "positive"), expected, atol=0, rtol=1e-9)
    torch.testing.assert_close(minimal.log_candidate(c), expected.log(), atol=0, rtol=1e-9)
    torch.testing.assert_close(minimal.candidate(c, "tanh"), c.tanh(), atol=1e-15, rtol=1e-9)


def test_strong_gates_neither_overflow_nor_leak():
    k = torch.tensor([-200.0, 200.0, -200.0]).view(1, 3, 1)
    c = torch.tensor([5.0, 3.0, -7.0]).view(1, 3, 1)
    for scan_by in minimal.SCANS:
        form, start = minimal.Form("single", "positive"), torch.full((1, 1), 0.25)
        h, _ = minimal.remember([k, c], start, form, scan_by=scan_by, fused=True)
        torch.testing.assert_close(h.flatten(), torch.tensor([0.25, 3.5, 3.5]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scan_by", minimal.SCANS)
def test_half_precision_is_scanned_in_single(scan_by: str):
    form = minimal.Form("single", "positive")
    start, *parts = (part.detach() for part in inputs(form, torch.bfloat16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h, _ = minimal.remember(parts, start, form, scan_by=scan_by, fused=True)
    assert h.dtype == torch.float32
    double = [part.double() for part in parts]
    exact, _ = minimal.remember(double, start.double(), form, scan_by="linear", fused=True)
    torch.testing.assert_close(h.double(), exact, atol=1e-5, rtol=1e-5)


def test_sigmoid_gates_hold_where_both_are_shut():
    """sig(f) + sig(i) is zero in single precision; their ratio is e^(i - f)."""
    form = minimal.Form("sigmoid", "identity")
    f, i, c = (torch.full((1, 1, 1), value) for value in (-150.0, -151.0, 1.0))
    h, _ = minimal.remember([f, i, c], torch.zeros(1, 1), form, scan_by="linear", fused=True)
    assert h.item() == pytest.approx(1 / (1 + 2.718281828), rel=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_compiled_or_not_it_is_the_same(form: minimal.Form, monkeypatch: pytest.MonkeyPatch):
    """On a map of more than a block, with tensors that have gaps."""
    shape = (2, 3, 4, 23, 31)
    parts = [2 * torch.randn(shape, dtype=torch.float64) for _ in range(form.parts)]
    start, d_last = (torch.randn(2, 31, 23, 4, dtype=torch.float64).movedim(-1, 1).mT for _ in range(2))
    d_h = torch.randn(2, 3, 23, 31, 4, dtype=torch.float64).movedim(-1, 2)
    held = [one.requires_grad_() for one in (start, *parts)]
    found = []
    for switch in ("0", None):
        monkeypatch.setenv(native.SWITCH, switch) if switch else monkeypatch.delenv(native.SWITCH, False)
        h, last = minimal.remember(parts, start, form, scan_by="linear", fused=True)
        found.append((h, last, *torch.autograd.grad((h, last), held, (d_h, d_last))))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_told_at_its_place_alone(form: minimal.Form, value: float):
    for part in range(form.parts):
        start, *parts = (held.detach() for held in inputs(form))
        parts[part][0, 3, 1, 2] = value
        finite = torch.isfinite(minimal.remember(parts, start, form, scan_by="linear", fused=True)[0])
        if math.isnan(value):
            assert not finite[0, 3:, 1, 2].any()
        finite[0, 3:, 1, 2] = True
        assert finite.all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int):
    form = minimal.Form("single", "positive")
    maps, start = torch.randn(3, 4, 16, 40, 41), torch.randn(3, 8, 40, 41)
    one = minimal.remember([maps], start, form, scan_by="linear", fused=True)[0]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many = minimal.remember([maps], start, form, scan_by="linear", fused=True)[0]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, many)
