"""Which days are evaluated, and the two spaces in which labels are scored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from evaluation.errors import EvaluationError
from evaluation.fields import align, data_space, minmax_features, select, weighted_space
from evaluation.inputs import Run

ROWS = Callable[..., Run]


def test_features_are_scaled_by_their_range_in_training() -> None:
    values = np.array([[0.0, 10.0], [4.0, 20.0], [2.0, 40.0]])
    scaled = minmax_features(values, np.array([True, True, False]))
    np.testing.assert_allclose(scaled, [[0, 0], [1, 1], [0.5, 3]])


def test_constant_and_missing_features_are_dropped_and_gaps_filled_with_the_mean() -> None:
    nan = np.nan
    values = np.array(
        [[0.0, 5.0, nan, 1.0], [2.0, 5.0, nan, nan], [1.0, 5.0, nan, 3.0], [nan, 7.0, 3.0, 2.0]]
    )
    scaled = minmax_features(values, np.array([True, True, True, False]))
    np.testing.assert_allclose(scaled, [[0, 0], [1, 0.5], [0.5, 1], [0.5, 0.5]])


def test_the_data_space_is_the_same_in_physical_units(prepared: xr.Dataset, run_of: ROWS) -> None:
    fields = select(prepared, [run_of()])
    physical = fields.physical(fields.x)[:, fields.mask]
    np.testing.assert_allclose(data_space(fields), minmax_features(physical, fields.train), atol=1e-5)


def test_missing_cells_are_in_neither_space(prepared: xr.Dataset, run_of: ROWS) -> None:
    fields = select(prepared, [run_of()])
    cells = int(prepared["mask"].sum())
    assert data_space(fields).shape == weighted_space(fields).shape == (len(fields.times), cells)


def test_distances_of_weighted_anomalies_are_area_integrals(prepared: xr.Dataset, run_of: ROWS) -> None:
    fields = select(prepared, [run_of()])
    first, second = weighted_space(fields)[[0, 50]].astype(float)
    difference = (fields.x[0] - fields.x[50]).astype(float) * fields.mask
    integral = np.sum(difference**2 * fields.area_weight[:, None])
    assert np.sum((first - second) ** 2) == pytest.approx(integral, rel=1e-5)


def test_days_are_those_of_every_run_and_of_a_split(prepared: xr.Dataset, run_of: ROWS) -> None:
    fields = select(prepared, [run_of(skip=3), run_of(skip=7, seed=1)])
    expected = prepared["time"].values[
        (prepared["split"].values >= 0) & (np.arange(prepared.sizes["time"]) >= 7)
    ]
    np.testing.assert_array_equal(fields.times, expected)
    np.testing.assert_array_equal(np.unique(fields.split), [0, 1, 2])


def test_embeddings_are_taken_on_the_evaluated_days(prepared: xr.Dataset, run_of: ROWS) -> None:
    run = run_of(skip=3)
    fields = select(prepared, [run, run_of(skip=7, seed=1)])
    row = int(np.flatnonzero(run.times == fields.times[10])[0])
    np.testing.assert_array_equal(align(run.embedding, run.times, fields.times)[10], run.embedding[row])


def test_anomalies_are_in_physical_units_from_the_training_mean(prepared: xr.Dataset, run_of: ROWS) -> None:
    fields = select(prepared, [run_of()])
    anomaly = fields.physical(fields.x)
    np.testing.assert_allclose(np.nanmean(anomaly[fields.train][:, :, 3:], axis=0), 0, atol=1e-4)
    assert np.isnan(anomaly[:, 1, 0, 0]).all()
    change = anomaly[1, 0, 0, 0] - anomaly[0, 0, 0, 0]
    assert change == pytest.approx(100 * (fields.x[1, 0, 0, 0] - fields.x[0, 0, 0, 0]), rel=1e-5)


def test_the_order_of_dimensions_in_the_store_does_not_matter(prepared: xr.Dataset, run_of: ROWS) -> None:
    turned = prepared.transpose("longitude", "latitude", "variable", "time", ...)
    np.testing.assert_array_equal(select(turned, [run_of()]).x, select(prepared, [run_of()]).x)


def test_seasonal_cycle_is_read_off_the_climatology(prepared: xr.Dataset, run_of: ROWS) -> None:
    assert select(prepared, [run_of()]).seasonal_cycle == "removed"
    kept = prepared.assign(climatology_coefficient=prepared["climatology_coefficient"] * 0)
    assert select(kept, [run_of()]).seasonal_cycle == "kept"


def test_runs_without_a_common_training_day_are_refused(prepared: xr.Dataset, run_of: ROWS) -> None:
    with pytest.raises(
        EvaluationError, match="No day of the training period is covered by all of the 2 runs"
    ):
        select(prepared, [run_of(), run_of(skip=200, seed=1)])
