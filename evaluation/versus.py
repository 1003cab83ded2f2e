"""What the numbers say of the models against each other, and of their forecasts against simple ones, in sentences.

Every sentence is made from metrics.json and is right for any number of models: a few are compared one by one, of many
it is said in how many cases what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation import forecasts, ranking
from evaluation.significance import BETTER, NOT_SHOWN, WORSE
from evaluation.tables import DIGITS, INDICES, find, periods
from evaluation.units import number
from evaluation.words import Statement, count, join, period, sentence

OURS = "faconvlstm"
FEW = 2  # rivals beside ConvLSTM and EOFs that get a statement of their own


def statements(metrics: Mapping[str, Any]) -> list[Statement]:
    """FAConvLSTM against ConvLSTM, EOFs and the other encoders, and the ranking."""
    found = [versus(metrics, OURS, rival) for rival in rivals(metrics)]
    return [*found, *filter(None, [_others(metrics), _ranking(metrics)])]


def rivals(metrics: Mapping[str, Any]) -> list[str]:
    """Whom FAConvLSTM is compared with one by one."""
    others = _other_encoders(metrics)
    single = ["convlstm", *(others if len(others) <= FEW else []), "eof"]
    return [label for label in single if f"{OURS}_minus_{label}" in metrics["comparison"]]


def versus(metrics: Mapping[str, Any], first: str, second: str) -> Statement:
    """What the indices in the data space say of two models on the unseen period."""
    names = [metrics["models"][label]["title"] for label in (first, second)]
    heading = "Against EOFs" if second == "eof" else f"Against {names[1]}"
    split = periods(metrics)[-1]
    found = find(metrics, ("comparison", f"{first}_minus_{second}", "data", split)) or {}
    if not found:
        return Statement(
            heading, f"{names[0]} and {names[1]} could not be compared: one has fewer than two clusters."
        )
    figures = f"Data space: {'; '.join(_against(metrics, first, second, split, index) for index in found)}."
    if all("low" not in difference for difference in found.values()):
        text = f"With one seed there is no interval, so no difference between {names[0]} and {names[1]} is shown."
        return Statement(heading, text, figures)
    return Statement(heading, _verdicts(names, found, split), figures)


def change(difference: Mapping[str, Any], digits: int, factor: float = 1, unit: str = "") -> str:
    """A difference with its interval, in words."""
    told = f"{number(factor * difference['mean'], digits, sign=True)}{unit}"
    if "low" not in difference:
        return told
    low, high = (number(factor * difference[end], digits) for end in ("low", "high"))
    return f"{told}, 95% interval {low} to {high}"


def listed(metrics: Mapping[str, Any], labels: Iterable[str]) -> str:
    """Titles of models in a sentence."""
    return join([metrics["models"][label]["title"] for label in labels])


def _other_encoders(metrics: Mapping[str, Any]) -> list[str]:
    """Trained models beside FAConvLSTM and ConvLSTM that FAConvLSTM was compared with."""
    return [
        label
        for label, entry in metrics["models"].items()
        if entry["trained"] and label != "convlstm" and f"{OURS}_minus_{label}" in metrics["comparison"]
    ]


def _verdicts(names: Sequence[str], found: Mapping[str, Mapping[str, Any]], split: str) -> str:
    """One sentence: in which indices the first is better, in which worse, and in which nothing is shown."""
    by_verdict = {
        v: [INDICES[i] for i, d in found.items() if d["verdict"] == v] for v in (BETTER, WORSE, NOT_SHOWN)
    }
    clauses = [
        f"{verdict} in {join(by_verdict[verdict])}" for verdict in (BETTER, WORSE) if by_verdict[verdict]
    ]
    where = f"On the {period(split)}"
    if not clauses:
        return (
            f"{where}, no difference between {names[0]} and {names[1]} is shown in any of the three indices."
        )
    text = f"{where}, {names[0]}'s clusters are {' and '.join(clauses)} than {names[1]}'s."
    if by_verdict[NOT_SHOWN]:
        text += f" No difference is shown in {join(by_verdict[NOT_SHOWN])}."
    return text


def _against(metrics: Mapping[str, Any], first: str, second: str, split: str, index: str) -> str:
    means = [metrics["models"][label]["scores"]["data"][split][index]["mean"] for label in (first, second)]
    told = " against ".join(number(mean, DIGITS[index]) for mean in means)
    difference = metrics["comparison"][f"{first}_minus_{second}"]["data"][split][index]
    return f"{INDICES[index]} {told} ({change(difference, DIGITS[index])})"


def _others(metrics: Mapping[str, Any]) -> Statement | None:
    """FAConvLSTM against many other encoders, in the Silhouette."""
    others = _other_encoders(metrics)
    if len(others) <= FEW:
        return None
    split, name = periods(metrics)[-1], metrics["models"][OURS]["title"]
    index = ranking.INDEX
    found = {
        label: difference
        for label in others
        if (difference := find(metrics, ("comparison", f"{OURS}_minus_{label}", "data", split, index)))
    }
    by_verdict = {v: [n for n, d in found.items() if d["verdict"] == v] for v in (BETTER, WORSE, NOT_SHOWN)}
    told = [
        f"{name}'s {INDICES[index]} is {verdict} than that of {listed(metrics, by_verdict[verdict])}."
        for verdict in (BETTER, WORSE)
        if by_verdict[verdict]
    ]
    if by_verdict[NOT_SHOWN]:
        told.append(f"No difference from {listed(metrics, by_verdict[NOT_SHOWN])} is shown.")
    figures = [
        f"{metrics['models'][label]['title']} {change(difference, DIGITS[index])}"
        for label, difference in found.items()
    ]
    where = f"On the {period(split)}, in the data space:"
    return Statement(
        f"Against {count(len(found), 'other encoder')}",
        " ".join([where, *told]),
        f"{name} minus {sentence(figures)}",
    )


def _ranking(metrics: Mapping[str, Any]) -> Statement | None:
    """Which encoder comes first, and from which others it is told."""
    held = metrics.get("ranking")
    if held is None:
        return None
    order, split = held["order"], held["split"]
    first = metrics["models"][order[0]]
    mean = first["scores"]["data"][split][held["index"]]["mean"]
    told = (
        f"Of {len(order)} trained encoders, {first['title']} has the highest {INDICES[held['index']]} in the data "
        f"space on the {period(split)} ({number(mean, 3)})."
    )
    worse = ranking.worse(metrics)
    rest = [label for label in order[1:] if label not in worse]
    if not worse:
        told += " It is told from none of the others: this is no ranking, but a list in the order of chance."
    else:
        told += f" {listed(metrics, worse)} {'is' if len(worse) == 1 else 'are'} told from it"
        told += f"; for {listed(metrics, rest)} no difference from it is shown." if rest else "."
    figures = [
        f"{metrics['models'][label]['title']} {change(found[held['index']], 3)}"
        for label in order[1:]
        if held["index"] in (found := held["differences"].get(label, {}))
    ]
    return Statement("Ranking", told, f"Difference from {first['title']}: {sentence(figures)}")


def of_forecasts(metrics: Mapping[str, Any]) -> Statement | None:
    """At the shortest lead: whose error is less than persistence's and climatology's, and in which variables."""
    held = metrics.get("forecast")
    if held is None:
        return None
    lead = forecasts.leads(held)[0]
    labels = [label for label in held["scores"] if label in metrics["models"]]
    told = []
    for reference, name in forecasts.REFERENCES.items():
        by_label = {
            label: _beaten(held["differences"][f"{label}_minus_{reference}"], lead) for label in labels
        }
        told.append(_against_reference(metrics, by_label, name.lower()))
    steps = "step" if lead == "1" else "steps"
    text = f"{lead} {steps} ahead on {count(held['days'], 'unseen day')}: {' '.join(told)}"
    figures = [
        f"{metrics['models'][label]['title']}, anomaly correlation "
        + ", ".join(
            f"{variable} {number(found[lead]['acc']['mean'], 2)}"
            for variable, found in held["scores"][label].items()
            if "acc" in found[lead]
        )
        for label in labels[: FEW + 1]
    ]
    return Statement("Forecast", text, sentence(figures))


def _beaten(differences: Mapping[str, Any], lead: str) -> dict[str, list[str]]:
    """Variables by the verdict on the root mean square error."""
    found: dict[str, list[str]] = {BETTER: [], WORSE: [], NOT_SHOWN: []}
    for variable, by_lead in differences.items():
        found[by_lead[lead]["rmse"]["verdict"]].append(variable)
    return found


def _against_reference(
    metrics: Mapping[str, Any], by_label: Mapping[str, Mapping[str, list[str]]], reference: str
) -> str:
    if len(by_label) > FEW + 1:
        everywhere = [n for n, v in by_label.items() if v[BETTER] and not v[WORSE] and not v[NOT_SHOWN]]
        somewhere = [n for n, v in by_label.items() if v[WORSE]]
        share = f"{len(everywhere) or 'none'} of {len(by_label)} encoders"
        said = f"{share.capitalize()} have a smaller error than {reference} in every variable"
        if 0 < len(everywhere) < len(by_label):
            said += f" ({listed(metrics, everywhere)})"
        have = "has" if len(somewhere) == 1 else "have"
        tail = f"; in some variable {listed(metrics, somewhere)} {have} a larger one" if somewhere else ""
        return f"{said}{tail}."
    told = []
    for label, by_verdict in by_label.items():
        parts = [
            f"{word} than {reference} in {join(by_verdict[verdict])}"
            for verdict, word in ((BETTER, "smaller"), (WORSE, "larger"))
            if by_verdict[verdict]
        ]
        name = f"the error of {metrics['models'][label]['title']}"
        if by_verdict[NOT_SHOWN]:
            parts.append(
                f"not told from it in {join(by_verdict[NOT_SHOWN])}"
                if parts
                else f"not told from {reference}'s"
            )
        told.append(f"{name} is {join(parts)}")
    return sentence(told).replace("the", "The", 1)
