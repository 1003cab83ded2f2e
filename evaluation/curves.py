"""Training curves: the loss by epoch of every seed, the models side by side on the same axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from evaluation import svg
from evaluation.pictures import CHART, OKABE_ITO, Group, Panel, Picture
from evaluation.results import ModelResult
from evaluation.svg import FAINT, Drawing

TRAIN_COLOUR, VALIDATION_COLOUR = OKABE_ITO[4], OKABE_ITO[5]


def training_curves(models: Sequence[ModelResult]) -> Picture:
    """Loss by epoch of every seed, the models side by side on the same axes."""
    having = [model for model in models if any(run.curve is not None for run in model.runs)]
    ends = _loss_range(having)
    panels = tuple(Panel(_curves(model, ends), model.title) for model in having)
    caption = (
        "Loss by epoch, one line a seed; the axes are the same for all models. A validation loss that "
        "rises while the "
        "training loss falls would be over-fitting."
    )
    return Picture("training-curves", "Training curves", caption, (Group(panels),), min(len(panels), 3))


def _curves(model: ModelResult, ends: tuple[float, float]) -> Drawing:
    fig = svg.figure(CHART[0], 230)
    axes = fig.add_axes((0.14, 0.17, 0.84, 0.78))
    for run in model.runs:
        if run.curve is not None:
            for column, colour in (("train_loss", TRAIN_COLOUR), ("validation_loss", VALIDATION_COLOUR)):
                if column in run.curve:
                    axes.plot(run.curve["epoch"], run.curve[column], color=colour, linewidth=1.2, alpha=0.85)
    for y, word, colour in ((0.92, "training", TRAIN_COLOUR), (0.82, "validation", VALIDATION_COLOUR)):
        axes.text(0.98, y, word, transform=axes.transAxes, ha="right", color=colour, weight="bold")
    axes.set_ylim(*ends)
    if ends[1] > 5 * ends[0] > 0:
        _logarithmic(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.grid(True, axis="y", color=FAINT)
    return svg.draw(fig, _curve_words(model), f"{model.label}-tc")


def _logarithmic(axes: Axes) -> None:
    """A logarithmic loss with plain numbers beside it."""
    low, high = axes.get_ylim()
    axes.set_yscale("log")
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)))
    ticks = [tick for tick in np.outer(powers, (1, 2, 5)).ravel() if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _curve_words(model: ModelResult) -> str:
    columns = [run.curve.get("validation_loss") for run in model.runs if run.curve is not None]
    last = [float(column.min()) for column in columns if column is not None and column.notna().any()]
    best = f"least validation loss from {min(last):.3g} to {max(last):.3g}" if last else "no validation loss"
    return f"Training curves of {model.title}, {len(model.runs)} seeds, {best}"


def _loss_range(models: Sequence[ModelResult]) -> tuple[float, float]:
    columns = [
        run.curve.filter(["train_loss", "validation_loss"]).to_numpy().ravel()
        for model in models
        for run in model.runs
        if run.curve is not None
    ]
    losses = np.concatenate([*columns, np.zeros(0)])
    losses = losses[np.isfinite(losses)]
    if len(losses) == 0:
        return 0.0, 1.0
    return float(losses.min()) * 0.95, float(losses.max()) * 1.05
