"""The forecast head, and what a window with steps ahead trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.autoencoder import Autoencoder
from models.errors import ModelError
from models.forecast import ForecastHead
from models.layers import NAMES
from models.training import AutoencoderModule
from tests.models.conftest import LENGTH, batch, count, shake
from tests.models.test_autoencoder import layer_options
from tests.models.test_training import SETTINGS

Small = Callable[..., Autoencoder]
AHEAD = 2


def module(small: Small, name: str = "faconvlstm", steps: int = AHEAD, **changes: Any) -> AutoencoderModule:
    autoencoder = small(name, layer=layer_options(name), forecast_steps=steps)
    return AutoencoderModule(shake(autoencoder), **{**SETTINGS, **changes}).eval()


def test_the_head_starts_as_persistence():
    head, today = ForecastHead(4, 3), torch.randn(2, 4)
    assert torch.equal(head(today), today[:, None].expand(2, 3, 4))


def test_parameters_of_the_head():
    size, steps = 4, 3
    assert count(ForecastHead(size, steps)) == 5 * steps * size**2 + steps * size + 4 * size**2 + 4 * size


def test_the_forecast_is_the_decoded_answer_to_the_last_embedding(small: Small):
    autoencoder, data = shake(small(forecast_steps=AHEAD)), batch()
    last = autoencoder.embed(data["x"], data["season"])[:, -1]
    expected = torch.stack(
        [autoencoder.decode(autoencoder.foretell(last)[:, k]) for k in range(AHEAD)], dim=1
    )
    found = autoencoder.forecast(data["x"], data["season"])
    assert found.shape == (2, AHEAD, *data["x"].shape[2:])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_to_be_foretold_is_not_seen(small: Small, name: str):
    trained, data = module(small, name), batch(length=LENGTH + AHEAD)
    later = {**data, "x": data["x"].clone(), "season": data["season"].clone()}
    later["x"][:, LENGTH:] += 1
    later["season"][:, LENGTH:] += 1
    before, after = trained.losses(data), trained.losses(later)
    assert torch.equal(before["reconstruction"], after["reconstruction"])
    assert torch.equal(before["laplacian"], after["laplacian"])
    assert not torch.equal(before["forecast"], after["forecast"])


def test_the_error_of_the_forecast_is_a_part_of_the_loss(small: Small):
    trained, data = module(small, forecast_weight=0.5), batch(length=LENGTH + AHEAD)
    parts = trained.losses(data)
    ahead = trained.autoencoder.forecast(data["x"][:, :LENGTH], data["season"][:, :LENGTH])
    missed = ((ahead - data["x"][:, LENGTH:]) ** 2 * trained.weight).sum((2, 3, 4)).mean()
    torch.testing.assert_close(parts["forecast"], missed)
    torch.testing.assert_close(
        parts["loss"], parts["reconstruction"] + 0.1 * parts["laplacian"] + 0.5 * missed
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_from_the_forecast(small: Small, name: str):
    trained = module(small, name, laplacian_weight=0)
    trained.losses(batch(length=LENGTH + AHEAD))["forecast"].backward()
    idle = [n for n, p in trained.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_it_learns_that_fields_turn_over(small: Small):
    """Fields that change their sign from step to step: persistence misses them by four times their variance."""
    torch.manual_seed(1)
    pattern, sign = torch.randn(2, 6, 8), torch.tensor([1.0, -1.0]).repeat(3).view(1, 6, 1, 1, 1)
    x = torch.randn(8, 1, 1, 1, 1) * sign * pattern
    data = {"x": x, "season": torch.zeros(8, 6, 4)}
    trained = AutoencoderModule(small("convgru", forecast_steps=1), **SETTINGS)
    optimiser = torch.optim.Adam(trained.parameters(), lr=3e-2)
    for _ in range(60):
        optimiser.zero_grad()
        trained.losses(data)["loss"].backward()
        optimiser.step()
    assert trained.losses(data)["forecast"] < 0.5 * (x[:, -1] ** 2 * trained.weight).sum((1, 2, 3)).mean()


def test_it_is_off_unless_it_is_asked_for(small: Small):
    trained = module(small, steps=0)
    assert set(trained.losses(batch())) == {"loss", "reconstruction", "laplacian"}
    assert not any("foretell" in name for name in trained.state_dict())
    with pytest.raises(ModelError, match="foretells nothing: train it with"):
        trained.autoencoder.forecast(batch()["x"], batch()["season"])


def test_mistakes(small: Small):
    with pytest.raises(ModelError, match="forecast_steps must be a whole number of at least 0"):
        small(forecast_steps=-1)
    with pytest.raises(ModelError, match="forecast_weight must be a number of at least"):
        module(small, forecast_weight=0)
