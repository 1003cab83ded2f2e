"""Whether the compared models were trained alike: same windows, optimiser, steps, embedding size, seeds.

Supports nested settings as the run manifests hold them. What belongs to the architecture itself, and the
hardware, may differ; so may any setting that only one of two models has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.inputs import Run
from evaluation.results import is_baseline

MADE_HERE = ("eof", "eof10", "raw")  # baselines on the evaluated days
ALLOWED = {"name", "layer", "accelerator", "devices", "num_nodes", "num_workers", "strategy"}


def warnings(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """One sentence for each thing in which the trained runs differ; empty where nothing does.

    Args:
        groups: the runs of each model.
    """
    trained = {label: runs for label, runs in groups.items() if not is_baseline(label)}
    return _unlike_seeds(trained) + _unlike_settings(trained) + _unlike_days(groups)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key.

    >>> flatten({"trainer": {"max_epochs": 3}})
    {'trainer.max_epochs': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _unlike_seeds(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    seeds = {label: sorted(run.seed for run in runs) for label, runs in groups.items()}
    if len({tuple(numbers) for numbers in seeds.values()}) < 2:
        return []
    told = "; ".join(f"{label}: {', '.join(map(str, numbers))}" for label, numbers in seeds.items())
    return [f"The models were not trained with the same seeds ({told}); differences use the common ones."]


def _unlike_settings(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    by_label = {label: list(_distinct(runs)) for label, runs in groups.items()}
    keys = sorted({key for variants in by_label.values() for flat in variants for key in flat})
    told = []
    for key in keys:
        values = {
            label: sorted({str(flat[key]) for flat in variants if key in flat})
            for label, variants in by_label.items()
        }
        held = {label: found for label, found in values.items() if found}
        if (
            ALLOWED.isdisjoint(key.split("."))
            and len({text for found in held.values() for text in found}) > 1
        ):
            listed = "; ".join(f"{label}: {' and '.join(found)}" for label, found in held.items())
            told.append(f"The compared runs differ in {key} ({listed}).")
    return told


def _distinct(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    return (flatten(run.settings) for run in runs)


def _unlike_days(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    days = {
        run.name: len(run.times) for label, runs in groups.items() if label not in MADE_HERE for run in runs
    }
    if len(set(days.values())) < 2:
        return []
    least = min(days, key=lambda name: days[name])
    return [
        f"The runs cover from {days[least]} ({least}) to {max(days.values())} days; "
        "only the days that all of them cover are evaluated."
    ]
