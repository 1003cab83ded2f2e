"""Maps of composites: hatching where nothing is told, words for it, notes, and a small file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from evaluation import maps, svg
from evaluation.composites import composites
from evaluation.fields import Fields
from evaluation.pictures import Picture
from tests.evaluation.chance import chain, make_fields, red_noise

K = 3
ROWS, COLUMNS = 21, 24


@dataclass
class Model:
    """What the maps ask of a model."""

    labels: np.ndarray
    label: str = "faconvlstm"
    title: str = "FAConvLSTM"
    shown: int = 0
    seeds: tuple[int, ...] = (0,)


@pytest.fixture(scope="module")
def weather() -> tuple[Model, Fields]:
    """Clusters that leave a trace in the west of the domain only."""
    rng = np.random.default_rng(0)
    labels = chain(rng, 600, K, 0.8)
    x = red_noise(rng, (600, 1, ROWS, COLUMNS), 0.6)
    x[..., : COLUMNS // 2] += 2 * (labels - 1)[:, None, None, None]
    return Model(labels), make_fields(x, longitude=np.linspace(-20, 14.5, COLUMNS))


@pytest.fixture(scope="module")
def picture(weather: tuple[Model, Fields]) -> Picture:
    model, fields = weather
    tested = composites(model.labels, fields, K)
    with svg.styled():
        maker = maps.MapMaker(fields, tested.means)
        notes = ["stable", "", "dissolved"]
        return maps.composites(maker, model, tested.means, tested=tested, notes=notes)  # type: ignore[arg-type]


def test_labels_carry_share_and_note(picture: Picture, weather: tuple[Model, Fields]) -> None:
    labels = [panel.label for panel in picture.groups[0].panels]
    share = np.bincount(weather[0].labels) / 600
    assert labels[0] == f"1 · {100 * share[0]:.0f}% · stable"
    assert labels[1] == f"2 · {100 * share[1]:.0f}%"


def test_words_and_caption_say_what_is_told(picture: Picture) -> None:
    words = picture.groups[0].panels[0].drawing.alternative
    share = int(words.split("told from zero on ")[1].split("%")[0])
    assert 45 <= share <= 58
    assert "Hatched: not told from zero, by a block bootstrap (blocks of " in picture.caption
    assert "30° N to 60° N, 20° W to 14.5° E" in picture.caption


def test_maps_are_small_and_have_coast_and_hatching_once_each(picture: Picture) -> None:
    for panel in picture.groups[0].panels:
        assert panel.drawing.body.count("stroke: #333333") == 1
        assert panel.drawing.body.count("stroke: #000000; stroke-opacity: 0.6") == 1
        assert len(panel.drawing.body) < 25_000


def test_without_a_test_there_is_no_hatching(weather: tuple[Model, Fields]) -> None:
    model, fields = weather
    means = maps.composite_means(model, fields, K)  # type: ignore[arg-type]
    with svg.styled():
        plain = maps.composites(maps.MapMaker(fields, means), model, means)  # type: ignore[arg-type]
    assert "Hatched" not in plain.caption
    drawing = plain.groups[0].panels[0].drawing
    assert "stroke-opacity: 0.6" not in drawing.body
    assert "told" not in drawing.alternative


def test_composites_are_the_same_with_and_without_the_test(weather: tuple[Model, Fields]) -> None:
    model, fields = weather
    means = maps.composite_means(model, fields, K)  # type: ignore[arg-type]
    np.testing.assert_allclose(composites(model.labels, fields, K).means, means, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1)])
def test_points_and_lines_can_be_drawn(shape: tuple[int, int]) -> None:
    labels = chain(np.random.default_rng(1), 60, K, 0.8)
    fields = make_fields(np.random.default_rng(2).normal(size=(60, 1, *shape)))
    tested = composites(labels, fields, K)
    with svg.styled():
        maker = maps.MapMaker(fields, tested.means)
        drawn = maps.composites(maker, Model(labels), tested.means, tested=tested)  # type: ignore[arg-type]
    assert all(panel.drawing.body for panel in drawn.groups[0].panels)
