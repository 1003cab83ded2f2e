"""The benchmark's arithmetic, and that a small one runs through."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.layers import build
from tests.benchmarks import encoder_plot, encoders, layers, peak, plot
from tests.benchmarks.contestants import Setting, TextbookConvLSTM, convlstms, encoder, faconvlstm
from tests.benchmarks.timing import fastest, interleave, ratio
from tests.models.conftest import count, shipped_config

TINY = Setting(6, 5, 8, length=2, batch=1, in_channels=2)


def test_ratios_are_taken_round_by_round():
    """A machine that slows down in one round slows both."""
    assert ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == {"ratio": 2.0, "low": 2.0, "high": 2.0, "rounds": 3}
    assert ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == {"ratio": 2.0, "low": 1.0, "high": 3.0, "rounds": 3}


def test_the_first_round_is_not_counted():
    calls: list[str] = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_the_fastest_is_that_of_the_smallest_median():
    assert fastest({"a": [1.0, 9.0, 9.0], "b": [2.0, 2.0, 30.0]}) == "b"


def test_exponent_of_a_power():
    assert layers._exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_the_textbook_s_layer_is_a_convlstm():
    """With our ConvLSTM's weights, whose gates stand in the order i, f, g, o, it gives our hidden maps."""
    ours, theirs = build("convlstm", 2, 3), TextbookConvLSTM(2, 3)
    order = [*range(6), *range(9, 12), *range(6, 9)]
    with torch.no_grad():
        weight = torch.cat([ours.gates.from_input.weight, ours.gates.from_hidden.weight], dim=1)
        theirs.convolution.weight.copy_(weight[order])
        theirs.convolution.bias.copy_(ours.gates.bias[order])
    x = torch.randn(2, 4, 2, 5, 6)
    torch.testing.assert_close(theirs(x), ours(x)[0])


def test_multiply_adds_of_convlstm_are_those_that_torch_counts():
    contestant = convlstms(TINY)["textbook"]()
    with FlopCounterMode(display=False) as counter:
        contestant.forward()
    assert counter.get_total_flops() == 2 * layers.multiply_adds("convlstm", TINY)


def test_multiply_adds_of_faconvlstm_without_attention_are_those_that_torch_counts():
    contestant = faconvlstm(TINY, attention="none", squeeze_excitation=False)
    with FlopCounterMode(display=False) as counter:
        contestant.module(contestant.x.detach())
    inner, f, c = 4, 8, 2
    core = c * inner + f * inner + 27 * inner + 4 * inner * f
    assert counter.get_total_flops() == 2 * 2 * 30 * core


def test_a_figure_has_what_readers_rely_on():
    figure = layers._speed(TINY, "train_step")
    assert set(figure) >= {"ratio", "low", "high", "unit", "against", "rounds", "setting"}
    assert figure["low"] <= figure["ratio"] <= figure["high"]
    assert figure["against"] in figure["seconds"]
    assert plot.speedups({"faconvlstm.train_step.speedup": figure}).count("<rect") == 2


def test_time_that_grows_with_the_size_lies_on_the_diagonal():
    figure = {"setting": {"sizes": [3, 6, 12]}, "seconds": [0.1, 0.2, 0.4], "multiply_adds": [1.0, 4.0, 16.0]}
    drawn = plot.growth({"faconvlstm.growth.length": figure, "faconvlstm.forward.speedup": {}})
    times, counts = re.findall('<polyline points="([^"]*)"', drawn)
    (x0, y0), *points = [tuple(map(float, point.split(","))) for point in times.split()]
    assert all(x - x0 == pytest.approx(y0 - y, abs=0.2) for x, y in points)
    assert points[0][0] > x0
    assert float(counts.split()[2].split(",")[1]) < points[1][1]  # the count grew faster: it lies higher


@pytest.mark.skipif(not peak.available(), reason="this system does not tell the peak memory of a process")
def test_peak_memory_counts_what_a_step_holds():
    small, large = (
        peak.measure("textbook", Setting(40, 40, channels, batch=2, length=8)) for channels in (8, 64)
    )
    # Four gates of 64 channels at 8 steps of 2 x 1,600 pixels, 4 bytes each.
    assert large > 4 * 8 * 64 * 2 * 1600 * 4 > small


@pytest.mark.parametrize("name", ["minconvgru", "convgru", "simvpv2"])
def test_an_encoder_s_row(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(peak, "available", lambda: False)
    found = encoders.row(name, TINY, rounds=1)
    assert found["train_step_seconds"] > 0
    pixels = TINY.height * TINY.width * TINY.length * TINY.batch
    c, f = TINY.in_channels, TINY.hidden_channels
    expected = {"minconvgru": 9 * c * 2 * f, "convgru": 9 * (c + f) * 3 * f}
    assert found["multiply_adds"] == pixels * expected.get(name, found["multiply_adds"] / pixels)
    assert found["multiply_adds"] > 0


def test_encoders_are_measured_as_shipped():
    for name in ("vmrnn", "simvpv2"):
        options = shipped_config(name)["layer"] | ({"length": 2} if name == "simvpv2" else {})
        expected = count(build(name, TINY.in_channels, TINY.hidden_channels, **options))
        assert count(encoder(name, TINY).module) == expected


def test_what_would_take_too_long_or_too_much_is_skipped_and_told():
    small = {"encoder": "a", "length": 12, "grid": [10, 10], "parameters": 5, "multiply_adds": 10**9}
    small |= {"train_step_seconds": 1.0, "forward_seconds": 0.5, "megabytes": 100.0}
    twice, large = (TINY._replace(length=12, height=h, width=10) for h in (20, 1000))
    assert encoders.too_much([], "a", large, 1) is None  # nothing to go by
    assert encoders.too_much([small], "a", twice, 1) is None
    assert encoders.too_much([small], "a", large, 1) == "a training step would take about 100 s"
    heavy = {**small, "train_step_seconds": 0.01, "forward_seconds": 0.01}
    assert encoders.too_much([heavy], "a", large, 1) == "a training step would take about 10 GB"
    skipped = {
        "encoder": "a",
        "length": 12,
        "grid": [1000, 10],
        "skipped": "a training step would take about 100 s",
    }
    *_, last = encoders.table([small, skipped]).splitlines()
    assert last == "| a | 5 | 1 G / 0.5 s / 1 s / 100 MB | skipped, ~100 s |"


def test_sizes_go_from_the_smallest_to_the_largest():
    sizes = [encoders._size(setting) for setting in encoders.settings()]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 5


def test_figures_of_encoders_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(encoders, "speedup", lambda *given: asked.append(given[-1].length))
    assert [name for name, _ in encoders.figures(False, "minconvgru.train_step.speedup.t24")] == [
        "minconvgru.train_step.speedup.t24"
    ]
    assert asked == [24]
    assert [name for name, _ in encoders.figures(True)][-1] == "faminconv.train_step.speedup.t128"


def test_the_encoders_lines_are_drawn_where_they_belong():
    rows = [
        {"encoder": name, "length": length, "grid": [2, side], "train_step_seconds": length * side * factor}
        for name, factor in (("a<b", 0.1), ("c", 0.01))
        for length, side in ((12, 4), (48, 4), (12, 16))
    ]
    assert encoder_plot._lines(rows, "length", "train_step_seconds")["c"] == [(12, 0.48), (48, 1.92)]
    assert encoder_plot._lines(rows, "pixels", "train_step_seconds")["c"] == [(8, 0.48), (32, 1.92)]
    drawn = encoder_plot.draw(rows)
    assert drawn.count("<polyline") == 4  # no panel for memory, which was not measured
    assert "a&lt;b" in drawn
