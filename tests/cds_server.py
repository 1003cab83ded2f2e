"""A Climate Data Store on 127.0.0.1 for tests: speaks the protocol, builds answers from requests, goes wrong by rule.

`FakeCds().start()` listens on a free port. Rules say what goes wrong: `server.fault("POST", r"/execution$", reset,
times=2)`. Everything that is asked is in `server.log`. Nothing outside the machine is reached.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pandas as pd

from tests.cds_weather import listed, plain_answer, times_of

KEY = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

# What can go wrong

Proceed = Callable[[], None]
Act = Callable[["Handler", Proceed], None]


def status(
    code: int, title: str = "", detail: str = "", headers: dict[str, str] | None = None, **more: Any
) -> Act:
    """An error with a problem description."""

    def act(handler: Handler, proceed: Proceed) -> None:
        body = {"type": "about:blank", "title": title, "status": code, "detail": detail, **more}
        handler.reply(code, body, headers)

    return act


def page(code: int) -> Act:
    """A web page instead of data."""

    def act(handler: Handler, proceed: Proceed) -> None:
        handler.send(code, b"<html><body>Maintenance</body></html>", "text/html")

    return act


def reply(body: Any, code: int = 200) -> Act:
    """Some other answer."""
    return lambda handler, _: handler.reply(code, body)


def reset(handler: Handler, proceed: Proceed) -> None:
    """The connection is cut."""
    handler.cut()


def hang(seconds: float) -> Act:
    """No answer for a while, then none at all."""

    def act(handler: Handler, proceed: Proceed) -> None:
        time.sleep(seconds)
        handler.cut()

    return act


def afterwards(act: Act) -> Act:
    """What was asked for is done, and then something else is answered."""

    def both(handler: Handler, proceed: Proceed) -> None:
        handler.silent = True
        proceed()
        handler.silent = False
        act(handler, proceed)

    return both


def asset(**how: Any) -> Act:
    """How a file is sent: cut=n bytes, length=False, stall=seconds, corrupt=True, whole=True (ranges are ignored)."""

    def act(handler: Handler, proceed: Proceed) -> None:
        handler.how = how
        proceed()

    return act


@dataclass
class Rule:
    """A fault for requests of a method whose path matches, so many times (-1: always), after letting some pass."""

    method: str
    pattern: re.Pattern[str]
    act: Act
    times: int = -1
    skip: int = 0


@dataclass
class Asked:
    """A request as it came, the names of its headers as in `Private-Token`."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Job:
    """A request that the service has accepted."""

    id: str
    dataset: str
    request: dict[str, Any]
    script: list[str]
    looks: int = 0
    created: float = field(default_factory=time.time)

    @property
    def state(self) -> str:
        return self.script[min(self.looks, len(self.script) - 1)]


class FakeCds:
    """The service: its jobs, its rules, what it was asked."""

    def __init__(
        self,
        script: Sequence[str] = ("successful",),
        answer: Callable[[str, dict[str, Any]], bytes] = plain_answer,
        *,
        ranges: bool = True,
        head: bool = True,
        cost_limit: float = 120000,
        end: str | None = None,
        checksum: Callable[[bytes], str] = lambda content: hashlib.md5(content).hexdigest(),
        delay: float = 0.0,
    ) -> None:
        self.script = list(script)
        self.answer = answer
        self.ranges = ranges
        self.head = head
        self.cost_limit = cost_limit
        self.end = end
        self.checksum = checksum
        self.delay = delay
        self.size_error = 0
        self.reason = "The job failed"
        self.jobs: dict[str, Job] = {}
        self.log: list[Asked] = []
        self.rules: list[Rule] = []
        self._assets: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def start(self) -> FakeCds:
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.fake = self  # type: ignore[attr-defined]
        self.thread = threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()
        return self

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_port}"

    @property
    def url(self) -> str:
        return f"{self.base}/api"

    def fault(self, method: str, pattern: str, act: Act, times: int = -1, skip: int = 0) -> FakeCds:
        self.rules.append(Rule(method, re.compile(pattern), act, times, skip))
        return self

    def count(self, method: str, pattern: str) -> int:
        return sum(asked.method == method and bool(re.search(pattern, asked.path)) for asked in self.log)

    @property
    def posts(self) -> int:
        """Submissions that came."""
        return self.count("POST", r"/execution$")

    def submitted(self) -> list[tuple[str, str]]:
        """Dataset and canonical request of every job."""
        return [(job.dataset, json.dumps(job.request, sort_keys=True)) for job in self.jobs.values()]

    def rule(self, method: str, path: str) -> Rule | None:
        with self._lock:
            for rule in self.rules:
                if rule.method == method and rule.times != 0 and rule.pattern.search(path):
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    return rule
        return None

    def create(self, dataset: str, request: dict[str, Any]) -> Job:
        with self._lock:
            job = Job(str(uuid.uuid4()), dataset, request, list(self.script))
            self.jobs[job.id] = job
        return job

    def content(self, job: Job) -> bytes:
        """The answer to a job, which stays the same."""
        with self._lock:
            if job.id not in self._assets:
                self._assets[job.id] = self.answer(job.dataset, job.request)
            return self._assets[job.id]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement
    silent = False
    how: dict[str, Any] = {}  # noqa: RUF012

    @property
    def fake(self) -> FakeCds:
        return self.server.fake  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, OSError, ValueError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        self.how, self.silent = {}, False
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.body = json.loads(body) if body else None
        self.fake.log.append(
            Asked(method, self.path, {k.title(): v for k, v in self.headers.items()}, self.body)
        )
        time.sleep(self.fake.delay)
        rule = self.fake.rule(method, self.path)
        if rule is None:
            self._route(method)
        else:
            rule.act(self, lambda: self._route(method))

    def cut(self) -> None:
        """Ends the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        raise ConnectionResetError

    def reply(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        kind = "application/json" if code < 400 else "application/problem+json"
        self.send(code, json.dumps(body).encode(), kind, headers)

    def send(self, code: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        if self.silent:
            return
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def problem(self, code: int, title: str, detail: str, **more: Any) -> None:
        self.reply(code, {"type": "about:blank", "title": title, "status": code, "detail": detail, **more})

    # The service's routes

    def _route(self, method: str) -> None:
        url = urlparse(self.path)
        parts = [part for part in url.path.split("/") if part]
        if parts[:1] == ["cache"]:
            self._asset(parts[1])
        elif "//" in url.path or parts[:1] != ["api"]:
            self.problem(404, "Not Found", "Not Found")
        else:
            self._api(method, parts[1:], parse_qs(url.query))

    def _api(self, method: str, parts: list[str], query: dict[str, list[str]]) -> None:
        match parts:
            case ["catalogue", "v1", "messages"]:
                self.reply(200, {"messages": []})
            case ["catalogue", "v1", "collections", name]:
                interval = ["1940-01-01T00:00:00Z", self.fake.end and f"{self.fake.end}T00:00:00Z"]
                self.reply(200, {"id": name, "extent": {"temporal": {"interval": [interval]}}, "links": []})
            case ["retrieve", "v1", "processes", name]:
                if "era5" in name:
                    self.reply(200, {"id": name, "links": []})
                else:
                    self.problem(404, "process not found", f"dataset {name} not found")
            case ["retrieve", "v1", "processes", name, "costing"]:
                self._costing()
            case _ if self.headers.get("PRIVATE-TOKEN") != KEY:
                self.problem(401, "permission denied", "operation not allowed")
            case ["profiles", "v1", "account", "verification", "pat"]:
                self.reply(200, {"id": 1, "sub": "user-1", "role": "user"})
            case ["retrieve", "v1", "processes", name, "execution"]:
                self._execute(name)
            case ["retrieve", "v1", "jobs"]:
                self._list_jobs(query)
            case ["retrieve", "v1", "jobs", job]:
                self._job(method, job, query)
            case ["retrieve", "v1", "jobs", job, "results"]:
                self._results(job)
            case _:
                self.problem(404, "Not Found", "Not Found")

    def _cost(self) -> int:
        request = self.body["inputs"]
        fields = len(listed(request["variable"])) * len(listed(request.get("pressure_level", "")))
        return fields * len(times_of(request)) * (2 if "grid" in request else 1)

    def _costing(self) -> None:
        cost = self._cost()
        valid = cost <= self.fake.cost_limit
        self.reply(
            200, {"id": "size", "cost": cost, "limit": self.fake.cost_limit, "request_is_valid": valid}
        )

    def _execute(self, dataset: str) -> None:
        if self._cost() > self.fake.cost_limit:
            self.problem(
                403, "cost limits exceeded", "Your request is too large, please reduce your selection."
            )
            return
        self.reply(201, self._description(self.fake.create(dataset, self.body["inputs"])))

    def _description(self, job: Job) -> dict[str, Any]:
        href = f"{self.fake.url}/retrieve/v1/jobs/{job.id}"
        links = [{"rel": "self" if self.command == "GET" else "monitor", "href": href}]
        if self.command == "GET" and job.state == "successful":
            links.append({"rel": "results", "href": f"{href}/results"})
        at = pd.Timestamp(job.created, unit="s").isoformat()
        return {
            "processID": job.dataset,
            "type": "process",
            "jobID": job.id,
            "status": job.state,
            "created": at,
            "updated": at,
            "links": links,
            "metadata": {"log": [], "request": {"ids": job.request, "labels": {}}, "origin": "api"},
        }

    def _list_jobs(self, query: dict[str, list[str]]) -> None:
        wanted = set(query.get("status", []))
        found = [
            self._description(job) for job in self.fake.jobs.values() if not wanted or job.state in wanted
        ]
        newest = sorted(found, key=lambda job: job["created"], reverse=True)
        for job in newest:
            del job["metadata"]
        self.reply(200, {"jobs": newest[: int(query.get("limit", ["10"])[0])], "links": []})

    def _find(self, name: str) -> Job | None:
        job = self.fake.jobs.get(name)
        if job is None:
            self.problem(404, "job not found", f"job {name} not found")
        return job

    def _job(self, method: str, name: str, query: dict[str, list[str]]) -> None:
        if (job := self._find(name)) is None:
            return
        if method == "DELETE":
            del self.fake.jobs[name]
        self.reply(200, self._description(job))
        job.looks += "log" in query

    def _results(self, name: str) -> None:
        if (job := self._find(name)) is None:
            return
        if job.state in ("failed", "rejected"):
            self.problem(400, f"The job has {job.state}", "", traceback=self.fake.reason)
            return
        if job.state != "successful":
            self.problem(404, "job results not ready", f"status of {name} is '{job.state}'")
            return
        content = self.fake.content(job)
        self.reply(
            200,
            {
                "asset": {
                    "value": {
                        "type": "application/netcdf",
                        "href": f"{self.fake.base}/cache/{name}/answer.nc",
                        "file:checksum": self.fake.checksum(content),
                        "file:size": len(content) + self.fake.size_error,
                        "file:local_path": "s3://cache/answer.nc",
                    }
                }
            },
        )

    # The files

    def _asset(self, name: str) -> None:
        job = self.fake.jobs[name]
        content = self.fake.content(job)
        if self.command == "HEAD" and not self.fake.head:
            self.send(405, b"", "text/plain")
            return
        if self.how.get("corrupt"):
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(first[1]) if first and self.fake.ranges and not self.how.get("whole") else 0
        self.send_response(206 if start else 200)
        if self.fake.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.how.get("length", True):
            self.send_header("Content-Length", str(len(content) - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self._stream(content[start:])

    def _stream(self, content: bytes) -> None:
        cut = int(self.how.get("cut", len(content)))
        self.wfile.write(content[:cut])
        self.wfile.flush()
        if "stall" in self.how:
            time.sleep(self.how["stall"])
        if cut < len(content) or self.how.get("end"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
