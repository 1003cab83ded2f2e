"""Asked for once, a few at a time, found again after a kill; and nothing that is not right counts as done."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from data.errors import DataError
from tests import cds_weather
from tests.cds_server import KEY, FakeCds, afterwards, page
from tests.data.cds.conftest import SHORT, Make, answer

EXECUTION = r"/execution$"


def test_at_most_two_are_in_flight(cds: Make) -> None:
    case = cds(script=["accepted", "running", "running", "successful"], **SHORT)
    most = 0
    source = case.source()

    def watch(statuses: Any) -> None:
        nonlocal most
        most = max(most, sum(status.state in ("queued", "running") for status in statuses))

    source.watch = watch
    source.open()
    assert most == 2
    assert len(case.server.submitted()) == len(set(case.server.submitted())) == 5


def test_nothing_is_asked_for_twice(cds: Make) -> None:
    case = cds(**SHORT)
    first = case.store()
    asked = len(case.server.log)
    assert case.store() == first
    assert len(case.server.log) == asked


def test_more_is_asked_for_when_the_period_grows_and_no_more_than_that(cds: Make) -> None:
    case = cds(start="2021-03-01", end="2021-03-31")
    case.source().open()
    case.source(end="2021-04-30").open()
    assert [job.request["month"] for job in case.server.jobs.values()] == [["03"], ["04"]]


def test_a_request_of_which_only_the_intent_is_known_is_found_at_the_service(
    cds: Make, undisturbed: str
) -> None:
    case = cds()
    source = case.source()
    part = source.parts()[0]
    source.journal.note(part.id, "intent", label=part.label)
    noise = {**part.request, "month": ["04"]}
    case.server.create(part.dataset, noise)
    theirs = dict(part.request) | {
        "area": ["39", "-29", "37", "-27"],
        "added": "x",
    }
    mine = case.server.create(part.dataset, theirs)
    case.server.create(part.dataset, noise)
    assert case.store() == undisturbed
    assert case.server.posts == 0
    assert mine.id in case.journal()


def test_an_intent_of_which_the_service_knows_nothing_is_asked_for(cds: Make, undisturbed: str) -> None:
    case = cds()
    source = case.source()
    source.journal.note(source.parts()[0].id, "intent")
    assert case.store() == undisturbed
    assert case.server.posts == 1


def test_a_line_that_was_cut_by_a_kill_is_passed_over(cds: Make, undisturbed: str) -> None:
    case = cds()
    assert case.store() == undisturbed
    path = case.folder / "parts" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(
        whole.rstrip(b"\n")[:-20]
    )  # the last event, `verified`, is lost: the answer is fetched again
    assert case.store() == undisturbed
    assert case.server.posts == 1
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "verified"


def test_an_expired_result_is_asked_for_anew_after_a_kill(cds: Make, undisturbed: str) -> None:
    case = cds()
    source = case.source()
    source.journal.note(source.parts()[0].id, "submitted", job="11111111-0000-0000-0000-000000000000")
    assert case.store() == undisturbed
    assert '"event": "lost"' in case.journal()


def test_a_rejection_halves_what_is_in_flight(cds: Make) -> None:
    case = cds(**SHORT)
    case.server.script[0] = "rejected"
    case.server.reason = "Number of API queued requests for this dataset is temporarily limited"

    def mend(handler: Any, proceed: Callable[[], None]) -> None:
        case.server.script[0] = "successful"
        proceed()

    case.server.fault("POST", EXECUTION, mend, 1, skip=2)
    states = []
    source = case.source()
    source.watch = lambda statuses: states.append(sum(s.state in ("queued", "running") for s in statuses))
    source.open()
    rest = states[states.index(0, states.index(2)) :]
    assert max(rest) == 1


def test_one_part_that_cannot_be_had_does_not_keep_the_others_back(cds: Make) -> None:
    def without_february(dataset: str, request: dict[str, Any]) -> bytes:
        return b"<html>no</html>" if request["month"] == ["02"] else answer(dataset, request)

    case = cds(answer=without_february, **SHORT)
    with pytest.raises(
        DataError, match=r"2021-02 instant days 01-02 failed 3 times .*\(2 other parts failed too\)"
    ):
        case.source().open()
    assert len(list((case.folder / "parts").glob("*.nc"))) == 2
    case.server.answer = answer
    assert case.source().open().sizes["time"] == 4


# Answers that are not what was asked for. Each must never reach the store.

Change = Callable[[xr.Dataset], xr.Dataset]


def _changed(change: Change) -> Callable[[str, dict[str, Any]], bytes]:
    return lambda _, request: cds_weather.netcdf(change(cds_weather.dataset_of(request)))


def _month(month: str) -> Callable[[str, dict[str, Any]], bytes]:
    return lambda dataset, request: answer(dataset, {**request, "month": [month]})


def _value(value: float) -> Change:
    return lambda d: d.assign(t2m=d.t2m.where(d.valid_time != d.valid_time[100], value))


WRONG: dict[str, tuple[Callable[[str, dict[str, Any]], bytes], str]] = {
    "another variable": (
        lambda d, r: answer(d, {**r, "variable": ["sea_surface_temperature"]}),
        "t2m is not in the answer",
    ),
    "another variable of the same name": (
        _changed(lambda d: d.assign(t2m=d.t2m.assign_attrs(GRIB_paramId=168))),
        "is ECMWF's parameter 168",
    ),
    "another month": (_month("04"), "which was not asked for"),
    "another year": (lambda d, r: answer(d, {**r, "year": ["2020"]}), "which was not asked for"),
    "another box": (lambda d, r: answer(d, {**r, "area": [39, -29, 37.5, -27]}), "covers 39, -29, 37.5, -27"),
    "hours missing": (
        _changed(lambda d: d.drop_isel(valid_time=[77])),
        "lacks 1 of 744 times, the first 2021-03-04 05:00",
    ),
    "days missing": (lambda d, r: answer(d, {**r, "day": r["day"][:20]}), "lacks 264 of 744 times"),
    "a time twice": (
        _changed(
            lambda d: xr.concat(
                [d.isel(valid_time=slice(0, 2)), d.isel(valid_time=slice(1, None))], "valid_time"
            )
        ),
        "twice",
    ),
    "all missing": (
        _changed(lambda d: d.where(d.valid_time != d.valid_time[9])),
        "is missing everywhere at 2021-03-01 09:00",
    ),
    "celsius": (_changed(_value(15.0)), "outside the"),
    "fill": (_changed(_value(9e20)), "outside the"),
    "infinite": (_changed(_value(np.inf)), "outside the"),
    "a web page": (lambda *_: b"<html>Maintenance</html>", "a web page"),
    "text": (lambda *_: b"internal error", "not a NetCDF, GRIB or zip file"),
    "truncated at the service": (lambda d, r: answer(d, r)[:100_000], "truncated or damaged"),
    "a zip of nothing": (lambda *_: cds_weather.zipped({"readme.txt": b"x"}), "no NetCDF or GRIB file"),
    "a damaged zip": (
        lambda d, r: cds_weather.zipped({"a.nc": answer(d, r)})[:-30_000],
        "cannot be unpacked",
    ),
    "an empty file": (lambda *_: b"", "an empty file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_never_counts(cds: Make, name: str) -> None:
    wrong, words = WRONG[name]
    case = cds(answer=wrong)
    with pytest.raises(DataError) as refused:
        case.source().open()
    assert words in str(refused.value)
    assert case.server.posts == 3
    assert "verified" not in case.journal()
    assert [
        path.name for path in (case.folder / "parts").iterdir() if path.suffix not in (".jsonl", "")
    ] == []


@pytest.mark.parametrize("name", ["another month", "celsius", "a web page", "truncated at the service"])
def test_a_wrong_answer_that_is_right_the_next_time_leaves_no_trace(
    cds: Make, undisturbed: str, name: str
) -> None:
    wrong = WRONG[name][0]

    def first_wrong(dataset: str, request: dict[str, Any]) -> bytes:
        return wrong(dataset, request) if len(case.server.jobs) == 1 else answer(dataset, request)

    case = cds(answer=first_wrong)
    assert case.store() == undisturbed
    assert case.server.posts == 2


def test_an_impossible_flux_is_refused(cds: Make) -> None:
    def strong(dataset: str, request: dict[str, Any]) -> bytes:
        found = cds_weather.dataset_of(request)
        return cds_weather.netcdf(found.assign(sshf=found.sshf * 0 + 5e7))

    case = cds(answer=strong, variables=["sshf"])
    with pytest.raises(DataError, match="J m-2 in an hour, which is not possible"):
        case.source().open()


def test_recent_days_that_did_not_come_are_called_not_yet_published(cds: Make) -> None:
    import pandas as pd

    today = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    start, end = today - pd.Timedelta(days=6), today - pd.Timedelta(days=4)

    def early(dataset: str, request: dict[str, Any]) -> bytes:
        found = cds_weather.dataset_of(request)
        return cds_weather.netcdf(
            found.isel(valid_time=found.valid_time <= np.datetime64(end) + np.timedelta64(5, "h"))
        )

    case = cds(answer=early, start=f"{start:%Y-%m-%d}", end=f"{end:%Y-%m-%d}")
    with pytest.raises(DataError, match="05:00, and the rest is not published yet"):
        case.source().open()


def test_missing_hours_make_a_missing_day_where_they_are_allowed(cds: Make) -> None:
    def gap(dataset: str, request: dict[str, Any]) -> bytes:
        return cds_weather.netcdf(cds_weather.dataset_of(request).drop_isel(valid_time=[77]))

    case = cds(answer=gap, allow_missing=True)
    days = case.source().open().t2m.isnull().all(("latitude", "longitude")).values
    assert days.tolist() == [day == 3 for day in range(31)]


def test_a_lost_answer_of_the_submission_is_adopted_and_not_repeated(cds: Make) -> None:
    case = cds(**SHORT)
    case.server.fault("POST", EXECUTION, afterwards(page(504)), 3)
    case.source().open()
    assert len(case.server.submitted()) == len(set(case.server.submitted())) == 5


def test_the_service_is_told_the_key_and_the_file_server_is_not(cds: Make) -> None:
    case = cds()
    case.source().open()
    told = {("/cache/" in asked.path): asked.headers.get("Private-Token") for asked in case.server.log}
    assert told == {False: KEY, True: None}


def test_the_loopback_service_listens_on_this_machine_only() -> None:
    server = FakeCds().start()
    assert server.httpd.server_address[0] == "127.0.0.1"
    server.stop()
