from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from data.prefetch import Prefetcher

ITEMS = [(0, 1), (1, 2), (0, 5), (2, 2), (7, 8), (8, 9)]


def prefetcher(seconds: dict[int, float] | None = None, **options: int) -> tuple[Prefetcher, Counter[int]]:
    """Items that are the sums of parts, and how often each part was read."""
    reads: Counter[int] = Counter()

    def read(key: int) -> int:
        reads[key] += 1
        time.sleep((seconds or {}).get(key, 0))
        return 10 * key

    def make(item: Sequence[int], parts: dict[int, int]) -> int:
        return sum(parts[key] for key in item)

    settings = {"threads": 3, "ahead": 2} | options
    return Prefetcher(lambda item: item, read, make, **settings), reads


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("ahead", [0, 1, 20])
def test_the_order_is_that_of_the_items_whatever_threads_do(threads: int, ahead: int) -> None:
    delays = np.random.default_rng(threads + ahead).uniform(0, 0.01, 10)
    made, reads = prefetcher(dict(enumerate(delays)), threads=threads, ahead=ahead)
    assert list(made.run(ITEMS)) == [10, 30, 50, 40, 150, 170]
    assert reads == dict.fromkeys([0, 1, 2, 5, 7, 8, 9], 1)


def test_no_items_give_nothing() -> None:
    assert list(prefetcher()[0].run([])) == []


def test_what_goes_wrong_in_a_thread_is_raised_at_its_turn() -> None:
    def read(key: int) -> int:
        if key == 3:
            raise ValueError("part 3")
        return key

    run = Prefetcher(lambda item: [item], read, lambda item, parts: parts[item], threads=2, ahead=9).run(
        range(9)
    )
    assert [next(run) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="part 3"):
        next(run)


def test_it_reads_ahead_and_no_further() -> None:
    made, reads = prefetcher(threads=1, ahead=2)
    run = made.run([(k,) for k in range(20)])
    next(run)
    deadline = time.monotonic() + 5
    while sum(reads.values()) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert sum(reads.values()) == 3
    run.close()


def test_stopping_early_ends_its_threads() -> None:
    made, _ = prefetcher()
    run = made.run([(k,) for k in range(50)])
    next(run)
    run.close()
    assert not [t for t in threading.enumerate() if t.name.startswith(("read_", "make_"))]


def test_a_part_is_kept_while_some_item_that_is_to_come_needs_it() -> None:
    made, reads = prefetcher(threads=1, ahead=0)
    assert list(made.run([(1,), (2,), (1,)])) == [10, 20, 10]
    assert reads == {1: 1, 2: 1}


def test_a_part_that_no_item_needs_any_more_is_let_go() -> None:
    alive: set[int] = set()

    class Part:
        def __init__(self, key: int) -> None:
            self.key = key
            alive.add(key)

        def __del__(self) -> None:
            alive.discard(self.key)

    most = 0
    steady = Prefetcher(lambda k: (k, k + 1), Part, lambda k, _: k, threads=2, ahead=1)
    for _ in steady.run(range(40)):
        most = max(most, len(alive))
    assert 0 < most <= 6
