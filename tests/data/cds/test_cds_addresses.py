"""Where a download may go: https, or http on this machine; never less safe than where it came from."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
import requests

from data.errors import DataError
from data.sources import address
from data.sources.cds import credential
from data.sources.cloud import from_options
from tests.cds_server import KEY, reply, status
from tests.data.cds.conftest import OPTIONS, Make

SAFE = (
    "https://cds.climate.copernicus.eu/api",
    "http://127.0.0.1:8080/x",
    "http://localhost/",
    "http://[::1]:1/",
)
UNSAFE = (
    "http://cds.climate.copernicus.eu/api", "http://10.0.0.1/", "http://127.0.0.1.evil.org/", "http://[::2]/",
    "http://localhost.evil.org/", "file:///etc/passwd", "ftp://a.b/c", "gopher://a", "//a.b/c", "https://", "x", "",
    "http://127.0.0.1@evil.org/", "http://[", "data:text/plain,x",
)  # fmt: skip


@pytest.mark.parametrize("url", SAFE)
def test_https_and_this_machine_are_safe(url: str) -> None:
    assert address.is_safe(url)
    address.check(url)


@pytest.mark.parametrize("url", UNSAFE)
def test_all_else_is_not(url: str) -> None:
    assert not address.is_safe(url)
    with pytest.raises(address.UnsafeAddressError, match="only https addresses"):
        address.check(url)


def test_a_redirect_from_https_to_this_machine_is_not_followed() -> None:
    with pytest.raises(address.UnsafeAddressError, match=r"a\.org leads to 'http://127\.0\.0\.1/x'"):
        address.check("http://127.0.0.1/x?secret", "https://a.org/y")
    address.check("https://b.org/x", "https://a.org/y")


ELSEWHERE = ("file:///etc/passwd", "http://elsewhere.invalid/x.nc", "ftp://elsewhere.invalid/x.nc")


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("code", [301, 307])
def test_a_file_is_not_fetched_from_where_a_redirect_leads(cds: Make, target: str, code: int) -> None:
    case = cds()
    case.server.fault("GET", r"/cache/", status(code, headers={"Location": target}))
    with pytest.raises(DataError, match=r"127\.0\.0\.1 leads to '.*only https addresses are followed"):
        case.source().open()
    assert not list((case.folder / "parts").glob("*.nc"))


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_file_is_not_fetched_from_any_address_that_is_stated(cds: Make, target: str) -> None:
    case = cds()
    stated = {"asset": {"value": {"href": target, "file:size": 5, "file:checksum": "", "type": "x"}}}
    case.server.fault("GET", r"/results$", reply(stated))
    with pytest.raises(DataError, match="only https addresses are followed"):
        case.source().open()
    assert not list((case.folder / "parts").glob("*.nc"))


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_service_itself_cannot_lead_elsewhere(cds: Make, target: str) -> None:
    case = cds()
    case.server.fault("POST", r"/execution$", status(307, headers={"Location": target}))
    with pytest.raises(DataError, match="only https addresses are followed") as told:
        case.source().open()
    assert KEY not in str(told.value)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another server of this machine, which notes the headers that it is sent."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.title(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    handler = type("Noting", (Elsewhere,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://localhost:{server.server_port}/", handler.seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_key_does_not_follow_a_redirect_to_another_host(
    cds: Make, elsewhere: tuple[str, list[dict[str, str]]]
) -> None:
    target, seen = elsewhere
    case = cds()
    case.server.fault("GET", r"/jobs", status(302, headers={"Location": target}))
    with address.Session() as session:
        session.get(f"{case.server.url}/retrieve/v1/jobs", headers={address.KEY_HEADER: KEY}, timeout=5)
        case.server.fault("GET", r"/here", status(302, headers={"Location": "/api/there"}))
        session.get(f"{case.server.url}/here", headers={address.KEY_HEADER: KEY}, timeout=5)
    assert len(seen) == 1
    assert "Private-Token" not in seen[0]
    assert case.server.log[-1].headers["Private-Token"] == KEY  # on the same host it is needed


def test_a_session_of_another_scheme_is_refused_at_once() -> None:
    with address.Session() as session, pytest.raises(requests.exceptions.InvalidURL, match="only https"):
        session.get("http://elsewhere.invalid/", timeout=1)


def test_the_key_is_not_sent_over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSAPI_URL", "http://cds.climate.copernicus.eu/api")
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    with pytest.raises(DataError, match="plain http, over which anyone can read the key"):
        credential.find()


def test_a_zarr_store_is_not_read_over_plain_http(tmp_path: object) -> None:
    options = {**OPTIONS, "source": "cloud", "store": "http://elsewhere.invalid/era5.zarr"}
    with pytest.raises(DataError, match=r"dataset\.store http://elsewhere\.invalid/era5\.zarr: only https"):
        from_options(options, tmp_path)  # type: ignore[arg-type]


def test_a_zarr_store_cannot_lead_elsewhere(cds: Make) -> None:
    case = cds()
    case.server.fault("GET", r"/era5", status(302, headers={"Location": "http://elsewhere.invalid/x"}))
    options = {**case.options, "source": "cloud", "store": f"{case.server.base}/era5.zarr"}
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1 leads to 'http://elsewhere\.invalid/x', and only https"
    ):
        from_options(options, case.folder).open()
