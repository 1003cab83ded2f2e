"""The catalogue: names, levels, plausible values."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import catalogue
from data.errors import DataError
from data.units import canonical

PRESSURE = [variable for variable in catalogue.CATALOGUE if variable.level == "pressure"]


def test_no_name_means_two_variables():
    names = Counter(name.casefold() for v in catalogue.CATALOGUE for name in dict.fromkeys(v.names()))
    assert [name for name, count in names.items() if count > 1] == []
    numbers = Counter(v.param_id for v in catalogue.CATALOGUE if v.param_id is not None)
    assert max(numbers.values()) == 1


def test_every_unit_is_written_in_its_one_spelling():
    assert [v.short for v in catalogue.CATALOGUE if canonical(v.units) != v.units] == []


def test_every_range_is_a_range():
    assert all(low < high for low, high in (v.plausible for v in catalogue.CATALOGUE))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("t2m", "t2m"), ("2t", "t2m"), ("2m_temperature", "t2m"), ("T2M", "t2m"), ("tas", "t2m"), ("VAR_2T", "t2m"),
        ("var167", "t2m"), ("p167.128", "t2m"), ("sstk", "sst"), ("slp", "msl"), ("msshf", "avg_ishf"),
        ("mslhf", "avg_slhtf"), ("surface_sensible_heat_flux", "sshf"), ("gh", "z"), ("hgt", "z"), ("ci", "siconc"),
        ("u_component_of_wind", "u"), ("100u", "u100"), ("total_precipitation", "tp"),
    ],
)  # fmt: skip
def test_a_variable_is_found_by_the_names_of_its_sources(name, short):
    assert catalogue.lookup(name).short == short


@pytest.mark.parametrize(
    ("name", "short", "level"),
    [
        ("z500", "z", 500), ("Z500", "z", 500), ("hgt500", "z", 500), ("zg500", "z", 500), ("t850", "t", 850),
        ("geopotential_500", "z", 500), ("T850 hPa", "t", 850), ("ta_850", "t", 850), ("msl", "msl", None),
        ("z", "z", None), ("u10", "u10", None), ("u10hPa", "u", 10), ("v100", "v100", None), ("v200", "v", 200),
        ("q0.5", "q", 0.5),
    ],
)  # fmt: skip
def test_a_field_is_a_variable_and_a_level(name, short, level):
    variable, pressure = catalogue.parse(name)
    assert (variable.short, pressure) == (short, level)


@given(st.sampled_from(PRESSURE), st.integers(1, 1100))
def test_a_field_name_is_read_back(variable, level):
    assert catalogue.parse(catalogue.field_name(variable, level)) == (variable, level)


@given(st.sampled_from(catalogue.CATALOGUE))
def test_a_short_name_is_read_back(variable):
    assert catalogue.parse(catalogue.field_name(variable)) == (variable, None)


def test_wind_at_10_hpa_is_not_wind_at_10_metres():
    assert catalogue.field_name(catalogue.lookup("u"), 10) == "u10hPa"
    assert catalogue.field_name(catalogue.lookup("u"), 850) == "u850"


@pytest.mark.parametrize(
    ("name", "nearest"), [("t2n", "t2m"), ("z50O", "z500"), ("temperture", "temperature")]
)
def test_what_is_not_known_is_refused_with_the_nearest_names(name, nearest):
    with pytest.raises(DataError, match=rf"variable '{name}' is not known \(did you mean .*{nearest}"):
        catalogue.parse(name)


@pytest.mark.parametrize("name", ["msl500", "z0", "z5000", "sst850"])
def test_a_level_that_cannot_be_is_refused(name):
    with pytest.raises(DataError, match="is not known"):
        catalogue.parse(name)


def test_what_resembles_nothing_is_refused_with_all_names():
    with pytest.raises(DataError, match=r"known are t2m, d2m, .*, vo, d\)"):
        catalogue.lookup("qqqqqq")


@pytest.mark.parametrize(
    ("level", "metres"),
    [
        (1000, (-600, 500)),
        (850, (900, 1750)),
        (500, (4600, 6050)),
        (250, (9300, 11100)),
        (10, (27500, 32500)),
    ],
)
def test_heights_that_occur_are_plausible_at_their_level(level, metres):
    low, high = catalogue.lookup("z").plausible_at(level)
    assert low < metres[0] * catalogue.GRAVITY < metres[1] * catalogue.GRAVITY < high


def test_heights_of_850_hpa_are_not_plausible_at_500_hpa_nor_the_other_way():
    z = catalogue.lookup("z")
    assert z.plausible_at(850)[1] < 4600 * catalogue.GRAVITY
    assert z.plausible_at(500)[0] > 1750 * catalogue.GRAVITY


def test_fields_are_ordered_as_in_the_catalogue_from_the_ground_up():
    assert catalogue.order(["z500", "t850", "msl", "z850", "t2m"]) == ["t2m", "msl", "z850", "z500", "t850"]


def test_a_standard_name_that_several_share_names_none():
    assert catalogue.find_standard_name("air_temperature") is None
    sst = catalogue.find_standard_name("sea_surface_temperature")
    assert sst is not None
    assert sst.short == "sst"
