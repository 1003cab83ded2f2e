"""The paper's table: published figures, ours on all days in the authors' space, and what differs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score, silhouette_score

from evaluation import paper
from evaluation.fields import Fields
from evaluation.results import Evaluation


def azores(fields: Fields, *, cycle: str = "kept") -> Fields:
    """Fields with the paper's grid, year and variables."""
    days = np.arange("2021-01-01", "2022-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    latitude, longitude = np.linspace(43, 33, 41), np.linspace(-33, -23, 41)
    return dataclasses.replace(
        fields,
        times=days[: len(fields.times)],
        variables=paper.VARIABLES,
        latitude=latitude,
        longitude=longitude,
        seasonal_cycle=cycle,
    )


def test_the_published_figures_are_the_papers(evaluation: Evaluation) -> None:
    published = evaluation.metrics["paper"]["published"]
    assert published["faconvlstm"] == {
        "silhouette": 0.3432,
        "davies_bouldin": 1.5673,
        "calinski_harabasz": 102.2114,
    }
    assert published["convlstm"]["silhouette"] == 0.3347


def test_ours_are_scored_on_all_days_each_cell_scaled_over_them(evaluation: Evaluation) -> None:
    fields, model = evaluation.fields, evaluation.models["convlstm"]
    x = fields.x[:, fields.mask].astype(float)
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    found = evaluation.metrics["paper"]["scores"]["convlstm"]
    for place, clustering in enumerate(model.clusterings):
        expected = silhouette_score(x, clustering.labels, metric="cosine")
        assert found["silhouette"]["values"][place] == pytest.approx(expected, rel=1e-4)
        expected = calinski_harabasz_score(x, clustering.labels)
        assert found["calinski_harabasz"]["values"][place] == pytest.approx(expected, rel=1e-4)
    assert evaluation.metrics["paper"]["days"] == len(fields.times)


def test_baselines_but_the_eofs_are_left_out(evaluation: Evaluation) -> None:
    assert set(evaluation.metrics["paper"]["scores"]) == {"faconvlstm", "convlstm", "eof"}


def test_another_dataset_is_said_to_be_another(evaluation: Evaluation) -> None:
    held = evaluation.metrics["paper"]
    told = " ".join(held["differs"])
    assert held["same_dataset"] is False
    assert "the paper has daily ERA5 of 2021" in told
    assert "here it is 2001-01-04 to 2001-11-26, 4 × 5 points, z500, sst" in told
    assert "Seasonal cycle: removed here" in told
    assert "Clusters: 3 here, 7 in the paper" in told
    assert "Runs: 3 seeds here" in told


def test_on_the_papers_own_dataset_only_what_it_leaves_open_differs(evaluation: Evaluation) -> None:
    held = paper.compare(evaluation.models, azores(evaluation.fields), paper.K)
    assert held["same_dataset"] is True
    assert [text.split(":")[0] for text in held["differs"]] == ["Runs", "Days", "Scoring"]


@pytest.mark.parametrize("change", [{"variables": ("sst", "t2m")}, {"latitude": np.linspace(53, 43, 41)}])
def test_nearly_the_papers_dataset_is_not_the_papers(evaluation: Evaluation, change: dict) -> None:
    fields = dataclasses.replace(azores(evaluation.fields), **change)
    assert paper._same_dataset(fields) is False


def test_the_table_holds_both(evaluation: Evaluation) -> None:
    rows = paper.table(evaluation.metrics).rows
    assert [(row.heading.text, row.heading.note) for row in rows[:3]] == [
        ("FAConvLSTM", "the paper"),
        ("ConvLSTM", "the paper"),
        ("FAConvLSTM", "here, 3 seeds"),
    ]
    assert rows[0].cells[2].text == "102.2114"
