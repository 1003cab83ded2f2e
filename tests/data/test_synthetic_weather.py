"""The synthetic weather: physics, seasonal cycle, planted regimes and noise have the properties promised."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.sources.synthetic import SyntheticSource, make
from data.sources.synthetic_box import Grid
from data.sources.synthetic_weather import REGIMES, climate, regime_patterns

FOUR_YEARS = {"start": "2001-01-01", "end": "2004-12-31"}
TWO_YEARS = {"start": "2004-02-20", "end": "2006-02-19", "seed": 3}
CENTURY = {"start": "1900-01-01", "end": "1999-12-31", "seed": 1}
GRID = Grid.of_size(16, 24)


@pytest.fixture(scope="module")
def four_years():
    return make(**FOUR_YEARS, seed=0)


def anomaly_height(**options):
    """z500 less the seasonal climate, float64, and the labels."""
    fields, labels = make(**TWO_YEARS | options)
    normal = climate(pd.DatetimeIndex(fields["time"]), GRID)["z500"]
    return fields["z500"].to_numpy().astype(float) - normal, labels.to_numpy()


class TestPhysics:
    def test_wind_is_geostrophic(self, four_years):
        """Central differences by hand, away from the edges: f u = -dz/dy, f v = dz/dx."""
        fields = four_years[0].isel(time=slice(100))
        z = fields["z500"].to_numpy().astype(float)
        latitude = np.deg2rad(fields["latitude"].to_numpy())[1:-1, None]
        f = 2 * 7.292e-5 * np.sin(latitude)
        dy, dx = 6.371e6 * np.deg2rad(3), 6.371e6 * np.cos(latitude) * np.deg2rad(3.75)
        u = -(z[:, :-2, 1:-1] - z[:, 2:, 1:-1]) / (2 * dy * f)
        v = (z[:, 1:-1, 2:] - z[:, 1:-1, :-2]) / (2 * dx * f)
        np.testing.assert_allclose(fields["u500"][:, 1:-1, 1:-1], u, atol=1e-3)
        np.testing.assert_allclose(fields["v500"][:, 1:-1, 1:-1], v, atol=1e-3)

    def test_jet_in_the_middle(self, four_years):
        mean = four_years[0]["u500"].mean(("time", "longitude"))
        assert 39 <= float(mean.idxmax()) <= 51
        assert 10 < float(mean.max()) < 25

    def test_temperature_is_warm_under_ridges_and_in_southerly_wind(self, four_years):
        fields = four_years[0]
        normal = climate(pd.DatetimeIndex(fields["time"]), GRID)
        t, z = (fields[name].to_numpy() - normal[name] for name in ("t850", "z500"))
        v = np.gradient(z, axis=-1)
        assert np.corrcoef(t.ravel(), z.ravel())[0, 1] > 0.5
        assert np.corrcoef(t.ravel(), v.ravel())[0, 1] > 0.2

    def test_pressure_is_low_under_troughs(self, four_years):
        fields = four_years[0].sel(latitude=57, longitude=-30)
        months = fields[["z500", "msl"]].groupby("time.month")
        anomaly = months - months.mean()
        assert float(np.corrcoef(anomaly["z500"], anomaly["msl"])[0, 1]) > 0.8

    def test_sea_is_slow_and_follows_the_air(self):
        fields, _ = make(**FOUR_YEARS, seed=0, noise_strength=0)
        normal = climate(pd.DatetimeIndex(fields["time"]), GRID)
        sst, t850 = ((fields[name].to_numpy() - normal[name])[:, 8, 8] for name in ("sst", "t850"))
        change, push = np.diff(sst), (t850[1:] - sst[:-1]) / 50
        np.testing.assert_allclose(change, push, atol=2e-4)

    def test_magnitudes(self, four_years):
        months = four_years[0].groupby("time.month")
        spread = (months - months.mean()).std("time").mean()
        for name, low, high in (
            ("z500", 500, 1200),
            ("u500", 4, 12),
            ("t850", 2, 5),
            ("msl", 400, 1100),
            ("sst", 0.3, 1.2),
        ):
            assert low < float(spread[name]) < high, name


class TestSeasonalCycle:
    @staticmethod
    def harmonic(field):
        """Amplitude and the day of year of the minimum, of the mean over a latitude."""
        days = field["time"].dt.dayofyear.to_numpy()
        phase = 2 * np.pi * days / 365.25
        basis = np.column_stack([np.ones(days.size), np.cos(phase), np.sin(phase)])
        _, a, b = np.linalg.lstsq(basis, field.mean("longitude").to_numpy(), rcond=None)[0]
        return np.hypot(a, b), np.degrees(np.arctan2(-b, -a)) % 360 * 365.25 / 360

    @pytest.mark.parametrize(
        ("name", "amplitude", "coldest"),
        [("t850", 5.5 + 4 * 24 / 45, 25), ("sst", 3.5 - 1.5 * 24 / 45, 65)],
    )
    def test_amplitude_and_phase(self, four_years, name, amplitude, coldest):
        found, day = self.harmonic(four_years[0][name].sel(latitude=54))
        assert found == pytest.approx(amplitude, rel=0.12)
        assert day == pytest.approx(coldest, abs=10)

    def test_winter_is_more_variable(self, four_years):
        months = four_years[0]["z500"].groupby("time.month")
        anomaly = months - months.mean()
        winter, summer = (anomaly[anomaly["time.season"] == season].std() for season in ("DJF", "JJA"))
        assert 1.4 < float(winter / summer) < 2.2  # (1 + 0.3) / (1 - 0.3) = 1.86 at the extremes

    def test_leap_days_keep_the_phase(self):
        """The cycle at the end of a leap year joins that of the next year."""
        fields, _ = make(start="2004-12-31", end="2005-01-01", seed=0, regime_strength=0, noise_strength=0)
        assert float(abs(fields["t850"].diff("time")).max()) < 0.1


class TestRegimes:
    def test_spells_last_about_a_week(self):
        labels = SyntheticSource(**CENTURY).labels().to_numpy()
        spells = np.diff(np.flatnonzero(np.diff(labels)))
        assert spells.mean() == pytest.approx(7.5, rel=0.05)
        assert spells.min() == 5

    def test_regimes_are_equally_frequent_in_the_long_run(self):
        labels = SyntheticSource(**CENTURY).labels()
        assert (labels.value_counts(normalize=True) - 1 / 7).abs().max() < 0.015

    def test_the_next_regime_depends_on_the_present_one(self):
        labels = SyntheticSource(**CENTURY).labels().to_numpy()
        order = labels[np.flatnonzero(np.diff(labels, prepend=-1))]
        places = np.bincount((np.diff(order)) % 7, minlength=7) / (order.size - 1)
        np.testing.assert_allclose(places, [0, 0.5, 0.2, 0.1, 0.1, 0.05, 0.05], atol=0.03)

    def test_spell_length_is_an_option(self):
        labels = SyntheticSource(**CENTURY, spell_days=12).labels().to_numpy()
        assert np.diff(np.flatnonzero(np.diff(labels))).mean() == pytest.approx(12, rel=0.06)

    @pytest.mark.parametrize("seed", range(5))
    def test_all_seven_are_in_training_and_test(self, seed):
        labels = SyntheticSource(**FOUR_YEARS, seed=seed).labels().to_numpy()
        for part in (labels[:1022], labels[1242:]):
            assert np.bincount(part, minlength=7).min() >= 0.05 * part.size

    def test_patterns_are_of_one_size(self):
        grid = Grid.of_size(46, 90)
        power = (regime_patterns(grid) ** 2 * grid.cos).sum((1, 2)) / (grid.cos.sum() * 90)
        np.testing.assert_allclose(power, 1, rtol=1e-12)

    def test_patterns_are_distinct(self):
        flat = (regime_patterns(GRID) * np.sqrt(GRID.cos)).reshape(7, -1)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        assert (flat @ flat.T - np.eye(7)).max() < 0.15

    def test_zonal_is_low_over_iceland_and_high_over_the_azores(self):
        zonal = regime_patterns(GRID)[list(REGIMES).index("zonal")]
        iceland, azores = (np.abs(GRID.latitude - 64).argmin(), 10), (np.abs(GRID.latitude - 38).argmin(), 11)
        assert zonal[iceland] < -1 < 1 < zonal[azores]

    def test_without_noise_the_height_is_the_planted_pattern(self):
        z, labels = anomaly_height(noise_strength=0)
        patterns = regime_patterns(GRID)
        inside = np.flatnonzero((labels[:-2] == labels[1:-1]) & (labels[1:-1] == labels[2:])) + 1
        own = np.einsum("tij,tij->t", z[inside], patterns[labels[inside]])
        size = np.sqrt((z[inside] ** 2).sum((1, 2)) * (patterns[labels[inside]] ** 2).sum((1, 2)))
        np.testing.assert_allclose(own / size, 1, atol=1e-5)

    def test_transitions_are_smooth(self):
        z, labels = anomaly_height(noise_strength=0)
        first = np.flatnonzero(np.diff(labels)) + 1  # first day of a new spell
        patterns = regime_patterns(GRID).reshape(7, -1)
        share = np.linalg.lstsq(patterns.T, z.reshape(len(z), -1).T, rcond=None)[0].T
        share /= share.sum(1, keepdims=True)
        np.testing.assert_allclose(share[first, labels[first]], 0.75, atol=1e-3)
        np.testing.assert_allclose(share[first - 1, labels[first]], 0.25, atol=1e-3)
        np.testing.assert_allclose(share[first - 2, labels[first]], 0, atol=1e-3)

    def test_amplitude_varies_from_day_to_day(self):
        z, labels = anomaly_height(noise_strength=0)
        winter = 1 + 0.3 * np.cos(2 * np.pi * (np.arange(len(z)) + 51 - 20) / 365.25)
        inside = np.flatnonzero((labels[:-2] == labels[1:-1]) & (labels[1:-1] == labels[2:])) + 1
        size = np.sqrt((z**2).sum((1, 2)) / (regime_patterns(GRID)[labels] ** 2).sum((1, 2))) / winter
        assert np.log(size[inside]).std() == pytest.approx(0.2, abs=0.03)

    def test_strength_scales_the_pattern(self):
        once, _ = anomaly_height(noise_strength=0)
        twice, _ = anomaly_height(noise_strength=0, regime_strength=2)
        np.testing.assert_allclose(twice, 2 * once, atol=0.02)


class TestNoise:
    def test_red_in_time_and_space(self):
        z, _ = anomaly_height(regime_strength=0)

        def correlation(a, b):
            return (a * b).mean() / np.sqrt((a**2).mean() * (b**2).mean())

        lags = [correlation(z[lag:], z[:-lag]) for lag in (1, 2, 5)]
        assert 0.4 < lags[0] < 0.7
        assert lags[0] > lags[1] > abs(lags[2])
        assert correlation(z[:, 2:], z[:, :-2]) > 0.7  # 670 km
        assert abs(correlation(z[:, :3], z[:, -3:])) < 0.15  # 4300 km

    def test_total_height_has_the_memory_of_real_weather(self):
        z, _ = anomaly_height()
        assert 0.6 < (z[1:] * z[:-1]).mean() / (z**2).mean() < 0.75

    def test_synoptic_systems_drift_to_the_east(self):
        z, _ = anomaly_height(regime_strength=0)
        east, west = (z[1:, :, 3:] * z[:-1, :, :-3]).mean(), (z[1:, :, :-3] * z[:-1, :, 3:]).mean()
        assert east > 1.2 * west

    def test_strength_scales_the_noise(self):
        assert anomaly_height(regime_strength=0, noise_strength=0)[0].std() < 0.01
        once, _ = anomaly_height(regime_strength=0)
        half, _ = anomaly_height(regime_strength=0, noise_strength=0.5)
        np.testing.assert_allclose(half, once / 2, atol=0.02)
