"""An ablation in the report's style: index.html, ablation.json, table.csv, table.md, tables/ and figures/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation import ablation_plot, svg
from evaluation import ablation_tables as tables
from evaluation.cells import csv_text
from evaluation.pages import template
from evaluation.report import further
from evaluation.tables import PERIODS


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Writes everything into a folder, which must not hold it yet.

    Args:
        found: as evaluation/ablation.py gives it.
        folder: where to.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True)
    with svg.styled():
        picture = ablation_plot.forest(found)
    shown = tables.of_page(found)
    texts = {
        "ablation.json": json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "table.csv": tables.csv_text(found),
        "table.md": tables.markdown(found),
        "headline.txt": tables.terminal(found) + "\n",
        "figures/ablation.svg": picture.file(),
        **{f"tables/{table.key}.csv": csv_text(table) for table in shown},
    }
    texts["index.html"] = template("ablation.html.j2").render(
        found=found,
        answers=tables.answers(found),
        missing=tables.missing(found),
        tables=shown,
        picture=picture,
        periods=PERIODS,
        slug=svg.slug,
        provenance=further(found["provenance"]),
    )
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
