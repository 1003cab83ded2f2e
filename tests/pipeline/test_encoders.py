"""Every encoder goes through the stages by its name alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from models.autoencoder import build_autoencoder
from models.layers import NAMES
from pipeline import config
from pipeline.command import CONF
from tests.pipeline.conftest import SMALL, Outcome


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_from_its_settings_for_the_window_s_length(name: str) -> None:
    config.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("config", overrides=[f"model={name}", "window.length=7"])
    config.validate(cfg)
    model = build_autoencoder(
        config.plain(cfg.model),
        in_channels=2,
        grid=(9, 10),
        season_features=4,
        mask=torch.ones(2, 9, 10, dtype=torch.bool),
        area_weight=torch.ones(9),
        cyclic_longitude=False,
    )
    output = model(torch.randn(1, 7, 2, 9, 10), torch.randn(1, 7, 4))
    assert output.embedding.shape == (1, 7, cfg.model.embedding_size)
    assert torch.isfinite(output.reconstruction).all()


def test_one_that_needs_the_whole_window_is_trained_and_embeds(
    stage: Callable[..., Outcome], tmp_path: Path
) -> None:
    short = ("dataset.end=2001-06-30", "dataset.deseasonalise=false", "trainer.max_epochs=1")
    chosen = (*SMALL, *short, "model=simvpv2", "model.layer.width=8")
    for name in ("download", "prepare", "train", "embed"):
        outcome = stage(name, *chosen)
        assert outcome.status == 0, outcome.err
    (manifest,) = tmp_path.rglob("checkpoints.manifest.json")
    assert json.loads(manifest.read_text())["config"]["model"]["layer"]["length"] == 6
    refused = stage("train", *chosen, "model.layer.length=5")
    assert refused.status == 2
    assert "SimVPv2 was built for windows of 5 steps, received 6: build it with length=6." in refused.err
