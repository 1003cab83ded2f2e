"""What is returned about a layer is what the layer did."""

from __future__ import annotations

import pytest
import torch

from models.errors import ModelError
from models.interpret import activity, observe, occlusion
from models.layers import build
from models.layers.faconvlstm import FAConvLSTM
from tests.models.conftest import batch, build_small, shake


def observed(**options):
    layer = shake(FAConvLSTM(2, 8, attention_every=2, attention_tokens=3, **options).double())
    x = torch.randn(2, 5, 2, 6, 7, dtype=torch.float64)
    return layer, x, observe(layer, x)


def test_the_hidden_maps_are_the_layer_s_own():
    layer, x, seen = observed()
    torch.testing.assert_close(seen.hidden, layer(x)[0], atol=1e-12, rtol=0)
    assert not any(module._forward_hooks for module in layer.modules())


def test_shapes_and_ranges():
    _, _, seen = observed()
    assert seen.gates.shape == (2, 5, 4, 8, 6, 7)
    assert seen.excitation.shape == (2, 5, 4)
    assert seen.steps == (1, 3)
    assert seen.rows.shape == (2, 2, 6, 2, 7, 3)
    assert seen.columns.shape == (2, 2, 7, 2, 6, 3)
    for weights in (seen.rows, seen.columns):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert ((seen.excitation > 0) & (seen.excitation < 1)).all()


def test_the_gates_give_the_hidden_map():
    """Without attention the first hidden map is sig(o) tanh(sig(i) tanh(g))."""
    _, _, seen = observed()
    i, _, g, o = seen.gates[:, 0].unbind(1)
    torch.testing.assert_close(seen.hidden[:, 0], o * (i * g).tanh())


def test_a_sequence_that_goes_on():
    layer, x, seen = observed()
    _, state = layer(x[:, :3])
    assert observe(layer, x[:, 3:], state).steps == (0,)
    torch.testing.assert_close(observe(layer, x[:, 3:], state).gates, seen.gates[:, 3:])


def test_parts_that_are_off_are_absent():
    layer = FAConvLSTM(2, 8, squeeze_excitation=False, attention="none")
    seen = observe(layer, torch.randn(1, 2, 2, 5, 5))
    assert (seen.excitation, seen.rows, seen.columns, seen.steps) == (None, None, None, ())


def test_another_layer_is_refused():
    with pytest.raises(ModelError, match="observe takes a FAConvLSTM, received a ConvLSTM"):
        observe(build("convlstm", 2, 8), torch.randn(1, 2, 2, 5, 5))


def test_activity_is_the_mean_of_what_is_observed():
    layer, x, seen = observed()
    found = activity(layer, x)
    size = seen.gates.abs()
    close = {"atol": 1e-6, "rtol": 1e-6, "check_dtype": False}
    torch.testing.assert_close(found.gates, size.mean((0, 1, 3)), **close)
    torch.testing.assert_close(found.gate_mean, size.mean((0, 1, 4, 5)), **close)
    torch.testing.assert_close(found.gate_spread, _spread(size), **close)
    torch.testing.assert_close(found.excitation_mean, seen.excitation.mean((0, 1)), **close)
    torch.testing.assert_close(found.excitation_spread, seen.excitation.std((0, 1), correction=0), **close)
    torch.testing.assert_close(found.rows, seen.rows.mean((0, 1, 3, 4)), **close)
    torch.testing.assert_close(found.columns, seen.columns.mean((0, 1, 3, 4)), **close)
    torch.testing.assert_close(found.rows.sum(-1), torch.ones(6), atol=1e-5, rtol=0)


def _spread(size):
    """Standard deviation over all but gate and channel of `(B, T, 4, F, H, W)`."""
    return size.movedim((2, 3), (0, 1)).flatten(2).std(-1, correction=0)


def test_pixels_of_no_weight_count_in_no_mean_over_the_map():
    layer, x, seen = observed()
    weight = torch.zeros(6, 7)
    weight[2, 3], weight[4, 5] = 1, 3
    size = seen.gates.abs().mean((0, 1))
    expected = (size[..., 2, 3] + 3 * size[..., 4, 5]) / 4
    torch.testing.assert_close(activity(layer, x, weight).gate_mean.double(), expected, atol=1e-6, rtol=0)


def test_of_a_stack_the_topmost_layer_is_seen():
    stack = shake(build("faconvlstm", 2, 8, depth=2, attention_every=2, attention_tokens=3))
    x = torch.randn(2, 5, 2, 6, 7)
    beneath, top = stack.layers
    found, direct = activity(stack, x), activity(top, beneath(x)[0])
    torch.testing.assert_close(found.gates, direct.gates)
    torch.testing.assert_close(found.rows, direct.rows)


def test_activity_of_a_sequence_too_short_for_attention():
    layer = FAConvLSTM(2, 8, attention_every=4, squeeze_excitation=False)
    found = activity(layer, torch.randn(1, 3, 2, 5, 5))
    assert (found.rows, found.columns, found.excitation_mean, found.excitation_spread) == (None,) * 4
    assert found.gates.shape == (4, 5, 5)


def test_activity_of_another_layer_is_refused():
    with pytest.raises(ModelError, match="observe takes a FAConvLSTM, received a ConvLSTM"):
        activity(build("convlstm", 2, 8), torch.randn(1, 2, 2, 5, 5))


def test_occlusion_finds_what_the_embedding_rests_on():
    """An embedding of the second variable's north-west corner alone."""
    x = torch.randn(3, 4, 3, 7, 9)
    found = occlusion(lambda x: x[:, :, 1, :2, :3].flatten(2), x, region=(2, 3))
    assert found.by_region.shape == (4, 3)
    assert (found.by_variable > 0).tolist() == [False, True, False]
    assert (found.by_region > 0).nonzero().tolist() == [[0, 0]]
    # Hiding all of a field of mean about 0 moves the embedding by about its own spread.
    assert 0.8 < found.by_variable[1] < 1.5
    torch.testing.assert_close(found.by_region[0, 0], found.by_variable[1])


def test_occlusion_of_an_autoencoder_leaves_the_fields():
    autoencoder, data = build_small(), batch()
    before = data["x"].clone()
    found = occlusion(lambda x: autoencoder.embed(x, data["season"]), data["x"], region=(3, 4))
    assert found.by_variable.shape == (2,)
    assert found.by_region.shape == (2, 2)
    assert (found.by_variable > 0).all()
    assert torch.equal(data["x"], before)


def test_a_region_of_nothing_is_refused():
    with pytest.raises(ModelError, match="a side of the region must be a whole number of at least 1"):
        occlusion(lambda x: x, torch.zeros(1, 1, 1, 2, 2), region=(0, 1))
