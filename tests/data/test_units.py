"""Units: spellings and conversions."""

from __future__ import annotations

import numpy as np
import pytest

from data.catalogue import lookup
from data.errors import DataError
from data.units import canonical, conversion


@pytest.mark.parametrize(
    ("spelled", "one"),
    [
        ("m s**-1", "m s-1"), ("m/s", "m s-1"), ("m s^-1", "m s-1"), ("m.s-1", "m s-1"), ("m*s-1", "m s-1"),
        ("m**2 s**-2", "m2 s-2"), ("m2/s2", "m2 s-2"), ("J m**-2", "J m-2"), ("J/m2", "J m-2"), ("W/m^2", "W m-2"),
        ("kg m**-2 s**-1", "kg m-2 s-1"), ("kg/m2/s", "kg m-2 s-1"), ("kg kg**-1", "kg kg-1"), ("kg/kg", "kg kg-1"),
        ("(0 - 1)", "1"), ("0-1", "1"), ("1", "1"), ("millibars", "hPa"), ("degrees Celsius", "degC"), ("°C", "degC"),
        ("Kelvin", "K"), ("gpm", "m"), ("m of water equivalent", "m"), ("1/s", "s-1"), ("m**3 m**-3", "1"),
        ("Pa s**-1", "Pa s-1"), ("furlong", "furlong"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_unit_is_one(spelled, one):
    assert canonical(spelled) == one


@pytest.mark.parametrize(
    ("units", "short", "value", "converted"),
    [
        ("degC", "t2m", 10.0, 283.15), ("K", "t2m", 283.15, 283.15), ("hPa", "msl", 1013.25, 101325.0),
        ("kPa", "sp", 98.0, 98000.0), ("mm", "tp", 2.5, 0.0025), ("kg m-2", "tp", 2.5, 0.0025),
        ("gpm", "z", 5500.0, 53936.575), ("dam", "z", 550.0, 53936.575), ("%", "tcc", 40.0, 0.4),
        ("1", "r", 0.5, 50.0), ("g/kg", "q", 8.0, 0.008), ("mm/s", "avg_tprate", 1e-4, 1e-4),
    ],
)  # fmt: skip
def test_values_are_converted(units, short, value, converted):
    scale, offset = conversion(units, lookup(short))
    np.testing.assert_allclose(value * scale + offset, converted, rtol=1e-12)


@pytest.mark.parametrize(
    ("units", "short"), [("m s-1", "t2m"), ("W m-2", "sshf"), ("K", "msl"), ("m", "msl")]
)
def test_units_that_do_not_convert_are_refused(units, short):
    with pytest.raises(DataError, match=f"'{units}', which do not convert to '{lookup(short).units}'"):
        conversion(units, lookup(short))
