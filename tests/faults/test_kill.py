"""kill -9 at random moments of every stage; run again until it is done, it ends with the bytes of an undisturbed run.

Moments are drawn by a seed: half of them by the clock, half of them at one of the operations by which the stage
changes files, so that the few that put an artifact in its place are met too. FAULT_KILLS says how many a stage.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cds_server import KEY, FakeCds
from tests.data.cds.conftest import answer
from tests.faults.conftest import ROAD
from tests.faults.road import WORDS, Ended, Stages, content
from tests.pipeline.test_download_cds import FAST

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("FAULT_KILLS", "4"))
LAST = 6  # file operations at the end of a stage, among which every second kill at one is drawn


def moment(draw: random.Random, number: int, whole: Ended) -> dict[str, Any]:
    """When a stage is killed: by the clock, or at a file operation, often one of its last."""
    if number % 2 == 0:
        return {"after": draw.uniform(0, whole.seconds)}
    last = max(whole.operations - draw.randrange(LAST), 1)
    return {"kill_at": draw.choice([draw.randint(1, whole.operations), last])}


def disturb(
    run: Callable[..., Ended], begin: Callable[[], Path], whole: Ended, expected: dict[str, str], seed: str
) -> None:
    """Kills a stage again and again and has it go on; whenever it ends, all is as expected, and it begins anew.

    Args:
        run: the stage in a folder, with a moment.
        begin: makes the folder as it is before the stage.
        whole: how an undisturbed run ended.
        expected: the content that it left.
        seed: of the moments.
    """
    draw, folder, kills = random.Random(seed), begin(), 0
    for _ in range(10 * KILLS):
        if kills == KILLS:
            break
        ended = run(folder, **moment(draw, kills, whole))
        assert ended.status in (0, -signal.SIGKILL), ended.said
        if ended.status == 0:
            assert content(folder) == expected
            folder = begin()
        else:
            kills += 1
    ended = run(folder)
    assert ended.status == 0, ended.said
    assert content(folder) == expected
    assert kills == KILLS


@pytest.mark.parametrize("stage", ROAD)
def test_killed_anywhere_it_ends_as_an_undisturbed_run(
    stages: Stages, travelled: dict[str, tuple[Path, Ended]], before: Callable[[str], Path], stage: str
) -> None:
    folder, whole = travelled[stage]
    disturb(partial(stages.run, stage), lambda: before(stage), whole, content(folder), stage)


ABLATION = (
    *WORDS,
    "experiment=seasonal",
    "ablation.seeds=[0]",
    "ablation.measure=false",
    "trainer.max_epochs=1",
)


def test_an_ablation_killed_anywhere_ends_with_the_same_table(
    stages: Stages, travelled: dict[str, tuple[Path, Ended]], tmp_path: Path
) -> None:
    """It prepares, trains, embeds and scores, all of which goes on from where it was."""
    downloaded, _ = travelled["download"]
    places = (tmp_path / str(number) for number in itertools.count())

    def begin() -> Path:
        return shutil.copytree(downloaded, next(places))

    first = begin()
    whole = stages.run("ablation", first, ABLATION)
    assert whole.status == 0, whole.said
    disturb(
        lambda folder, **fate: stages.run("ablation", folder, ABLATION, **fate),
        begin, whole, content(first), "ablation",
    )  # fmt: skip


CDS = (
    *("dataset=azores2021", "dataset.name=small", "dataset.area=[39,-29,38.5,-28]"),
    *("dataset.variables=[t2m,sshf]", "dataset.start=2021-01-30", "dataset.end=2021-03-03", *FAST),
)


def test_a_download_killed_anywhere_ends_as_an_undisturbed_one(stages: Stages, tmp_path: Path) -> None:
    service = FakeCds(answer=answer).start()
    service.delay = 0.01
    places = (tmp_path / str(number) for number in itertools.count())
    env = {"CDSAPI_URL": service.url, "CDSAPI_KEY": KEY}

    def begin() -> Path:
        place = next(places)
        place.mkdir()
        return place

    def run(folder: Path, **fate: Any) -> Ended:
        return stages.run("download", folder, CDS, env=env, **fate)

    first = begin()
    whole = run(first)
    assert whole.status == 0, whole.said
    disturb(run, begin, whole, content(first), "cds")
    service.stop()
