from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import sampler
from data.errors import DataError
from data.sampler import Blocks, EpochSampler, blocks

STARTS = np.arange(0, 400, 2)


def cut(starts: np.ndarray = STARTS, room: int = 100) -> Blocks:
    """Blocks of windows of 4 steps in chunks of 5, with a buffer of `room` steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "BUFFER_BYTES", room * 8)
        return blocks(starts, length=4, chunk=5, step_bytes=8)


def order(
    found: Blocks, seed: int | None = 0, epoch: int = 0, size: int = 4, **ranks: int
) -> list[list[tuple[int, int]]]:
    made = EpochSampler(found, batch_size=size, seed=seed, **ranks)
    made.set_epoch(epoch)
    assert len(made.batches()) == len(made)
    return made.batches()


def flat(batches: list[list[tuple[int, int]]]) -> list[int]:
    return [window for batch in batches for _, window in batch]


def test_a_record_that_fits_the_buffer_is_one_permutation() -> None:
    found = cut(STARTS[:40])
    assert found.in_buffer == 1
    assert flat(order(found, seed=3, epoch=2)) == np.random.default_rng([3, 2]).permutation(40).tolist()


def test_blocks_end_at_chunks_and_a_buffer_holds_no_more_than_it_may() -> None:
    found = cut()
    assert found.in_buffer == 2
    first = [int(STARTS[found.of_window == b][0]) for b in range(found.of_window.max() + 1)]
    assert {start % 5 for start in first} <= {0, 1}  # windows start at even steps
    longest = max(np.ptp(STARTS[found.of_window == b]) for b in set(found.of_window.tolist()))
    assert found.in_buffer * (longest + 4 + 5) <= 100


def test_more_room_mixes_more_blocks() -> None:
    assert [cut(np.arange(0, 40000, 2), room).in_buffer for room in (50, 200, 400, 4000)] == [2, 4, 8, 16]


def test_windows_are_shuffled_within_a_buffer_and_buffers_hold_their_blocks() -> None:
    found = cut()
    batches = order(found)
    for buffer in {buffer for batch in batches for buffer, _ in batch}:
        windows = [w for batch in batches for b, w in batch if b == buffer]
        assert len(set(found.of_window[windows].tolist())) <= found.in_buffer
        assert windows != sorted(windows)
    buffers = [buffer for batch in batches for buffer, _ in batch]
    assert buffers == sorted(buffers)


@pytest.mark.parametrize("room", [100, 1000])
def test_the_order_is_decided_by_seed_and_epoch(room: int) -> None:
    found = cut(room=room)
    assert order(found, 1, 2) == order(found, 1, 2)
    assert flat(order(found, 1, 2)) != flat(order(found, 1, 3))
    assert flat(order(found, 1, 2)) != flat(order(found, 2, 2))


@pytest.mark.parametrize("room", [100, 1000])
def test_without_a_seed_windows_keep_their_order(room: int) -> None:
    assert flat(order(cut(room=room), None, 5)) == list(range(200))


@settings(max_examples=150, deadline=None)
@given(
    windows=st.integers(1, 90),
    ranks=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    size=st.integers(1, 16),
    room=st.sampled_from([30, 60, 1000]),
    seed=st.sampled_from([None, 0, 7]),
    epoch=st.integers(0, 3),
)
def test_ranks_take_as_many_steps_and_every_window_counts_once_between_them(
    windows: int, ranks: int, accumulate: int, size: int, room: int, seed: int | None, epoch: int
) -> None:
    found = cut(STARTS[:windows], room)
    if windows < ranks:
        with pytest.raises(DataError, match=f"{windows} windows cannot be shared among {ranks} processes"):
            EpochSampler(found, batch_size=size, seed=seed, ranks=ranks)
        return
    if size < ranks * accumulate:
        with pytest.raises(DataError, match=f"the {size} windows of a step cannot be shared among {ranks}"):
            EpochSampler(found, batch_size=size, seed=seed, ranks=ranks, accumulate=accumulate)
        return
    steps = shared(found, seed, epoch, size, ranks, accumulate)
    assert [len(step) for step in steps] == [ranks * accumulate] * -(-windows // size)
    counted = [[window for batch, weight in step for _, window in batch if weight] for step in steps]
    assert sorted(window for step in counted for window in step) == list(range(windows))
    assert [len(step) for step in counted] == [min(size, windows - k) for k in range(0, windows, size)]
    for step in steps:
        total = sum(len(batch) for batch, weight in step if weight)
        assert [len(batch) * ranks * accumulate / total for batch, weight in step if weight] == pytest.approx(
            [weight for _, weight in step if weight]
        )
        assert all(len(batch) == 1 for batch, weight in step if not weight)


def shared(
    found: Blocks, seed: int | None, epoch: int, size: int, ranks: int, accumulate: int
) -> list[list[tuple[list[tuple[int, int]], float]]]:
    """The batches of all ranks with their weights, step by step."""
    each = []
    for rank in range(ranks):
        made = EpochSampler(found, batch_size=size, seed=seed, rank=rank, ranks=ranks, accumulate=accumulate)
        made.set_epoch(epoch)
        each.append(list(zip(made.batches(), made.weights(), strict=True)))
        assert len(each[-1]) == len(made)
    return [
        [mine[k + a] for mine in each for a in range(accumulate)] for k in range(0, len(each[0]), accumulate)
    ]


@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (1, 3), (3, 2)])
def test_a_step_takes_the_windows_that_it_takes_alone(ranks: int, accumulate: int) -> None:
    found = cut(STARTS[:43], 1000)
    alone = shared(found, 5, 2, 8, 1, 1)
    divided = shared(found, 5, 2, 8, ranks, accumulate)

    def windows(step: list[tuple[list[tuple[int, int]], float]]) -> set[int]:
        return {window for batch, _ in step for _, window in batch}

    assert [windows(step) for step in divided] == [windows(step) for step in alone]


def test_one_process_that_accumulates_nothing_needs_no_weights() -> None:
    assert set(EpochSampler(cut(), batch_size=7, seed=0).weights()) == {1.0}
