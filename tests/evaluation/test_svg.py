"""Figures as SVG: the same drawing in fewer characters, with its own identifiers and the page's colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from evaluation import svg
from evaluation.svg import Drawing, alone, draw, figure, slug, styled


@pytest.fixture
def drawing() -> Drawing:
    with styled():
        fig = figure(120, 80)
        axes = fig.add_axes((0.2, 0.2, 0.7, 0.7))
        axes.plot([0, 1, 2], [0, 2, 1])
        axes.set_title("a < b & $c$")
        return draw(fig, 'words with "quotes"', "key")


def absolute(path: str) -> list[tuple[float, float]]:
    """The corners of a path in relative steps."""
    corners, here, start = [], np.zeros(2), np.zeros(2)
    for command, numbers in re.findall(r"([mlz])([^mlz]*)", path):
        if command == "z":
            here = start
            continue
        here = here + np.array(numbers.split(), dtype=float)
        start = here if command == "m" else start
        corners.append(tuple(np.round(here, 1)))
    return corners


def test_relative_paths_lead_to_the_same_corners() -> None:
    long = "M 10.04 20 L 30.1 40.2 L 30.16 40.2 z M 5 5 L 6 7.25 L 6 9 z "
    short = svg._relative(long)
    expected = [(10.0, 20.0), (30.1, 40.2), (30.2, 40.2), (5.0, 5.0), (6.0, 7.2), (6.0, 9.0)]
    assert absolute(short) == expected
    assert len(short) < len(long)


def test_rounding_does_not_add_up_along_a_path() -> None:
    x = np.cumsum(np.full(2000, 0.14))
    path = "M 0 0 " + " ".join(f"L {value:.4f} 1" for value in x)
    assert absolute(svg._relative(path))[-1][0] == pytest.approx(x[-1], abs=0.06)


def test_a_closed_path_goes_on_from_its_start() -> None:
    with styled():
        fig = figure(100, 100)
        axes = fig.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.add_patch(Rectangle((20, 30), 40, 50, facecolor="#123456"))
        body = draw(fig, "square", "square").body
    path = re.findall(r'd="([^"]+)"[^>]*#123456', body)[-1]
    assert sorted(set(absolute(path))) == [(20.0, 20.0), (20.0, 70.0), (60.0, 20.0), (60.0, 70.0)]


def test_inline_takes_the_colours_of_the_page_and_escapes_its_words(drawing: Drawing) -> None:
    text = drawing.inline()
    assert text.startswith('<svg role="img" aria-label="words with &#34;quotes&#34;" width="120" height="80"')
    assert "currentColor" in text
    assert "#010203" not in text
    assert "a &lt; b &amp; $c$" in text  # no mathematics is read into text


def test_identifiers_belong_to_one_drawing_and_none_is_left_over(drawing: Drawing) -> None:
    defined = re.findall(r' id="([^"]+)"', drawing.body)
    used = re.findall(r'(?:url\(#|href="#)([^")]+)', drawing.body)
    assert defined
    assert set(defined) == set(used)
    assert all(name.startswith("key-") for name in defined)


def test_a_document_holds_its_drawings_in_rows(drawing: Drawing) -> None:
    labelled = [(drawing, label) for label in ("one", "two", "<three>")]
    text = alone([("heading", labelled)], columns=2, title="title")
    places = re.findall(r'<svg x="([\d.]+)" y="([\d.]+)" width="120"', text)
    assert len(places) == 3
    assert len({x for x, _ in places}) == 2
    assert len({y for _, y in places}) == 2
    assert "&lt;three&gt;" in text
    assert text.index(">title<") < text.index(">heading<") < text.index(">one<")


def test_the_same_figure_gives_the_same_bytes() -> None:
    def once() -> str:
        with styled():
            fig = figure(50, 50)
            fig.add_axes((0.1, 0.1, 0.8, 0.8)).plot([1, 2, 3])
            return draw(fig, "line", "k").body

    assert once() == once()


def test_slugs_are_safe_and_unlike() -> None:
    assert slug("faconvlstm-3f2a") == "faconvlstm-3f2a"
    assert re.fullmatch(r"[A-Za-z0-9._-]+", slug("../a b<c>"))
    assert slug("a b") != slug("a/b")
