"""The whole evaluation on planted regimes: what it finds, what it leaves out, and the shape of metrics.json."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_score

from evaluation import metrics
from evaluation.assessment import evaluate
from evaluation.errors import EvaluationError
from evaluation.fields import data_space
from evaluation.inputs import ClusterSettings, Inputs, Run, Truth
from evaluation.results import Evaluation
from tests.evaluation.conftest import K, make_inputs, make_prepared, make_run, planted_labels

FAST = ClusterSettings(k=K, n_init=2, resamples=0)


def changed(prepared_runs: list[Run], **changes: object) -> Inputs:
    return make_inputs(runs=prepared_runs, cluster=FAST, **changes)


def test_planted_regimes_are_recovered_by_an_embedding_that_knows_them(evaluation: Evaluation) -> None:
    found = evaluation.metrics["models"]["faconvlstm"]["agreement"]["test"]
    assert found["ari"]["mean"] > 0.99
    assert found["nmi"]["mean"] > 0.99
    assert evaluation.metrics["models"]["convlstm"]["agreement"]["test"]["ari"]["mean"] < 0.95


def test_models_stand_in_the_order_of_the_page(evaluation: Evaluation) -> None:
    assert list(evaluation.metrics["models"]) == [
        "faconvlstm",
        "convlstm",
        "eof",
        "eof10",
        "raw",
        "untrained",
    ]
    assert [entry["trained"] for entry in evaluation.metrics["models"].values()] == [True] * 2 + [False] * 4


def test_the_data_space_uses_the_authors_convention(evaluation: Evaluation) -> None:
    days = evaluation.fields.splits["test"]
    features = data_space(evaluation.fields)[days].astype(float)
    scores = evaluation.metrics["models"]["convlstm"]["scores"]["data"]["test"]
    for place, clustering in enumerate(evaluation.models["convlstm"].clusterings):
        labels = clustering.labels[days]
        assert scores["silhouette"]["values"][place] == pytest.approx(
            silhouette_score(features, labels, metric="cosine")
        )
        assert scores["davies_bouldin"]["values"][place] == pytest.approx(
            davies_bouldin_score(features, labels)
        )


def test_the_embedding_space_uses_each_seeds_own_embedding(evaluation: Evaluation) -> None:
    model, days = evaluation.models["convlstm"], evaluation.fields.splits["test"]
    found = evaluation.metrics["models"]["convlstm"]["scores"]["embedding"]["test"]["silhouette"]["values"]
    expected = [
        silhouette_score(embedding[days].astype(float), clustering.labels[days])
        for embedding, clustering in zip(model.embeddings, model.clusterings, strict=True)
    ]
    assert found == pytest.approx(expected)


def test_raw_fields_score_alike_in_their_own_and_in_the_weighted_space(evaluation: Evaluation) -> None:
    scores = evaluation.metrics["models"]["raw"]["scores"]
    for split, indices in scores["weighted"].items():
        for index, value in indices.items():
            for part in ("mean", "low", "high", "seed_error", "time_error"):
                assert scores["embedding"][split][index][part] == pytest.approx(
                    value[part], rel=1e-4, abs=1e-9
                )


def test_the_comparison_is_paired_by_seed_and_knows_better_from_worse(evaluation: Evaluation) -> None:
    found = evaluation.metrics["comparison"]["faconvlstm_minus_convlstm"]
    models = evaluation.metrics["models"]
    values = [
        np.array(models[name]["agreement"]["test"]["ari"]["values"]) for name in ("faconvlstm", "convlstm")
    ]
    assert found["agreement"]["test"]["ari"]["values"] == pytest.approx((values[0] - values[1]).tolist())
    assert found["agreement"]["test"]["ari"]["verdict"] == "better"
    davies_bouldin = found["data"]["test"]["davies_bouldin"]
    assert (davies_bouldin["mean"] < 0, davies_bouldin["verdict"]) == (True, "better")
    assert set(found) == {"data", "weighted", "embedding", "agreement", "explained_variance"}


def test_the_comparison_leaves_out_what_is_neither_better_nor_worse(evaluation: Evaluation) -> None:
    found = evaluation.metrics["comparison"]["faconvlstm_minus_convlstm"]
    assert set(found["data"]["test"]) == {"silhouette", "davies_bouldin", "calinski_harabasz"}


def test_clusters_are_told_as_they_are(evaluation: Evaluation) -> None:
    table = evaluation.clusters()
    assert list(table.columns[:4]) == ["time", "split", "faconvlstm_seed0", "faconvlstm_seed1"]
    assert set(table["split"]) == {"train", "validation", "test"}
    assert set(table["faconvlstm_seed0"]) == {1, 2, 3}
    train = table.loc[table["split"] == "train", "faconvlstm_seed0"].value_counts()
    assert list(train.index) == [1, 2, 3]
    truth = planted_labels()[np.isin(make_prepared()["time"].values, table["time"])]
    assert len(set(zip(truth, table["faconvlstm_seed0"], strict=True))) == K


def test_regimes_are_numbered_from_one_and_add_up(evaluation: Evaluation) -> None:
    held = evaluation.metrics["models"]["faconvlstm"]["regimes"]
    assert list(held["frequency"]["train"]) == ["1", "2", "3"]
    for split in held["frequency"].values():
        assert sum(split.values()) == pytest.approx(1)
    for row in held["transition"].values():
        assert sum(row.values()) == pytest.approx(1)
    assert held["mean_spell_steps"]["1"] > 3


def test_yesterdays_known_label_is_the_reference(evaluation: Evaluation) -> None:
    found = evaluation.metrics["truth"]
    assert found["days"]["test"] == evaluation.metrics["dataset"]["days"]["test"]
    assert 0.3 < found["persistence"]["test"]["ari"]["mean"] < 1


def test_metrics_fit_their_schema(evaluation: Evaluation) -> None:
    metrics.validate(json.loads(json.dumps(evaluation.metrics)))
    assert evaluation.metrics["provenance"] == {
        "source": "synthetic",
        "licence": "none",
        "versions": {"numpy": np.__version__},
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("k",), 1),
        (("models", "eof", "effective_rank", "mean"), None),
        (("models", "eof", "silhouette"), 0.1),
        (("comparison", "faconvlstm_minus_eof", "data", "test", "silhouette", "verdict"), "same"),
    ],
)
def test_the_schema_refuses_what_it_should(
    evaluation: Evaluation, path: tuple[str, ...], value: object
) -> None:
    spoiled = json.loads(json.dumps(evaluation.metrics))
    held = spoiled
    for name in path[:-1]:
        held = held[name]
    held[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        metrics.validate(spoiled)


def test_metrics_refuse_numbers_that_are_not_finite(evaluation: Evaluation) -> None:
    spoiled = json.loads(json.dumps(evaluation.metrics))
    spoiled["models"]["eof"]["inertia"]["mean"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics.validate(spoiled)


def test_the_same_inputs_give_the_same_metrics() -> None:
    first, second = (evaluate(make_inputs(seeds=(0,), cluster=FAST)).metrics for _ in range(2))
    assert first == second


def test_one_seed_has_no_interval_and_shows_no_difference() -> None:
    found = evaluate(make_inputs(seeds=(4,), cluster=FAST)).metrics
    estimate = found["models"]["faconvlstm"]["scores"]["data"]["test"]["silhouette"]
    assert set(estimate) == {"mean", "values"}
    assert found["models"]["eof"]["seeds"] == [4]
    assert "stability" not in found["models"]["faconvlstm"]
    pairs = found["comparison"]["faconvlstm_minus_convlstm"]["agreement"]["test"]["ari"]
    assert pairs["verdict"] == "no difference shown"


def test_fair_runs_raise_no_warning(evaluation: Evaluation) -> None:
    assert evaluation.metrics["warnings"] == []


def test_what_was_not_computed_is_absent() -> None:
    prepared = make_prepared()
    found = evaluate(changed([make_run(prepared, model="convlstm", full=False)], truth=None)).metrics
    entry = found["models"]["convlstm"]
    assert not {"parameters", "explained_variance", "agreement", "confusion", "stability"} & set(entry)
    assert "truth" not in found
    assert set(found["comparison"]) == {"convlstm_minus_eof"}


def test_a_collapsed_embedding_is_marked_and_has_no_scores() -> None:
    prepared = make_prepared()
    run = make_run(prepared, full=False)
    flat = Run(model="faconvlstm", seed=0, times=run.times, embedding=np.ones((len(run.times), 4)))
    found = evaluate(changed([flat])).metrics["models"]["faconvlstm"]
    assert found["collapsed"] is True
    assert found["scores"] == {}
    assert found["regimes"]["mean_spell_steps"].keys() == {"1"}


def test_a_seed_without_a_score_is_named() -> None:
    prepared = make_prepared()
    run = make_run(prepared, full=False)
    flat = Run(model="faconvlstm", seed=1, times=run.times, embedding=np.ones((len(run.times), 4)))
    found = evaluate(changed([run, flat])).metrics["models"]["faconvlstm"]
    assert found["seeds"] == [0, 1]
    assert found["scores"]["data"]["test"]["silhouette"]["seeds"] == [0]
    assert len(found["scores"]["data"]["test"]["silhouette"]["values"]) == 1


def test_eofs_take_the_embeddings_size_and_ten_only_where_it_differs() -> None:
    prepared = make_prepared()
    run = make_run(prepared, full=False)
    wide = Run(model="faconvlstm", seed=0, times=run.times, embedding=np.tile(run.embedding, (1, 3))[:, :10])
    found = evaluate(changed([wide])).metrics["models"]
    assert found["eof"]["embedding_size"] == 10
    assert "eof10" not in found


def test_the_drawn_seed_is_the_one_that_agrees_with_the_others() -> None:
    prepared = make_prepared()
    runs = [make_run(prepared, seed=0, noise=9.0), *(make_run(prepared, seed=seed) for seed in (1, 2))]
    found = evaluate(changed(runs)).metrics["models"]["faconvlstm"]
    assert found["shown_seed"] in (1, 2)
    assert found["stability"] < 0.6


def test_variants_of_a_model_stand_under_their_own_labels() -> None:
    prepared = make_prepared()
    runs = [make_run(prepared, model=label, full=False) for label in ("faconvlstm-3f2a91bc", "faconvlstm")]
    found = evaluate(changed(runs)).metrics
    assert list(found["models"])[:2] == ["faconvlstm", "faconvlstm-3f2a91bc"]
    assert found["models"]["faconvlstm-3f2a91bc"]["title"] == "FAConvLSTM-3f2a91bc"


def test_known_labels_of_other_days_leave_agreement_out(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = pd.Series([1, 2], pd.to_datetime(["1980-01-01", "1980-01-02"]))
    found = evaluate(make_inputs(seeds=(0,), cluster=FAST, truth=Truth(elsewhere))).metrics
    assert "truth" not in found
    assert "none of the known labels falls on an evaluated day" in caplog.text


def test_labels_of_one_season_are_scored_on_its_days(evaluation: Evaluation) -> None:
    labels = pd.Series(planted_labels(), make_prepared()["time"].values).loc["2001-09-15":]
    found = evaluate(make_inputs(seeds=(0,), cluster=FAST, truth=Truth(labels))).metrics
    assert found["truth"]["days"] == {
        "train": 0,
        "validation": 0,
        "test": len(labels.loc[: evaluation.fields.times[-1]]),
    }
    assert set(found["models"]["faconvlstm"]["agreement"]) == {"test"}


def test_labels_of_baselines_are_not_for_runs() -> None:
    with pytest.raises(EvaluationError, match="The labels eof belong to the baselines"):
        evaluate(changed([make_run(make_prepared(), model="eof")]))
