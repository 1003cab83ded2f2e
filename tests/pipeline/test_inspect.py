"""`inspect` as a command: what it prints, when it draws again, and what it says where there is nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.artifacts import read_manifest
from pipeline.inspect import period
from tests.pipeline.conftest import SMALL, Outcome

Stage = Callable[..., Outcome]


def test_it_tells_what_is_in_both_stores(small: Stage, tmp_path: Path) -> None:
    small("download")
    out = small("inspect").out
    assert "The raw store" in out
    assert "The prepared store" not in out
    assert "pipeline.prepare" in out
    small("prepare")
    out = small("inspect").out
    assert "2001-01-01 to 2002-12-31: 730 time steps, daily" in out
    assert "16 x 24: 75° N to 30° N every 3°" in out
    assert re.search(r"split +train \d+ \(2001-01-01 to ", out)
    assert re.search(r" sst +K .* 33\.6% ", out)
    raw = read_manifest(tmp_path / "store/demo/raw.manifest.json")
    assert raw is not None
    assert raw["digest"] in out
    assert "pipeline.train" in out
    page = (tmp_path / "runs/demo/inspect.html").read_text(encoding="utf-8")
    assert "Sea surface temperature (sst), K" in page
    assert "The prepared store" in page


def test_it_draws_again_only_when_something_has_changed(small: Stage, tmp_path: Path) -> None:
    small("download")
    first = small("inspect").out
    page = tmp_path / "runs/demo/inspect.html"
    before = page.stat().st_mtime_ns
    assert small("inspect").out == first
    assert page.stat().st_mtime_ns == before
    small("inspect", "dataset.point=[60,-30]")
    assert page.stat().st_mtime_ns > before
    assert "The year at 60° N, 30° W" in page.read_text(encoding="utf-8")


def test_the_point_does_not_touch_the_stores(small: Stage) -> None:
    small("download")
    assert "is current" in small("download", "dataset.point=[60,-30]").out


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ([0, 1, 2, 5], "2001-01-01 to 2001-01-06: 4 time steps, daily, 2 missing between them"),
        ([0, 1, 2.5], "2001-01-01 to 2001-01-03 12:00: 3 time steps, irregular"),
        ([0], "2001-01-01 to 2001-01-01: 1 time step"),
    ],
)
def test_the_period_in_words(kept: list[float], told: str) -> None:
    assert period(pd.Timestamp("2001-01-01") + pd.to_timedelta(kept, unit="D")) == told


def test_a_store_that_is_not_there_is_said_in_one_sentence(stage: Stage, small: Stage) -> None:
    outcome = stage("inspect", *SMALL)
    assert outcome.status == 2
    assert "there is no raw store of dataset demo" in outcome.err
    assert "pipeline.download" in outcome.err
    assert "Traceback" not in outcome.err
    small("download")
    outcome = stage("inspect", *SMALL, "dataset.point=[10,0]")
    assert outcome.status == 2
    assert "dataset.point [10.0, 0.0] lies outside the grid" in outcome.err
