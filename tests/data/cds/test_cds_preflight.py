"""What is found wrong before anything is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError
from tests.cds_server import KEY, afterwards, page, status
from tests.data.cds.conftest import Make

GOOD = "https://cds.climate.copernicus.eu/api"


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        (GOOD, "12345:abcdefgh", "the old form"),
        (GOOD, f'"{KEY}"', "the key stands in quotes"),
        (GOOD, f"'{KEY}'", "the key stands in quotes"),
        (GOOD, f"{KEY}\n", "a line break"),
        (GOOD, f"{KEY[:8]}\n{KEY[8:]}", "a line break"),
        (GOOD, f" {KEY}", "a space"),
        (GOOD, "", "the key is empty"),
        (f"{GOOD}/v2", KEY, "the old service"),
        (f"{GOOD}/v2/", KEY, "the old service"),
        (f"{GOOD}/", KEY, "ends in a slash"),
        (f'"{GOOD}"', KEY, "the address stands in quotes"),
        (GOOD.removesuffix("/api"), KEY, "does not end in /api"),
        ("cds.climate.copernicus.eu/api", KEY, "is not a web address"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "rc"])
def test_a_credential_that_cannot_be_right_is_told(
    cds: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, url: str, key: str, words: str
) -> None:
    case = cds()
    if where == "rc":
        if key != key.strip() or "\n" in key:
            pytest.skip("cdsapi strips the lines of the file")
        (tmp_path / "rc").write_text(f"url: {url}\nkey: {key}\n")
        monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "rc"))
        monkeypatch.delenv("CDSAPI_URL")
        monkeypatch.delenv("CDSAPI_KEY")
    else:
        monkeypatch.setenv("CDSAPI_URL", url)
        monkeypatch.setenv("CDSAPI_KEY", key)
    with pytest.raises(DataError) as refused:
        case.source().open()
    message = str(refused.value)
    assert words in message
    assert message.startswith(str(tmp_path / "rc") if where == "rc" else "CDSAPI_")
    assert not key.strip("\"'\n ") or key.strip("\"'\n ") not in message
    assert not case.server.log


@pytest.mark.parametrize(
    "content", [None, "", "url: https://x/api\n", "verify: yes\nurl: https://x/api\nkey: a\n"]
)
def test_no_credential_is_told_with_what_to_write(
    cds: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    case = cds()
    if content is not None:
        (tmp_path / "rc").write_text(content)
    for name in ("CDSAPI_URL", "CDSAPI_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "rc"))
    with pytest.raises(DataError, match="credential") as refused:
        case.source().open()
    assert str(tmp_path / "rc") in str(refused.value)


def test_a_date_to_come_is_told_without_a_network(cds: Make) -> None:
    case = cds(start="2199-01-01", end="2199-01-31")
    with pytest.raises(DataError, match=r"dataset\.end 2199-01-31 is not published yet"):
        case.source().open()
    assert not case.server.log


def test_a_date_that_is_not_published_yet_is_told_with_the_last_one(cds: Make) -> None:
    case = cds(end="2021-03-31")
    case.server.end = "2021-03-20"
    with pytest.raises(DataError, match=r"ERA5 reaches 2021-03-20; set dataset\.end"):
        case.source().open()
    assert not case.server.posts


def test_a_disk_that_is_too_small_is_told(cds: Make) -> None:
    case = cds(start="1940-01-01", end="2020-12-31", area=[90, -180, -90, 180])
    with pytest.raises(DataError, match=r"needs up to \d+\.\d GB in .* are free"):
        case.source().open()
    assert not case.server.log


def test_a_licence_that_is_not_accepted_is_told_and_nothing_is_under_way(cds: Make) -> None:
    case = cds()
    words = "Not all the required licences have been accepted; please visit BASE/datasets/era5?tab=download"
    case.server.fault("POST", r"/execution$", status(403, "required licences not accepted", words))
    with pytest.raises(
        DataError, match=r"licence of the dataset is not accepted yet: .*visit BASE/datasets/era5"
    ):
        case.source().open()
    assert not case.server.jobs


def test_what_costs_too_much_is_split_until_it_does_not(cds: Make, undisturbed: str) -> None:
    case = cds(cost_limit=200)
    assert case.store() == undisturbed
    assert case.server.count("POST", r"/costing$") <= 5  # asked once for each shape
    assert sorted(len(job.request["day"]) for job in case.server.jobs.values()) == [7, 8, 8, 8]
    posts = case.server.posts
    assert case.store() == undisturbed
    assert case.server.posts == posts


def test_what_the_service_finds_too_large_at_submission_is_split(cds: Make, undisturbed: str) -> None:
    case = cds(cost_limit=400)
    case.server.fault("POST", r"/costing$", page(404))
    assert case.store() == undisturbed
    assert sorted(len(job.request["day"]) for job in case.server.jobs.values()) == [15, 16]


def test_a_single_field_that_costs_too_much_is_told(cds: Make) -> None:
    case = cds(cost_limit=1, start="2021-03-01", end="2021-03-01")
    with pytest.raises(
        DataError, match="costs 24 where 1 are allowed, and the request cannot be split any further"
    ):
        case.source().open()


def test_a_request_that_the_service_calls_invalid_is_told(cds: Make) -> None:
    def invalid(handler: Any, proceed: Any) -> None:
        handler.reply(
            200,
            {"id": "size", "cost": 1, "limit": 9, "request_is_valid": False, "invalid_reason": "no such day"},
        )

    case = cds()
    case.server.fault("POST", r"/costing$", invalid)
    with pytest.raises(DataError, match="not valid \\(no such day\\)"):
        case.source().open()


def test_what_is_under_way_is_not_asked_for_again_while_another_process_brings_it(cds: Make) -> None:
    case = cds()
    source = case.source()
    with source.journal.alone(), pytest.raises(DataError, match=r"another download .* is under way"):
        case.source().open()


def test_the_key_is_nowhere(cds: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    case = cds()
    case.server.fault("POST", r"/execution$", afterwards(page(504)), 1)
    case.server.fault("GET", r"/jobs/", status(500, detail=f"token {KEY}"), 1)
    case.store()
    case.server.fault("POST", r"/execution$", status(400, "invalid request", f"the token {KEY} is too good"))
    with pytest.raises(DataError, match=r"the token \*\*\* is too good") as refused:
        case.source(start="2021-02-01").open()
    written = b"".join(path.read_bytes() for path in case.folder.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert KEY not in caplog.text + str(refused.value) + repr(refused.value.__cause__)
