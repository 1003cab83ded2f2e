"""What a model costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.autoencoder import Autoencoder
from models.cost import flops_per_window, parameters, train_step_seconds
from models.errors import ModelError
from models.training import AutoencoderModule
from tests.models.conftest import HEIGHT, SEASON, VARIABLES, WIDTH, batch

Small = Callable[..., Autoencoder]


def test_parameters_are_the_trainable_ones(small: Small):
    module = small()
    everything = sum(parameter.numel() for parameter in module.parameters())
    assert parameters(module) == everything
    module.head.project.bias.requires_grad_(False)
    assert parameters(module) == everything - 4


def test_flops_of_convlstm_s_gates(small: Small):
    """From 3 to 4 steps: the gates' two convolutions, the head and the decoder, two operations a multiply-add."""
    module = small("convlstm", head__temporal_attention=False, decoder__convolution=False)
    step = flops_per_window(module, 4, SEASON) - flops_per_window(module, 3, SEASON)
    gates = HEIGHT * WIDTH * 9 * (VARIABLES + 8) * 32
    head = 3 * 4 * 9 * 8 * 8 + 8 * 3 * 4 * 4
    decoder = 4 * VARIABLES * HEIGHT * WIDTH
    assert step == 2 * (gates + head + decoder)


def test_flops_of_faconvlstm_s_gates(small: Small):
    module = small(layer__attention="none", head__temporal_attention=False, decoder__convolution=False)
    step = flops_per_window(module, 4, SEASON) - flops_per_window(module, 3, SEASON)
    inner, hidden = 4, 8
    core = HEIGHT * WIDTH * (VARIABLES * inner + hidden * inner + 27 * inner + 4 * inner * hidden)
    excitation = HEIGHT * WIDTH * inner + 2 * inner * 4
    head = 3 * 4 * 9 * 8 * 8 + 8 * 3 * 4 * 4
    decoder = 4 * VARIABLES * HEIGHT * WIDTH
    assert step == 2 * (core + excitation + head + decoder)


def test_flops_leave_no_trace(small: Small):
    module = small()
    flops_per_window(module, 3, SEASON)
    assert all(parameter.grad is None for parameter in module.parameters())
    with pytest.raises(ModelError, match=r"window\.length must be a whole number of at least 1"):
        flops_per_window(module, 0, SEASON)


def test_a_training_step_is_timed_and_changes_nothing(small: Small):
    module = AutoencoderModule(small(), learning_rate=1e-2, weight_decay=0, epochs=1, laplacian_weight=0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert 0 < train_step_seconds(module, batch(), repeats=2) < 60
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with pytest.raises(ModelError, match="repeats must be"):
        train_step_seconds(module, batch(), repeats=0)
