"""The search for settings: resumed, on the validation period alone, and told in sentences where it cannot be."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from data import split, store
from pipeline import fitting
from tests.pipeline.conftest import SMALL, Outcome, seal_again

Stage = Callable[..., Outcome]
SHORT = (
    *SMALL,
    "dataset.end=2001-05-31",
    "dataset.deseasonalise=false",
    "trainer.max_epochs=1",
    "cluster.k=3",
)
PERIODS = ("dataset.split.validation=0.25", "dataset.split.test=0.2")


HEAD = """defaults: [schema, _self_]
trials: 3
seed: 0
objective: validation_loss
space:
"""
SPACES = {
    "tiny": "  trainer.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}\n"
    "  model.embedding_size: {choices: [2, 4]}\n",
    "fields": "  window.length: {low: 3, high: 6, step: 1}\n",
    "neither": "  trainer.learning_rate: {low: 1.0e-3}\n",
    "never": "  model.layer.attention_every: {choices: [0]}\n",
}


@pytest.fixture
def ready(stage: Stage, tmp_path: Path) -> Stage:
    """A stage on a short record that is prepared, with some searches of its own."""
    folder = tmp_path / "conf" / "search"
    folder.mkdir(parents=True)
    for name, space in SPACES.items():
        (folder / f"{name}.yaml").write_text(HEAD + space, encoding="utf-8")

    def call(name: str, *overrides: str) -> Outcome:
        return stage(name, f"hydra.searchpath=[file://{folder.parent}]", *SHORT, *PERIODS, *overrides)

    for name in ("download", "prepare"):
        assert call(name).status == 0
    return call


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs/demo/search/tiny/trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_killed_search_goes_on_and_ends_as_an_undisturbed_one(
    ready: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ready("search", "search=tiny")
    assert outcome.status == 0, outcome.err
    assert "best of 3 trials, validation_loss" in outcome.out
    assert "python -m pipeline.train" in outcome.out
    undisturbed = trials(tmp_path)
    losses = [float(row["validation_loss"]) for row in undisturbed]
    assert len(set(losses)) == 3
    (tmp_path / "runs").rename(tmp_path / "undisturbed")

    fit, calls = fitting.fit, []

    def killed(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise Killed
        return fit(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit", killed)
        with pytest.raises(Killed):
            ready("search", "search=tiny")
    assert ready("search", "search=tiny").status == 0
    assert trials(tmp_path) == undisturbed
    assert "trial 1 of" not in ready("search", "search=tiny").out


class Killed(BaseException):
    """Ends a search as abruptly as a test within this process can."""


@pytest.mark.parametrize("objective", ["validation_loss", "explained_variance", "agreement"])
def test_nothing_of_the_test_period_can_decide_anything(ready: Stage, tmp_path: Path, objective: str) -> None:
    chosen = ("search=tiny", "search.trials=1", f"search.objective={objective}")
    assert ready("search", *chosen).status == 0
    first = trials(tmp_path)
    seen = store.open_store(tmp_path / "runs/demo/search/tiny/seen.zarr")
    assert set(np.unique(seen["split"].values)) == {split.UNUSED, split.TRAIN, split.VALIDATION}
    (path,) = (tmp_path / "store/demo").glob("prepared-*.zarr")
    whole = store.open_store(path)
    test = whole["split"].values == split.TEST
    assert seen["time"].values.max() < whole["time"].values[test].min()
    (tmp_path / "runs").rename(tmp_path / "before")

    x = zarr.open_group(path, mode="r+")["x"]
    values = x[:]
    values[int(test.argmax()) :] = np.nan
    x[:] = values
    spoil_labels(tmp_path / "store/demo/labels.csv", str(whole["time"].values[test][0])[:10])
    for changed in (path, tmp_path / "store/demo/raw.zarr"):
        seal_again(changed)
    outcome = ready("search", *chosen)
    assert outcome.status == 0, outcome.err
    assert trials(tmp_path) == first
    assert first[0]["state"] == "complete"


def spoil_labels(path: Path, first: str) -> None:
    """All labels from a day on become the same."""
    lines = path.read_text(encoding="utf-8").splitlines()
    spoilt = [
        line if line < first or line.startswith("date") else f"{line.split(',')[0]},1" for line in lines
    ]
    path.write_text("\n".join(spoilt) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search=faconvlst", "search=faconvlst is not known; did you mean 'faconvlstm'?"),
        ("seed=0", "no search is chosen: add search=… to the command, one of faconvlstm."),
        ("search=fields", "search.space may vary settings of model and trainer, and window.stride"),
        ("search=neither", "search.space, trainer.learning_rate: give low and high, or choices."),
    ],
)
def test_a_mistake_is_one_sentence(ready: Stage, override: str, words: str) -> None:
    outcome = ready("search", override)
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_trial_that_fails_is_passed_over(ready: Stage, tmp_path: Path) -> None:
    outcome = ready("search", "search=never", "search.trials=1")
    assert outcome.status == 2
    assert "none of the 1 trials succeeded" in outcome.err
    path = tmp_path / "runs/demo/search/never/trials.csv"
    assert "0,fail,,0" in path.read_text(encoding="utf-8")
