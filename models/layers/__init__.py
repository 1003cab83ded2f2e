"""The layers by name: `build("faconvlstm", in_channels=3, hidden_channels=32, attention_every=8)`.

To add a layer, write its class with `models.layers.base.RecurrentLayer`'s interface, its options being the
keyword-only arguments of `__init__`, and name it in `LAYERS`.
"""

from __future__ import annotations

import inspect
from typing import Any

from models.errors import ModelError, check_known, check_whole, nearest
from models.layers.base import RecurrentLayer, Stack
from models.layers.convgru import ConvGRU
from models.layers.convlstm import ConvLSTM
from models.layers.convs5 import ConvS5
from models.layers.faconvlstm import FAConvLSTM
from models.layers.faminconv import FAMinConv
from models.layers.minconvgru import MinConvGRU
from models.layers.minconvlstm import MinConvLSTM
from models.layers.predformer import PredFormer
from models.layers.predrnn import PredRNN
from models.layers.simvpv2 import SimVPv2
from models.layers.swinlstm import SwinLSTM
from models.layers.vmrnn import VMRNN

LAYERS: dict[str, type[RecurrentLayer]] = {
    "convlstm": ConvLSTM,
    "convgru": ConvGRU,
    "faconvlstm": FAConvLSTM,
    "faminconv": FAMinConv,
    "minconvgru": MinConvGRU,
    "minconvlstm": MinConvLSTM,
    "vmrnn": VMRNN,
    "swinlstm": SwinLSTM,
    "predrnn": PredRNN,
    "convs5": ConvS5,
    "simvpv2": SimVPv2,
    "predformer": PredFormer,
}

NAMES: tuple[str, ...] = tuple(LAYERS)

__all__ = ["LAYERS", "NAMES", "RecurrentLayer", "build", "options_of"]


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of the options of a layer.

    Raises:
        ModelError: for a name that no layer has.
    """
    if name not in LAYERS:
        raise ModelError(f"There is no layer '{name}': {nearest(name, NAMES)}.")
    parameters = inspect.signature(LAYERS[name]).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def build(
    name: str, in_channels: int, hidden_channels: int, *, depth: int = 1, **options: Any
) -> RecurrentLayer:
    """Build a layer `(B, T, in_channels, H, W) -> (B, T, hidden_channels, H, W)` by name.

    Args:
        name: one of `NAMES`.
        in_channels: C, number of variables.
        hidden_channels: F, channels of the hidden map.
        depth: so many layers on top of each other.
        options: options of the layer, see its class; `options_of(name)` lists them.

    Raises:
        ModelError: for an unknown name or option (with the nearest right one) or a value out of range.
    """
    check_known(f"The layer '{name}'", options, options_of(name))
    check_whole("depth", depth, 1)
    layer = LAYERS[name]
    if depth == 1:
        return layer(in_channels, hidden_channels, **options)
    below = layer.options_below(options)
    channels = [in_channels] + [hidden_channels] * (depth - 1)
    layers = [layer(channel, hidden_channels, **below) for channel in channels[:-1]]
    return Stack([*layers, layer(channels[-1], hidden_channels, **options)])
