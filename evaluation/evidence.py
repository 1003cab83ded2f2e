"""The report's tables of what speaks for the clusters: chance, stability, spells, published patterns, indices.

Supports what metrics.json holds; a table of which nothing was computed is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.cells import Cell, Column, Row, Table, amount
from evaluation.chance import INDICES, KINDS, SPACES
from evaluation.pictures import cluster_colours
from evaluation.tables import DIGITS, PERIODS, find, periods
from evaluation.units import number, percent

ROBUSTNESS = {
    "seeds": ("Between seeds", "two trainings"),
    "years": ("Without a year", "k-means fitted again"),
    "halves": ("Between halves", "k-means on each half"),
}
NULLS = {"markov": "Markov chain", "ar1": "AR(1) process"}
SPELLS = {
    "mean_spell": "Mean spell",
    "yearly_spread": "Year-to-year spread, % points",
    "frequency": "Share of days, %",
}
CHANCE_DIGITS = DIGITS | {"classifiability": 3}


def of_all(metrics: Mapping[str, Any]) -> list[Table | None]:
    """The tables that hold all models."""
    return [errors(metrics), verdicts(metrics), robustness(metrics)]


def of_model(metrics: Mapping[str, Any], label: str, step: str) -> list[Table | None]:
    """The tables of one model; step is what a step of the record is called."""
    entry = metrics["models"][label]
    k = metrics["k"]
    return [
        chance(entry, label),
        spells(entry, label, k, step),
        *patterns(entry, label, k),
        teleconnections(entry, label, k),
    ]


def errors(metrics: Mapping[str, Any]) -> Table | None:
    """Standard errors of the headline scores from the seeds and from the years; None without resampled days."""
    if "uncertainty" not in metrics:
        return None
    names = {
        "silhouette": "Silhouette",
        "davies_bouldin": "Davies-Bouldin",
        "calinski_harabasz": "Calinski-Harabasz",
    }
    places = [(split, index) for split in periods(metrics) for index in names]
    columns = tuple(
        Column(f"{names[index]}, {source}", PERIODS[split])
        for split, index in places
        for source in ("seeds", "time")
    )
    rows = []
    for entry in metrics["models"].values():
        held = [find(entry, ("scores", "data", split, index)) or {} for split, index in places]
        cells = tuple(
            amount(value.get(f"{source}_error"), DIGITS[index] + 1)
            for value, (_, index) in zip(held, places, strict=True)
            for source in ("seed", "time")
        )
        rows.append(Row(Cell(entry["title"]), cells, _kind(entry)))
    blocks = "; ".join(
        f"{PERIODS[split].lower()}: blocks of {held['block_length']} steps, {number(held['days'], 0)} days that "
        f"count as {number(held['effective_days'], 0)} independent ones"
        for split, held in metrics["uncertainty"]["splits"].items()
    )
    note = (
        "Standard errors in the data space: from one training to another, and from one stretch of weather to another "
        f"({number(metrics['uncertainty']['resamples'], 0)} resamples of the days in blocks; {blocks})."
    )
    return Table("errors", "Where the uncertainty comes from", note, columns, tuple(rows))


def verdicts(metrics: Mapping[str, Any]) -> Table | None:
    """Whether each model's clusters are more than chance; None where nobody looked."""
    having = {
        label: entry
        for label, entry in metrics["models"].items()
        if find(entry, ("chance", "verdict")) is not None
    }
    if not having:
        return None
    columns = (
        Column("Record"),
        *(Column(name, "Surrogates, 90% between", "and p") for name in KINDS.values()),
        Column("p", hint="the larger"),
        Column("More than chance"),
    )
    rows = []
    for entry in having.values():
        verdict = entry["chance"]["verdict"]
        point = entry["chance"]["by_k"][str(verdict["k"])][verdict["space"]][verdict["index"]]
        digits = CHANCE_DIGITS[verdict["index"]]
        word = "shown" if verdict["beyond_chance"] else "not shown"
        cells = (
            amount(point["value"], digits),
            *(_surrogates(point[kind], digits) for kind in KINDS),
            amount(verdict["p"], 3),
            Cell(word, tone="better" if verdict["beyond_chance"] else "muted"),
        )
        rows.append(Row(Cell(entry["title"]), cells, _kind(entry)))
    first = next(iter(having.values()))["chance"]
    verdict = first["verdict"]
    note = (
        f"{INDICES[verdict['index']][0]} of {verdict['k']} clusters in the {SPACES[verdict['space']].lower()}, "
        f"training period, {first['starts']} k-means starts, against surrogate records with the same covariance "
        f"that went through the same encoder. Shown: p at most {number(verdict['level'], 2)} against both kinds."
    )
    return Table("chance", "More than chance?", note, columns, tuple(rows))


def chance(entry: Mapping[str, Any], label: str) -> Table | None:
    """Every index of one model by number of clusters, with its p-value; None where nobody looked."""
    if "chance" not in entry:
        return None
    held = entry["chance"]["by_k"]
    places = [
        (space, index)
        for space in SPACES
        for index in INDICES
        if any(index in found.get(space, {}) for found in held.values())
    ]
    columns = tuple(Column(INDICES[index][0], SPACES[space], INDICES[index][1]) for space, index in places)
    rows = [
        Row(Cell(k), tuple(_against(found.get(space, {}).get(index), index) for space, index in places))
        for k, found in sorted(held.items(), key=lambda item: int(item[0]))
    ]
    note = (
        f"{entry['title']}, training period. Under each value the larger of its two p-values, one for each kind of "
        "surrogate; none is corrected for the number of values in the table."
    )
    title = f"Clusters of {entry['title']} against chance, by their number"
    return Table(f"{label}-chance", title, note, columns, tuple(rows), "Clusters")


def robustness(metrics: Mapping[str, Any]) -> Table | None:
    """Adjusted Rand index between partitions that should be the same; None where none was found again."""
    having = {label: entry for label, entry in metrics["models"].items() if entry.get("robustness")}
    kinds = [kind for kind in ROBUSTNESS if any(kind in entry["robustness"] for entry in having.values())]
    if not kinds:
        return None
    columns = tuple(
        Column(name, "Adjusted Rand index", hint) for name, hint in (ROBUSTNESS[kind] for kind in kinds)
    )
    rows = [
        Row(
            Cell(entry["title"]),
            tuple(_partitions(entry["robustness"].get(kind)) for kind in kinds),
            _kind(entry),
        )
        for entry in having.values()
    ]
    note = (
        "Training days; 1 is the same partition, 0 chance. Mean over the pairs, below it the lowest and the highest. "
        "Seeds and k-means starts alone differ for baselines."
    )
    return Table("robustness", "Do the same clusters come back?", note, columns, tuple(rows))


def spells(entry: Mapping[str, Any], label: str, k: int, step: str) -> Table | None:
    """Spells, yearly spread and frequency by cluster beside what two nulls give."""
    if "spells" not in entry:
        return None
    held = entry["spells"]
    places = [(null, what) for null in NULLS for what in SPELLS if held.get(null, {}).get(what)]
    columns = tuple(Column(_spell_name(what, step), NULLS[null]) for null, what in places)
    rows = [
        Row(
            Cell(str(c + 1), swatch=colour),
            tuple(_tested(held[null][what].get(str(c + 1)), what) for null, what in places),
        )
        for c, colour in enumerate(cluster_colours(k))
    ]
    note = (
        f"{entry['title']}. Under each figure the range that holds 95% of {number(held['simulations'], 0)} "
        "simulations of the null, and whether the figure is told from it (false-discovery rate 5%). The Markov "
        "chain knows only today's cluster; the AR(1) process has the embedding's memory of one step and no regimes."
    )
    title = f"Spells of {entry['title']} beside two nulls"
    return Table(f"{label}-spells", title, note, columns, tuple(rows), "Cluster")


def patterns(entry: Mapping[str, Any], label: str, k: int) -> Iterator[Table]:
    """For each set of published patterns, the correlation of every cluster with every pattern."""
    for title, held in entry.get("patterns", {}).items():
        names = list(dict.fromkeys(name for found in held["correlation"].values() for name in found))
        rows = []
        for c, colour in enumerate(cluster_colours(k)):
            found, match = held["correlation"].get(str(c + 1), {}), held["match"].get(str(c + 1), {})
            cells = [
                amount(found.get(name), 2, tone="match" if match.get("regime") == name else "")
                for name in names
            ]
            rows.append(Row(Cell(str(c + 1), swatch=colour), tuple(cells)))
        note = (
            f"Centred pattern correlation of {held['variable']}, area-weighted, on {number(held['cells'], 0)} points "
            f"that hold {percent(held['overlap'])} of the published patterns' area. Bold: matched one to one."
        )
        columns = tuple(Column(name, title) for name in names)
        heading = f"Clusters of {entry['title']} and published patterns ({title})"
        yield Table(f"{label}-patterns-{title}", heading, note, columns, tuple(rows), "Cluster")


def teleconnections(entry: Mapping[str, Any], label: str, k: int) -> Table | None:
    """Correlation of every cluster's occurrence with every index of the circulation."""
    held = entry.get("teleconnections")
    if not held:
        return None
    columns = tuple(
        Column(name, "Correlation with", f"{found['step']}, {number(found['n'], 0)} values")
        for name, found in held.items()
    )
    rows = [
        Row(
            Cell(str(c + 1), swatch=colour),
            tuple(_correlation(found["clusters"].get(str(c + 1))) for found in held.values()),
        )
        for c, colour in enumerate(cluster_colours(k))
    ]
    note = (
        f"How often each cluster of {entry['title']} occurs against the index of the circulation, with the degrees "
        "of freedom reduced for autocorrelation. Marked: told from zero at a false-discovery rate of 5% over the "
        "clusters."
    )
    title = f"Clusters of {entry['title']} and indices of the circulation"
    return Table(f"{label}-teleconnections", title, note, columns, tuple(rows), "Cluster")


def _spell_name(what: str, step: str) -> str:
    return f"{SPELLS[what]}, {step}" if what == "mean_spell" else SPELLS[what]


def _surrogates(held: Mapping[str, Any], digits: int) -> Cell:
    text = f"{number(held['low'], digits)} to {number(held['high'], digits)}"
    values = {"": held["mean"], "low": held["low"], "high": held["high"], "p": held["p"]}
    return Cell(text, f"p {number(held['p'], 3)}", values=values)


def _against(point: Mapping[str, Any] | None, index: str) -> Cell:
    if point is None:
        return Cell("")
    values = {"": point["value"], "p": point["p"]}
    return Cell(number(point["value"], CHANCE_DIGITS[index]), f"p {number(point['p'], 3)}", values=values)


def _partitions(held: Mapping[str, Any] | None) -> Cell:
    if held is None:
        return Cell("")
    low, high = min(held["values"].values()), max(held["values"].values())
    note = f"{number(low, 2)} to {number(high, 2)}" if len(held["values"]) > 1 else ""
    return Cell(number(held["ari"], 2), note, values={"": held["ari"], "low": low, "high": high})


def _tested(held: Mapping[str, Any] | None, what: str) -> Cell:
    """A figure under its null; shares in per cent."""
    if held is None:
        return Cell("")
    factor = 1 if what == "mean_spell" else 100
    observed, low, high = (factor * held[name] for name in ("observed", "low", "high"))
    word = "differs" if held["differs"] else "as the null"
    note = f"{number(low, 1)} to {number(high, 1)}\n{word}"
    values = {"": observed, "low": low, "high": high, "p": held["p"], "verdict": word}
    return Cell(number(observed, 1), note, "told" if held["differs"] else "", values=values)


def _correlation(held: Mapping[str, Any] | None) -> Cell:
    if held is None:
        return Cell("")
    word = "told" if held["told"] else ""
    values = {"": held["correlation"], "p": held["p"], "verdict": word or "not told"}
    return Cell(number(held["correlation"], 2), f"p {number(held['p'], 3)}", word, values=values)


def _kind(entry: Mapping[str, Any]) -> str:
    return "model" if entry["trained"] else "baseline"
