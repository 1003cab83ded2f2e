"""Indices and patterns as settings: files by name, and no reason to download or prepare anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from data.indices import read_indices
from data.patterns import read_patterns
from pipeline import config, download

CONF = Path(__file__).resolve().parents[2] / "conf"


def composed(*overrides: str) -> DictConfig:
    config.register()
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("config", overrides=["dataset=demo", *overrides])
    config.validate(cfg)
    return cfg


def test_files_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "norm.daily-nao_b500101.ascii"
    path.write_text("1950  1  1  0.365\n", encoding="utf-8")
    cfg = composed(f"dataset.indices={{nao: {path}, again:{path}}}")
    assert {name: index.tolist() for name, index in read_indices(cfg.dataset.indices).items()} == {
        "nao": [0.365],
        "again": [0.365],
    }
    assert read_indices(composed().dataset.indices) == read_patterns(composed().dataset.patterns) == {}


@pytest.mark.parametrize("setting", ["dataset.patterns=/a/z500.nc", "dataset.patterns={grams: /a/b.nc}"])
def test_they_do_not_change_what_is_downloaded(setting: str) -> None:
    assert download.request(composed(setting, "dataset.indices={nao: a.txt}")) == download.request(composed())
