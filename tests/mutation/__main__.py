"""Runs the tests of a module against its mutants: python -m tests.mutation [data evaluation models] [--sample 40].

A process is forked for each mutant, after the libraries are loaded and before the project is, and takes the mutated
source for the module. So a mutant costs the time of the module's own tests up to the first that fails. Processor time
is bounded, not time on the clock. Exits with 1 where a group has fewer caught than wanted. Needs fork (Linux, macOS).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
WANTED = 0.8  # caught
OPTIONS = (
    "-x", "-q", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # of libraries with plugins, which are loaded before
)  # fmt: skip
LIBRARIES = (
    "numpy", "pandas", "scipy.stats", "xarray", "dask.array", "netCDF4", "sklearn.cluster", "sklearn.metrics",
    "sklearn.decomposition", "torch", "matplotlib.figure", "jinja2", "jsonschema", "pytest",
)  # fmt: skip
TESTS = {
    "data": {
        "data.climatology": ("tests/data/test_climatology.py",),
        "data.normalise": ("tests/data/test_normalise.py",),
        "data.moments": ("tests/data/test_moments.py",),
        "data.grid": ("tests/data/test_grid.py",),
        "data.seasonal": ("tests/data/test_seasonal.py",),
    },
    "evaluation": {
        "evaluation.bootstrap": ("tests/evaluation/test_bootstrap.py",),
        "evaluation.validity": ("tests/evaluation/test_validity.py",),
        "evaluation.significance": ("tests/evaluation/test_significance.py",),
        "evaluation.autocorrelation": ("tests/evaluation/test_bootstrap.py",),
        "evaluation.agreement": ("tests/evaluation/test_agreement.py",),
        "evaluation.silhouette": ("tests/evaluation/test_silhouette.py",),
    },
    "models": {"models.losses": ("tests/models/test_losses.py",)},
}


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.tree = name, tree

    def find_spec(self, fullname: str, *_: object) -> object:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(source_of(fullname)))

    def create_module(self, _: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(source_of(self.name))
        exec(compile(self.tree, module.__file__, "exec"), module.__dict__)


def source_of(name: str) -> Path:
    return ROOT / f"{name.replace('.', '/')}.py"


def caught(name: str, tests: tuple[str, ...], tree: ast.Module, limit: float) -> bool:
    """Whether a test fails with this source, or processor time runs out."""
    child = os.fork()
    if child == 0:
        _test(name, tests, tree, limit)
    _, status = os.waitpid(child, 0)
    return not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0)


def _test(name: str, tests: tuple[str, ...], tree: ast.Module, limit: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.meta_path.insert(0, Changed(name, tree))
    code = 3
    try:
        import pytest

        code = int(pytest.main([*tests, *OPTIONS]))
    finally:
        os._exit(code)


def sampled(found: list[Mutant], number: int, name: str) -> list[Mutant]:
    """So many of the mutants, the same ones each time; all where there are not more."""
    chosen = random.Random(name).sample(found, min(number, len(found))) if number else found
    return sorted(chosen, key=lambda mutant: mutant.line)


def survivors(name: str, tests: tuple[str, ...], number: int) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant of a module with whether it is caught.

    Raises:
        SystemExit: where the tests fail without any change.
    """
    text = source_of(name).read_text(encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if caught(name, tests, ast.parse(text), 600):
        raise SystemExit(f"the tests of {name} fail as they are, or it has none: {', '.join(tests)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    limit = 4 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) + 5
    for mutant in sampled(mutants(text), number, name):
        yield mutant, caught(name, tests, mutant.tree, limit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "groups", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)}, or single modules"
    )
    parser.add_argument("--sample", type=int, default=0, help="mutants a module; 0: all")
    asked = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    few = False
    for group in asked.groups:
        modules = TESTS.get(group) or {group: TESTS[group.split(".")[0]][group]}
        totals = [0, 0]
        for name, tests in modules.items():
            began, counts = time.monotonic(), [0, 0]
            for mutant, was_caught in survivors(name, tests, asked.sample):
                counts = [counts[0] + was_caught, counts[1] + 1]
                if not was_caught:
                    say(f"  survived: {source_of(name).relative_to(ROOT)}:{mutant.line}: {mutant.what}")
            totals = [a + b for a, b in zip(totals, counts, strict=True)]
            say(
                json.dumps(
                    {
                        "module": name,
                        "caught": counts[0],
                        "mutants": counts[1],
                        "seconds": round(time.monotonic() - began),
                    }
                )
            )
        say(f"{group}: {totals[0]} of {totals[1]} caught, {100 * totals[0] / max(totals[1], 1):.0f} %")
        few |= totals[0] < WANTED * totals[1]
    return int(few)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
