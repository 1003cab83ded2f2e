"""The autoencoder and its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from models.autoencoder import Autoencoder, build_autoencoder
from models.config import MODEL_CONFIGS
from models.errors import ModelError
from models.layers import NAMES
from tests.models.conftest import HEIGHT, SEASON, VARIABLES, WIDTH, batch, land_mask, shake, shipped_config

Small = Callable[..., Autoencoder]


@pytest.mark.parametrize("name", NAMES)
def test_shapes(small: Small, name: str):
    data = batch(2, 5)
    output = small(name)(data["x"], data["season"])
    assert output.embedding.shape == (2, 5, 4)
    assert output.reconstruction.shape == data["x"].shape


def test_forward_is_embed_then_decode(small: Small):
    module, data = shake(small()), batch()
    output = module(data["x"], data["season"])
    assert torch.equal(output.embedding, module.embed(data["x"], data["season"]))
    assert torch.equal(output.reconstruction, module.decode(output.embedding))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(small: Small, name: str):
    module, data = shake(small(name, layer=layer_options(name))), batch()
    module(data["x"], data["season"]).reconstruction.square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def layer_options(name: str) -> dict[str, Any]:
    options = shipped_config(name)["layer"]
    return {**options, "attention_every": 2} if "attention_every" in options else options


def test_mask_and_area_reach_the_parts_that_need_them(small: Small):
    module = small()
    assert torch.equal(module.mask, land_mask())
    assert module.layer.fixed_grid
    assert not small("convlstm").layer.fixed_grid
    expected = land_mask().sum(0) * module.area_weight[:, None]  # a pixel of one variable counts half
    torch.testing.assert_close(module.layer.gates.excitation.weight, expected / expected.sum())


def test_a_global_grid_goes_round(small: Small):
    """Up to the head all turns with longitude; the head's flattened map belongs to its places."""
    data = batch()
    for cyclic in (True, False):
        module = shake(small(cyclic=cyclic, layer__attention="none", layer__squeeze_excitation=False))
        hidden, _ = module.layer(data["x"])
        turned, _ = module.layer(data["x"].roll(3, -1))
        assert torch.allclose(turned, hidden.roll(3, -1), atol=1e-5) is cyclic


def test_it_can_be_saved_and_loaded(small: Small):
    module, data = shake(small()), batch()
    other = small()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(data["x"], data["season"])[1], module(data["x"], data["season"])[1])


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configuration_has_the_schema_s_keys(name: str):
    shipped = shipped_config(name)
    merged = OmegaConf.merge(OmegaConf.structured(MODEL_CONFIGS[name]), shipped)
    assert OmegaConf.to_container(merged, throw_on_missing=True) == shipped
    with pytest.raises(OmegaConfBaseException):
        OmegaConf.merge(OmegaConf.structured(MODEL_CONFIGS[name]), {"embeding_size": 3})


def test_shipped_models_differ_in_the_layer_alone():
    first, *others = (shipped_config(name) for name in NAMES)
    for other in others:
        assert {key for key in first if first[key] != other[key]} == {"name", "layer"}


def test_every_model_has_a_schema():
    assert set(MODEL_CONFIGS) == set(NAMES)
    assert all("layer" in {field.name for field in fields(schema)} for schema in MODEL_CONFIGS.values())


def test_fields_on_another_grid(small: Small):
    with pytest.raises(ModelError, match=r"\(2, 6, 8\), received \(2, 6, 9\): train one on these data"):
        small()(torch.zeros(1, 2, VARIABLES, HEIGHT, WIDTH + 1), torch.zeros(1, 2, SEASON))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeding_size": 4}, "has no option 'embeding_size': did you mean 'embedding_size'?"),
        ({"head__head": 4}, "The model's head has no option 'head': did you mean 'heads'?"),
        ({"decoder__liner": "free"}, "The model's decoder has no option 'liner': did you mean 'linear'?"),
        ({"layer__kernel": 3}, "The layer 'faconvlstm' has no option 'kernel'"),
        ({"embedding_size": 0}, "model.embedding_size must be a whole number of at least 1, received 0"),
        ({"embedding_size": 200}, "embedding_size must be at most the 90 points"),
        ({"hidden_channels": 2.5}, "model.hidden_channels must be a whole number of at least 1"),
        ({"depth": -1}, "model.depth must be a whole number of at least 1, received -1"),
        ({"layer__attention_every": 0}, "attention_every must be a whole number"),
    ],
)
def test_mistakes_in_the_configuration(small: Small, changes: dict[str, Any], message: str):
    with pytest.raises(ModelError) as caught:
        small(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_layer_is_named():
    with pytest.raises(ModelError, match="There is no layer 'convlstn': did you mean 'convlstm'"):
        build({**shipped_config("convlstm"), "name": "convlstn"})


def test_a_missing_key_is_named():
    config = shipped_config("convlstm")
    del config["head"]["heads"]
    with pytest.raises(ModelError, match="The model's head lacks the key 'heads': add it"):
        build(config)


def test_a_mask_off_the_grid():
    with pytest.raises(ModelError, match=r"must have the shape \(2, 5, 8\)"):
        build(shipped_config("convlstm"), grid=(5, 8))


def build(config: dict[str, Any], **changes: Any) -> Autoencoder:
    settings: dict[str, Any] = {
        "in_channels": VARIABLES,
        "grid": (HEIGHT, WIDTH),
        "season_features": SEASON,
        "mask": land_mask(),
        "area_weight": torch.ones(HEIGHT),
        "cyclic_longitude": False,
    }
    return build_autoencoder(config, **{**settings, **changes})
