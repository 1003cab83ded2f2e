"""Trackers beside the CSV file: Weights & Biases or TensorBoard, of which nothing is imported unless asked for.

A run is tracked under its folder's name, so that training that goes on, and stages that come later, add to the same
run; runs that differ in the seed alone make a group. Offline, everything lies in the run's folder (`wandb sync` takes
it from there) and no account is needed. Sent are settings, figures, pictures, checkpoint and embeddings; nothing of
the machine: no environment, host, program, repository or console.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from pipeline import processes
from pipeline.config import plain
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

SCORE = ("space", "period", "index", "value")  # columns of their table


def is_wandb(cfg: DictConfig) -> bool:
    """Whether Weights & Biases is asked for."""
    return bool(cfg.logger.name == "wandb")


def logger(cfg: DictConfig, folder: Path) -> Logger | bool:
    """What Lightning logs to while it trains; False where the CSV file is all.

    Raises:
        PipelineError: if Weights & Biases refuses.
    """
    if cfg.logger.name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="", version="tensorboard")
    if not is_wandb(cfg):
        return False
    from lightning.pytorch.loggers import WandbLogger

    found = WandbLogger(**_arguments(cfg, folder), save_dir=folder, config=plain(cfg))
    if processes.is_first():
        with _told(cfg):
            found.experiment.define_metric("*", step_metric="trainer/global_step")
    return found


def _arguments(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """By which a run is begun or gone on with."""
    import wandb

    return {
        "project": cfg.logger.project,
        "name": folder.name,
        "id": folder.name,
        "group": f"{cfg.dataset.name}/{folder.name.rpartition('-seed')[0]}",
        "resume": "allow",
        "mode": cfg.logger.mode,
        "settings": wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    }


@contextmanager
def _told(cfg: DictConfig) -> Iterator[None]:
    """Says in a sentence that Weights & Biases refused, or would: without a key it tries for minutes."""
    import wandb
    from wandb.errors import Error

    try:
        if cfg.logger.mode == "online" and not wandb.login(prompt=False):
            raise PipelineError(_refusal("there is no key"))
        yield
    except Error as error:
        raise PipelineError(
            _refusal((str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."))
        ) from error


def _refusal(reason: str) -> str:
    return (
        f"Weights & Biases refuses ({reason}): run `wandb login` once, or set logger.mode=offline, which needs no "
        "account."
    )


@contextmanager
def going_on(cfg: DictConfig, folder: Path) -> Iterator[Any]:
    """The tracked run of a folder, for a stage after training; None where runs are not tracked by Weights & Biases.

    Raises:
        PipelineError: if Weights & Biases refuses.
    """
    if not is_wandb(cfg):
        yield None
        return
    import wandb

    with _told(cfg):
        run = wandb.init(**_arguments(cfg, folder), dir=folder, config=None)
    with run:
        yield run


@contextmanager
def ended(cfg: DictConfig) -> Iterator[None]:
    """Ends what training tracks when it ends, however, so that the next of a multirun begins a run of its own."""
    try:
        yield
    finally:
        if is_wandb(cfg):
            import wandb

            wandb.finish()


def keep(run: Any, path: Path, kind: str) -> None:
    """Adds a file or a folder to a tracked run as an artifact, by reference to where it lies until it is sent."""
    import wandb

    artifact = wandb.Artifact(f"{run.id}-{path.stem}", type=kind)
    if path.is_dir():
        artifact.add_dir(str(path), policy="immutable", skip_cache=True)
    else:
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def callbacks(cfg: DictConfig, checkpoints: Path) -> list[Callback]:
    """What tracks training beyond the losses, which Lightning logs by itself."""
    if cfg.logger.name == "csv":
        return []
    from pipeline.tracker import Tracker

    return [Tracker(checkpoints / "best.ckpt" if is_wandb(cfg) else None)]


def track_embeddings(cfg: DictConfig, folder: Path, prepared_path: Path) -> None:
    """Adds the embeddings, their explained variance and the reconstructed days to the run."""
    with going_on(cfg, folder) as run:
        if run is None:
            return
        import wandb

        from data import store

        path = folder / "embeddings.zarr"
        held = store.open_store(path)
        explained = json.loads(held.attrs["explained_variance"])
        run.summary.update({f"explained_variance/{period}": value for period, value in explained.items()})
        days, names = held["example_time"].values, [str(name) for name in held["variable"].values]
        truth = store.open_store(prepared_path)["x"].sel(time=days).values
        for day, true, given in zip(days, truth, held["reconstruction"].values, strict=True):
            rows = {"record": true, "reconstruction": given, "difference": given - true}
            image = wandb.Image(picture(rows, names), caption=str(day)[:10])
            run.log({f"reconstructions/{str(day)[:10]}": image})
        keep(run, path, "embeddings")


def track_report(
    cfg: DictConfig,
    folder: Path,
    seed: int,
    model: Mapping[str, Any],
    composites: np.ndarray | None,
    variables: Sequence[str],
) -> None:
    """Adds a report's scores, and where they are drawn the composites of its clusters, to the run.

    Args:
        cfg: all settings.
        folder: of the run.
        seed: of the run.
        model: what metrics.json says of its model.
        composites: (cluster, variable, latitude, longitude) in physical units, or None.
        variables: their names.
    """
    with going_on(cfg, folder) as run:
        if run is None:
            return
        import wandb

        run.log({"scores": wandb.Table(columns=list(SCORE), data=score_rows(model, seed))})
        if composites is not None:
            clusters = {f"cluster {number}": held for number, held in enumerate(composites, 1)}
            run.log({"composites": wandb.Image(picture(clusters, variables))})


def score_rows(model: Mapping[str, Any], seed: int) -> list[list[Any]]:
    """Space, period, index and value of every score of one seed of a model."""
    return [
        [space, period, index, found["values"][found.get("seeds", model["seeds"]).index(seed)]]
        for space, periods in model["scores"].items()
        for period, indices in periods.items()
        for index, found in indices.items()
        if seed in found.get("seeds", model["seeds"])
    ]


def picture(rows: Mapping[str, np.ndarray], columns: Sequence[str]) -> np.ndarray:
    """Maps in a grid, as an RGB image (height, width, 3) uint8; a column has one scale, about zero.

    Args:
        rows: by their names, (column, latitude, longitude), NaN where there is nothing.
        columns: their names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(columns), 1.7 * len(rows)), dpi=100, layout="compressed")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for number, column in enumerate(columns):
        held = np.stack([maps[number] for maps in rows.values()])
        most = float(np.nanmax(np.abs(held), initial=0)) or 1.0
        for axis, name, values in zip(axes[:, number], rows, held, strict=True):
            axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most)
            axis.set(xticks=[], yticks=[], ylabel=name if number == 0 else "")
        axes[0, number].set_title(f"{column} (±{most:.3g})", fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
