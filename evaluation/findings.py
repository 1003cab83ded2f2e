"""What the numbers say of the clusters themselves, in sentences: chance, stability, spells, patterns, indices.

Every sentence is made from metrics.json; what was not computed gives none. What was not shown is said as plainly as
what was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.chance import INDICES, SPACES
from evaluation.stability import DISSOLVED, STABLE
from evaluation.tables import find
from evaluation.units import number, percent
from evaluation.words import Statement, count, join, sentence

FEW = 3  # encoders that are told one by one
STRONG = 0.5  # correlation from which a published pattern is called alike


def of_clusters(metrics: Mapping[str, Any]) -> list[Statement]:
    """The findings that there are, from whether there are clusters at all to what they go with."""
    found = [
        _chance(metrics),
        _stability(metrics),
        _spells(metrics),
        _patterns(metrics),
        _teleconnections(metrics),
    ]
    return [statement for statement in found if statement is not None]


def _chance(metrics: Mapping[str, Any]) -> Statement | None:
    """For which models the clusters are more than surrogates give."""
    verdicts = {
        entry["title"]: found
        for entry in metrics["models"].values()
        if (found := find(entry, ("chance", "verdict"))) is not None
    }
    if not verdicts:
        return None
    first = next(iter(verdicts.values()))
    shown = [f"{title} (p {number(v['p'], 3)})" for title, v in verdicts.items() if v["beyond_chance"]]
    rest = [f"{title} (p {number(v['p'], 3)})" for title, v in verdicts.items() if not v["beyond_chance"]]
    told = []
    if shown:
        told.append(
            f"{first['k']} clusters of {join(shown)} stand apart more than red noise with the same covariance and "
            "memory gives."
        )
    if rest:
        told.append(
            f"For {join(rest)} that is not shown: surrogate records that know no regimes give {first['k']} clusters "
            "that are as good, so that the clusters may be ways of cutting a continuum."
        )
    figures = (
        f"{INDICES[first['index']][0]} in the {SPACES[first['space']].lower()}, training period; p is the larger of "
        f"those against two kinds of surrogate, and at most {number(first['level'], 2)} where it is shown"
    )
    return Statement("More than chance", " ".join(told), sentence([figures]))


def _stability(metrics: Mapping[str, Any]) -> Statement | None:
    """Which clusters of the trained models come back."""
    told, figures = [], []
    back: dict[str, int] = {}
    for entry in metrics["models"].values():
        held = entry.get("robustness")
        if not held or not entry["trained"]:
            continue
        jaccard = held["jaccard"]
        stable = [name for name, value in jaccard.items() if value >= STABLE]
        lost = [name for name, value in jaccard.items() if value < DISSOLVED]
        some = "all" if len(stable) == len(jaccard) else len(stable) or "none"
        said = [
            f"{some} of {entry['title']}'s {count(len(jaccard), 'cluster')} come back nearly whole",
            f"{len(lost)} mostly {'dissolves' if len(lost) == 1 else 'dissolve'} ({join(lost)})"
            if lost
            else "",
        ]
        told.append(" and ".join(filter(None, said)))
        back[entry["title"]] = len(stable)
        kinds = {"seeds": "between seeds", "years": "without a year", "halves": "between halves"}
        parts = [f"{name} {number(held[kind]['ari'], 2)}" for kind, name in kinds.items() if kind in held]
        figures.append(f"{entry['title']}, adjusted Rand index {', '.join(parts)}")
    if not told:
        return None
    how = "Fitted again with other seeds, without one of the years, and on each half of the training period:"
    if len(told) > FEW:
        told = [_span(back, metrics["k"])]
    return Statement("Stability", f"{how} {'; '.join(told)}.", sentence(figures))


def _span(back: Mapping[str, int], k: int) -> str:
    """How many clusters of many encoders come back: of the one with the fewest, and of the one with the most."""
    fewest, most = min(back, key=back.__getitem__), max(back, key=back.__getitem__)
    if back[fewest] == back[most]:
        return f"{back[most]} of {k} clusters of each of the {len(back)} encoders come back nearly whole"
    span = f"from {back[fewest]} ({fewest}) to {back[most]} ({most})"
    return f"{span} of {k} clusters of the {len(back)} encoders come back nearly whole"


def _spells(metrics: Mapping[str, Any]) -> Statement | None:
    """Whether spells are longer or shorter than processes without regimes give, for the first model."""
    entry = _first(metrics, "spells")
    if entry is None:
        return None
    told = []
    for null, name in (
        ("ar1", "an AR(1) process with the embedding's own memory"),
        ("markov", "a Markov chain"),
    ):
        tested = list(entry["spells"].get(null, {}).get("mean_spell", {}).values())
        longer, shorter = (
            sum(1 for t in tested if t["differs"] and (t["observed"] > t["high"]) is wanted)
            for wanted in (True, False)
        )
        if not tested:
            continue
        if longer == shorter == 0:
            told.append(f"no cluster's mean spell is told from that of {name}")
        else:
            parts = [f"{n} are {word}" for n, word in ((longer, "longer"), (shorter, "shorter")) if n]
            told.append(f"of {len(tested)} mean spells {join(parts)} than those of {name}")
    return Statement("Spells", f"{entry['title']}: {'; '.join(told)}.") if told else None


def _patterns(metrics: Mapping[str, Any]) -> Statement | None:
    """How far the clusters of the first model look like published regimes."""
    entry = _first(metrics, "patterns")
    if entry is None:
        return None
    told = []
    for title, held in entry["patterns"].items():
        matched = held["match"]
        alike = [
            f"cluster {cluster} with “{found['regime']}” ({number(found['correlation'], 2)})"
            for cluster, found in matched.items()
            if found["correlation"] >= STRONG
        ]
        said = (
            f"pattern correlation is at least {STRONG} for {join(alike)}"
            if alike
            else (f"no cluster's pattern correlation with its match reaches {STRONG}")
        )
        told.append(f"Against {title} ({percent(held['overlap'])} of its domain), {said}.")
    return Statement("Published patterns", f"Clusters of {entry['title']}. {' '.join(told)}")


def _teleconnections(metrics: Mapping[str, Any]) -> Statement | None:
    """Which clusters of the first model go with which index."""
    entry = _first(metrics, "teleconnections")
    if entry is None:
        return None
    told = []
    for name, held in entry["teleconnections"].items():
        with_it = [
            f"{cluster} ({number(found['correlation'], 2)})"
            for cluster, found in held["clusters"].items()
            if found["told"]
        ]
        said = (
            f"{join(with_it)} {'goes' if len(with_it) == 1 else 'go'} with it"
            if with_it
            else "none is told from zero"
        )
        told.append(f"{name}: {said}")
    return Statement(
        "Teleconnections", f"Correlation of the clusters of {entry['title']} with {'; '.join(told)}."
    )


def _first(metrics: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The first model that has something under a key."""
    return next((entry for entry in metrics["models"].values() if entry.get(key)), None)
