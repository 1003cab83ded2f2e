"""The synthetic source: contract, reproducibility, options."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from data import catalogue
from data.errors import DataError
from data.sources.synthetic import VARIABLES, SyntheticSource, make
from data.sources.synthetic_weather import NOISE, STREAMS

SHORT = {"start": "2004-02-20", "end": "2004-04-10", "seed": 3}


@pytest.fixture(scope="module")
def short():
    return make(**SHORT)


class TestContract:
    def test_fields(self, short):
        fields, _ = short
        assert tuple(fields.data_vars) == VARIABLES
        for name, field in fields.items():
            variable, level = catalogue.parse(name)
            assert field.dims == ("time", "latitude", "longitude")
            assert field.shape == (51, 16, 24)
            assert field.dtype == np.float32
            assert field.attrs["units"] == variable.units
            assert field.attrs["standard_name"] == variable.standard_name
            assert field.attrs["long_name"].startswith(variable.long_name)
            assert ("500 hPa" in field.attrs["long_name"]) == (level == 500)
            assert field.encoding == {}

    def test_coordinates(self, short):
        fields, _ = short
        assert fields["time"].dtype == "datetime64[ns]"
        assert fields["time"].to_index().equals(pd.date_range("2004-02-20", "2004-04-10").as_unit("ns"))
        assert fields["latitude"].dtype == fields["longitude"].dtype == np.float64
        assert np.allclose(fields["latitude"], np.arange(75, 29, -3))
        assert np.allclose(fields["longitude"], np.arange(-60, 30, 3.75))
        assert fields["latitude"].attrs == {"standard_name": "latitude", "units": "degrees_north"}
        assert fields["longitude"].attrs == {"standard_name": "longitude", "units": "degrees_east"}

    def test_attributes_say_what_was_asked_for(self, short):
        attrs = short[0].attrs
        assert set(attrs) == {"source", "licence", "citation", "request", "Conventions"}
        assert attrs["Conventions"] == "CF-1.8"
        assert json.loads(attrs["request"]) == SyntheticSource(**SHORT).fingerprint()

    def test_labels(self, short):
        fields, labels = short
        assert labels.index.equals(fields["time"].to_index())
        assert labels.dtype == np.int64
        assert labels.equals(SyntheticSource(**SHORT).labels())

    def test_values_are_plausible(self):
        fields, _ = make(start="2001-01-01", end="2004-12-31", seed=0)
        for name, field in fields.items():
            variable, level = catalogue.parse(name)
            low, high = variable.plausible_at(level)
            assert low < float(field.min()), name
            assert float(field.max()) < high, name

    def test_one_day(self):
        fields, labels = make(start="2004-02-29", end="2004-02-29", seed=0)
        assert fields.sizes["time"] == labels.size == 1


class TestReproducible:
    def test_same_seed_same_bytes(self, short):
        again, labels = make(**SHORT)
        assert short[0].identical(again)
        assert short[1].equals(labels)

    def test_other_seed_other_weather(self, short):
        other, labels = make(**SHORT | {"seed": 4})
        assert abs(other["z500"] - short[0]["z500"]).mean() > 300
        assert not labels.equals(short[1])

    def test_a_longer_record_begins_with_the_same_days(self, short):
        longer, labels = make(**SHORT | {"end": "2004-12-31"})
        assert longer.isel(time=slice(51)).drop_attrs().identical(short[0].drop_attrs())
        assert labels[:51].equals(short[1])

    def test_a_finer_grid_shows_the_same_weather(self, short):
        fine, labels = make(**SHORT, n_latitude=31, n_longitude=48)
        height = fine["z500"].isel(latitude=slice(None, None, 2), longitude=slice(None, None, 2))
        np.testing.assert_allclose(height, short[0]["z500"], rtol=1e-6)
        assert labels.equals(short[1])

    def test_frozen_numbers(self, short):
        """Raise GENERATOR_VERSION when these change."""
        fields, labels = short
        day = fields.isel(time=10).sel(latitude=54, longitude=-30)
        expected = {
            "z500": 51020.094,
            "u500": 22.072,
            "v500": -4.437,
            "t850": 264.57,
            "msl": 100209.492,
            "sst": 281.716,
        }
        assert {name: round(float(day[name]), 3) for name in VARIABLES} == pytest.approx(expected, rel=1e-5)
        assert "".join(map(str, labels)) == "111111133333366666666666666662222222333333555555555"

    def test_some_variables_are_a_part_of_all(self, short):
        part, _ = make(**SHORT, variables=["sst", "z500"])
        assert list(part) == ["sst", "z500"]
        assert part.drop_attrs().identical(short[0][["sst", "z500"]].drop_attrs())

    def test_the_fingerprint_tells_options_apart(self):
        changes = [{}, {"end": "2004-04-11"}, {"seed": 4}, {"n_latitude": 9}, {"variables": ("sst",)}]
        changes += [{"regime_strength": 0.5}, {"noise_strength": 0.5}, {"spell_days": 8}]
        prints = {json.dumps(SyntheticSource(**SHORT | change).fingerprint()) for change in changes}
        assert len(prints) == len(changes)

    def test_the_fingerprint_does_not_depend_on_how_options_are_written(self):
        stamps = {"start": pd.Timestamp("2004-02-20"), "end": "20040410", "variables": list(VARIABLES)}
        assert SyntheticSource(**SHORT | stamps) == SyntheticSource(**SHORT)

    def test_streams_differ(self):
        assert len(set(STREAMS)) == len(STREAMS) == 2 + len(NOISE)


class TestMistakes:
    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"end": "2004-02-19"}, "end must be no earlier than start, 2004-02-20 .*2004-02-19"),
            ({"start": "soon"}, "start must be a day .*'soon'"),
            ({"start": ""}, "start must be a day"),
            ({"end": None}, "end must be a day .*None"),
            ({"end": "2300-01-01"}, "end must be a day from 1700 to 2249"),
            ({"start": "1582-10-15"}, "start must be a day from 1700 to 2249"),
            ({"seed": -1}, "seed must be a whole number, at least 0 .*-1"),
            ({"seed": 1.5}, "seed must be a whole number"),
            ({"n_latitude": 7}, "n_latitude must be a whole number, at least 8 .*7"),
            ({"n_longitude": 0}, "n_longitude must be a whole number, at least 8"),
            ({"regime_strength": -0.1}, "regime_strength must be a number, at least 0 .*-0.1"),
            ({"noise_strength": float("nan")}, "noise_strength must be a number, at least 0"),
            ({"spell_days": 4}, "spell_days must be a number, at least 5 .*4"),
            ({"variables": ("z500", "t2m")}, "variables must be .*z500, u500, v500, t850, msl, sst .*t2m"),
            ({"variables": ("sst", "sst")}, "variables must be different names"),
            ({"variables": ()}, "variables must be"),
        ],
    )
    def test_an_option_out_of_range_is_refused(self, option, message):
        with pytest.raises(DataError, match=f"^synthetic source: {message}"):
            SyntheticSource(**SHORT | option)

    def test_the_smallest_grid_works(self):
        fields, _ = make(**SHORT, n_latitude=8, n_longitude=8)
        assert all(np.isfinite(fields[name]).all() for name in VARIABLES if name != "sst")

    def test_options_are_keyword_only(self):
        with pytest.raises(TypeError):
            SyntheticSource("2004-02-20", "2004-04-10")
