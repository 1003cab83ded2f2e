"""Entries for torch.hub: `torch.hub.load(<this folder>, "faconvlstm", source="local", in_channels=7, ...)`.

One for each layer: `name(in_channels, hidden_channels=64, **options)` gives it untrained, with the interface
`layer(x) -> (hidden, state)`, x `(B, T, C, H, W)`. Its docstring tells equations and options.
"""

from typing import Any as _Any

from models import layers as _layers

dependencies = ["torch"]


def _entry(name: str) -> _Any:
    def entry(in_channels: int, hidden_channels: int = 64, **options: _Any) -> _layers.RecurrentLayer:
        return _layers.build(name, in_channels, hidden_channels, **options)

    entry.__name__, entry.__doc__ = name, _layers.LAYERS[name].__doc__
    return entry


# torch.hub offers whatever is callable and does not begin with an underscore
globals().update({_name: _entry(_name) for _name in _layers.NAMES})
