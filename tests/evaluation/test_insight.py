"""What the models looked at: numbers over the seeds, figures for what there is and none for what is not."""

from __future__ import annotations

import dataclasses

import pytest

from evaluation import insight
from evaluation.results import Evaluation
from evaluation.svg import styled
from tests.evaluation.conftest import LATITUDE, LONGITUDE, make_insight


def test_the_numbers_are_means_over_the_seeds(evaluation: Evaluation) -> None:
    found = evaluation.metrics["models"]["faconvlstm"]["insight"]
    assert found["windows"] == 16
    assert found["occlusion_by_variable"]["z500"]["values"] == [0.4] * 3
    assert found["occlusion_by_variable"]["sst"]["mean"] == pytest.approx(0.11)
    assert found["occlusion_by_region"] == [[0.1, 0.2], [0.3, 0.9]]
    assert set(found["gates"]) == {"input", "forget", "candidate", "output"}
    assert len(found["excitation"]["mean"]) == 6


def test_other_models_have_occlusion_alone_and_untrained_ones_nothing(evaluation: Evaluation) -> None:
    models = evaluation.metrics["models"]
    assert "gates" not in models["convlstm"]["insight"]
    assert "occlusion_by_variable" in models["convlstm"]["insight"]
    assert "insight" not in models["untrained"]


def test_grid_points_belong_to_the_block_whose_bounds_hold_them() -> None:
    seen = make_insight()
    rows = insight._block(LATITUDE, seen["latitude_block_bounds"].values)
    columns = insight._block(LONGITUDE, seen["longitude_block_bounds"].values)
    assert rows.tolist() == [0, 0, 1, 1]
    assert columns.tolist() == [0, 0, 0, 1, 1]


def test_figures_say_in_words_where_most_rests(evaluation: Evaluation) -> None:
    with styled():
        (picture,) = insight.occlusion(list(evaluation.models.values()), evaluation.fields)
    assert [len(group.panels) for group in picture.groups] == [2, 2]
    words = picture.groups[1].panels[0].drawing.alternative
    assert "most 0.90 around 35° N, 15° E" in words
    assert "z500 0.40, sst 0.11" in picture.groups[0].panels[0].drawing.alternative
    assert "16 windows spread over the unseen period" in picture.caption


def test_only_a_model_with_gates_has_a_look_inside(evaluation: Evaluation) -> None:
    with styled():
        gates = insight.gates(evaluation.models["faconvlstm"], evaluation.fields)
        attention = insight.attention(evaluation.models["faconvlstm"])
    assert gates is not None
    assert [panel.label.split()[0] for panel in gates.groups[0].panels] == list(insight.GATES)
    assert attention is not None
    assert "reading all alike would be 0.333" in attention.groups[0].panels[0].drawing.alternative
    assert insight.gates(evaluation.models["convlstm"], evaluation.fields) is None
    assert insight.attention(evaluation.models["convlstm"]) is None
    assert insight.attention(evaluation.models["eof"]) is None


def test_a_model_without_attention_shows_its_excitation(evaluation: Evaluation) -> None:
    seen = make_insight().drop_vars(["attention_rows", "attention_columns", "row_token_longitude"])
    model = evaluation.models["faconvlstm"]
    runs = tuple(dataclasses.replace(run, insight=seen) for run in model.runs)
    with styled():
        picture = insight.attention(dataclasses.replace(model, runs=runs))
    assert picture is not None
    assert [group.heading for group in picture.groups] == ["Squeeze-and-excitation"]


def test_nothing_looked_at_gives_no_figure(evaluation: Evaluation) -> None:
    assert insight.occlusion([evaluation.models["eof"]], evaluation.fields) == []
    assert insight.summary(evaluation.models["eof"]) == {}
