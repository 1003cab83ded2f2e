"""The one direction of flow: data, models and evaluation know neither each other nor the pipeline."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data", "models", "evaluation", "pipeline")
FORBIDDEN = {
    "data": {"models", "evaluation", "pipeline", "tests"},
    "models": {"data", "evaluation", "pipeline", "tests", "xarray", "zarr", "pandas", "hydra", "omegaconf"},
    "evaluation": {"data", "models", "pipeline", "tests", "torch", "lightning", "hydra", "omegaconf"},
    "pipeline": {"tests"},
}
FILES = [(room, path) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(("room", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])
def test_a_room_imports_only_what_it_may(room: str, path: Path) -> None:
    assert imported(path) & FORBIDDEN[room] == set()


def test_lightning_is_in_one_file_of_models() -> None:
    users = [path.name for room, path in FILES if room == "models" and "lightning" in imported(path)]
    assert users == ["training.py"]


def test_the_check_sees_what_is_forbidden(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text("def f():\n    from pipeline.train import train\n", encoding="utf-8")
    assert imported(sample) == {"pipeline"}
