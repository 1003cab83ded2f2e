"""Units and numbers as the page shows them."""

from __future__ import annotations

import doctest

import pytest

import evaluation.fairness
import evaluation.results
import evaluation.significance
import evaluation.units
from evaluation.units import GRAVITY, display, number


@pytest.mark.parametrize(
    "module", [evaluation.units, evaluation.fairness, evaluation.results, evaluation.significance]
)
def test_examples_in_docstrings_hold(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("name", "units", "factor", "shown"),
    [
        ("z500", "m**2 s**-2", 1 / GRAVITY, "m"),
        ("z", "m2 s-2", 1 / GRAVITY, "m"),
        ("cape", "m**2 s**-2", 1.0, "m² s⁻²"),
        ("sshf", "J m**-2", 1e-6, "MJ m⁻²"),
        ("msl", "Pa", 0.01, "hPa"),
        ("lsm", "1", 1.0, ""),
        ("t2m", "K", 1.0, "K"),
    ],
)
def test_display_units(name: str, units: str, factor: float, shown: str) -> None:
    assert display(name, units) == (pytest.approx(factor), shown)


def test_numbers() -> None:
    assert number(1234567.0, 0) == "1\u202f234\u202f567"
    assert number(0.04, 1, sign=True) == "0.0"
    assert number(2.0, 1, sign=True) == "+2.0"
