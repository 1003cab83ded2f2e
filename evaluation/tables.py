"""The report's tables: which figure stands where, under which header and with which note.

Supports what metrics.json holds; a table of which nothing was computed is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.cells import Cell, Column, Row, Table, amount, difference, estimate
from evaluation.pictures import cluster_colours
from evaluation.units import number, percent

PERIODS = {"train": "Training period", "validation": "Validation period", "test": "Unseen period"}
INDICES = {
    "silhouette": "Silhouette",
    "davies_bouldin": "Davies-Bouldin",
    "calinski_harabasz": "Calinski-Harabasz",
}
DIGITS = {"silhouette": 3, "davies_bouldin": 2, "calinski_harabasz": 1, "ari": 3, "nmi": 3}
DIRECTION = {
    "silhouette": "higher is better",
    "davies_bouldin": "lower is better",
    "calinski_harabasz": "higher is better",
}
SPACES = {
    "data": (
        "Data space (authors' convention)",
        "Every grid cell of every variable scaled to 0–1 by its range in the training period; Silhouette with the "
        "cosine metric, the others Euclidean.",
    ),
    "weighted": (
        "Weighted anomalies",
        "Standardised anomalies times the square root of the cell's area, all Euclidean: no variable and no "
        "latitude counts more than its share.",
    ),
}
SHOWN_FIRST = "faconvlstm"  # whose differences the tables show; the rest: metrics.json


def periods(metrics: Mapping[str, Any]) -> list[str]:
    """The splits that the page compares: training and unseen; where nothing is unseen, validation."""
    held = metrics["dataset"]["splits"]
    return [name for name in ("train", "test" if "test" in held else "validation") if name in held]


def of_all(metrics: Mapping[str, Any]) -> list[Table | None]:
    """The tables that hold all models."""
    return [
        *(scores(metrics, space) for space in SPACES),
        embedding(metrics),
        explained_variance(metrics),
        agreement(metrics),
        costs(metrics),
    ]


def of_model(metrics: Mapping[str, Any], label: str, step: str) -> list[Table | None]:
    """The tables of one model; step is what a step of the record is called."""
    return [clusters(metrics, label, step), confusion(metrics["models"][label], label)]


def scores(metrics: Mapping[str, Any], space: str) -> Table:
    """The three indices by model in a common space, and what may be said of the differences."""
    title, note = SPACES[space]
    columns = _index_columns(metrics)
    paths = [(space, split, index) for split in periods(metrics) for index in INDICES]
    return Table(
        f"scores-{space}",
        title,
        note,
        columns,
        (*_score_rows(metrics, paths), *_difference_rows(metrics, paths)),
    )


def embedding(metrics: Mapping[str, Any]) -> Table:
    """The indices on each model's own embedding, with what shows whether they can be trusted."""
    paths = [("embedding", split, index) for split in periods(metrics) for index in INDICES]
    columns = (
        Column("Size", "Embedding", "numbers a day"),
        Column("Effective rank", "Embedding", "training period"),
        *_index_columns(metrics),
    )
    rows = []
    for row, entry in zip(_score_rows(metrics, paths), metrics["models"].values(), strict=True):
        rank = estimate(entry.get("effective_rank"), 1)
        if entry.get("collapsed"):
            rank = Cell(rank.text, "collapsed", "worse", values=rank.values)
        rows.append(Row(row.heading, (amount(entry["embedding_size"], 0), rank, *row.cells), row.kind))
    note = (
        "All Euclidean. Effective rank: the number of directions over which the embedding's variance is spread; "
        "under 2 it counts as collapsed."
    )
    return Table("scores-embedding", "Embedding space", note, columns, tuple(rows))


def explained_variance(metrics: Mapping[str, Any]) -> Table | None:
    """The share of the variance that each reconstruction holds, in all and by variable; None where there is none."""
    having = {label: entry for label, entry in metrics["models"].items() if "explained_variance" in entry}
    if not having:
        return None
    splits = [
        name for name in PERIODS if any(name in entry["explained_variance"] for entry in having.values())
    ]
    last = splits[-1]
    variables = [
        name
        for name in metrics["dataset"]["variables"]
        if any(
            last in entry.get("explained_variance_by_variable", {}).get(name, {}) for entry in having.values()
        )
    ]
    columns = [Column(PERIODS[name], "All variables, %") for name in splits]
    columns += [Column(name, f"{PERIODS[last]} by variable, %") for name in variables]
    rows = []
    for label, entry in having.items():
        shares = [entry["explained_variance"].get(name) for name in splits]
        by_variable = entry.get("explained_variance_by_variable", {})
        shares += [by_variable.get(name, {}).get(last) for name in variables]
        cells = tuple(estimate(share, 1, factor=100) for share in shares)
        rows.append(
            Row(
                Cell(entry["title"], f"{entry['embedding_size']} numbers a day"), cells, _kind(metrics, label)
            )
        )
    for pair, entry in _pairs(metrics).items():
        if shares := entry.get("explained_variance"):
            cells = tuple(difference(shares.get(name), 1, factor=100) for name in splits)
            rows.append(Row(_pair(metrics, pair), cells + (Cell(""),) * len(variables), "difference"))
    note = (
        "In per cent, area-weighted, in normalised units, relative to the training period's mean. EOFs are the "
        "best that any linear embedding of their size can do in the training period."
    )
    return Table("explained-variance", "Explained variance", note, tuple(columns), tuple(rows))


def agreement(metrics: Mapping[str, Any]) -> Table | None:
    """Adjusted Rand index and mutual information with known labels by model; None where there are none."""
    if "truth" not in metrics:
        return None
    splits = [name for name in periods(metrics) if metrics["truth"]["days"].get(name)]
    names = {"ari": "Adjusted Rand index", "nmi": "Mutual information"}
    days = metrics["truth"]["days"]
    columns = [
        Column(name, f"{PERIODS[split]}, {number(days[split], 0)} labelled days")
        for split in splits
        for name in names.values()
    ]
    paths = [("agreement", split, index) for split in splits for index in names]
    rows = [
        Row(Cell(entry["title"]), tuple(_at(entry, path) for path in paths), _kind(metrics, label))
        for label, entry in metrics["models"].items()
    ]
    known = {"agreement": metrics["truth"]["persistence"]}
    yesterday = Cell("Yesterday's known label", "persistence")
    rows.append(Row(yesterday, tuple(_at(known, path) for path in paths), "baseline"))
    note = (
        "1 is the same partition; the Rand index is 0 by chance, mutual information a little above. For "
        "comparison: how well yesterday's known label foretells today's."
    )
    return Table("agreement", "Agreement", note, tuple(columns), (*rows, *_difference_rows(metrics, paths)))


def confusion(entry: Mapping[str, Any], label: str) -> Table | None:
    """Days by known regime and cluster of one model, matched; None where there are no known labels."""
    if "confusion" not in entry:
        return None
    held = entry["confusion"]
    columns = tuple(Column(str(cluster), "Cluster") for cluster in held["clusters"])
    rows = []
    for place, (name, days) in enumerate(zip(held["classes"], held["days"], strict=True)):
        cells = tuple(amount(n, 0, tone="match" if place == column else "") for column, n in enumerate(days))
        rows.append(Row(Cell(name), cells))
    title = f"Known regimes and clusters of {entry['title']}"
    note = (
        f"Days of the {PERIODS[held['split']].lower()}, seed {entry['shown_seed']}. Each regime's matched "
        "cluster stands on "
        f"the diagonal, which holds {percent(held['matched_share'])} of the days."
    )
    return Table(f"{label}-confusion", title, note, columns, tuple(rows), "Known regime")


def clusters(metrics: Mapping[str, Any], label: str, step: str) -> Table:
    """The key to a model's clusters: colour, share of the days, mean length of stay in the given steps."""
    entry = metrics["models"][label]
    held, splits = entry["regimes"], periods(metrics)
    stable = entry.get("robustness", {}).get("jaccard", {})
    columns = (
        *(Column(PERIODS[name], "Share of days, %") for name in splits),
        Column("Mean spell", step.capitalize()),
        *((Column("Stability", "", "0 to 1"),) if stable else ()),
    )
    rows = []
    for place, colour in enumerate(cluster_colours(metrics["k"])):
        name = str(place + 1)
        shares = [amount(100 * held["frequency"][split][name], 1) for split in splits]
        cells = [*shares, amount(held["mean_spell_steps"].get(name), 1)]
        if stable:
            cells.append(amount(stable.get(name), 2))
        rows.append(Row(Cell(name, swatch=colour), tuple(cells)))
    note = (
        "Numbered from the most frequent in training. A share that differs much between the periods, or a spell of "
        "little more than one step, speaks against a regime."
    )
    if stable:
        note += (
            " Stability: the days that a cluster shares with its match in other partitions (seeds, without a year, "
            "halves) over those of either; from 0.75 on it is stable, under 0.5 it dissolves."
        )
    return Table(
        f"{label}-clusters",
        f"Clusters of {entry['title']}, seed {entry['shown_seed']}",
        note,
        columns,
        tuple(rows),
        "Cluster",
    )


def costs(metrics: Mapping[str, Any]) -> Table | None:
    """Size and speed by model; None where nothing is known."""
    names = {
        "parameters": "Parameters",
        "flops_per_window": "Operations per window",
        "train_step_seconds": "Training step, ms",
    }
    having = {label: entry for label, entry in metrics["models"].items() if set(names) & set(entry)}
    if not having:
        return None
    rows = []
    for label, entry in having.items():
        step = entry.get("train_step_seconds")
        cells = (
            *(amount(entry.get(name), 0) for name in ("parameters", "flops_per_window")),
            amount(None if step is None else 1000 * step, 1),
        )
        rows.append(Row(Cell(entry["title"]), cells, _kind(metrics, label)))
    note = (
        "Operations: floating-point operations of one forward pass over one window; step: one optimiser step, "
        "mean over the seeds, on the machine that trained."
    )
    columns = tuple(Column(name) for name in names.values())
    return Table("costs", "Size and speed", note, columns, tuple(rows))


def _index_columns(metrics: Mapping[str, Any]) -> tuple[Column, ...]:
    return tuple(
        Column(name, PERIODS[split], DIRECTION[index])
        for split in periods(metrics)
        for index, name in INDICES.items()
    )


def _score_rows(metrics: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> list[Row]:
    return [
        Row(Cell(entry["title"]), tuple(_at(entry["scores"], path) for path in paths), _kind(metrics, label))
        for label, entry in metrics["models"].items()
    ]


def _difference_rows(metrics: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> list[Row]:
    return [
        Row(
            _pair(metrics, pair),
            tuple(difference(find(entry, path), DIGITS[path[-1]]) for path in paths),
            "difference",
        )
        for pair, entry in _pairs(metrics).items()
        if any(find(entry, path) for path in paths)
    ]


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Cell:
    return estimate(find(tree, path), DIGITS[path[-1]])


def find(tree: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at a path of nested mappings; None where there is nothing."""
    held: Any = tree
    for name in path:
        held = held.get(name) if isinstance(held, Mapping) else None
    return held


def _pairs(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {p: entry for p, entry in metrics["comparison"].items() if p.split("_minus_")[0] == SHOWN_FIRST}


def _pair(metrics: Mapping[str, Any], pair: str) -> Cell:
    first, second = (metrics["models"][label]["title"] for label in pair.split("_minus_"))
    return Cell(f"{first} − {second}", "paired by seed")


def _kind(metrics: Mapping[str, Any], label: str) -> str:
    return "model" if metrics["models"][label]["trained"] else "baseline"
