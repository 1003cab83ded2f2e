"""The quick-look page: self-contained, with a map and a year for every variable, for any grid."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from evaluation import svg
from evaluation.quicklook import Look, maps, page, years


def look(height: int = 3, width: int = 4, *, key: str = "raw", known: bool = True) -> Look:
    rng = np.random.default_rng(0)
    shape = (2, height, width)
    fields = {name: rng.normal(280, 5, shape) for name in ("mean", "sd", "low", "high")}
    fields["missing"] = np.zeros(shape)
    fields["missing"][1, 0, 0] = 0.25
    if not known:
        for name in ("mean", "sd", "low", "high"):
            fields[name][1] = np.nan
        fields["missing"][1] = 1
    curves = {f"year_{name}": rng.normal(280, 5, (2, 73)) for name in ("mean", "low", "high")}
    if not known:
        for curve in curves.values():
            curve[1] = np.nan
    surveyed = xr.Dataset(
        {name: (("variable", "latitude", "longitude"), values) for name, values in fields.items()}
        | {name: (("variable", "pentad"), values) for name, values in curves.items()},
        coords={
            "variable": ["t2m", "sst"],
            "latitude": np.linspace(60, 30, height),
            "longitude": np.linspace(-20, 20, width),
        },
    )
    return Look(
        key=key,
        title=f"The {key} store",
        facts=[("source", "made <up> & small")],
        columns=("units", "mean"),
        rows=[["t2m", "K", "280"], ["sst", "K", "281"]],
        surveyed=surveyed,
        units={"t2m": "K", "sst": "K"},
        long_names={"t2m": "Temperature", "sst": ""},
        point=(60.0, -20.0),
    )


@pytest.mark.parametrize(("height", "width"), [(3, 4), (1, 1), (1, 5), (6, 1)])
def test_any_grid_is_drawn(height: int, width: int) -> None:
    text = page("demo", [look(height, width)])
    assert text.count("<svg") == 2 * 2 + 1 + 2  # two maps a variable, one missing share, two years
    assert "t2m: mean, " in text


def test_whatever_a_file_calls_its_variables_is_text() -> None:
    evil = '"><script>alert(1)</script>'
    named = replace(
        look(), title=evil, facts=[(evil, evil)], columns=(evil,), rows=[[evil, evil]],
        units={"t2m": evil, "sst": evil},        long_names={"t2m": evil, "sst": evil},
    )  # fmt: skip
    text = page(evil, [named])
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") > 8


def test_the_page_needs_nothing_else_and_escapes_text() -> None:
    text = page("a <b>", [look(), look(key="prepared")])
    assert "made &lt;up&gt; &amp; small" in text
    assert "a &lt;b&gt;" in text
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    identifiers = re.findall(r' id="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))


def test_a_grid_that_passes_the_date_line_is_drawn_in_one_piece() -> None:
    held = look(3, 4)
    drawn = []
    for longitude, values in (
        ([-180.0, -175, 170, 175], [3.0, 4, 1, 2]),
        ([-170.0, -165, -160, -155], [1.0, 2, 3, 4]),
    ):
        moved = held.surveyed.assign_coords(longitude=longitude)
        moved["mean"].values[0] = [values] * 3  # rising from west to east
        with svg.styled():
            panel = maps(replace(held, surveyed=moved, point=(60.0, longitude[0]))).groups[0].panels[0]
        drawn.append(re.findall(r"base64,([^\"]+)", panel.drawing.body)[0])
    assert drawn[0] == drawn[1]


def test_the_missing_share_is_drawn_only_where_something_is_missing() -> None:
    with svg.styled():
        whole, partly = maps(look()).groups
    assert [panel.label for panel in whole.panels] == ["mean", "standard deviation"]
    assert [panel.label for panel in partly.panels] == ["mean", "standard deviation", "missing"]
    assert partly.panels[2].drawing.alternative == "sst: missing, 0 to 25 %"
    assert (whole.heading, partly.heading) == ("Temperature (t2m), K", "sst, K")


def test_a_variable_without_values_is_said_to_have_none() -> None:
    with svg.styled():
        empty = look(known=False)
        assert maps(empty).groups[1].panels[0].drawing.alternative == "sst: mean, no data"
        assert years(empty).groups[0].panels[1].drawing.alternative.endswith("no data")


def test_the_map_shows_the_lowest_and_the_highest_value() -> None:
    held = look()
    values = held.surveyed["mean"].values[0]
    with svg.styled():
        drawing = maps(held).groups[0].panels[0].drawing
    assert drawing.alternative == f"t2m: mean, {values.min():.5g} to {values.max():.5g} K"
    assert f"{values.min():.5g}" in drawing.body
    assert "60° N, 20° W" in years(held).caption
