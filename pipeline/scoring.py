"""What a process of pipeline/surrogates.py does, or a worker of a cluster: makes a surrogate, encodes and scores it.

The training period alone is used: k-means is fitted there. Windows are laid side by side, without overlap, for the
record and the surrogates alike, which costs a fraction of embedding every day from all windows that cover it. Torch,
which takes seconds to import, is imported where a trained encoder is built.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from omegaconf import DictConfig
from threadpoolctl import threadpool_limits

from data import split, store, windows
from evaluation import nulls, surrogates
from evaluation.baselines import fit_eof
from evaluation.fields import minmax_features
from evaluation.regimes import segments
from pipeline import parent

if TYPE_CHECKING:
    from pipeline.surrogates import Contestant

Encode = Callable[[np.ndarray], np.ndarray]  # (time, variable, latitude, longitude) -> (time, feature)


@dataclass(frozen=True, eq=False)
class Bench:
    """All that scoring takes.

    Attributes:
        prepared: the training period of the prepared store, in memory.
        mask: (variable, latitude, longitude) bool, where the data exist.
        root: (cell,) square root of the cell areas, by which the fields are weighted.
        components: of the record's weighted fields.
        encoders: by label, the steps (time,) bool that it covers, and the encoder, which gives those alone.
        options: ks, seed and memory of the scores.
    """

    prepared: xr.Dataset
    mask: np.ndarray
    root: np.ndarray
    components: surrogates.Components
    encoders: dict[str, tuple[np.ndarray, Encode]]
    options: dict[str, Any]


_process: dict[str, Any] = {}  # what bench takes, and the bench itself, in a process that scores
_building = threading.Lock()  # a worker of a cluster may have several threads


def begin(*options: Any) -> None:
    """Prepares a process of the pool: one thread, and an end when the process that started it ends."""
    _process["options"] = options
    parent.serve()
    threadpool_limits(1)
    _one_torch_thread(options)


def _one_torch_thread(options: tuple[Any, ...]) -> None:
    """Set where the work is done: every thread has a number of its own."""
    _, contestants, *_ = options
    if any(one.cfg is not None for one in contestants):
        import torch

        torch.set_num_threads(1)


def work(task: tuple[str, int], labels: list[str]) -> dict[str, Any]:
    """A task of the pool; what it takes is built at the first one, whose errors reach the parent."""
    if "bench" not in _process:
        _process["bench"] = bench(*_process["options"])
    return score(_process["bench"], task, labels)


def work_on_cluster(
    token: str, options: tuple[Any, ...], task: tuple[str, int], labels: list[str]
) -> dict[str, Any]:
    """A task on a worker of a cluster, which keeps the bench for the tasks of the same token, and no other."""
    _one_torch_thread(options)
    with threadpool_limits(1):
        with _building:
            if _process.get("token") != token:
                _process.update(token=token, bench=bench(*options))
            held = _process["bench"]
        return score(held, task, labels)


def score(held: Bench, task: tuple[str, int], labels: list[str]) -> dict[str, Any]:
    """The scores of a record, by label; the real one comes with what is to be told about the comparison."""
    kind, number = task
    x = (
        held.prepared["x"].values
        if kind == "record"
        else fields(held, surrogates.surrogate(held.components, kind, number, seed=held.options["seed"]))
    )
    data = minmax_features(x[:, held.mask], np.ones(len(x), dtype=bool))
    found: dict[str, Any] = {}
    for days, group in _by_days(held, labels):
        embeddings = {label: held.encoders[label][1](x) for label in group}
        for label, scores in nulls.score(embeddings, data[days], **held.options).items():
            found[label] = {"scores": scores} | ({"about": _about(held, days)} if kind == "record" else {})
    return found


def bench(prepared: Path, contestants: list[Contestant], ks: list[int], seed: int, memory: int) -> Bench:
    """Loads the training period and builds the encoders."""
    record = store.open_store(prepared)
    record = record.isel(time=np.flatnonzero(record["split"].values == split.TRAIN)).load()
    mask = record["mask"].values.astype(bool)
    area = np.broadcast_to(record["area_weight"].values[:, None], mask.shape)
    root = np.sqrt(area[mask]).astype(np.float32)
    weighted = record["x"].values[:, mask] * root
    times = record["time"].values
    removed = record.attrs.get("seasonal_cycle") == "removed"
    amplitude = surrogates.seasonal_amplitude(weighted, times) if removed else None
    components = surrogates.decompose(weighted, segments(times, record["split"].values), amplitude)
    encoders = {
        one.label: _eof_encoder(weighted, mask, root, one.size)
        if one.cfg is None
        else _trained_encoder(record, one.cfg, one.checkpoint)
        for one in contestants
    }
    return Bench(record, mask, root, components, encoders, {"ks": ks, "seed": seed, "memory": memory})


def fields(held: Bench, weighted: np.ndarray) -> np.ndarray:
    """(time, variable, latitude, longitude) float32 normalised out of weighted (time, cell); 0 where masked."""
    x = np.zeros((len(weighted), *held.mask.shape), dtype=np.float32)
    x[:, held.mask] = weighted / held.root
    return x


def _by_days(held: Bench, labels: list[str]) -> Iterator[tuple[np.ndarray, list[str]]]:
    """The encoders that cover the same days, together: distances in data space are gone through once."""
    groups: dict[bytes, list[str]] = {}
    for label in labels:
        groups.setdefault(held.encoders[label][0].tobytes(), []).append(label)
    return ((held.encoders[group[0]][0], group) for group in groups.values())


def _about(held: Bench, days: np.ndarray) -> dict[str, Any]:
    components = held.components
    return {
        "days": int(days.sum()),
        "components": len(components.patterns),
        "variance_kept": round(components.variance_kept, 6),
    }


def _eof_encoder(
    weighted: np.ndarray, mask: np.ndarray, root: np.ndarray, size: int
) -> tuple[np.ndarray, Encode]:
    eof = fit_eof(weighted, size)
    return np.ones(len(weighted), dtype=bool), lambda x: eof.scores(x[:, mask] * root)


def _trained_encoder(
    record: xr.Dataset, cfg: DictConfig, checkpoint: Path | None
) -> tuple[np.ndarray, Encode]:
    """The frozen network of a run over windows side by side; a day of two windows is their mean."""
    import torch

    from pipeline import encoding, fitting

    fitting.quieten()
    model = encoding.load_model(cfg, record, checkpoint)
    length, size = cfg.window.length, cfg.model.embedding_size
    starts = windows.starts(
        record.indexes["time"], record["split"].values, period=split.TRAIN, length=length, stride=length
    )
    steps = starts[:, None] + np.arange(length)
    count = np.bincount(steps.ravel(), minlength=record.sizes["time"])
    season = torch.from_numpy(record["season"].values)
    at_once = encoding.windows_at_once(model, length, cfg.trainer.batch_size)

    @torch.inference_mode()
    def encode(x: np.ndarray) -> np.ndarray:
        total = np.zeros((len(x), size))
        for part in range(0, len(steps), at_once):
            chosen = steps[part : part + at_once]
            vectors = model.embed(torch.from_numpy(x[chosen]), season[chosen])
            np.add.at(total, chosen, vectors.double().numpy())
        return (total[count > 0] / count[count > 0, None]).astype(np.float32)

    return count > 0, encode
