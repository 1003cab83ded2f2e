"""Days and frozen clusters: the rule by hand, the radius by its promise, and a dataset that says what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from evaluation import assignment
from evaluation.assignment import NO_REGIME, UNASSIGNED, Assignment, Regimes, assign, learn
from evaluation.clustering import Clustering, cluster
from evaluation.errors import EvaluationError

TWO = Regimes(np.array([[0.0, 0.0], [4.0, 0.0]]), radius=np.array([2.0, 0.5]), limit=0.8, quantile=0.95)


def put(features: np.ndarray, regimes: Regimes = TWO, missed: float = 0.1) -> Assignment:
    """Days that the reconstruction knows equally well."""
    return assign(features, np.full(len(features), missed), regimes)


def rows(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=np.float32)


MISSED = np.random.default_rng(1).uniform(0.1, 0.5, size=600)


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, Clustering]:
    """Three groups, the last third of the days after training."""
    rng = np.random.default_rng(seed)
    features = 8 * np.eye(3)[rng.integers(3, size=600)] + rng.normal(size=(600, 3))
    train = np.arange(600) < 400
    return features.astype(np.float32), train, cluster(features.astype(np.float32), train, k=3)


def test_four_days_by_hand() -> None:
    found = put(rows((0, 0), (1, 0), (2, 0), (3.4, 0)))
    np.testing.assert_array_equal(found.nearest, [1, 1, 1, 2])
    np.testing.assert_array_equal(found.cluster, [1, 1, 1, NO_REGIME])  # 0.6 from a centre of radius 0.5
    np.testing.assert_allclose(found.confidence, [1, 1 - 1 / 3, 0, 1 - 0.6 / 3.4], rtol=1e-6)
    np.testing.assert_allclose(found.distance[1], [1, 3])
    assert found.days() == {"regime_1": 3, "regime_2": 0, "no_regime": 1, "unassigned": 0}
    assert found.no_regime_share == 0.25


def test_a_day_at_its_radius_still_belongs() -> None:
    assert put(rows((0, 2), (0, 2.001))).cluster.tolist() == [1, NO_REGIME]


def test_a_day_that_its_reconstruction_misses_has_no_regime_wherever_it_lies() -> None:
    found = assign(rows((0, 0), (0, 0), (0, 0)), np.array([0.8, 0.81, np.inf]), TWO)
    assert found.cluster.tolist() == [1, NO_REGIME, NO_REGIME]
    assert found.nearest.tolist() == [1, 1, 1]


def test_the_share_of_training_days_without_a_regime_is_counted_by_either_rule() -> None:
    features, train, clustering = blobs()
    regimes = learn(features, MISSED, train, clustering, quantile=0.9)
    assert regimes.limit == pytest.approx(np.quantile(MISSED[train], 0.9))
    found = assign(features, MISSED, regimes)
    assert regimes.share == (found.cluster[train] == NO_REGIME).mean()
    assert 0.1 < regimes.share < 0.2


def test_a_day_without_an_embedding_stays_without_a_cluster() -> None:
    found = put(rows((0, 0), (np.nan, 0), (np.nan, np.nan)))
    assert found.cluster.tolist() == found.nearest.tolist() == [1, UNASSIGNED, UNASSIGNED]
    assert np.isnan(found.confidence[1:]).all()
    assert np.isnan(found.distance[1:]).all()
    assert found.no_regime_share == 0


def test_no_day_at_all() -> None:
    for features in (np.zeros((0, 2)), np.full((3, 2), np.nan)):
        found = put(features)
        assert len(found.cluster) == len(features)
        assert sum(found.days().values()) == found.days()["unassigned"] == len(features)


def test_training_days_get_their_own_clusters_and_the_quantile_keeps_its_promise() -> None:
    features, train, clustering = blobs()
    regimes = learn(features, MISSED, train, clustering, quantile=0.9)
    found = put(features, regimes)
    np.testing.assert_array_equal(found.nearest, clustering.labels + 1)
    for c in range(3):
        own = train & (clustering.labels == c)
        assert (found.cluster[own] == NO_REGIME).mean() == pytest.approx(0.1, abs=0.01)


def test_with_a_quantile_of_one_every_training_day_belongs() -> None:
    features, train, clustering = blobs()
    found = put(features, learn(features, MISSED, train, clustering, quantile=1))
    assert (found.cluster[train] > 0).all()


def test_later_days_do_not_move_the_radius() -> None:
    features, train, clustering = blobs()
    before = learn(features, MISSED, train, clustering)
    moved = np.where(train[:, None], features, features + 1000)
    np.testing.assert_array_equal(learn(moved, MISSED, train, clustering).radius, before.radius)
    assert (put(moved, before).cluster[~train] == NO_REGIME).all()


def test_a_cluster_without_training_days_takes_none() -> None:
    """A collapsed embedding: both centres are the same point."""
    features = np.zeros((5, 2), np.float32)
    held = Clustering(labels=np.zeros(5, int), centres=np.zeros((2, 2)), inertia=0.0)
    regimes = learn(features, np.zeros(5), np.ones(5, bool), held)
    np.testing.assert_array_equal(regimes.radius, [0, 0])
    found = put(rows((0, 0), (1, 0)), regimes, missed=0)
    assert found.cluster.tolist() == [1, NO_REGIME]
    assert found.confidence.tolist() == [0, 0]


@given(st.integers(0, 2**16), st.floats(0.01, 100), st.integers(2, 6))
def test_the_confidence_lies_between_0_and_1_and_knows_no_unit(seed: int, scale: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    centres, features = rng.normal(size=(k, 4)), rng.normal(size=(20, 4))
    one = put(features, Regimes(centres, np.ones(k), 1, 0.95))
    other = put(scale * features, Regimes(scale * centres, scale * np.ones(k), 1, 0.95))
    assert ((one.confidence >= 0) & (one.confidence <= 1)).all()
    np.testing.assert_allclose(other.confidence, one.confidence, atol=1e-9)
    np.testing.assert_array_equal(other.nearest, one.nearest)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"must have shape \(time, 2\).*Received: \(4, 3\)"):
        put(np.zeros((4, 3)))


@pytest.mark.parametrize("quantile", [0, -0.1, 1.01, float("nan")])
def test_a_quantile_that_is_none_is_refused(quantile: float) -> None:
    features, train, clustering = blobs()
    with pytest.raises(EvaluationError, match="above 0 and at most 1"):
        learn(features, MISSED, train, clustering, quantile=quantile)


def test_the_dataset_goes_to_netcdf_and_back(tmp_path: Path) -> None:
    times = pd.date_range("2020-02-28 12:00", periods=4, freq="D")
    held = put(rows((0, 0), (np.nan, 0), (3.4, 0), (4, 0)))
    windows = np.array([1, 0, 2, 3])
    dataset = assignment.dataset(held, times, windows, {"source": "test", "run": "demo/x"})
    assignment.write(dataset, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", mask_and_scale=False) as found:
        assert found["cluster"].dtype == found["nearest"].dtype == np.int8
        assert found["cluster"].values.tolist() == [1, -1, 0, 2]
        assert found["cluster"].attrs["_FillValue"].dtype == np.int8
        assert found["cluster"].attrs["flag_values"].dtype == np.int8
        assert found["cluster"].attrs["flag_values"].tolist() == [0, 1, 2]
        assert found["cluster"].attrs["flag_meanings"].split() == ["no_regime", "regime_1", "regime_2"]
        assert found["nearest"].attrs["flag_values"].tolist() == [1, 2]
        assert found["time"].values.tolist() == times.as_unit("ns").values.tolist()
        assert found["distance"].dims == ("regime", "time")
        assert {found[name].attrs["units"] for name in ("confidence", "distance", "radius", "windows")} == {
            "1"
        }
        assert found.attrs["Conventions"] == "CF-1.8"
        assert "Hruschka" in found.attrs["references"]
        np.testing.assert_allclose(found["confidence"][[0, 2]], held.confidence[[0, 2]], rtol=1e-6)
        assert np.isnan(found["confidence"][1])
    assignment.write(dataset, tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_many_clusters_have_room(tmp_path: Path) -> None:
    centres = np.arange(130.0)[:, None]
    held = put(centres, Regimes(centres, np.ones(130), 1, 0.95))
    times = pd.date_range("2020-01-01", periods=130, freq="D")
    assignment.write(assignment.dataset(held, times, np.ones(130), {}), tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert found["cluster"].values.tolist() == list(range(1, 131))


def test_the_table_leaves_empty_what_is_not_known() -> None:
    times = pd.date_range("2020-02-28", periods=3, freq="D")
    held = put(rows((0, 1), (np.nan, 0), (3.4, 0)))
    text = assignment.table(held, times, np.array([3, 0, 1])).to_csv(index=False, lineterminator="\n")
    assert text.splitlines() == [
        "time,cluster,nearest,confidence,distance,missed,windows",
        "2020-02-28,1,1,0.7575,1.0,0.1,3",
        "2020-02-29,,,,,,0",
        "2020-03-01,0,2,0.8235,0.6,0.1,1",
    ]
