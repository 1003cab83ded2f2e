"""Where independent tasks are done: threads of this process, a dask cluster on this machine, or one at an address.

Tasks are handed out in order, a few at a time, and their results come back in order. So memory does not grow with the
number of tasks, and what is merged from the results does not depend on who was first. One thread of linear algebra a
worker: workers are many already, and sums come out the same to the last bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.errors import PipelineError

CONNECT_SECONDS = 10


class Executor(Protocol):
    """What both concurrent.futures and dask.distributed have."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """A future of the function's result."""


class Workers:
    """Does tasks, `count` at a time.

    Args:
        executor: does them.
        count: workers.
    """

    def __init__(self, executor: Executor, count: int) -> None:
        self.executor = executor
        self.count = count

    def each(self, function: Callable[..., Any], items: Sequence[Any], *shared: Any) -> Results:
        """function(*shared, item) of every item, in order."""
        return Results(self, function, items, shared)


class Results:
    """Results in the order of the items, each with its item; at most one more than there are workers is waiting."""

    def __init__(
        self, workers: Workers, function: Callable[..., Any], items: Sequence[Any], shared: tuple[Any, ...]
    ) -> None:
        self._workers = workers
        self._function = function
        self._items = items
        self._shared = shared

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        waiting: deque[tuple[Any, Any]] = deque()
        try:
            for item in self._items:
                waiting.append((item, self._submit(item)))
                if len(waiting) > self._workers.count:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _submit(self, item: Any) -> Any:
        return self._workers.executor.submit(_alone, self._function, *self._shared, item)


def _alone(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a task with one thread of linear algebra, in whatever process."""
    if any(pool["user_api"] == "blas" and pool["num_threads"] > 1 for pool in threadpool_info()):
        with threadpool_limits(1, "blas"):
            return function(*args)
    return function(*args)


@contextmanager
def workers(scheduler: str, count: int) -> Iterator[Workers]:
    """Workers for the time of a with block.

    Args:
        scheduler: threads, local (a dask cluster of processes on this machine) or a dask scheduler's address.
        count: workers; 0 for one a core. A cluster at an address has as many as it has.

    Raises:
        PipelineError: if no scheduler answers, or it has no worker.
    """
    if scheduler not in ("threads", "local") and "://" not in scheduler:
        raise PipelineError(
            f"compute.scheduler must be threads, local or an address such as tcp://host:8786. Received: {scheduler}."
        )
    count = count or cores()
    with threadpool_limits(1, "blas"):
        if scheduler == "threads":
            with ThreadPoolExecutor(count) as pool:
                yield Workers(pool, count)
        elif scheduler == "local":
            with _local(count) as found:
                yield found
        else:
            with _remote(scheduler) as found:
                yield found


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _local(count: int) -> Iterator[Workers]:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=40
    )
    with cluster, Client(cluster) as client, _told():
        yield Workers(_Pure(client), count)


@contextmanager
def _remote(address: str) -> Iterator[Workers]:
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"no dask scheduler answers at compute.scheduler={address}: start one with `dask scheduler` and workers "
            "with `dask worker`, or set compute.scheduler=local."
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise PipelineError(
                f"the dask scheduler at {address} has no worker: start some with `dask worker {address}`."
            )
        with _told():
            yield Workers(_Pure(client), threads)


@contextmanager
def _told() -> Iterator[None]:
    """Says in a sentence that workers were lost."""
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise PipelineError(
            "dask workers were lost again and again, most likely for want of memory: give them more of it, or set "
            "compute.workers lower; the same command goes on from where it was."
        ) from error


class _Pure:
    """Futures of a dask client; each call is a task of its own, whatever its arguments."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """A future of the function's result."""
        return self._client.submit(function, *args, pure=False)
