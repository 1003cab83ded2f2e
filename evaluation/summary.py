"""What the numbers say, in sentences: the opening of the page and the table for the terminal.

Every sentence is made from metrics.json. What was not shown is said as plainly as what was.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation import findings, versus
from evaluation.results import Evaluation
from evaluation.significance import BETTER, NOT_SHOWN, WORSE
from evaluation.tables import DIGITS, INDICES, PERIODS, find, periods
from evaluation.units import number, percent
from evaluation.words import Statement, count, join, period, sentence

WIDTH = 100
SHORT = {"silhouette": "Silhouette", "davies_bouldin": "Davies-Bouldin", "calinski_harabasz": "Cal.-Harabasz"}
WEAK = 0.25  # Silhouette under which Kaufman and Rousseeuw (1990) see no substantial structure
FEW = 3  # trained models that are told one by one
RIVALS = {"convlstm": "ConvLSTM", "eof": "EOFs (PCA) of the same size"}


def statements(metrics: Mapping[str, Any]) -> list[Statement]:
    """The summary, from what was done to what was not shown."""
    found = [
        Statement("What was done", _what(metrics)),
        *versus.statements(metrics),
        _separation(metrics),
        *findings.of_clusters(metrics),
        _reconstruction(metrics),
        versus.of_forecasts(metrics),
        _known(metrics),
        _collapse(metrics),
        Statement("Not shown here", _limits(metrics)),
    ]
    return [statement for statement in found if statement is not None]


def headline(evaluation: Evaluation) -> str:
    """The headline figures for a terminal, at most WIDTH columns, and what may be said of the differences."""
    metrics = evaluation.metrics
    columns: list[tuple[str, tuple[str, ...], int]]
    columns = [(SHORT[index], ("scores", "data", "{}", index), DIGITS[index]) for index in INDICES]
    columns += [
        ("Explained var.", ("explained_variance", "{}"), 3),
        ("Rand index", ("agreement", "{}", "ari"), 3),
    ]
    splits = periods(metrics)
    width = 16 // len(splits)
    lines = [
        f"Data space (authors' convention), k = {metrics['k']}, mean over seeds",
        " " * 19 + "".join(f"{title:>16}" for title, _, _ in columns),
        " " * 19
        + "".join(f"{'train' if split == 'train' else 'unseen':>{width}}" for split in splits) * len(columns),
    ]
    for entry in metrics["models"].values():
        cells = (_cell(entry, path, split, digits) for _, path, digits in columns for split in splits)
        lines.append(f"{entry['title'][:19]:<19}" + "".join(f"{text:>{width}}" for text in cells))
    said = [statement.text for statement in versus.statements(metrics)]
    said += [f"Warning: {text}" for text in metrics["warnings"]]
    return "\n".join([*lines, *(line for text in said for line in _wrap(text))])


def _what(metrics: Mapping[str, Any]) -> str:
    dataset = metrics["dataset"]
    trained = [entry for entry in metrics["models"].values() if entry["trained"]]
    days = join(
        [f"{number(n, 0)} {PERIODS[split].split()[0].lower()}" for split, n in dataset["days"].items()]
    )
    sizes = join([str(size) for size in sorted({entry["embedding_size"] for entry in trained})])
    models = _named(trained)
    cycle = (
        "The seasonal cycle was removed first, so that clusters are weather regimes rather than seasons."
        if dataset["seasonal_cycle"] == "removed"
        else "The seasonal cycle was left in, so that clusters are to a large part seasons."
    )
    return (
        f"{models or 'The models'} turned every day of {count(len(dataset['variables']), 'variable')} "
        f"on {dataset['grid'][0]} × {dataset['grid'][1]} points into {sizes or 'a few'} numbers, and "
        "k-means sorted the days "
        f"into {metrics['k']} clusters. There were {days} days; everything was fitted on the training "
        f"days only. {cycle}"
    )


def _named(trained: Sequence[Mapping[str, Any]]) -> str:
    """The trained models with their seeds, of which it is said once where they are many and alike."""
    seeds = {len(entry["seeds"]) for entry in trained}
    if len(trained) <= FEW or len(seeds) > 1:
        return join([f"{entry['title']} ({count(len(entry['seeds']), 'seed')})" for entry in trained])
    each = count(seeds.pop(), "seed")
    return f"{len(trained)} encoders ({join([entry['title'] for entry in trained])}; {each} each)"


def _separation(metrics: Mapping[str, Any]) -> Statement | None:
    split = periods(metrics)[-1]
    path = ("scores", "data", split, "silhouette", "mean")
    values = {
        entry["title"]: find(entry, path)
        for entry in metrics["models"].values()
        if find(entry, path) is not None
    }
    if not values:
        return None
    best = max(values, key=lambda name: values[name])
    told = f"The highest Silhouette on the {period(split)} is {number(values[best], 3)}, that of {best}."
    if values[best] < WEAK:
        told += f" Below {WEAK} the clusters overlap: they are places in a continuum, not separate groups."
    return Statement("Separation", told)


def _reconstruction(metrics: Mapping[str, Any]) -> Statement | None:
    split = periods(metrics)[-1]
    held = {
        label: entry["explained_variance"][split]["mean"]
        for label, entry in metrics["models"].items()
        if find(entry, ("explained_variance", split)) and (entry["trained"] or label == "eof")
    }
    if not held:
        return None
    shares = _told(metrics, held, lambda share: percent(share, 1))
    told = f"Of the variance of the {period(split)} the embeddings give back: {shares}."
    figures = []
    for second, rival in RIVALS.items():
        difference = find(metrics, ("comparison", f"faconvlstm_minus_{second}", "explained_variance", split))
        if difference is not None:
            name = metrics["models"]["faconvlstm"]["title"]
            than = {BETTER: f"more than {rival}", WORSE: f"less than {rival}"}.get(difference["verdict"])
            told += (
                f" {name} keeps {than}." if than else f" No difference between {name} and {rival} is shown."
            )
            figures.append(
                f"{name} minus {metrics['models'][second]['title']}: {versus.change(difference, 1, 100, ' points')}"
            )
    return Statement("Reconstruction", told, sentence(figures))


def _known(metrics: Mapping[str, Any]) -> Statement | None:
    days = metrics.get("truth", {}).get("days", {})
    split = next((name for name in reversed(periods(metrics)) if days.get(name)), None)
    path = ("agreement", split, "ari") if split else ()
    held = {
        label: found for label, entry in metrics["models"].items() if split and (found := find(entry, path))
    }
    if split is None or not held:
        return None
    means = {label: value["mean"] for label, value in held.items()}
    shares = _told(metrics, means, lambda mean: number(mean, 3))
    known = metrics["truth"]["title"]
    told = f"Agreement with {known} (adjusted Rand index; 1: the same partition, 0: chance): {shares}."
    figures = [f"{number(days[split], 0)} labelled days of the {period(split)}"]
    for second in RIVALS:
        difference = find(metrics, ("comparison", f"faconvlstm_minus_{second}", *path))
        if difference is not None:
            names = [metrics["models"][label]["title"] for label in ("faconvlstm", second)]
            verdict = difference["verdict"]
            told += (
                f" No difference between {names[0]} and {names[1]} is shown."
                if verdict == NOT_SHOWN
                else f" {names[0]} is {verdict} than {names[1]}."
            )
            figures.append(f"{names[0]} minus {names[1]}: {versus.change(difference, 3)}")
    return Statement("Known regimes", told, sentence(figures))


def _told(metrics: Mapping[str, Any], held: Mapping[str, float], show: Callable[[float], str]) -> str:
    """Values by model; of many trained ones the lowest and the highest."""
    names = {label: metrics["models"][label]["title"] for label in held}
    trained = sorted((n for n in held if metrics["models"][n]["trained"]), key=lambda label: held[label])
    if len(trained) <= FEW:
        return join([f"{names[label]} {show(value)}" for label, value in held.items()])
    low, high = trained[0], trained[-1]
    span = f"from {show(held[low])} ({names[low]}) to {show(held[high])} ({names[high]})"
    of_trained = f"the {len(trained)} trained encoders {span}"
    rest = [f"{names[label]} {show(value)}" for label, value in held.items() if label not in trained]
    return join([of_trained, *rest])


def _collapse(metrics: Mapping[str, Any]) -> Statement | None:
    collapsed = join([entry["title"] for entry in metrics["models"].values() if entry.get("collapsed")])
    if not collapsed:
        return None
    return Statement(
        "Collapse",
        f"The embedding of {collapsed} has collapsed (effective rank under 2): its scores in its own "
        "space mean nothing.",
    )


def _limits(metrics: Mapping[str, Any]) -> str:
    """What the intervals hold, and what was not looked into."""
    seeds = max(len(entry["seeds"]) for entry in metrics["models"].values())
    over_time = "uncertainty" in metrics
    if seeds == 1:
        told = "With one seed there are no intervals."
    elif over_time:
        told = (
            f"Intervals (95%) hold the spread over {seeds} seeds and over time (resampled blocks of days); that the "
            "clusters themselves would come out otherwise on other years is told by their stability, not by the "
            "intervals."
        )
    else:
        told = (
            f"Intervals (95%) hold the spread over {seeds} seeds on this one record; how the figures would change "
            "with other years is not in them."
        )
    missing = [
        what
        for there, what in (
            (
                _any(metrics, "chance"),
                f"whether {metrics['k']} clusters are more than red noise would give, and whether another number "
                "would fit better",
            ),
            (_any(metrics, "patterns"), "likeness to published regimes"),
            (_any(metrics, "teleconnections"), "correlation with indices of the circulation"),
            ("truth" in metrics, "agreement with known labels"),
        )
        if not there
    ]
    return f"{told} Not looked into: {join(missing)}." if missing else told


def _any(metrics: Mapping[str, Any], key: str) -> bool:
    return any(key in entry for entry in metrics["models"].values())


def _cell(entry: Mapping[str, Any], path: Sequence[str], split: str, digits: int) -> str:
    value = find(entry, [name.format(split) for name in path])
    return "" if value is None else f"{value['mean']:.{digits}f}"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
