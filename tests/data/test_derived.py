from __future__ import annotations

import numpy as np
import pytest

from data import catalogue, derived
from data.errors import DataError


@pytest.mark.parametrize(
    ("name", "proper", "inputs", "units"),
    [
        ("si10", "si10", ("u10", "v10"), "m s-1"),
        ("10m_wind_speed", "si10", ("u10", "v10"), "m s-1"),
        ("si100", "si100", ("u100", "v100"), "m s-1"),
        ("ws850", "ws850", ("u850", "v850"), "m s-1"),
        ("ws10", "ws10", ("u10hPa", "v10hPa"), "m s-1"),
        ("thickness_1000_500", "thickness_1000_500", ("z1000", "z500"), "m"),
    ],
)
def test_what_they_are_made_of(name: str, proper: str, inputs: tuple[str, ...], units: str) -> None:
    found = derived.find(name)
    assert found is not None
    assert (found.name, found.inputs, found.units) == (proper, inputs, units)


def test_values_by_hand() -> None:
    assert derived.speed(np.float32(3), np.float32(-4)) == 5
    lower, upper = np.float32([9.80665 * 100]), np.float32([9.80665 * 5600])
    np.testing.assert_allclose(derived.thickness(lower, upper), 5500, rtol=1e-6)


@pytest.mark.parametrize("name", ["z500", "si20", "wind", "thickness_500"])
def test_other_names_are_not_derived(name: str) -> None:
    assert derived.find(name) is None


@pytest.mark.parametrize("name", ["thickness_500_1000", "thickness_500_500"])
def test_levels_in_the_wrong_order_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"thickness_1000_500\.$"):
        derived.find(name)


def test_who_asks_a_source_for_one_is_told_what_to_ask_for() -> None:
    with pytest.raises(DataError, match=r"dataset.variables=\[u10,v10\] and dataset.fields=\[si10\]"):
        catalogue.parse("si10")
