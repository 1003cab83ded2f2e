"""The page as a browser shows it: nothing from outside, no complaint, nothing too wide, tables that sort."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from tests.evaluation.browser import CHROMIUM, Browser, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or chrome on the PATH")

TABLE = "#table-scores-data"
HEADS = f"[...document.querySelectorAll('{TABLE} thead tr:last-child th')]"
ROWS = f"[...document.querySelectorAll('{TABLE} tbody:first-of-type tr')]"
MODELS = f"{ROWS}.map(row => row.cells[0].firstChild.textContent)"
VALUES = f"{ROWS}.map(row => Number(row.cells[1].dataset.value))"
SORT = f"{HEADS}[1].getAttribute('aria-sort')"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the report's page, away from its other files."""
    return Path(shutil.copy(folder / "index.html", tmp_path_factory.mktemp("alone")))


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_holds_at_every_width(tab: Browser, page: Path, width: int) -> None:
    tab.open(page, width)
    tab.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.ask("innerWidth") == width
    assert tab.ask("document.documentElement.scrollWidth") <= width
    drawn = "[...document.querySelectorAll('main svg')].filter(e => e.checkVisibility())"
    assert tab.ask(f"{drawn}.length") > 100
    assert tab.ask(f"{drawn}.filter(e => !(e.getBoundingClientRect().width > 40)).length") == 0
    assert tab.ask(f"{drawn}.filter(e => e.getBoundingClientRect().right > {width}).length") == 0
    figures = "[...document.querySelectorAll('figure')].map(e => e.getBoundingClientRect())"
    assert tab.ask(f"{figures}.filter(box => box.width < 200 || box.height < 50).length") == 0


def test_nothing_is_asked_for_and_nothing_goes_wrong(tab: Browser, page: Path) -> None:
    tab.open(page)
    assert tab.requested() == []
    assert tab.trouble() == []


def test_a_complaint_would_be_seen(tab: Browser, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = page.read_text(encoding="utf-8")
    broken.write_text(
        text.replace("</main>", "</main><img src='no.png'><script>nothing.here()</script>"), encoding="utf-8"
    )
    tab.open(broken)
    assert [url.rsplit("/", 1)[-1] for url in tab.requested()] == ["no.png"]
    assert any("ReferenceError" in text for text in tab.trouble())


def test_every_figure_and_table_has_a_name_for_those_who_do_not_see_it(tab: Browser, page: Path) -> None:
    tab.open(page)
    tab.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    shown = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    names = {
        role: [node.get("name", {}).get("value", "") for node in shown if node["role"]["value"] == role]
        for role in ("image", "table", "button")
    }
    assert len(names["image"]) > 100
    assert min(map(len, names["image"])) > 10
    assert len(names["table"]) > 5
    assert min(map(len, names["table"])) > 5
    assert min(map(len, names["button"])) > 0
    levels = [int(n["properties"][0]["value"]["value"]) for n in shown if n["role"]["value"] == "heading"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_table_sorts_by_click(tab: Browser, page: Path) -> None:
    tab.open(page)
    before = tab.ask(MODELS)
    assert tab.ask(SORT) == "none"
    tab.ask(f"{HEADS}[1].scrollIntoView({{block: 'center'}})")
    box = tab.ask(
        f"(b => [b.x + b.width / 2, b.y + 5])({HEADS}[1].querySelector('button').getBoundingClientRect())"
    )
    for direction, sign in (("ascending", 1), ("descending", -1)):
        tab.click(*box)
        assert tab.ask(SORT) == direction
        values = np.array(tab.ask(VALUES))
        assert (np.diff(values) * sign >= 0).all()
        assert len(set(values)) > 2
    tab.click(*box)
    assert tab.ask(SORT) == "none"
    assert tab.ask(MODELS) == before


def test_a_table_sorts_by_key(tab: Browser, page: Path) -> None:
    tab.open(page)
    for _ in range(60):  # to the header by the tabulator alone
        tab.press("Tab", 9)
        if tab.ask(f"document.activeElement === {HEADS}[0].querySelector('button')"):
            break
    else:
        pytest.fail("the tabulator does not come to the header")
    tab.press("Enter", 13, "\r")
    names = ["ConvLSTM", "EOF (4)", "EOF (10)", "FAConvLSTM", "Raw fields", "Untrained encoder"]
    assert tab.ask(MODELS) == names
    tab.press(" ", 32, " ")
    assert tab.ask(MODELS) == names[::-1]
    assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_light_and_dark(tab: Browser, page: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page)
        picture = base64.b64decode(tab.call("Page.captureScreenshot")["data"])
        pixels = image.imread(io.BytesIO(picture))[:, :, :3]
        grounds.append(pixels[2, 2].mean())
        assert np.ptp(pixels) > 0.5  # something is written on the ground
    tab.call("Emulation.setEmulatedMedia", features=[])
    light, dark = grounds
    assert light > 0.95
    assert dark < 0.2


def test_print_shows_what_is_folded_away(tab: Browser, page: Path) -> None:
    tab.open(page)
    closed = "document.querySelectorAll('details:not([open])').length"
    before = tab.ask(closed)
    assert before > 2
    tab.ask("window.seen = null; addEventListener('beforeprint', () => { window.seen = " + closed + "; })")
    tab.call("Page.printToPDF")
    assert tab.ask("window.seen") == 0
    assert tab.ask(closed) == before
