"""What the source must not do: load pickles, run text as code, or start a shell; ruff's S rules watch the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "data", "models", "evaluation")
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "torch.package.PackageImporter",
}  # fmt: skip
REQUIRED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "trainer.fit": ("weights_only", True),
}


def sources() -> Iterator[Path]:
    yield ROOT / "hubconf.py"
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def faults(text: str) -> list[str]:
    """What a piece of source does that it must not, by line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            found += [f"{node.lineno}: imports {n}" for n in names if n.split(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in call_faults(node)]
    return found


def call_faults(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    if name in FORBIDDEN_CALLS:
        yield f"calls {name}"
    if name in REQUIRED:
        word, wanted = REQUIRED[name]
        value = given.get(word)
        if not (isinstance(value, ast.Constant) and value.value is wanted):
            yield f"calls {name} without {word}={wanted}"
    for word in ("allow_pickle", "shell"):
        value = given.get(word)
        if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
            yield f"calls {name} with {word}"


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_loads_a_pickle_or_runs_text(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.externals",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=mode)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "trainer.fit(module, ckpt_path=last)",
        "subprocess.run(text, shell=True)",
        "eval(text)",
        "pd.read_pickle(path)",
    ],
)
def test_such_a_line_would_be_found(text: str) -> None:
    assert len(faults(text)) >= 1


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    import torch

    from data.errors import DamagedError
    from pipeline.resuming import resume_point

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    torch.save({"epoch": Evil(), "global_step": 0}, tmp_path / "last.ckpt")
    with pytest.raises(DamagedError, match=r"last\.ckpt is damaged \(UnpicklingError\)"):
        resume_point(tmp_path, [1, 1])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wanted", ["../outside/run", "/etc/passwd", "..", ".", "demo/../outside/run/..", "*", "demo/*"]
)
def test_a_run_is_one_of_those_that_are_there(tmp_path: Path, wanted: str) -> None:
    from pipeline.assign import find_run
    from pipeline.errors import PipelineError

    for folder in ("runs/demo/run", "outside/deep/run"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "checkpoints.manifest.json").write_text("{}", encoding="utf-8")
    assert find_run(tmp_path / "runs", "demo", "run") == tmp_path / "runs/demo/run"
    with pytest.raises(PipelineError, match="there is no finished run"):
        find_run(tmp_path / "runs", "demo", wanted)
