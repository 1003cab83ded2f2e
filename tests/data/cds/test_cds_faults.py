"""Everything that was seen to go wrong between the client and the service, and what has to come of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import DataError
from tests.cds_server import (
    KEY,
    Act,
    FakeCds,
    Handler,
    Proceed,
    afterwards,
    asset,
    hang,
    page,
    reply,
    reset,
    status,
)
from tests.data.cds.conftest import TRANSFER, Make

Disturb = Callable[[FakeCds], object]

EXECUTION, LOOK, RESULTS, FILE = r"/execution$", r"/jobs/[^/]+\?log", r"/results$", r"/cache/"
MESSAGES, PROCESS = r"/messages$", r"/processes/[^/]+$"
LIMITED = (
    "Number of API queued requests for this dataset is temporarily limited. Please configure your script."
)
LICENCE = "Not all the required licences have been accepted; please visit BASE/datasets/x?tab=download"


def rule(method: str, pattern: str, act: Act, times: int = -1, skip: int = 0) -> Disturb:
    """A rule of the service."""
    return lambda server: server.fault(method, pattern, act, times, skip)


def having(name: str, value: object) -> Disturb:
    """A property of the service."""
    return lambda server: setattr(server, name, value)


def script(*states: str) -> Disturb:
    """What becomes of a request, look after look."""
    return having("script", list(states))


def both(*disturbances: Disturb) -> Disturb:
    """One and the other."""
    return lambda server: [disturb(server) for disturb in disturbances]


def mended(handler: Handler, proceed: Proceed) -> None:
    """From this request on, requests succeed."""
    handler.fake.script = ["successful"]
    proceed()


# what passes: the store has the bytes of an undisturbed run; the number says how many requests the service has had
PASSING: dict[str, tuple[Disturb, int]] = {
    "ok": (both(), 1),
    "queued_then_running": (script("accepted", "running", "successful"), 1),
    "post_429_once": (
        rule(
            "POST",
            EXECUTION,
            status(429, "rate limit exceeded", "Please wait 0 seconds", {"Retry-After": "0"}),
            1,
        ),
        1,
    ),
    "post_429_once_without_header": (rule("POST", EXECUTION, status(429, "rate limit exceeded"), 1), 1),
    "post_503_twice": (rule("POST", EXECUTION, page(503), 2), 1),
    "post_504_after_create": (rule("POST", EXECUTION, afterwards(page(504)), 1), 1),
    "post_reset_once": (rule("POST", EXECUTION, reset, 1), 1),
    "post_reset_after_create": (rule("POST", EXECUTION, afterwards(reset), 1), 1),
    "post_hang_timeout_once": (rule("POST", EXECUTION, hang(0.7), 1), 1),
    "post_200_not_json_once": (rule("POST", EXECUTION, page(200), 1), 1),
    "post_without_link_after_create": (rule("POST", EXECUTION, afterwards(reply({"links": []}, 201)), 1), 1),
    "poll_500_twice": (rule("GET", LOOK, page(500), 2), 1),
    "poll_429_once": (rule("GET", LOOK, status(429, "rate limit exceeded"), 1), 1),
    "poll_404_transient": (rule("GET", LOOK, status(404, "job not found", "job x not found"), 2), 1),
    "poll_html_once": (rule("GET", LOOK, page(200), 1), 1),
    "poll_reset_twice": (rule("GET", LOOK, reset, 2), 1),
    "job_dismissed_meanwhile": (rule("GET", LOOK, status(404, "job not found", "job x dismissed"), 3), 2),
    "status_dismissed": (rule("GET", LOOK, reply({"status": "dismissed"}), 3), 2),
    "results_expired_404": (
        rule("GET", RESULTS, status(404, "results expired", "results of job x expired"), 1),
        2,
    ),
    "results_500_once": (rule("GET", RESULTS, page(500), 1), 1),
    "results_not_ready": (
        rule("GET", RESULTS, status(404, "job results not ready", "status is 'running'"), 1),
        1,
    ),
    "asset_404_once": (rule("GET", FILE, page(404), 1), 1),
    "asset_404_twice": (rule("GET", FILE, page(404), 2), 2),
    "asset_403_twice": (rule("GET", FILE, page(403), 2), 2),
    "asset_503_once": (rule("GET", FILE, page(503), 1), 1),
    "asset_truncated_once_ranges": (rule("GET", FILE, asset(cut=150_000), 1), 1),
    "asset_truncated_before_a_chunk": (rule("GET", FILE, asset(cut=10_000), 2), 1),
    "asset_truncated_no_ranges": (both(having("ranges", False), rule("GET", FILE, asset(cut=150_000), 1)), 1),
    "asset_truncated_then_ignore_range": (
        both(rule("GET", FILE, asset(cut=150_000), 1), rule("GET", FILE, asset(whole=True), 1)),
        1,
    ),
    "asset_truncated_each_try": (rule("GET", FILE, asset(cut=70_000)), 1),
    "asset_truncated_no_length_once": (rule("GET", FILE, asset(cut=150_000, length=False), 1), 1),
    "asset_truncated_no_length_no_head": (
        both(having("head", False), rule("GET", FILE, asset(cut=150_000, length=False), 1)),
        1,
    ),
    "asset_truncated_no_length_each_try": (rule("GET", FILE, asset(cut=30_000, length=False)), 1),
    "asset_stall_once": (rule("GET", FILE, asset(cut=100_000, stall=0.8), 1), 1),
    "asset_break_at_last_byte": (rule("GET", FILE, asset(end=True), 1), 1),
    "asset_reset_once": (rule("GET", FILE, reset, 1), 1),
    "asset_head_405": (having("head", False), 1),
    "asset_corrupt_same_size_once": (rule("GET", FILE, asset(corrupt=True), 1), 1),
    "asset_corrupt_same_size_twice": (rule("GET", FILE, asset(corrupt=True), 2), 2),
    "asset_without_md5": (having("checksum", lambda _: "abc"), 1),
    "big_trunc_then_changed_content": (both(rule("GET", FILE, asset(cut=150_000, corrupt=True), 1)), 1),
    "ctor_messages_500": (rule("GET", MESSAGES, page(500)), 1),
    "ctor_messages_404": (rule("GET", MESSAGES, page(404)), 1),
    "authentication_not_offered": (rule("POST", r"/pat$", status(404, "Not Found", "Not Found")), 1),
    "costing_not_offered": (rule("POST", r"/costing$", status(404, "Not Found", "Not Found")), 1),
    "collection_not_offered": (rule("GET", r"/collections/", status(404, "Not Found", "Not Found")), 1),
    "process_500_once": (rule("GET", PROCESS, page(500), 1), 1),
    "job_rejected_once": (
        both(script("rejected"), rule("POST", EXECUTION, mended, 1, skip=1), having("reason", LIMITED)),
        2,
    ),
    "job_failed_by_the_archive_once": (
        both(
            script("failed"),
            rule("POST", EXECUTION, mended, 1, skip=1),
            having("reason", "MarsSystemError: tape"),
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_ends_in_the_same_bytes(cds: Make, undisturbed: str, name: str) -> None:
    disturb, jobs = PASSING[name]
    case = cds()
    disturb(case.server)
    started = time.monotonic()
    assert case.store() == undisturbed
    assert len(case.server.jobs) == jobs
    assert time.monotonic() - started < 10
    assert KEY not in case.journal()


# what does not pass: the words that the one sentence holds
ENDING: dict[str, tuple[Disturb, str]] = {
    "bad_key_401": (
        rule("POST", r"/pat$", status(401, "permission denied", "operation not allowed")),
        "does not accept the key",
    ),
    "bad_key_401_at_submission": (
        rule("POST", EXECUTION, status(401, "permission denied", "operation not allowed")),
        "does not accept the key",
    ),
    "licence_403": (
        rule("POST", EXECUTION, status(403, "required licences not accepted", LICENCE)),
        "please visit BASE/datasets/x",
    ),
    "invalid_400": (
        rule("POST", EXECUTION, status(400, "invalid request", "variable: is a required property")),
        "variable: is a required property",
    ),
    "unprocessable_422_fastapi": (
        rule("POST", EXECUTION, status(422, detail=[{"loc": ["body", "inputs"], "msg": "Field required"}])),
        "body.inputs: Field required",
    ),
    "html_403_waf": (rule("POST", EXECUTION, page(403)), "403 Forbidden with a web page"),
    "unknown_dataset_404": (
        rule("GET", PROCESS, status(404, "process not found", "dataset xx not found")),
        "dataset xx not found",
    ),
    "post_429_forever": (
        rule("POST", EXECUTION, status(429, "rate limit exceeded", "Rate limit exceeded")),
        "failed 4 times in a row (Rate limit exceeded)",
    ),
    "post_500_forever": (rule("POST", EXECUTION, page(500)), "500 Internal Server Error"),
    "post_200_not_json": (rule("POST", EXECUTION, page(200)), "a web page instead of data"),
    "poll_reset_forever": (rule("GET", LOOK, reset), "the connection broke"),
    "poll_hang_forever": (rule("GET", LOOK, hang(0.7)), "does not answer in time"),
    "job_failed_no_data": (
        both(script("failed"), having("reason", "MARS returned no data, please check your selection.")),
        "has no data for this request (MARS returned no data",
    ),
    "job_failed_forever": (
        both(script("failed"), having("reason", "MarsSystemError: tape")),
        "failed 3 times at the service, the last time because MarsSystemError",
    ),
    "job_rejected_forever": (
        both(script("rejected"), having("reason", LIMITED)),
        "failed 4 times in a row (Number of API queued",
    ),
    "not_available_yet": (
        rule(
            "POST",
            EXECUTION,
            status(
                400,
                "invalid request",
                "None of the data is available yet. The latest date available for this dataset is: 2021-02-20 00:00",
            ),
        ),
        "latest date available for this dataset is: 2021-02-20",
    ),
    "job_stuck_in_the_queue": (script("accepted"), "dataset.transfer.deadline_hours"),
    "status_unknown": (rule("GET", LOOK, reply({"status": "weird"})), "a state that is not known ('weird')"),
    "status_dismissed_forever": (
        rule("GET", LOOK, reply({"status": "dismissed"})),
        "the request was dismissed",
    ),
    "results_expired_forever": (
        rule("GET", RESULTS, status(404, "results expired", "results of job x expired")),
        "results of job x expired",
    ),
    "results_500_forever": (rule("GET", RESULTS, page(500)), "500 Internal Server Error"),
    "asset_404": (rule("GET", FILE, page(404)), "its address answers 404"),
    "asset_403": (rule("GET", FILE, page(403)), "its address answers 403"),
    "asset_503_forever": (rule("GET", FILE, page(503)), "its address answers 503"),
    "asset_truncated_forever": (rule("GET", FILE, asset(cut=10_000)), "the connection broke"),
    "asset_truncated_no_length_no_ranges": (
        both(having("ranges", False), rule("GET", FILE, asset(cut=10_000, length=False))),
        "size is not the stated one",
    ),
    "asset_corrupt_same_size": (rule("GET", FILE, asset(corrupt=True)), "do not have the stated checksum"),
    "asset_size_mismatch_metadata": (having("size_error", 1), "size"),
    "asset_empty": (having("answer", lambda *_: b""), "an empty file"),
}


@pytest.mark.parametrize("name", ENDING)
def test_what_does_not_pass_ends_in_one_sentence(cds: Make, name: str) -> None:
    disturb, words = ENDING[name]
    case = cds(transfer={**TRANSFER, "deadline_hours": 1.5 / 3600})
    disturb(case.server)
    started = time.monotonic()
    with pytest.raises(DataError) as refused:
        case.source().open()
    message = str(refused.value)
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")
    assert KEY not in message + case.journal()
    assert time.monotonic() - started < 12
    assert not list((case.folder / "parts").glob("*.nc"))


def test_a_service_that_is_down_is_told_at_the_end_of_the_tries(cds: Make) -> None:
    case = cds()
    case.server.stop()
    with pytest.raises(DataError, match=r"failed 4 times in a row \(the connection is refused\)"):
        case.source().open()
    case.server.start()


def test_a_name_that_cannot_be_resolved(cds: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cds()
    monkeypatch.setenv("CDSAPI_URL", "https://no-such-host.invalid/api")
    with pytest.raises(DataError, match="its name cannot be resolved"):
        case.source().open()


def test_a_file_that_lay_there_before_is_not_taken_for_an_answer(cds: Make, undisturbed: str) -> None:
    case = cds()
    part = case.source().parts()[0]
    (case.folder / "parts").mkdir(parents=True)
    (case.folder / "parts" / f"{part.file_stem}.nc").write_bytes(b"something else")
    (case.folder / "parts" / f"{part.file_stem}.part").write_bytes(b"x" * 5000)
    assert case.store() == undisturbed


def test_a_broken_transfer_goes_on_from_where_it_broke(cds: Make, undisturbed: str) -> None:
    case = cds()
    case.server.fault("GET", FILE, asset(cut=150_000), 1)
    assert case.store() == undisturbed
    ranges = [
        asked.headers.get("Range")
        for asked in case.server.log
        if asked.method == "GET" and "/cache/" in asked.path
    ]
    assert ranges == [None, "bytes=131072-"]


def test_the_next_process_goes_on_where_a_transfer_ended(cds: Make, undisturbed: str) -> None:
    case = cds()
    case.server.fault("GET", FILE, asset(cut=150_000), 1)
    case.server.fault("GET", FILE, page(503), 1)
    case.server.fault("GET", RESULTS, page(500), skip=1)
    with pytest.raises(DataError):
        case.source(transfer={"tries": 1}).open()
    case.server.rules.clear()
    assert case.store() == undisturbed
    assert case.server.posts == 1


def test_a_request_of_another_account_is_asked_for_anew(cds: Make, undisturbed: str) -> None:
    case = cds()
    source = case.source()
    source.journal.note(source.parts()[0].id, "submitted", job="00000000-0000-0000-0000-000000000000")
    case.server.fault("GET", r"/jobs/0000", status(403, "permission denied", "operation not allowed"))
    assert case.store() == undisturbed


def test_a_checksum_of_another_kind_can_be_let_pass(cds: Make, undisturbed: str) -> None:
    case = cds(checksum=lambda _: "0" * 32)
    with pytest.raises(DataError, match="checksum=false"):
        case.source().open()
    assert case.store(transfer={"checksum": False}) == undisturbed


def test_files_of_rc_and_environment_are_found_as_cdsapi_finds_them(
    cds: Make, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cds()
    rc = tmp_path / "rc"
    rc.write_text(f"url: {case.server.url}\nkey: {KEY}\n")
    for name in ("CDSAPI_URL", "CDSAPI_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CDSAPI_RC", str(rc))
    assert case.store() == undisturbed
