"""Who runs against whom: FAConvLSTM, and every ConvLSTM at hand, each `x (B, T, C, H, W) -> (B, T, F, H, W)`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.layers import NAMES, build
from tests.models.conftest import shipped_config


class Setting(NamedTuple):
    """The size of the problem."""

    height: int
    width: int
    hidden_channels: int
    threads: int = 1
    length: int = 12
    batch: int = 4
    in_channels: int = 7

    def label(self) -> str:
        return f"{self.height}x{self.width}.f{self.hidden_channels}.t{self.threads}"


class Contestant(NamedTuple):
    """A layer and its input, both in the layout that it is to be measured in."""

    run: Callable[[Tensor], Tensor]
    module: nn.Module
    x: Tensor

    def forward(self) -> None:
        with torch.no_grad():
            self.run(self.x)

    def train_step(self) -> None:
        """Forward, and backward to all parameters and the input, from a derivative that is there already."""
        hidden = self.run(self.x)
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        torch.autograd.grad(
            hidden, [self.x, *parameters], _ones(hidden.shape, hidden.dtype, hidden.device), allow_unused=True
        )


class TextbookConvLSTM(nn.Module):
    """ConvLSTM as tutorials write it: one convolution over input and hidden map put together, a step a time."""

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        self.convolution = nn.Conv2d(in_channels + hidden_channels, 4 * hidden_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _, height, width = x.shape
        hidden = cell = x.new_zeros(batch, self.hidden_channels, height, width)
        maps = []
        for t in range(length):
            gates = self.convolution(torch.cat([x[:, t], hidden], dim=1))
            i, f, o, g = gates.chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            maps.append(hidden)
        return torch.stack(maps, dim=1)


@lru_cache(maxsize=1)
def _ones(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(shape, dtype=dtype, device=device)


def faconvlstm(setting: Setting, **options: Any) -> Contestant:
    """Return FAConvLSTM as shipped."""
    return _ours("faconvlstm", setting, channels_last=False, **options)


def encoder(name: str, setting: Setting) -> Contestant:
    """Return an encoder with the options of conf/model, by its name."""
    options = shipped_config(name)["layer"]
    if "length" in options:
        options["length"] = setting.length
    return _ours(name, setting, channels_last=False, **options)


def convlstms(setting: Setting) -> dict[str, Callable[[], Contestant]]:
    """Return makers of all ConvLSTMs: ours in both layouts, the textbook's, Keras's where it is installed."""
    makers = {
        "convlstm": lambda: _ours("convlstm", setting, channels_last=False),
        "convlstm channels-last": lambda: _ours("convlstm", setting, channels_last=True),
        "textbook": lambda: _textbook(setting),
    }
    if importlib.util.find_spec("keras"):
        makers["keras"] = lambda: _keras(setting)
    return makers


def maker(name: str, setting: Setting) -> Callable[[], Contestant]:
    """Return the maker of a contestant by its name."""
    encoders = {known: lambda known=known: encoder(known, setting) for known in NAMES}
    return {**encoders, **convlstms(setting)}[name]


def fields(setting: Setting) -> Tensor:
    """Return random fields `(B, T, C, H, W)`."""
    shape = (setting.batch, setting.length, setting.in_channels, setting.height, setting.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _ours(name: str, setting: Setting, *, channels_last: bool, **options: Any) -> Contestant:
    layer, x = build(name, setting.in_channels, setting.hidden_channels, **options), fields(setting)
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
        x = x.movedim(2, -1).contiguous().movedim(-1, 2)
    return Contestant(lambda x: layer(x)[0], layer, x.requires_grad_())


def _textbook(setting: Setting) -> Contestant:
    layer = TextbookConvLSTM(setting.in_channels, setting.hidden_channels)
    return Contestant(layer, layer, fields(setting).requires_grad_())


def _keras(setting: Setting) -> Contestant:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    x = fields(setting)
    layer = keras.layers.ConvLSTM2D(
        setting.hidden_channels, 3, padding="same", return_sequences=True, data_format="channels_first"
    )
    layer(x)  # builds the weights
    return Contestant(layer, layer, x.requires_grad_())
