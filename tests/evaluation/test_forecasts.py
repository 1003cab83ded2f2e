"""Forecasts against persistence and climatology: known answers, common days, tables, sentences."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from evaluation import forecasts, metrics, report
from evaluation.assessment import evaluate
from evaluation.inputs import Inputs
from evaluation.results import Evaluation
from evaluation.versus import of_forecasts
from tests.evaluation.conftest import make_inputs
from tests.evaluation.test_assessment import FAST

KINDS = ["model", "persistence", "climatology"]


def make_forecast(prepared: xr.Dataset, *, error: float, seed: int, days: slice = slice(4, -2)) -> xr.Dataset:
    """Squared errors around error² for the model, 4 for persistence and 9 for climatology; two leads."""
    today = prepared["time"].values[prepared["split"].values == 2][days]
    spread = np.random.default_rng([seed, 7]).uniform(0.9, 1.1, (3, len(today), 2, 2))
    squares = np.array([error**2, 4.0, 9.0])[:, None, None, None] * spread
    correlation = np.array([0.9, 0.5, np.nan])[:, None, None, None] * np.ones_like(spread)
    squares[1:] = np.array([4.0, 9.0])[:, None, None, None]  # the references have no seed
    dims = ("kind", "today", "lead", "variable")
    coordinates = {"kind": KINDS, "today": today, "lead": [1, 2], "variable": ["z500", "sst"]}
    return xr.Dataset(
        {"forecast_error": (dims, squares), "forecast_correlation": (dims, correlation)}, coordinates
    )


def forecasting(errors: dict[str, float], **options: slice) -> Inputs:
    """The usual inputs, some models with forecasts."""
    inputs = make_inputs(cluster=dataclasses.replace(FAST, resamples=40))
    runs = [
        dataclasses.replace(
            run, forecast=make_forecast(inputs.prepared, error=errors[run.model], seed=run.seed, **options)
        )
        if run.model in errors
        else run
        for run in inputs.runs
    ]
    return dataclasses.replace(inputs, runs=tuple(runs))


@pytest.fixture(scope="module")
def foretold() -> Evaluation:
    return evaluate(forecasting({"faconvlstm": 1.0, "convlstm": 2.5}))


def test_scores_and_verdicts(foretold: Evaluation) -> None:
    held = foretold.metrics["forecast"]
    ours = held["scores"]["faconvlstm"]["z500"]["1"]
    assert ours["rmse"]["mean"] == pytest.approx(1, abs=0.02)
    assert ours["acc"]["mean"] == pytest.approx(0.9)
    assert ours["rmse"]["low"] < ours["rmse"]["mean"] < ours["rmse"]["high"]
    assert held["scores"]["persistence"]["sst"]["2"]["rmse"]["mean"] == pytest.approx(2)
    assert held["scores"]["climatology"]["sst"]["2"]["rmse"]["mean"] == pytest.approx(3)
    assert "acc" not in held["scores"]["climatology"]["sst"]["2"]
    verdicts = {pair: found["z500"]["1"]["rmse"]["verdict"] for pair, found in held["differences"].items()}
    assert verdicts == {
        "faconvlstm_minus_persistence": "better",
        "faconvlstm_minus_climatology": "better",
        "convlstm_minus_persistence": "worse",
        "convlstm_minus_climatology": "better",
    }
    assert held["differences"]["faconvlstm_minus_persistence"]["z500"]["1"]["acc"]["verdict"] == "better"
    assert "acc" not in held["differences"]["faconvlstm_minus_climatology"]["z500"]["1"]


def test_a_perfect_forecast_has_no_error() -> None:
    inputs = forecasting({"faconvlstm": 0.0})
    held = evaluate(inputs).metrics["forecast"]
    found = held["scores"]["faconvlstm"]["z500"]["1"]["rmse"]
    assert (found["mean"], found["low"], found["high"], found["values"]) == (0, 0, 0, [0, 0, 0])


def test_the_root_is_taken_after_the_mean_over_days(foretold: Evaluation) -> None:
    (run,) = (run for run in foretold.inputs.runs if run.name == "faconvlstm_seed1")
    assert run.forecast is not None
    one = run.forecast["forecast_error"].sel(kind="model", lead=2, variable="sst")
    found = foretold.metrics["forecast"]["scores"]["faconvlstm"]["sst"]["2"]["rmse"]["values"][1]
    assert found == pytest.approx(float(np.sqrt(one.mean())))


def test_only_days_that_all_have_count() -> None:
    inputs = forecasting({"faconvlstm": 1.0})
    late = inputs.runs[0]
    assert late.forecast is not None
    runs = (dataclasses.replace(late, forecast=late.forecast.isel(today=slice(20, None))), *inputs.runs[1:])
    held = evaluate(dataclasses.replace(inputs, runs=runs)).metrics["forecast"]
    assert held["days"] == late.forecast.sizes["today"] - 20
    assert held["first"] == str(late.forecast["today"].values[20])[:10]


def test_without_forecasts_nothing_is_said(evaluation: Evaluation) -> None:
    assert "forecast" not in evaluation.metrics
    assert forecasts.of_all(evaluation.metrics, "days") == []
    assert of_forecasts(evaluation.metrics) is None


def test_the_tables_are_in_the_units_of_the_page(foretold: Evaluation) -> None:
    scores, against, *_ = tables = forecasts.of_all(foretold.metrics, "days")
    assert [table.key for table in tables] == [
        "forecast-1",
        "forecast-1-differences",
        "forecast-2",
        "forecast-2-differences",
    ]
    assert scores.title == "Forecast, 1 day ahead"
    assert [row.heading.text for row in scores.rows] == [
        "FAConvLSTM",
        "ConvLSTM",
        "Persistence",
        "Climatology",
    ]
    assert (scores.columns[0].group, scores.columns[0].hint) == ("z500", "m")
    assert scores.rows[3].cells[0].values[""] == pytest.approx(3 / 9.80665)
    assert scores.rows[3].cells[1].text == ""
    assert [row.heading.text for row in against.rows][:2] == [
        "FAConvLSTM − persistence",
        "FAConvLSTM − climatology",
    ]
    assert against.rows[0].cells[0].tone == "better"


def test_the_sentence(foretold: Evaluation) -> None:
    found = of_forecasts(foretold.metrics)
    assert found is not None
    assert found.text.endswith(
        "The error of FAConvLSTM is smaller than persistence in z500 and sst; the error of ConvLSTM is larger than "
        "persistence in z500 and sst. The error of FAConvLSTM is smaller than climatology in z500 and sst; the error "
        "of ConvLSTM is smaller than climatology in z500 and sst."
    )


def test_the_sentence_for_many(foretold: Evaluation) -> None:
    found = copy.deepcopy(foretold.metrics)
    for n in range(3):
        label = f"other{n}"
        found["models"][label] = {**found["models"]["faconvlstm"], "title": label}
        found["forecast"]["scores"][label] = found["forecast"]["scores"]["faconvlstm"]
        for kind in ("persistence", "climatology"):
            pair = found["forecast"]["differences"][f"faconvlstm_minus_{kind}"]
            found["forecast"]["differences"][f"{label}_minus_{kind}"] = pair
    said = of_forecasts(found)
    assert said is not None
    assert (
        "4 of 5 encoders have a smaller error than persistence in every variable (FAConvLSTM, other0, other1 and "
        "other2); in some variable ConvLSTM has a larger one." in said.text
    )


def test_the_page_shows_them(foretold: Evaluation, tmp_path: Path) -> None:
    metrics.validate(foretold.metrics)
    page = report.write(foretold, tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert 'id="forecast"' in text
    assert 'id="table-forecast-2-differences"' in text
    assert (page.parent / "tables/forecast-1.csv").exists()
