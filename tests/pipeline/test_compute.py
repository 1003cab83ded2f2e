from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from distributed import KilledWorker
from threadpoolctl import threadpool_info

from pipeline import compute
from pipeline.errors import PipelineError


def test_results_come_in_order_whoever_is_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item**2

    with compute.workers("threads", 3) as workers:
        results = workers.each(slow_at_first, range(9))
        assert len(results) == 9
        assert list(results) == [(n, n**2) for n in range(9)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_more_are_under_way_than_workers_and_one(count: int) -> None:
    started: list[int] = []
    lock = threading.Lock()

    def note(item: int) -> None:
        with lock:
            started.append(item)

    with compute.workers("threads", count) as workers:
        for taken, _ in enumerate(workers.each(note, range(30))):
            with lock:
                assert len(started) <= taken + 1 + count


def test_shared_arguments_come_first() -> None:
    with compute.workers("threads", 2) as workers:
        assert [value for _, value in workers.each(pow, [2, 3], 2)] == [4, 8]


def test_an_error_ends_the_work_and_is_told_as_it_is() -> None:
    started = []

    def fail(item: int) -> None:
        started.append(item)
        if item == 3:
            raise ValueError("item 3")

    with pytest.raises(ValueError, match="item 3"), compute.workers("threads", 1) as workers:
        list(workers.each(fail, range(100)))
    assert len(started) < 10


def test_tasks_do_linear_algebra_on_one_thread() -> None:
    def threads(item: int) -> int:
        np.ones((4, 4)) @ np.ones((4, 4))
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    with compute.workers("threads", 2) as workers:
        assert {most for _, most in workers.each(threads, range(4))} == {1}


def test_lost_workers_are_said() -> None:
    def lose(item: int) -> None:
        raise KilledWorker("write", None, 3)

    with (
        pytest.raises(PipelineError, match=r"dask workers were lost .* goes on from where it was"),
        compute._told(),
    ):
        lose(0)
