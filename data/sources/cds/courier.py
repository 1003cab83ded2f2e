"""Brings parts: asks, waits, fetches, checks; at most a few at a time, each exactly once.

Every step is written to the journal before the next one, so that a killed download finds its requests again instead
of asking anew. A request that may have been accepted although its answer was an error is looked for among the
account's requests first. Errors that pass are waited out, with growing waits and an end; those that do not pass end
the download, or where they concern one part only, are told when all others are done.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmwf.datastores import Remote

from data.errors import DataError
from data.sources.cds import preflight
from data.sources.cds.check import NotYetError, WrongAnswerError
from data.sources.cds.delivery import Delivery
from data.sources.cds.faults import Fault, ServiceError, Verdict
from data.sources.cds.journal import Journal
from data.sources.cds.plan import Part
from data.sources.cds.service import Service
from data.sources.cds.settings import Transfer
from data.sources.cds.transfer import AssetError, ChecksumError, pause
from data.sources.progress import Status, Watch, nobody

log = logging.getLogger(__name__)

FIRST_LOOK = 1.0  # seconds; the service answers from its cache at once
LOST_LOOKS = 3  # looks at a request that the service does not know, before it is asked for anew
ROUNDS = 3  # answers to one part that may be wrong or lost
HEARTBEAT = 5.0  # seconds between two pictures of the state while nothing happens


@dataclass
class Task:
    """A part under way.

    Attributes:
        part: what is to be brought.
        status: what can be seen of it.
        remote: the request at the service.
        due: time.monotonic() of the next step.
        gap: seconds between the last two looks.
        started: when this process began to wait for the request.
        failures: errors in a row.
        rejections: times that the service took the request and gave it up, being busy.
        lost: looks in a row at which the service did not know the request.
        rounds: answers that were wrong or lost.
    """

    part: Part
    status: Status
    remote: Remote | None = None
    due: float = 0.0
    gap: float = 0.0
    started: float = 0.0
    failures: int = 0
    rejections: int = 0
    lost: int = 0
    rounds: int = 0


class Courier:
    """Brings parts to a folder.

    Args:
        service: the account.
        journal: what is known of the parts.
        folder: where the files go.
        settings: how patiently.
        allow_missing: whether answers may lack steps.
        watch: is told the state of all parts.
    """

    def __init__(
        self, service: Service, journal: Journal, folder: Path, settings: Transfer, *, allow_missing: bool = False,
        watch: Watch = nobody,
    ) -> None:  # fmt: skip
        self.service = service
        self.journal = journal
        self.settings = settings
        self.delivery = Delivery(service, journal, folder, settings, allow_missing, self._show)
        self.watch = watch
        self.cap = settings.in_flight
        self.resume_at = 0.0
        self.waiting: list[Task] = []
        self.active: list[Task] = []
        self.failed: list[str] = []
        self.statuses: list[Status] = []

    def bring(self, parts: Sequence[Part], done: Sequence[Part] = ()) -> None:
        """Brings all parts; `done` are shown only.

        Raises:
            DataError: what does not get better by waiting, or the parts that could not be had.
        """
        self.statuses = [Status(part.label, part.month, "verified") for part in done]
        for part in parts:
            self._add(part)
        # What the service already works on comes first: its results do not stay for ever.
        self.waiting.sort(key=lambda task: self.journal[task.part.id].job is None)
        while self.waiting or self.active:
            self._start()
            self._show()
            self._sleep()
            for task in [task for task in self.active if task.due <= time.monotonic()]:
                self._look(task)
        self._show()
        if self.failed:
            more = f" ({len(self.failed) - 1} other parts failed too)" if len(self.failed) > 1 else ""
            raise DataError(self.failed[0].rstrip(".") + f"{more}; what has been brought is kept.")

    def _add(self, part: Part, at: int | None = None) -> None:
        status = Status(part.label, part.month)
        self.statuses.append(status)
        task = Task(part, status)
        self.waiting.insert(len(self.waiting) if at is None else at, task)

    def _show(self) -> None:
        self.watch(self.statuses)

    def _sleep(self) -> None:
        now = time.monotonic()
        times = [task.due for task in self.active]
        if self.waiting and len(self.active) < self.cap:
            times.append(max(self.resume_at, min(task.due for task in self.waiting)))
        if times and (wait := min(times) - now) > 0:
            time.sleep(min(wait, HEARTBEAT))

    # Asking

    def _start(self) -> None:
        """Asks for as much as may be in flight."""
        while len(self.active) < self.cap and time.monotonic() >= self.resume_at:
            task = next((task for task in self.waiting if task.due <= time.monotonic()), None)
            if task is None:
                return
            self.waiting.remove(task)
            try:
                task.remote = self._request(task)
            except ServiceError as error:
                self._answer(task, error.fault)
            else:
                self._follow(task)

    def _follow(self, task: Task) -> None:
        task.failures, task.started = 0, time.monotonic()
        task.gap = min(FIRST_LOOK, self.settings.poll_seconds)
        task.due = time.monotonic() + task.gap
        task.status.to("queued")
        self.active.append(task)

    def _request(self, task: Task) -> Remote | None:
        """The request at the service: known from the journal, found at the service, or made now."""
        part, entry = task.part, self.journal[task.part.id]
        if entry.job is not None:
            return self.service.attach(entry.job)
        if entry.unsure and (found := self._find(part, entry.asked)) is not None:
            self.journal.note(part.id, "submitted", job=found.request_id, label=part.label, found=True)
            return found
        self.journal.note(
            part.id, "intent", label=part.label, dataset=part.dataset, request=dict(part.request)
        )
        try:
            remote = self.service.submit(part.dataset, part.request)
        except ServiceError as error:
            if not error.fault.unsure:
                self.journal.note(part.id, "refused", why=error.fault.why)
            raise
        self.journal.note(part.id, "submitted", job=remote.request_id, label=part.label)
        return remote

    def _find(self, part: Part, since: str) -> Remote | None:
        """A request that was perhaps made; looked for twice, since the service's list may lag behind by a moment."""
        found = self.service.find(part.dataset, part.request, self.journal.jobs, since)
        if found is None:
            time.sleep(pause(self.settings, 1))
            found = self.service.find(part.dataset, part.request, self.journal.jobs, since)
        return found

    # Waiting

    def _look(self, task: Task) -> None:
        """Looks at a request, and fetches its answer when it is there."""
        try:
            if task.remote is None:
                raise AssertionError("a task that is active has a request")
            state = self.service.state(task.remote)
            if state == "successful":
                self._collect(task, task.remote)
                return
        except ServiceError as error:
            self.active.remove(task)
            self._answer(task, error.fault)
            return
        task.failures = task.lost = 0
        task.status.to("running" if state == "running" else "queued")
        if time.monotonic() - task.started > self.settings.deadline_hours * 3600:
            self._fail(
                task, f"{task.part.label} is {task.status.state} at the service for {self.settings.deadline_hours:g} "
                "hours (dataset.transfer.deadline_hours): run the same command again to go on waiting"
            )  # fmt: skip
            return
        task.gap = min(task.gap * 1.5, self.settings.poll_seconds)
        task.due = time.monotonic() + task.gap * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    # Errors

    def _answer(self, task: Task, fault: Fault) -> None:
        """Does what an error asks for; the task is in neither list."""
        verdict, part = fault.verdict, task.part
        if verdict is Verdict.REFUSED:
            raise DataError(preflight.refusal(self.service, fault.why))
        if verdict is Verdict.TOO_LARGE:
            self.statuses.remove(task.status)
            for half in reversed(preflight.split(part, self.journal, fault.why)):
                self._add(half, at=0)
        elif verdict is Verdict.ABSENT:
            self._drop(task, fault.why)
            self._fail(task, f"{part.label}: the service has no data for this request ({fault.why}): choose a period "
                             "that is published, or other dataset.variables")  # fmt: skip
        elif verdict is Verdict.LOST:
            self._lost(task, fault.why)
        else:
            self._again(task, fault)

    def _again(self, task: Task, fault: Fault) -> None:
        """Waits for what passes: errors of the network and the service, and a service that is busy."""
        task.failures += 1
        task.rejections += fault.ended
        if max(task.failures, task.rejections) >= self.settings.tries:
            raise DataError(preflight.silence(self.service, fault.why, max(task.failures, task.rejections)))
        now = time.monotonic()
        if fault.ended:
            self._drop(task, fault.why)
            self.cap = max(1, self.cap // 2)
        if fault.verdict is Verdict.BUSY:
            spread = random.uniform(1.0, 1.2)  # noqa: S311 - no secret
            wait = (fault.wait if fault.wait is not None else self.settings.cool_off_seconds) * spread
            self.resume_at = max(self.resume_at, now + wait)
            task.status.to("cooling off")
        else:
            wait = pause(self.settings, task.failures)
            task.status.to("retrying")
        log.info("download: %s: %s; again in %.0f s", task.part.label, fault.why, wait)
        task.due = now + wait
        if task.remote is not None and self.journal[task.part.id].job is not None:
            self.active.append(task)
        else:
            self.waiting.insert(0, task)

    def _lost(self, task: Task, why: str) -> None:
        """A request that is gone: looked for some times more, since the service's list lags, then asked for anew."""
        task.lost += 1
        if task.lost < LOST_LOOKS and "expired" not in why and self.journal[task.part.id].job is not None:
            task.due = time.monotonic() + pause(self.settings, task.lost)
            task.status.to("retrying")
            (self.waiting if task.remote is None else self.active).append(task)
            return
        self._anew(task, why)

    def _anew(self, task: Task, why: str) -> None:
        """Asks for a part anew, unless that did not help before."""
        self._drop(task, why)
        task.rounds += 1
        task.lost = 0
        if task.rounds >= ROUNDS:
            self._fail(task, f"{task.part.label} failed {task.rounds} times at the service, the last time because "
                             f"{why}: run the same command again later")  # fmt: skip
            return
        log.info("download: %s: %s; it is asked for anew", task.part.label, why)
        task.status.to("retrying")
        task.due = time.monotonic() + pause(self.settings, task.rounds)
        self.waiting.insert(0, task)

    def _drop(self, task: Task, why: str) -> None:
        """Forgets a request and what arrived of its answer."""
        if self.journal[task.part.id].job is not None:
            self.journal.note(task.part.id, "lost", why=why)
        task.remote = None
        self.delivery.partial(task.part).unlink(missing_ok=True)

    def _fail(self, task: Task, sentence: str) -> None:
        if task in self.active:
            self.active.remove(task)
        task.status.to("failed")
        self.failed.append(sentence)

    # Fetching

    def _collect(self, task: Task, remote: Remote) -> None:
        """Fetches and checks an answer; one that is wrong is fetched once more before it is asked for anew."""
        self.active.remove(task)
        why = ""
        for _ in range(2):
            try:
                self.delivery.bring(task.part, remote, task.status)
                return
            except (AssetError, WrongAnswerError) as error:
                why = str(error)
                log.info("download: %s: %s", task.part.label, why)
                if isinstance(error, WrongAnswerError):
                    self.delivery.partial(task.part).unlink(missing_ok=True)
                if isinstance(error, ChecksumError):
                    why += " (if it states another kind of checksum, set dataset.transfer.checksum=false)"
                time.sleep(pause(self.settings, 1))
            except NotYetError as error:
                self._drop(task, str(error))
                self._fail(
                    task, f"{task.part.label}: {error}: choose an earlier dataset.end, or run again later"
                )
                return
            except ServiceError as error:
                self._answer(task, error.fault)
                return
        self._anew(task, why)
