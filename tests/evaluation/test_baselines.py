"""EOFs against an exact decomposition, their explained variance, and persistence."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from evaluation.baselines import eof_runs, explained_variance, fit_eof, raw_runs, yesterday
from evaluation.fields import Fields, select, weighted_space
from tests.evaluation.conftest import make_prepared, make_run


@pytest.fixture
def fields() -> Fields:
    prepared = make_prepared()
    return select(prepared, [make_run(prepared)])


def test_eofs_agree_with_an_exact_decomposition() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 80)) * np.geomspace(10, 0.1, 80)
    exact = PCA(10, svd_solver="full").fit(data)
    eof = fit_eof(data, 10)
    np.testing.assert_allclose(np.abs(np.sum(eof.components * exact.components_, axis=1)), 1, atol=1e-6)
    shares = explained_variance(data, eof.reconstruct(eof.scores(data)), eof.mean)
    assert shares == pytest.approx(exact.explained_variance_ratio_.sum(), abs=1e-9)


def test_explained_variance_by_hand() -> None:
    truth, mean = np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([2.0, 4.0])
    assert explained_variance(truth, truth, mean) == 1
    assert explained_variance(truth, np.tile(mean, (2, 1)), mean) == 0
    assert explained_variance(truth, truth + np.diag([1.0, 0.0]), mean) == pytest.approx(1 - 1 / 4)


def test_eofs_are_fitted_on_training_days_only(fields: Fields) -> None:
    before = eof_runs(fields, 3, [0], label="eof", example_times=fields.times[:0])[0]
    fields.x[fields.split == 2] *= 5
    after = eof_runs(fields, 3, [0], label="eof", example_times=fields.times[:0])[0]
    np.testing.assert_allclose(after.embedding[fields.train], before.embedding[fields.train])
    assert after.explained_variance["train"] == pytest.approx(before.explained_variance["train"])
    assert after.explained_variance["test"] != pytest.approx(before.explained_variance["test"])


def test_all_components_give_the_fields_back(fields: Fields) -> None:
    days = fields.times[[4, 100]]
    run = eof_runs(fields, 1000, [0], label="eof", example_times=days)[0]
    assert run.embedding.shape[1] == fields.mask.sum()  # fewer cells than days
    assert run.explained_variance["test"] == pytest.approx(1, abs=1e-6)
    assert run.examples is not None
    np.testing.assert_allclose(run.examples.values, fields.x[[4, 100]], atol=1e-4)


def test_explained_variance_by_variable_adds_up(fields: Fields) -> None:
    run = eof_runs(fields, 2, [0], label="eof", example_times=fields.times[:0])[0]
    weighted = weighted_space(fields)
    anomaly = (weighted - weighted[fields.train].mean(axis=0))[fields.train] ** 2
    owner = np.broadcast_to(np.arange(2)[:, None, None], fields.mask.shape)[fields.mask]
    sums = [anomaly[:, owner == i].sum() for i in range(2)]
    shares = [run.explained_variance_by_variable[name]["train"] for name in fields.variables]
    assert np.dot(sums, shares) / np.sum(sums) == pytest.approx(run.explained_variance["train"], rel=1e-5)


def test_the_days_squares_give_the_explained_variance(fields: Fields) -> None:
    (run,) = eof_runs(fields, 3, [0], label="eof", example_times=fields.times[:1])
    assert run.squares is not None
    for split, days in fields.splits.items():
        error, anomaly = run.squares[days].sum(axis=0)
        assert 1 - error / anomaly == pytest.approx(run.explained_variance[split], abs=1e-6)


def test_baselines_share_their_features_between_seeds(fields: Fields) -> None:
    for runs in (
        raw_runs(fields, [0, 1]),
        eof_runs(fields, 2, [0, 1], label="eof", example_times=fields.times[:0]),
    ):
        assert runs[0].embedding is runs[1].embedding
        assert [run.seed for run in runs] == [0, 1]


def test_yesterday_is_never_across_a_gap() -> None:
    today, before = yesterday(np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1]))
    assert (today.tolist(), before.tolist()) == ([2, 4], [1, 3])
