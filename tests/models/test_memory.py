"""Memory that is used again: nothing of an array that is held is touched."""

from __future__ import annotations

import pytest
import torch

from models.layers import memory

LIKE = torch.zeros(())
SHAPE = (3, memory.HUGE_PAGE // 8)


@pytest.fixture(autouse=True)
def _clean() -> None:
    memory.release()


def test_shape_and_type():
    for like in (LIKE, LIKE.double(), torch.zeros((), dtype=torch.int64)):
        assert memory.empty(SHAPE, like).shape == SHAPE
        assert memory.empty(SHAPE, like).dtype == like.dtype
        assert memory.empty((2, 3), like).shape == (2, 3)


def test_memory_given_back_is_taken_again():
    first = memory.empty(SHAPE, LIKE).fill_(7)
    address = first.data_ptr()
    del first
    assert memory.empty(SHAPE, LIKE).data_ptr() == address


def test_a_view_keeps_its_memory():
    first = memory.empty(SHAPE, LIKE).fill_(7)
    view, address = first[1, :5], first.data_ptr()
    del first
    second = memory.empty(SHAPE, LIKE).fill_(8)
    assert second.data_ptr() != address
    assert (view == 7).all()


def test_no_more_than_so_much_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "most_kept", lambda: 2 * memory.HUGE_PAGE)
    arrays = [memory.empty((memory.HUGE_PAGE // 4,), LIKE) for _ in range(5)]
    del arrays
    assert sum(size * len(blocks) for size, blocks in memory._free.items()) == 2 * memory.HUGE_PAGE


def test_what_was_not_used_the_longest_goes_first(monkeypatch: pytest.MonkeyPatch):
    """A layer that is used on another grid must not be left without memory by what the first grid left."""
    monkeypatch.setattr(memory, "most_kept", lambda: 4 * memory.HUGE_PAGE)
    old = [memory.empty((memory.HUGE_PAGE // 4,), LIKE) for _ in range(4)]
    del old
    new = memory.empty((memory.HUGE_PAGE // 2,), LIKE)
    address = new.data_ptr()
    del new
    assert memory.empty((memory.HUGE_PAGE // 2,), LIKE).data_ptr() == address


def test_without_memory_maps_it_is_an_ordinary_array(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(memory.mmap, "MAP_ANONYMOUS")
    assert memory.empty(SHAPE, LIKE).shape == SHAPE
    assert not memory._free
