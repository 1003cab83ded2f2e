"""Finding files, telling their form, and archives."""

from __future__ import annotations

import gc
import io
import stat
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.errors import DataError
from data.sources import archive
from data.sources.classic import expected_bytes
from data.sources.discover import DataFile, find_files, sniff
from data.sources.field import unpack
from data.sources.files import FilesSource
from data.sources.scratch import Scratch
from tests.data.conftest import make

T2M, MSL = {"t2m": ("K", 280.0)}, {"msl": ("Pa", 1e5)}


def named(path: Path) -> DataFile:
    return DataFile(path, path.name)


@pytest.mark.parametrize(
    ("head", "form"),
    [(b"CDF\x01", "netcdf3"), (b"CDF\x02", "netcdf3"), (b"CDF\x05", "netcdf3"), (b"\x89HDF\r\n\x1a\n", "netcdf4"),
     (b"GRIB", "grib"), (b"PK\x03\x04", "zip")],
)  # fmt: skip
def test_a_form_is_told_by_its_first_bytes(tmp_path, head, form):
    path = tmp_path / "named.txt"
    path.write_bytes(head + bytes(20))
    assert sniff(named(path)) == form


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"), (b"<!DOCTYPE html>", "a web page"), (b"\n <?xml", "a web page"),
        (b"\x1f\x8b\x08", "gzip"), (b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz archive"),
        (b"\x0e\x03\x13\x01", "HDF4"),
        (b"hello world", "it begins with b'hello wo'"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_told(tmp_path, content, words):
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(DataError, match=rf"^a\.nc: .*{words}"):
        find_files(tmp_path)


def test_files_are_in_natural_order_and_named_from_the_path_on(tmp_path):
    for name in ("b/part10.nc", "b/part9.nc", "a.nc", "c.nc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"CDF\x01")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "c.nc").write_bytes(b"CDF\x01")
    assert [file.name for file in find_files(tmp_path)] == ["a.nc", "b/part9.nc", "b/part10.nc", "c.nc"]
    assert [file.name for file in find_files(f"{tmp_path}/*/part*.nc")] == ["b/part9.nc", "b/part10.nc"]
    assert [file.name for file in find_files(tmp_path / "c.nc")] == ["c.nc"]


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("unlimited", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_the_length_of_a_classic_file_is_known_from_its_header(tmp_path, form, unlimited, together):
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.title = "abc"
        file.createDimension("time", None if unlimited else 7)
        file.createDimension("x", 5)
        file.createVariable("a", "i2", ("time", "x"))[:] = np.ones((7, 5))
        if together:
            file.createVariable("b", "i1", ("time", "x"))[:] = np.ones((7, 5))
            file.createVariable("s", "f8", ())[...] = 1.0
    padding = path.stat().st_size - expected_bytes(path)
    assert 0 <= padding <= 3


@given(
    hnp.arrays(np.int16, 20, elements=st.integers(-32767, 32767)), st.floats(1e-4, 10), st.floats(-1e5, 1e5)
)
def test_packed_values_are_unpacked_as_netcdf4_does(stored, scale, offset):
    attrs = {
        "scale_factor": scale,
        "add_offset": offset,
        "_FillValue": np.int16(-32767),
        "missing_value": 5.0,
    }
    values = unpack(stored, attrs)
    missing = (stored == -32767) | (stored == 5)
    np.testing.assert_array_equal(np.isnan(values), missing)
    np.testing.assert_array_equal(values[~missing], stored[~missing] * scale + offset)


def test_a_valid_range_counts_where_it_has_the_stored_type():
    stored = np.array([-5, 0, 5], dtype=np.int16)
    packed = {"scale_factor": 0.1, "add_offset": 280.0}
    np.testing.assert_array_equal(
        np.isnan(unpack(stored, {**packed, "valid_range": np.int16([-1, 9])})), [True, False, False]
    )
    # in the units of the values, against the convention: not to be compared with the integers
    assert not np.isnan(unpack(stored, {**packed, "valid_range": np.float32([270, 290])})).any()


def test_bytes_may_be_unsigned():
    stored = np.array([-1, 0, 127, -128], dtype=np.int8)
    np.testing.assert_array_equal(
        unpack(stored, {"_Unsigned": "true", "_FillValue": -1}), [np.nan, 0, 127, 128]
    )
    np.testing.assert_array_equal(unpack(stored, {"_FillValue": 1e20}), [-1, 0, 127, -128])


@pytest.fixture
def zipped(write, tmp_path):
    """Writes an archive of datasets and bytes by member name."""

    def zipped(members: dict, name: str = "answer.zip", **options) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", **options) as file:
            for member, content in members.items():
                if not isinstance(content, bytes):
                    content = write(f"{member}.tmp", content).read_bytes()
                file.writestr(member, content)
        return path

    return zipped


def test_the_parts_of_an_answer_are_read_together(zipped, tmp_path):
    times = make(T2M).rename(time="valid_time")
    path = zipped({
        "data_stream-oper_stepType-instant.nc": times,
        "sub/data_stream-oper_stepType-accum.nc": make({"tp": ("m", -5.5)}).rename(time="valid_time"),
        "licence.pdf": b"%PDF",
    }, compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    dataset = FilesSource(path).open()
    gc.collect()
    assert list(dataset.load().data_vars) == ["t2m", "tp"]
    np.testing.assert_allclose(dataset["t2m"], times["t2m"], rtol=1e-6)
    assert dataset.attrs["source"] == "files: answer.zip"


def test_members_of_one_name_do_not_meet(zipped):
    whole = make(T2M)
    path = zipped({"a/x.nc": whole.isel(time=slice(3)), "b/x.nc": whole.isel(time=slice(3, None))})
    np.testing.assert_allclose(FilesSource(path).open()["t2m"], whole["t2m"], rtol=1e-6)


@pytest.mark.parametrize("name", ["../x.nc", "/etc/x.nc", "a/../../x.nc", "..\\x.nc", "C:\\x.nc"])
def test_a_member_cannot_leave_its_folder(zipped, name):
    path = zipped({name: b"CDF\x01"})
    with pytest.raises(DataError, match=r"answer\.zip: member '.*' .*outside its folder"):
        FilesSource(path).open()


def test_an_archive_that_unfolds_too_far_is_refused(zipped):
    path = zipped({"a.nc": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 5000
    with pytest.raises(DataError, match=r"more than the .* GiB that are allowed: unpack it yourself"):
        archive.unpack(named(path), Scratch(), max_bytes=10**5)


def test_an_archive_that_says_it_unfolds_to_far_more_than_it_is_is_refused(zipped):
    path = zipped({"a.nc": b"CDF\x01" + bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    size, said = (10**6 + 4).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, said))
    with pytest.raises(
        DataError, match=r"answer\.zip: .* says that it holds 1 files of 4 GiB.*do not trust it"
    ):
        FilesSource(path).open()


def test_an_archive_of_countless_members_is_refused(zipped, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="says that it holds 4 files"):
        FilesSource(zipped({f"{i}.nc": b"CDF\x01" for i in range(4)})).open()


def test_a_link_in_an_archive_is_a_plain_file(tmp_path):
    """Unix links are stored as members that hold the target's name; as a link it would be read from elsewhere."""
    link = zipfile.ZipInfo("a.nc")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "answer.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"answer\.zip/a\.nc: not a NetCDF, GRIB or zip file"):
        FilesSource(tmp_path / "answer.zip").open()


def test_a_member_larger_than_it_says_is_refused(zipped):
    path = zipped({"a.nc": b"CDF\x01" + bytes(10**5)}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes().replace((10**5 + 4).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"answer\.zip: .*(larger than it says|cannot be unpacked).*: get it again"
    ):
        FilesSource(path).open()


def test_an_archive_larger_than_the_disk_is_refused(zipped, monkeypatch):
    path = zipped({"a.nc": bytes(1000)})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 999})())
    with pytest.raises(DataError, match="GiB left: set TMPDIR to a larger disk"):
        FilesSource(path).open()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "holds no NetCDF or GRIB file, but nothing"),
        ({"readme.txt": b"hello"}, "holds no NetCDF or GRIB file, but readme.txt"),
        ({"a.nc": b"<html>"}, r"^answer\.zip/a\.nc: not a NetCDF, GRIB or zip file: it is a web page"),
        ({"b.zip": b"PK\x03\x04"}, r"answer\.zip/b\.zip: an archive inside an archive"),
    ],
)
def test_an_archive_without_data_is_refused(zipped, members, words):
    with pytest.raises(DataError, match=words):
        FilesSource(zipped(members)).open()


def test_a_damaged_archive_is_refused(zipped):
    path = zipped({"a.nc": make(T2M)})
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:2000] + b"\xff" * 50 + whole[2050:]):
        path.write_bytes(damaged)
        with pytest.raises(
            DataError, match=r"answer\.zip: the zip archive cannot be unpacked \(.*: get it again"
        ):
            FilesSource(path).open()


def test_an_encrypted_archive_is_refused(zipped):
    path = zipped({"a.nc": b"CDF\x01"})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(mark) + place] |= 1  # the flag of encryption
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        FilesSource(path).open()


def test_scratch_goes_with_its_last_reference_and_a_copy_does_not_take_it_along():
    import pickle

    scratch = Scratch()
    folder = scratch.folder()
    assert scratch.folder() != folder
    copy = pickle.load(io.BytesIO(pickle.dumps(scratch)))
    assert copy.path == scratch.path
    del copy
    gc.collect()
    assert folder.exists()
    del scratch
    gc.collect()
    assert not folder.exists()
