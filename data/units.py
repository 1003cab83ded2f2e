"""Units of files, recognised and converted to those of the catalogue.

Supports the spellings that NetCDF and GRIB files use for the catalogue's variables (`m s**-1`, `m/s`, `(0 -
1)`, `millibars`, `gpm`) and the linear conversions between them. Does not support sums over time (J m-2 to W
m-2): those need the accumulation period, which no units attribute tells.
"""

from __future__ import annotations

import re

from data.catalogue import GRAVITY, Variable
from data.errors import DataError

_WORDS = {
    "kelvin": "K", "degk": "K", "k": "K", "deg_k": "K",
    "c": "degC", "degc": "degC", "celsius": "degC", "deg_c": "degC", "degree_c": "degC", "degrees_c": "degC",
    "°c": "degC", "degree_celsius": "degC", "degrees_celsius": "degC", "degrees celsius": "degC",
    "pa": "Pa", "pascal": "Pa", "pascals": "Pa", "hpa": "hPa", "mb": "hPa", "mbar": "hPa", "millibar": "hPa",
    "millibars": "hPa", "kpa": "kPa",
    "m": "m", "metre": "m", "metres": "m", "meter": "m", "meters": "m", "gpm": "m",
    "m of water equivalent": "m", "metres of water equivalent": "m", "mm": "mm",
    "geopotential metres": "m", "geopotential meters": "m",
    "millimetres": "mm", "millimeters": "mm", "dam": "dam", "gpdm": "dam", "km": "km",
    "(0-1)": "1", "0-1": "1", "1": "1", "fraction": "1", "proportion": "1", "dimensionless": "1", "%": "%",
    "percent": "%", "kg/kg": "kg kg-1", "g/kg": "g kg-1", "m3 m-3": "1", "j m-2": "J m-2", "w m-2": "W m-2",
    "pa s-1": "Pa s-1", "j kg-1": "J kg-1",
}  # fmt: skip

# (units of the file, units of the catalogue): value in the catalogue's units = value * scale + offset
_CONVERSIONS = {
    ("degC", "K"): (1.0, 273.15),
    ("hPa", "Pa"): (100.0, 0.0),
    ("kPa", "Pa"): (1000.0, 0.0),
    ("mm", "m"): (1e-3, 0.0),
    ("kg m-2", "m"): (1e-3, 0.0),  # of liquid water
    ("mm", "kg m-2"): (1.0, 0.0),
    ("mm s-1", "kg m-2 s-1"): (1.0, 0.0),
    ("km", "m"): (1e3, 0.0),
    ("m", "m2 s-2"): (GRAVITY, 0.0),
    ("dam", "m2 s-2"): (10 * GRAVITY, 0.0),
    ("%", "1"): (0.01, 0.0),
    ("1", "%"): (100.0, 0.0),
    ("1", "kg kg-1"): (1.0, 0.0),
    ("g kg-1", "kg kg-1"): (1e-3, 0.0),
    ("hPa s-1", "Pa s-1"): (100.0, 0.0),
}


def canonical(units: str) -> str:
    """One spelling for each unit: 'm s**-1' and 'm/s' are 'm s-1'; what is not known comes back tidied."""
    text = " ".join(str(units).replace("**", "").replace("^", "").replace("*", " ").split())
    text = re.sub(r"\s*-\s*(?=1\)?$)", "-", text) if text.strip("( ").startswith("0") else text
    text = re.sub(r"(?<=[a-zA-Z])\.(?=[a-zA-Z])", " ", text)
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    factors = [factor for part in _divided(text) for factor in part]
    tidy = " ".join(factors).removeprefix("1 ")
    return _WORDS.get(tidy.casefold(), tidy)


def _divided(text: str) -> list[list[str]]:
    """The factors before and after '/', those after with the exponent's sign turned: 'W/m2' is W, m-2."""
    above, *below = (part.split() for part in text.split("/"))
    return [above, *([_turned(factor) for factor in part] for part in below)]


def _turned(factor: str) -> str:
    return re.sub(r"^([A-Za-z]+)(\d*)$", lambda match: f"{match[1]}-{match[2] or 1}", factor)


def conversion(units: str, variable: Variable) -> tuple[float, float]:
    """Scale and offset that turn values in `units` into the catalogue's units of `variable`.

    Raises:
        DataError: the units do not convert; the caller says in which file.
    """
    found = canonical(units)
    if found == variable.units:
        return (1.0, 0.0)
    if (found, variable.units) not in _CONVERSIONS:
        raise DataError(f"units are '{units}', which do not convert to '{variable.units}'.")
    return _CONVERSIONS[found, variable.units]
