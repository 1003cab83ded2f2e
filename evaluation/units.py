"""Units and numbers as a reader wants them: hPa for pressure, metres for geopotential, true minus signs."""

from __future__ import annotations

import re

GRAVITY = 9.80665  # m s-2, the constant by which geopotential becomes geopotential height
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
GEOPOTENTIAL = ("m**2 s**-2", "m2 s-2", "m^2 s^-2", "m2/s2", "m**2/s**2")


def display(name: str, units: str) -> tuple[float, str]:
    """The factor by which a variable is multiplied to be shown, and the units then.

    >>> display("msl", "Pa"), display("u10", "m s**-1")
    ((0.01, 'hPa'), (1.0, 'm s⁻¹'))
    """
    if units in GEOPOTENTIAL and re.fullmatch(r"z\d*", name):
        return 1 / GRAVITY, "m"
    if units == "Pa":
        return 0.01, "hPa"
    if units == "1":
        return 1.0, ""
    factor, units = (
        (1e-6, f"M{units}") if units.startswith("J m") else (1.0, units)
    )  # fluxes summed over a day
    return factor, re.sub(r"(?:\*\*|\^)?(-?\d+)", lambda m: m[1].translate(SUPERSCRIPTS), units)


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number with that many decimals, thousands set apart by a space that does not break, a true minus sign.

    >>> number(-234.56, 1), number(-0.0001, 2)
    ('−234.6', '0.00')
    """
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    if not re.search(r"[1-9]", text):
        text = text.lstrip("+-")
    return text.replace(",", "\u202f").replace("-", "−")


def percent(share: float, digits: int = 0) -> str:
    """A share in per cent.

    >>> percent(0.193)
    '19%'
    """
    return f"{number(100 * share, digits)}%"


def place(latitude: float, longitude: float) -> str:
    """A point on the globe in words.

    >>> place(52.5, -8.0)
    '52.5° N, 8° W'
    """
    return f"{degrees(latitude, 'NS')}, {degrees(longitude, 'EW')}"


def degrees(value: float, letters: str) -> str:
    """A coordinate with its hemisphere, letters holding the positive one first.

    >>> degrees(-23.25, "EW"), degrees(0.0, "NS")
    ('23.25° W', '0°')
    """
    size = f"{abs(round(float(value), 2)):g}"
    return "0°" if size == "0" else f"{size}° {letters[int(value < 0)]}"
