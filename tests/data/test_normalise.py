from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data import climatology, normalise
from data.climatology import Fit, regressors
from data.errors import DataError
from data.moments import Moments
from data.normalise import Statistics
from data.options import Options

TIMES = pd.date_range("2001-01-01", "2003-12-31")
AREA = np.array([0.8, 1.2])
NAMES = ("z500", "sst")
WEIGHT = np.broadcast_to(AREA[:, None], (2, 3)) / (3 * AREA.sum())


def record() -> np.ndarray:
    """Two variables on a 2 x 3 grid, with a season; the second is missing in one cell."""
    rng = np.random.default_rng(0)
    season = np.cos(2 * np.pi * np.arange(len(TIMES)) / 365.2425)[:, None, None]
    height = 55000 + 2000 * season + 900 * rng.standard_normal((len(TIMES), 2, 3)) * [[[1, 2, 3]]]
    sst = 285 + 6 * season + rng.standard_normal((len(TIMES), 2, 3))
    sst[:, 1, 2] = np.nan
    return np.stack([height, sst], axis=1).astype(np.float32)


def fit(raw: np.ndarray, **settings: object) -> Statistics:
    options = Options.of({"harmonics": 2, **settings})
    design = regressors(TIMES, options.harmonics, trend=options.detrend)
    mask = ~np.isnan(raw).any(axis=0)
    found, coefficients = [], []
    for index, name in enumerate(NAMES):
        moments = Moments.of(design, raw[:, index])
        left: Fit = climatology.fit(options, moments, None, None)
        found.append(
            normalise.scaling(
                name, left, moments.mean_x, mask[index], AREA, by_cell=options.standardise == "cell"
            )
        )
        coefficients.append(np.where(mask[index], left.coefficients, 0))
        coefficients[-1][0] += found[-1].offset
    return Statistics(
        variables=NAMES,
        mean=np.array([one.mean for one in found]),
        scale=np.array([one.scale for one in found]),
        cell_scale=np.stack([one.cell for one in found]) if options.standardise == "cell" else None,
        coefficients=np.stack(coefficients),
        mask=mask,
        terms=climatology.terms(options),
        seen=TIMES,
    )


@pytest.mark.parametrize("deseasonalise", [True, False])
@pytest.mark.parametrize("detrend", [True, False])
@pytest.mark.parametrize("standardise", ["variable", "cell"])
def test_the_round_trip_gives_the_input(deseasonalise: bool, detrend: bool, standardise: str) -> None:
    raw = record()
    found = fit(raw, deseasonalise=deseasonalise, detrend=detrend, standardise=standardise)
    back = found.restore(found.normalise(raw, TIMES), TIMES)
    np.testing.assert_allclose(back, raw, rtol=2e-7)  # NaN where the input has NaN


def test_anomalies_have_mean_0_in_every_cell_and_weighted_variance_1() -> None:
    x = fit(record()).normalise(record(), TIMES).astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    assert (WEIGHT * (x[:, 0] ** 2).mean(axis=0)).sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("deseasonalise", [True, False])
def test_by_cell_every_cell_has_mean_0_and_variance_1(deseasonalise: bool) -> None:
    found = fit(record(), deseasonalise=deseasonalise, standardise="cell")
    x = found.normalise(record(), TIMES).astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.var(axis=0)[found.mask], 1, rtol=1e-5)
    # scale stays the variable's own
    assert found.scale[0] == pytest.approx(fit(record(), deseasonalise=True).scale[0]) or not deseasonalise


def test_by_cell_a_cell_that_is_still_stays_0() -> None:
    raw = record()
    raw[:, 0, 0, 0] = 55000
    x = fit(raw, standardise="cell").normalise(raw, TIMES)
    np.testing.assert_allclose(x[:, 0, 0, 0], 0, atol=1e-5)


def test_with_the_cycle_left_in_the_scale_holds_season_and_space() -> None:
    raw = record()
    found = fit(raw, deseasonalise=False)
    height = raw[:, 0].astype(np.float64)
    mean = (WEIGHT * height.mean(axis=0)).sum()
    assert found.mean[0] == pytest.approx(mean)
    assert found.scale[0] == pytest.approx(np.sqrt((WEIGHT * ((height - mean) ** 2).mean(axis=0)).sum()))
    assert not found.coefficients.any()


def test_missing_values_become_0_and_stay_masked() -> None:
    raw = record()
    found = fit(raw)
    raw[3] = np.nan
    x = found.normalise(raw, TIMES)
    assert (x[:, 1, 1, 2] == 0).all()
    assert (x[3] == 0).all()
    assert np.isfinite(x).all()


def test_a_variable_that_does_not_vary_is_refused() -> None:
    raw = record()
    raw[:, 0] = 5
    with pytest.raises(DataError, match="z500 does not vary over the training period"):
        fit(raw)


def scaled(size: float, variance: float, **changes: object) -> normalise.Scaling:
    """Of a variable with the same size and variance in every cell."""
    cells = np.ones((2, 3))
    left = Fit(np.zeros((1, 2, 3)), 0 * cells, variance * cells)
    chosen = {"mask": cells > 0, "area_weight": AREA, "by_cell": False, **changes}
    return normalise.scaling("z500", left, size * cells, **chosen)


def test_what_varies_by_a_millionth_of_its_largest_value_is_not_constant() -> None:
    largest = 1e4
    assert scaled(largest, (2e-6 * largest) ** 2).scale == pytest.approx(2e-6 * largest)
    with pytest.raises(DataError, match="does not vary"):
        scaled(largest, (0.5e-6 * largest) ** 2)
    small = np.ones((2, 3))
    small[0, 0] = 1e8
    with pytest.raises(DataError, match="does not vary"):  # by the largest cell
        normalise.scaling(
            "z500", Fit(np.zeros((1, 2, 3)), 0 * small, 0 * small + 1), small,
            small > 0, AREA, by_cell=False,
        )  # fmt: skip
    assert scaled(0, 1e-20).scale == pytest.approx(1e-10)  # a variable of anomalies may be small


def test_cells_that_do_not_exist_count_for_nothing() -> None:
    mask = np.array([[True, True, False], [True, True, True]])
    left = Fit(np.zeros((1, 2, 3)), np.where(mask, 3.0, 50), np.where(mask, 4.0, 900))
    found = normalise.scaling("z500", left, np.ones((2, 3)), mask, AREA, by_cell=False)
    assert (found.mean, found.scale) == (pytest.approx(3), pytest.approx(2))
    by_cell = normalise.scaling("z500", left, np.ones((2, 3)), mask, AREA, by_cell=True)
    assert by_cell.mean == 0
    np.testing.assert_allclose(by_cell.cell, 1)
    np.testing.assert_allclose(by_cell.offset, np.where(mask, 3, 0))


def test_a_variable_that_is_nowhere_is_refused() -> None:
    raw = record()
    raw[5, 1] = np.nan
    with pytest.raises(DataError, match="sst has no grid cell where it is never missing"):
        fit(raw)


def test_steps_that_were_seen_are_not_scored_as_unseen() -> None:
    found = fit(record())
    found.check_unseen(pd.date_range("2004-01-01", "2004-12-31"))
    with pytest.raises(
        DataError, match=r"31 time steps from 2003-12-01 .* to 2003-12-31 .* cannot be scored as unseen"
    ):
        found.check_unseen(pd.date_range("2003-12-01", "2004-12-31"))
