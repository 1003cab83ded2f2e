"""The report's stage: what it takes beside the runs, and when it is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline import command, config
from pipeline.artifacts import Artifact
from pipeline.cluster_report import pattern_fingerprint, report_artifact, source_files
from tests.evaluation.conftest import make_patterns
from tests.pipeline.conftest import Outcome

Stage = Callable[..., Outcome]


def metrics(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "runs/demo/report/metrics.json").read_text(encoding="utf-8")))


def write_index(path: Path, scale: float = 1.0) -> None:
    days = pd.date_range("2000-12-01", "2003-01-31", freq="D")
    values = scale * np.sin(np.arange(len(days)) / 20)
    pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "value": values}).to_csv(path, index=False)


def test_chance_patterns_and_indices_reach_the_report(small: Stage, tmp_path: Path) -> None:
    for name in ("download", "prepare", "train", "embed"):
        small(name)
    index, patterns = tmp_path / "nao.csv", tmp_path / "patterns.nc"
    write_index(index)
    make_patterns().to_dataset(name="z500").to_netcdf(patterns)
    given = (f"dataset.indices={{nao: {index}}}", f"dataset.patterns={patterns}", "cluster.surrogates=1")
    small("cluster_report", *given)
    found = metrics(tmp_path)
    entry = found["models"]["faconvlstm"]
    assert entry["teleconnections"]["nao"]["step"] == "daily"
    assert list(entry["patterns"]) == ["patterns"]
    assert entry["chance"]["surrogates"] == {"ar1": 1, "phase": 1}
    assert set(entry["chance"]["by_k"]) == {str(k) for k in range(2, 11)}
    assert "chance" in found["models"]["eof"]
    assert "chance" not in found["models"]["raw"]
    assert entry["insight"]["windows"] > 0
    assert found["provenance"]["checksums"]["z500"]
    assert found["paper"]["same_dataset"] is False
    assert "is current" in small("cluster_report", *given).out


def test_an_index_with_other_values_asks_for_another_report(tmp_path: Path) -> None:
    index = tmp_path / "nao.csv"
    given = [f"dataset.indices={{nao: {index}}}", f"paths.store={tmp_path}", f"paths.runs={tmp_path}"]
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(command.CONF), version_base="1.3"):
        cfg = compose("config", overrides=given)

    def asked(scale: float) -> str:
        write_index(index, scale)
        return report_artifact(cfg, Artifact("prepared", tmp_path / "prepared", {}), []).digest

    assert asked(1.0) == asked(1.0) != asked(-1.0)


def test_files_of_every_kind_of_source_are_named() -> None:
    files = [{"name": "era5.nc", "size": 1, "sha256": "ab"}]
    assert source_files({"files": files, "path": "x"}) == files
    assert source_files({"source": "cds", "answers": {"2001-01": "cd"}}) == {"2001-01": "cd"}
    assert source_files({"source": "synthetic", "seed": 0}) is None


def test_the_fingerprint_of_patterns_follows_their_values() -> None:
    patterns = make_patterns()
    assert pattern_fingerprint(patterns) == pattern_fingerprint(patterns.copy(deep=True))
    assert pattern_fingerprint(patterns) != pattern_fingerprint(patterns + 1)
