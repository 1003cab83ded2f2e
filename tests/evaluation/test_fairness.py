"""Unlike training is told, unlike architecture is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evaluation.fairness import warnings
from evaluation.inputs import Run


def run(label: str, seed: int = 0, *, days: int = 5, **settings: Any) -> Run:
    times = pd.date_range("2001-01-01", periods=days, freq="D").to_numpy()
    return Run(model=label, seed=seed, times=times, embedding=np.zeros((days, 2)), settings=settings)


def groups(*runs: Run) -> dict[str, list[Run]]:
    return {
        label: [one for one in runs if one.model == label]
        for label in dict.fromkeys(one.model for one in runs)
    }


def test_equal_training_gives_no_warning() -> None:
    first = run(
        "faconvlstm", trainer={"max_epochs": 3}, model={"name": "faconvlstm", "layer": {"peephole": True}}
    )
    second = run(
        "convlstm", trainer={"max_epochs": 3}, model={"name": "convlstm", "layer": {"peephole": None}}
    )
    assert warnings(groups(first, second)) == []


def test_unlike_training_names_the_key_and_the_values() -> None:
    first, second = run("faconvlstm", trainer={"max_epochs": 30}), run("convlstm", trainer={"max_epochs": 20})
    assert warnings(groups(first, second)) == [
        "The compared runs differ in trainer.max_epochs (faconvlstm: 30; convlstm: 20)."
    ]


def test_unlike_seeds_of_one_model_and_embedding_sizes_are_told() -> None:
    found = warnings(
        groups(
            run("faconvlstm", 0, window={"length": 12}, model={"embedding_size": 16}),
            run("faconvlstm", 1, window={"length": 10}, model={"embedding_size": 16}),
            run("convlstm", 0, window={"length": 12}, model={"embedding_size": 8}),
        )
    )
    assert found == [
        "The models were not trained with the same seeds (faconvlstm: 0, 1; convlstm: 0); differences "
        "use the common ones.",
        "The compared runs differ in model.embedding_size (faconvlstm: 16; convlstm: 8).",
        "The compared runs differ in window.length (faconvlstm: 10 and 12; convlstm: 12).",
    ]


def test_hardware_and_baselines_are_let_pass() -> None:
    first = run("faconvlstm", trainer={"accelerator": "cpu", "devices": 1})
    second = run("convlstm", trainer={"accelerator": "gpu", "devices": 2})
    assert warnings(groups(first, second, run("untrained", 7, trainer={"max_epochs": 0}))) == []


def test_unlike_days_are_told() -> None:
    (found,) = warnings(groups(run("faconvlstm", days=5), run("convlstm", days=4)))
    assert found.startswith("The runs cover from 4 (convlstm_seed0) to 5 days")
