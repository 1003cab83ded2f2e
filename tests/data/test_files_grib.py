"""The files source on GRIB: every message is accounted for."""

from __future__ import annotations

from pathlib import Path

import eccodes
import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from data.sources.files import FilesSource

LATITUDE, LONGITUDE = np.array([50.0, 49.0, 48.0]), np.array([-2.0, -1.0, 0.0, 1.0])
HOURS = pd.date_range("2020-01-01 19:00", periods=12, freq="h")


def message(
    name: str, time: pd.Timestamp, value: float, sample: str = "regular_ll_sfc_grib1", **keys
) -> bytes:
    """One message; `keys` are set last. Its values are `value` plus 0, 1, 2 … in the order of the grid."""
    handle = eccodes.codes_grib_new_from_samples(sample)
    grid = {
        "Ni": 4, "Nj": 3, "latitudeOfFirstGridPointInDegrees": 50, "latitudeOfLastGridPointInDegrees": 48,
        "longitudeOfFirstGridPointInDegrees": -2, "longitudeOfLastGridPointInDegrees": 1,
        "iDirectionIncrementInDegrees": 1, "jDirectionIncrementInDegrees": 1, "bitsPerValue": 24,
    }  # fmt: skip
    stamp = {"dataDate": int(time.strftime("%Y%m%d")), "dataTime": int(time.strftime("%H%M"))}
    for key, setting in {**grid, **stamp, "shortName": name, **keys}.items():
        eccodes.codes_set(handle, key, setting)
    eccodes.codes_set_values(handle, value + np.arange(12.0))
    content = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return content


def instant(name: str = "2t", base: float = 280.0, times: pd.DatetimeIndex = HOURS, **keys) -> list[bytes]:
    return [message(name, time, base + i, **keys) for i, time in enumerate(times)]


def accumulated(times: pd.DatetimeIndex = HOURS) -> list[bytes]:
    """Sensible heat as ERA5 has it: forecasts from 06 and 18 UTC, hours 1 to 12."""
    base = times[0] - pd.Timedelta(hours=1)
    return [
        message("sshf", base, -1e5 + i, stepType="accum", stepRange=f"{i}-{i + 1}") for i in range(len(times))
    ]


@pytest.fixture
def grib(tmp_path):
    def grib(messages: list[bytes], name: str = "a.grib") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(messages))
        return path

    return grib


def values(base: float) -> np.ndarray:
    return base + np.arange(12.0)[:, None, None] + np.arange(12.0).reshape(3, 4)


def test_instantaneous_and_accumulated_fields_come_out_on_their_valid_times(grib):
    path = grib([m for pair in zip(instant(), accumulated(), strict=True) for m in pair])
    dataset = FilesSource(path).open().load()
    assert list(dataset.data_vars) == ["t2m", "sshf"]
    assert pd.DatetimeIndex(dataset["time"].values).equals(HOURS.as_unit("ns"))
    np.testing.assert_allclose(dataset["t2m"], values(280), atol=1e-3)
    np.testing.assert_allclose(dataset["sshf"], values(-1e5), atol=0.02)
    np.testing.assert_array_equal(dataset["latitude"], LATITUDE)
    np.testing.assert_array_equal(dataset["longitude"], LONGITUDE)
    assert list(path.parent.iterdir()) == [path]  # no index beside the file


def test_both_editions_heights_above_ground_and_levels(grib):
    path = grib([
        *instant("2t", sample="GRIB2", typeOfLevel="heightAboveGround", level=2),
        *instant("10u", base=-3, sample="GRIB2", typeOfLevel="heightAboveGround", level=10),
        *instant("z", base=54000, sample="regular_ll_pl_grib1", level=500),
        *instant("gh", base=1400, sample="regular_ll_pl_grib1", level=850),
    ])  # fmt: skip
    dataset = FilesSource(path).open().load()
    assert list(dataset.data_vars) == ["t2m", "u10", "z850", "z500"]
    np.testing.assert_allclose(dataset["t2m"], values(280), atol=1e-3)
    np.testing.assert_allclose(dataset["u10"], values(-3), atol=1e-3)
    np.testing.assert_allclose(dataset["z500"], values(54000), atol=0.02)
    np.testing.assert_allclose(dataset["z850"], values(1400) * 9.80665, rtol=1e-5)


def test_messages_in_any_order_from_south_to_north_over_greenwich(grib):
    keys = {
        "jScansPositively": 1, "latitudeOfFirstGridPointInDegrees": 48, "latitudeOfLastGridPointInDegrees": 50,
        "longitudeOfFirstGridPointInDegrees": 358,
    }  # fmt: skip
    dataset = FilesSource(grib(instant(**keys)[::-1])).open().load()
    np.testing.assert_allclose(dataset["t2m"], values(280)[:, ::-1], atol=1e-3)
    np.testing.assert_array_equal(dataset["longitude"], LONGITUDE)


def test_missing_values_become_nan(grib):
    handle = eccodes.codes_new_from_message(instant("sst", 285)[0])
    eccodes.codes_set(handle, "bitmapPresent", 1)
    eccodes.codes_set_values(handle, np.where(np.arange(12) % 5 == 0, 9999.0, 285.0))
    path = grib([eccodes.codes_get_message(handle)])
    eccodes.codes_release(handle)
    assert np.isnan(FilesSource(path).open()["sst"].values.ravel()).nonzero()[0].tolist() == [0, 5, 10]


def test_preliminary_steps_are_told(grib):
    keys = {"setLocalDefinition": 1, "localDefinitionNumber": 1}
    final = instant(times=HOURS[:4], **keys, experimentVersionNumber="0001")
    path = grib(final + instant(times=HOURS[4:], **keys, experimentVersionNumber="0005"))
    assert FilesSource(path).open().attrs["preliminary"] == (
        "8 steps of ERA5T, 2020-01-01T23:00:00 to 2020-01-02T06:00:00"
    )


def test_members_are_chosen_and_must_be(grib):
    keys = {"setLocalDefinition": 1, "localDefinitionNumber": 1, "type": "an", "stream": "enda"}
    path = grib([m for n in range(3) for m in instant(base=280 + 10 * n, **keys, number=n)])
    with pytest.raises(
        DataError, match=r"a\.grib: 2t has 3 ensemble members \(0, 1, 2\): choose one by dataset.number"
    ):
        FilesSource(path).open()
    np.testing.assert_allclose(FilesSource(path, number=1).open()["t2m"], values(290), atol=1e-3)


def test_a_missing_step_of_one_variable_is_told(grib):
    path = grib(instant() + accumulated()[:-1])
    with pytest.raises(
        DataError, match=r"a\.grib: sshf lacks 1 of the 12 steps .* the first 2020-01-02 06:00"
    ):
        FilesSource(path).open()


def test_only_what_is_asked_for_is_read(grib):
    path = grib([*instant(), message("swh", HOURS[0], 1.0)])
    with pytest.raises(
        DataError, match=r"a\.grib: 'swh' is not in the catalogue: .*dataset.variables=\[t2m\]"
    ):
        FilesSource(path).open()
    assert list(FilesSource(path, variables=["t2m"]).open().data_vars) == ["t2m"]


def damaged(content: bytes, at: int, put: bytes) -> list[bytes]:
    return [content[:at] + put + content[at + len(put) :]]


SIZE = len(message("2t", HOURS[0], 280.0))
WHOLE = b"".join(instant())


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([WHOLE[:-30]], r"truncated or damaged at message 12 \(.*\): get it again"),
        (
            damaged(WHOLE, 3 * SIZE, b"XXXX"),
            rf"damaged between bytes {3 * SIZE} and {4 * SIZE} \(no message begins",
        ),
        (damaged(WHOLE, 4 * SIZE - 4, b"0000"), "truncated or damaged at message 4"),
        ([WHOLE, b"\0" * 40, b"garbage"], "damaged between bytes"),
        (instant() + instant(times=HOURS[3:4]), "2t at 2020-01-01 22:00 occurs 2 times"),
        ([b"GRIB" + bytes(40)], "truncated or damaged at message 1"),
    ],
)
def test_damage_is_refused(grib, messages, words):
    with pytest.raises(DataError, match=rf"^a\.grib: .*{words}"):
        FilesSource(grib(messages)).open()


def test_padding_between_messages_is_no_damage(grib):
    padded = grib([part for m in instant() for part in (m, b"\0" * 18)])
    np.testing.assert_allclose(FilesSource(padded).open()["t2m"], values(280), atol=1e-3)


def test_a_reduced_grid_is_refused(grib):
    handle = eccodes.codes_grib_new_from_samples("reduced_gg_sfc_grib2")
    content = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    with pytest.raises(
        DataError, match="is on a 'reduced_gg' grid, which is not supported: ask for a regular"
    ):
        FilesSource(grib([content])).open()


def test_celsius_in_a_grib_file_is_refused(grib):
    with pytest.raises(DataError, match=r"2t has values from 10 to 21 K \(they look like degrees Celsius\)"):
        FilesSource(grib(instant(base=10.0))).open()
