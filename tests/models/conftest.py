"""What the tests of the models share: the configuration as shipped, small grids, a small autoencoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from models.autoencoder import Autoencoder, build_autoencoder

CONF = Path(__file__).parents[2] / "conf" / "model"
VARIABLES, HEIGHT, WIDTH, SEASON, LENGTH = 2, 6, 8, 4, 5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other make small operations slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shipped_config(name: str, **changes: Any) -> dict[str, Any]:
    """conf/model/<name>.yaml over conf/model/base.yaml, with changes such as `head__heads=2`."""
    config = yaml.safe_load((CONF / "base.yaml").read_text())
    text = (CONF / f"{name}.yaml").read_text().replace("${window.length}", str(LENGTH))
    config.update(yaml.safe_load(text))
    for unwanted in ("defaults",):
        config.pop(unwanted, None)
    for path, value in changes.items():
        *groups, key = path.split("__")
        node = config
        for group in groups:
            node = node[group]
        node[key] = value
    return copy.deepcopy(config)


def land_mask() -> Tensor:
    """Everything seen, but for a block of the second variable."""
    mask = torch.ones(VARIABLES, HEIGHT, WIDTH, dtype=torch.bool)
    mask[1, 2:4, 5:] = False
    return mask


def holes(height: int, width: int) -> Tensor:
    """Weights with a gap, a whole row of nothing and unequal areas."""
    weight = torch.linspace(0.5, 1.5, height)[:, None].repeat(1, width)
    weight[2:4, 3:] = 0
    weight[6] = 0
    return weight


def build_small(name: str = "faconvlstm", cyclic: bool = False, **changes: Any) -> Autoencoder:
    config = shipped_config(
        name, **{"hidden_channels": 8, "embedding_size": 4, "decoder__convolution_channels": 4, **changes}
    )
    return build_autoencoder(
        config,
        in_channels=VARIABLES,
        grid=(HEIGHT, WIDTH),
        season_features=SEASON,
        mask=land_mask(),
        area_weight=torch.linspace(0.5, 1.5, HEIGHT),
        cyclic_longitude=cyclic,
    )


@pytest.fixture
def small() -> Callable[..., Autoencoder]:
    return build_small


def batch(size: int = 2, length: int = LENGTH) -> dict[str, Tensor]:
    x = (
        torch.randn(size, length, VARIABLES, 1, 1) + torch.randn(size, length, VARIABLES, HEIGHT, WIDTH)
    ) * land_mask()
    return {"x": x, "season": torch.randn(size, length, SEASON), "start": torch.arange(size)}


def shake(module: nn.Module, amount: float = 0.3) -> nn.Module:
    """Move every parameter away from its start, where some are zero and hide others."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount * torch.randn_like(parameter)
    return module


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
