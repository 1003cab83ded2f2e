"""Genuine GRIB files, damaged: what ecCodes cannot read whole, or finds not valid, is refused."""

from __future__ import annotations

import random
from pathlib import Path

import eccodes
import pytest

from data.errors import DataError
from data.sources.files import FilesSource

NAMES = {"era5-2mt-2019-03-uk.grib": None, "era5-levels-members.grib": 0}
HEADER = 130  # bytes, with all sections but the packed values


def messages(path: Path, most: int = 4) -> list[bytes]:
    """The first messages of a file."""
    found = []
    with path.open("rb") as stream:
        while len(found) < most:
            message = eccodes.codes_grib_new_from_file(stream)
            found.append(eccodes.codes_get_message(message))
            eccodes.codes_release(message)
    return found


def is_sound(content: bytes) -> bool:
    """Whether ecCodes reads all of a message and finds it valid."""
    try:
        message = eccodes.codes_new_from_message(content)
        eccodes.codes_get_values(message)
        valid = bool(eccodes.codes_get(message, "isMessageValid"))
        eccodes.codes_release(message)
    except (eccodes.CodesInternalError, ValueError):
        return False
    return valid


def read(path: Path, number: int | None) -> None:
    FilesSource(path, number=number).open().load()


@pytest.mark.parametrize("name", NAMES)
def test_what_eccodes_finds_damaged_is_refused(real_data: Path, tmp_path: Path, name: str) -> None:
    held = messages(real_data / "grib" / name)
    draw, path, damaged = random.Random(name), tmp_path / name, 0
    for _ in range(60):
        which = draw.randrange(len(held))
        content = bytearray(held[which])
        content[draw.randrange(HEADER)] ^= 1 << draw.randrange(8)
        if is_sound(bytes(content)):
            continue
        damaged += 1
        path.write_bytes(b"".join([*held[:which], content, *held[which + 1 :]]))
        with pytest.raises(DataError, match=rf"^{name}: "):
            read(path, NAMES[name])
    assert damaged >= 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [-1, -4, -2000, 200, 9])
def test_a_truncated_file_is_refused(real_data: Path, tmp_path: Path, name: str, kept: int) -> None:
    whole = b"".join(messages(real_data / "grib" / name))
    path = tmp_path / name
    path.write_bytes(whole[:kept])
    with pytest.raises(DataError, match=rf"^{name}: .*(damaged|truncated)"):
        read(path, NAMES[name])
