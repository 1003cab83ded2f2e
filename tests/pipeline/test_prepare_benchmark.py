from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data import store
from tests.benchmarks import peak, prepare

TINY = prepare.Record(40, 7, 8, variables=2)


def test_both_contestants_move_the_same_record(tmp_path: Path) -> None:
    raw = tmp_path / "raw.zarr"
    prepare.make(TINY, raw)
    store.check_raw(store.open_store(raw))
    prepare.copy(raw, tmp_path, TINY)
    prepare.prepare(raw, tmp_path, TINY)
    copied = store.open_array(tmp_path / "copy.zarr", "x")
    made = store.open_array(tmp_path / "prepared.part" / "whole", "x")
    assert copied.shape == made.shape == (40, 2, 7, 8)
    assert (copied.chunks, copied.shards) == (made.chunks, made.shards)
    np.testing.assert_array_equal(copied[:, 0], store.open_store(raw)["t1000"].values)


def test_a_figure_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_rate", lambda record: {"setting": record})
    assert [name for name, _ in prepare.figures(False)] == ["prepare.rate"]
    assert not list(prepare.figures(False, "loader"))
    assert len(list(prepare.figures(True, "prepare.rate"))) == len(prepare.FULL)


@pytest.mark.skipif(not peak.available(), reason="this system does not tell the peak of memory")
def test_the_peak_of_a_process_is_told(tmp_path: Path) -> None:
    taken = prepare.peak_of(TINY, tmp_path / "raw.zarr")
    assert TINY.raw_bytes() < taken < 2 * 2**30
