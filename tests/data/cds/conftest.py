"""A loopback Climate Data Store, a small wish, and the bytes of the store that comes of it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from data import store
from data.sources.cds import CdsSource, from_options
from tests import cds_weather
from tests.cds_server import KEY, FakeCds

TRANSFER = {
    "poll_seconds": 0.03,
    "cool_off_seconds": 0.05,
    "retry_seconds": 0.01,
    "retry_max_seconds": 0.05,
    "tries": 4,
    "timeout_seconds": 0.5,
    "deadline_hours": 10 / 3600,
    "checksum": True,
}

# one request, whose answer is larger than what a broken connection loses
OPTIONS: dict[str, Any] = {
    "source": "cds",
    "variables": ["t2m"],
    "start": "2021-03-01",
    "end": "2021-03-31",
    "area": [39, -29, 37, -27],
    "product": "hourly",
    "step_hours": 1,
    "data_format": "netcdf",
    "grid": None,
    "allow_missing": False,
    "in_flight": 2,
    "transfer": TRANSFER,
}

# instantaneous and accumulated, over the turn of a month: two months and the midnight after
SHORT = {
    "variables": ["t2m", "sst", "sshf"],
    "start": "2021-01-30",
    "end": "2021-02-02",
    "area": [39, -29, 38.5, -28],
}


@functools.lru_cache(maxsize=256)
def _answer(dataset: str, request: str) -> bytes:
    asked = json.loads(request)
    if dataset.startswith("derived-") or asked.get("data_format") == "grib":
        return cds_weather.plain_answer(dataset, asked)
    return cds_weather.netcdf(cds_weather.dataset_of(asked), compressed=False)


def answer(dataset: str, request: dict[str, Any]) -> bytes:
    """The service's plain answer, made once for all tests; not compressed, so that damage is not seen by itself."""
    return _answer(dataset, json.dumps(request, sort_keys=True))


def digest(folder: Path) -> str:
    """The bytes of all files of a store."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.hexdigest()


@dataclass
class Case:
    """A source at a loopback service."""

    server: FakeCds
    folder: Path
    options: dict[str, Any] = field(default_factory=lambda: dict(OPTIONS))

    def source(self, **more: Any) -> CdsSource:
        transfer = {**self.options["transfer"], **more.pop("transfer", {})}
        return from_options({**self.options, **more, "transfer": transfer}, self.folder / "parts")

    def store(self, **more: Any) -> str:
        """Brings the record, writes it as the download does, and returns the digest of its bytes."""
        path = self.folder / "raw.zarr"
        store.write(self.source(**more).open(), path)
        return digest(path)

    def journal(self) -> str:
        path = self.folder / "parts" / "journal.jsonl"
        return path.read_text() if path.exists() else ""


Make = Callable[..., Case]


@pytest.fixture
def cds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`cds(script=…, variables=…)`: a service and a source at it; options of both may be mixed."""
    made: list[FakeCds] = []

    def make(**given: Any) -> Case:
        ours = {key: given.pop(key) for key in tuple(given) if key in OPTIONS}
        server = FakeCds(**{"answer": answer, **given}).start()
        made.append(server)
        monkeypatch.setenv("CDSAPI_URL", server.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        return Case(server, tmp_path / f"case{len(made)}", {**OPTIONS, **ours})

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the store of OPTIONS when nothing goes wrong."""
    patch = pytest.MonkeyPatch()
    server = FakeCds(answer=answer).start()
    patch.setenv("CDSAPI_URL", server.url)
    patch.setenv("CDSAPI_KEY", KEY)
    try:
        return Case(server, tmp_path_factory.mktemp("undisturbed")).store()
    finally:
        server.stop()
        patch.undo()
