from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import moments
from data.moments import Moments


def naive(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, ...]:
    apart_a, apart_x = a - a.mean(axis=0), x - x.mean(axis=0)
    ax = np.einsum("tk,t...->k...", apart_a, apart_x)
    return a.mean(axis=0), x.mean(axis=0), apart_a.T @ apart_a, ax, (apart_x**2).sum(axis=0)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    regressors=st.integers(0, 3),
    level=st.sampled_from([0.0, 280.0, 5.5e4, 1e7]),
    seed=st.integers(0, 999),
)
def test_merged_blocks_equal_one_computation_in_float64(
    sizes: list[int], regressors: int, level: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(3, 1, (sum(sizes), regressors))
    x = level + rng.standard_normal((sum(sizes), 2, 3))
    found = Moments.empty(regressors, (2, 3))
    edges = np.cumsum([0, *sizes])
    for begin, end in itertools.pairwise(edges):
        found.merge(Moments.of(a[begin:end], x[begin:end]))
    assert found.count == sum(sizes)
    for name, expected in zip(("mean_a", "mean_x", "aa", "ax", "xx"), naive(a, x), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9, atol=1e-7)


def test_the_variance_of_what_is_large_and_hardly_varies_keeps_its_digits() -> None:
    x = 1e7 + 1e-3 * np.random.default_rng(0).standard_normal((4000, 1))
    found = Moments.empty(0, (1,))
    for part in np.split(x, 40):
        found.merge(Moments.of(np.empty((len(part), 0)), part))
    assert abs(found.xx[0] / ((x - x.mean()) ** 2).sum() - 1) < 1e-6


def test_a_missing_value_stays_in_its_cell() -> None:
    x = np.random.default_rng(1).standard_normal((6, 3))
    x[2, 1] = np.nan
    found = Moments.of(np.arange(6.0)[:, None], x)
    found.merge(Moments.of(np.arange(6.0)[:, None], np.ones((6, 3))))
    for values in (found.mean_x, found.ax[0], found.xx):
        assert np.isnan(values).tolist() == [False, True, False]


def test_residual_squares_of_any_slopes() -> None:
    rng = np.random.default_rng(2)
    a, x, slopes = rng.standard_normal((50, 2)), rng.standard_normal((50, 3)), rng.standard_normal((2, 3))
    line = x.mean(axis=0) + (a - a.mean(axis=0)) @ slopes
    np.testing.assert_allclose(Moments.of(a, x).residual_squares(slopes), ((x - line) ** 2).sum(axis=0))


def test_they_survive_being_saved() -> None:
    found = Moments.of(np.arange(8.0).reshape(4, 2), np.arange(12.0).reshape(4, 3))
    again = Moments.from_arrays(found.arrays("p_"), "p_")
    assert again.count == 4
    np.testing.assert_array_equal(again.ax, found.ax)


@pytest.mark.parametrize("regressors", [0, 2])
def test_blocks_of_many_pieces_equal_one_computation(
    regressors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "PIECE_STEPS", 4)
    monkeypatch.setattr(moments, "PIECE_VALUES", 12)
    rng = np.random.default_rng(3)
    a, x = rng.normal(3, 1, (11, regressors)), 280 + rng.standard_normal((11, 2, 5))
    found = Moments.of(a, x)
    for name, expected in zip(("mean_a", "mean_x", "aa", "ax", "xx"), naive(a, x), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12, atol=1e-9)


def test_nothing_is_left_where_the_line_is_the_field() -> None:
    a = np.arange(6.0)[:, None]
    assert Moments.of(a, 2 * a).residual_squares(np.full((1, 1), 2.0)) == pytest.approx(0, abs=1e-9)
