"""The LightningModule: loss, log, schedule, checkpoint."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from models.autoencoder import Autoencoder
from models.errors import ModelError
from models.losses import laplacian
from models.training import AutoencoderModule, autoencoder_state, parameter_groups, schedule
from tests.models.conftest import batch, shake

Small = Callable[..., Autoencoder]
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "epochs": 3,
    "laplacian_weight": 0.1,
    "laplacian_of": "error",
    "forecast_weight": 1.0,
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Lightning's advice on workers and logging intervals does not concern these tests."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(num_workers|logging interval|torch.jit|LeafSpec).*")
        yield


def module(small: Small, **changes: Any) -> AutoencoderModule:
    return AutoencoderModule(small(), **{**SETTINGS, **changes})


def loader() -> DataLoader:
    data = batch(6, 4)
    examples = [{key: value[i] for key, value in data.items()} for i in range(6)]
    return DataLoader(examples, batch_size=2)


def fit(
    module: AutoencoderModule,
    epochs: int = 3,
    data: DataLoader | None = None,
    resume: Path | None = None,
    **options: Any,
) -> lightning.Trainer:
    data = loader() if data is None else data
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, data, data, ckpt_path=resume, weights_only=True)
    return trainer


def test_loss_is_the_sum_of_its_parts(small: Small):
    trained, data = module(small), batch()
    shake(trained.autoencoder)
    parts = trained.losses(data)
    error = trained.autoencoder(data["x"], data["season"]).reconstruction - data["x"]
    torch.testing.assert_close(parts["reconstruction"], (error**2 * trained.weight).sum((2, 3, 4)).mean())
    rough = (laplacian(error) ** 2 * trained.stencil).sum((2, 3, 4)).mean()
    torch.testing.assert_close(parts["laplacian"], rough)
    torch.testing.assert_close(parts["loss"], parts["reconstruction"] + 0.1 * rough)


def test_laplacian_of_the_reconstruction(small: Small):
    trained, data = module(small, laplacian_of="reconstruction"), batch()
    shake(trained.autoencoder)
    rebuilt = trained.autoencoder(data["x"], data["season"]).reconstruction
    rough = (laplacian(rebuilt) ** 2 * trained.stencil).sum((2, 3, 4)).mean()
    torch.testing.assert_close(trained.losses(data)["laplacian"], rough)


def test_what_lies_under_the_mask_does_not_count(small: Small):
    trained, data = module(small), batch()
    seen = trained.autoencoder(data["x"], data["season"]).reconstruction
    with torch.no_grad():
        trained.autoencoder.decoder.linear.offset[1, 2:4, 5:] += 100
    changed = trained.autoencoder(data["x"], data["season"]).reconstruction
    assert not torch.equal(seen, changed)
    before = module(small)
    before.autoencoder.load_state_dict(trained.autoencoder.state_dict())
    with torch.no_grad():
        before.autoencoder.decoder.linear.offset[1, 2:4, 5:] -= 100
    torch.testing.assert_close(trained.losses(data), before.losses(data))


def test_training_lowers_the_loss_and_logs_its_parts(small: Small):
    trained = module(small, epochs=6)
    losses: list[float] = []

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            losses.append(trainer.callback_metrics["train_loss"].item())

    trainer = fit(trained, epochs=6, callbacks=[Watch()])
    assert losses[-1] < 0.95 * losses[0]
    names = {f"{s}_{p}" for s in ("train", "validation") for p in ("loss", "reconstruction", "laplacian")}
    assert names == set(trainer.callback_metrics)


def test_logged_values_are_means_over_the_examples(small: Small):
    trained = module(small)
    data = loader()
    trainer = fit(trained, epochs=1, data=data)
    means = [trained.losses(examples)["reconstruction"].detach() for examples in data]
    logged = trainer.callback_metrics["validation_reconstruction"]
    torch.testing.assert_close(logged, torch.stack(means).mean())


def test_the_same_seed_gives_the_same_weights(small: Small):
    states = []
    data = loader()
    for _ in range(2):
        torch.manual_seed(3)
        trained = module(small)
        fit(trained, epochs=2, data=data)
        states.append(trained.autoencoder.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_killed_run_goes_on_to_the_same_weights(small: Small, tmp_path: Path):
    """Three epochs at once, and two, a checkpoint of plain things, and the third from it."""
    start, data, path = small().state_dict(), loader(), tmp_path / "last.ckpt"

    def fresh() -> AutoencoderModule:
        trained = module(small)
        trained.autoencoder.load_state_dict(start)
        return trained

    whole, first, second = fresh(), fresh(), fresh()
    fit(whole, data=data)
    fit(first, data=data, callbacks=[StopAfter(2)]).save_checkpoint(path)
    fit(second, data=data, resume=path)
    for name, value in whole.autoencoder.state_dict().items():
        assert torch.equal(second.autoencoder.state_dict()[name], value)
    assert not torch.equal(whole.autoencoder.decoder.linear.pattern, first.autoencoder.decoder.linear.pattern)


def test_a_checkpoint_holds_plain_things(small: Small, tmp_path: Path):
    trained = module(small)
    fit(trained).save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"] == SETTINGS
    rebuilt = small()
    rebuilt.load_state_dict(autoencoder_state(checkpoint))
    for name, value in trained.autoencoder.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[name], value)


def test_a_checkpoint_of_something_else():
    with pytest.raises(ModelError, match="The checkpoint holds no autoencoder"):
        autoencoder_state({"state_dict": {"other": torch.zeros(1)}})


class StopAfter(lightning.Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_loss_that_is_not_finite_stops_with_a_sentence(small: Small):
    trained = module(small)
    data = batch()
    with torch.no_grad():
        trained.autoencoder.decoder.linear.offset.fill_(1e30)
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", max_epochs=3)
    trained.trainer = trainer
    with pytest.raises(ModelError) as caught:
        trained.training_step(data, 7)
    assert "became inf in epoch 0, batch 7 (step 0): lower trainer.learning_rate (now 0.01)" in str(
        caught.value
    )


def test_half_precision(small: Small):
    trained, data = module(small), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = trained.losses(data)["loss"]
    loss.backward()
    torch.testing.assert_close(loss, trained.losses(data)["loss"], rtol=0.05, atol=0)


def test_schedule():
    rates = [schedule(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == pytest.approx(1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[5:]))
    assert rates[52] == pytest.approx(0.5, abs=0.02)
    assert rates[100] == pytest.approx(0)
    assert schedule(1000, 100) == pytest.approx(0)
    assert schedule(0, 1) == 1


def test_the_learning_rate_follows_the_schedule(small: Small):
    rates: list[float] = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(module(small), callbacks=[Watch()])
    assert rates == pytest.approx([1e-2 * schedule(step, 9) for step in range(9)])


def test_what_is_decayed(small: Small):
    autoencoder = small()
    decayed, kept = parameter_groups(autoencoder, 0.3)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    parameters = list(autoencoder.parameters())
    assert len(decayed["params"]) + len(kept["params"]) == len(parameters)
    assert all(parameter.dim() >= 2 for parameter in decayed["params"])
    kept_ids = {id(parameter) for parameter in kept["params"]}
    for parameter in (
        autoencoder.decoder.linear.pattern,
        autoencoder.layer.peephole,
        autoencoder.head.project.bias,
    ):
        assert id(parameter) in kept_ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "trainer.learning_rate must be a number of at least"),
        ({"learning_rate": float("nan")}, "trainer.learning_rate must be a number"),
        ({"weight_decay": -1}, "trainer.weight_decay must be a number of at least 0, received -1"),
        ({"epochs": 0}, "trainer.max_epochs must be a whole number of at least 1, received 0"),
        ({"laplacian_weight": -0.1}, "model.laplacian_weight must be a number of at least 0"),
        ({"laplacian_of": "both"}, "model.laplacian_of must be one of error, reconstruction"),
    ],
)
def test_mistakes(small: Small, changes: dict[str, Any], message: str):
    with pytest.raises(ModelError) as caught:
        module(small, **changes)
    assert message in str(caught.value)


def test_a_grid_too_narrow_for_the_laplacian(small: Small):
    autoencoder = small()
    autoencoder.mask = torch.zeros_like(autoencoder.mask)
    autoencoder.mask[0, :2] = True
    with pytest.raises(ModelError, match=r"6 x 8 have none: set model\.laplacian_weight=0"):
        AutoencoderModule(autoencoder, **SETTINGS)
    AutoencoderModule(autoencoder, **{**SETTINGS, "laplacian_weight": 0})


def test_an_endless_trainer_is_refused(small: Small):
    with pytest.raises(ModelError, match=r"trainer\.max_epochs must be a whole number"):
        fit(module(small), epochs=-1, max_steps=2)
