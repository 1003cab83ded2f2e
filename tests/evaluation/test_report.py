"""The report's files, and the page: self-contained, escaped, with words for every figure."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from evaluation import report
from evaluation.assessment import evaluate
from evaluation.cells import Cell, Column, Row, Table, csv_text
from evaluation.inputs import ClusterSettings, Truth
from evaluation.results import Evaluation
from tests.evaluation.conftest import make_inputs, make_patterns, make_prepared, make_run
from tests.evaluation.test_assessment import FAST

# of each model; chance of three, gates and attention of one; two reconstructions, training curves, occlusion
FIGURES = 6 * 8 + 3 + 2 + 2 + 1 + 1
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_files_are_all_there(folder: Path, evaluation: Evaluation) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "metrics.json",
        "clusters.csv",
        "figures",
        "tables",
    }
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == evaluation.metrics
    table = pd.read_csv(folder / "clusters.csv", parse_dates=["time"])
    pd.testing.assert_frame_equal(table, evaluation.clusters(), check_dtype=False)
    assert (folder / "index.html").stat().st_size < 3e6


def test_the_page_needs_nothing_else(page: Page, text: str) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed", "base", "form"}
    assert page.all("script") == [{}]  # the page's own, inline
    followed = {a["href"] for a in page.all("a")}
    targets = {
        a[key] or "" for _, a in page.tags for key in ("src", "href", "xlink:href", "srcset") if key in a
    }
    assert {t for t in targets - followed if not t.startswith(("#", "data:image/png;base64,"))} == set()
    assert {t for t in followed if not (t or "").startswith(("#", "tables/"))} == set()


def test_every_table_is_a_csv_with_the_figures_of_the_metrics(
    page: Page, folder: Path, evaluation: Evaluation
) -> None:
    linked = [a["href"] for a in page.all("a") if (a["href"] or "").startswith("tables/")]
    assert sorted(linked) == sorted(f"tables/{path.name}" for path in (folder / "tables").iterdir())
    assert len(linked) == len(page.all("table")) > 30
    table = pd.read_csv(folder / "tables" / "scores-data.csv", index_col=0)
    expected = evaluation.metrics["models"]["convlstm"]["scores"]["data"]["test"]["silhouette"]
    assert table.loc["ConvLSTM", "Unseen period Silhouette"] == pytest.approx(expected["mean"])
    assert table.loc["ConvLSTM", "Unseen period Silhouette low"] == pytest.approx(expected["low"])


def test_styles_ask_for_nothing(text: str) -> None:
    assert not re.search(r"url\((?!#)|@import", text)


def test_every_figure_has_a_caption_and_every_drawing_words(page: Page, evaluation: Evaluation) -> None:
    assert len(page.all("figure")) == len(page.all("figcaption")) == FIGURES
    drawings = page.all("svg")
    assert len(drawings) > 6 * 2 * 3
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 10
        assert float(attributes["width"] or 0) > 0


def test_every_table_has_headers_and_a_caption(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) > 5
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row", "colgroup"}


def test_identifiers_are_unique_and_references_lead_somewhere(page: Page, text: str) -> None:
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(identifiers)


def test_the_numbers_of_the_page_are_those_of_the_metrics(page: Page, evaluation: Evaluation) -> None:
    words = " ".join(page.words)
    for entry in evaluation.metrics["models"].values():
        assert entry["title"] in words
        for split in ("train", "test"):
            for index, digits in (("silhouette", 3), ("davies_bouldin", 2), ("calinski_harabasz", 1)):
                value = entry["scores"]["data"][split][index]
                assert f"{value['mean']:.{digits}f}".replace("-", "−") in words
    assert "planted regimes" in words
    assert "To run it again" not in words  # no command was given


def test_the_summary_opens_the_page(text: str) -> None:
    assert text.index("What was done") < text.index("<table")


def test_units_are_those_that_readers_use(page: Page) -> None:
    words = " ".join(page.words)
    assert "Geopotential height at 500 hPa (z500), m" in words
    assert "Sea surface temperature (sst), K" in words


def test_figures_are_files_of_their_own(folder: Path) -> None:
    files = sorted((folder / "figures").iterdir())
    assert len(files) == FIGURES
    for path in files:
        root = ElementTree.parse(path).getroot()
        assert float(root.get("width") or 0) > 100
        assert not re.search("currentColor|var\\(|#01020", path.read_text(encoding="utf-8"))


def test_coasts_are_drawn_where_a_variable_is_missing(text: str) -> None:
    assert "#333333" in text


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    prepared = make_prepared(variables=(EVIL, "sst"))
    prepared.attrs["units"] = json.dumps({EVIL: EVIL, "sst": "$K$"})
    runs = [make_run(prepared, model=f"faconvlstm-{EVIL}", settings={EVIL: 1})]
    truth = pd.Series(np.arange(330) // 7 % 3, index=prepared["time"].values)
    truth.attrs["names"] = {0: EVIL, 1: "=1+1", 2: "zonal"}
    inputs = make_inputs(
        dataset=EVIL,
        truth=Truth(truth, EVIL),
        prepared=prepared,
        runs=runs,
        cluster=FAST,
        provenance={"source": EVIL, "command": EVIL, EVIL: EVIL},
        patterns={EVIL: make_patterns().rename("sst").assign_coords(regime=[EVIL, "b"])},
        indices={EVIL: pd.Series(np.arange(9.0), prepared["time"].values[:9])},
    )
    page = Page(report.write(evaluate(inputs), tmp_path / "report").read_text(encoding="utf-8"))
    assert page.all("script") == [{}]
    assert "".join(page.words).count(EVIL) > 10
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for path in (tmp_path / "report" / "figures").iterdir():
        tags = {element.tag.split("}")[-1] for element in ElementTree.parse(path).iter()}
        assert not tags & {"script", "foreignObject", "a", "iframe"}
    for path in (tmp_path / "report").rglob("*"):
        assert path.resolve().is_relative_to((tmp_path / "report").resolve())


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|'/C calc'!A0"])
def test_a_table_is_no_formula_to_a_spreadsheet(text: str) -> None:
    table = Table("k", "t", "n", (Column(text, ""),), (Row(Cell(text), (Cell(text),)),), text)
    found = [field for line in csv.reader(io.StringIO(csv_text(table))) for field in line]
    assert found == [f"'{text}"] * 4
    numbers = Table("k", "t", "n", (Column("a"),), (Row(Cell("b"), (Cell("-1.5"),)),))
    assert csv_text(numbers) == "Model,a\nb,-1.5\n"


def test_writing_again_replaces_the_whole_folder(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        report, "_pictures", lambda _: {"examples": [], "curves": [], "insight": [], "models": {}}
    )
    monkeypatch.setattr(report, "_page", lambda *_: "page")
    target = tmp_path / "report"
    target.mkdir()
    (target / "stale.txt").write_text("old", encoding="utf-8")
    assert report.write(evaluation, target).read_text(encoding="utf-8") == "page"
    assert {path.name for path in target.iterdir()} == {
        "index.html",
        "metrics.json",
        "clusters.csv",
        "figures",
        "tables",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / "index.html").write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(report, "_pictures", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        report.write(evaluation, target)
    assert (target / "index.html").read_text(encoding="utf-8") == "old"


def test_the_barest_inputs_give_a_page(tmp_path: Path) -> None:
    runs = [make_run(make_prepared(), model="convlstm", full=False)]
    inputs = make_inputs(runs=runs, truth=None, provenance={}, cluster=FAST, patterns={}, indices={})
    page = Page(report.write(evaluate(inputs), tmp_path / "report").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert "Agreement with known regimes" not in words
    assert "With one seed there are no intervals" in words


def test_a_record_without_an_unseen_period_and_with_many_clusters(tmp_path: Path) -> None:
    prepared = make_prepared(variables=("z500",))
    prepared["split"] = prepared["split"] * 0
    runs = [make_run(make_prepared(), full=False)]
    settings = ClusterSettings(k=12, n_init=2, resamples=0)
    inputs = make_inputs(prepared=prepared, runs=runs, cluster=settings, patterns={})
    text = report.write(evaluate(inputs), tmp_path / "report").read_text(encoding="utf-8")
    assert "Unseen period" not in text
    assert "The highest Silhouette on the training period" in text
    assert "12 clusters" in text
