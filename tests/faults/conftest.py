"""A road that is travelled once, and copies of it to be disturbed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.road import Ended, Stages

ROAD = ("download", "prepare", "train", "embed", "cluster_report")


@pytest.fixture(scope="session")
def stages() -> Iterator[Stages]:
    """Runs stages."""
    found = Stages()
    yield found
    found.close()


class Travelled(dict[str, tuple[Path, Ended]]):
    """For each stage, the folder as the undisturbed stage left it, and how it ended; made when it is asked for.

    Args:
        stages: runs them.
        place: makes a folder.
    """

    def __init__(self, stages: Stages, place: Callable[[str], Path]) -> None:
        super().__init__()
        self.stages, self.place = stages, place

    def __missing__(self, stage: str) -> tuple[Path, Ended]:
        folder, number = self.place(stage), ROAD.index(stage)
        if number:
            shutil.copytree(self[ROAD[number - 1]][0], folder, dirs_exist_ok=True)
        ended = self.stages.run(stage, folder)
        assert ended.status == 0, ended.said
        self[stage] = folder, ended
        return self[stage]


@pytest.fixture(scope="session")
def travelled(stages: Stages, tmp_path_factory: pytest.TempPathFactory) -> Travelled:
    """The road, as far as tests ask for it."""
    return Travelled(stages, tmp_path_factory.mktemp)


@pytest.fixture
def before(travelled: Travelled, tmp_path: Path) -> Callable[[str], Path]:
    """`before("train")`: a folder in which all that train needs has been made."""

    def copy(stage: str) -> Path:
        place = ROAD.index(stage)
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if place:
            shutil.copytree(travelled[ROAD[place - 1]][0], tmp_path, dirs_exist_ok=True)
        return tmp_path

    return copy


@pytest.fixture
def after(travelled: Travelled, tmp_path: Path) -> Path:
    """A folder in which everything has been made."""
    shutil.copytree(travelled[ROAD[-1]][0], tmp_path, dirs_exist_ok=True)
    return tmp_path
