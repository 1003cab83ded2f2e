"""The settings' types and ranges, registered with Hydra; their values stand in conf/, one YAML a choice.

A key that no schema has, a value of the wrong type or out of range is refused before any work starts.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pandas as pd
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from data.options import Options
from models import ranges
from models.config import MODEL_CONFIGS
from pipeline.errors import PipelineError

FOLDER_NAME = {
    "pattern": r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "words": "names a folder and may hold letters, digits, '.', '_' and '-' only, 100 at the most",
}
DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}){0,2})?)?)?|\d{8}")
YEARS = (1678, 2261)  # whole years that nanoseconds since 1970 reach

within = partial(ranges.within, default=MISSING)
one_of = partial(ranges.one_of, default=MISSING)


def folder_name() -> Any:
    """A name that becomes a folder and must not lead out of its parent."""
    return field(default=MISSING, metadata=FOLDER_NAME)


def text(words: str, pattern: str = r".*\S.*", default: str | None = MISSING) -> Any:
    """A text of a form, and what to say of one of another form."""
    return field(default=default, metadata={"pattern": pattern, "words": words})


def folder() -> Any:
    """A folder of this machine, or of a disk that it shares."""
    return text(
        "must be a folder, since runs are locked, appended to and renamed, which an object store cannot do; "
        "paths.store alone takes an address",
        r"(?!.*://).*\S.*",
    )


def date() -> Any:
    """An ISO date, or null."""
    return field(default=None, metadata={"date": True})


@dataclass
class SplitConfig:
    """Training, validation and test periods, in this order in time."""

    validation: float = within(0.01, 0.9)
    test: float = within(0.01, 0.9)
    validation_start: str | None = date()
    test_start: str | None = date()
    gap: int = within(0, 10**9)


@dataclass
class DatasetConfig:
    """What every dataset has; see conf/dataset/base.yaml."""

    name: str = folder_name()
    source: str = MISSING
    start: str | None = date()
    end: str | None = date()
    variables: list[str] | None = None
    deseasonalise: bool = MISSING
    harmonics: int = within(0, 20)
    climatology: str = one_of("harmonics", "daily_mean")
    smoothing_days: int = within(1, 365)
    detrend: bool = MISSING
    standardise: str = one_of("variable", "cell")
    reference_start: str | None = date()
    reference_end: str | None = date()
    fields: list[str] | None = None
    region: list[float] | None = ranges.each(ranges.within(-360, 720), default=None)
    coarsen: int = within(1, 10**4)
    frequency: str = one_of("native", "daily")
    running_mean_days: int = within(1, 365)
    season: Any = None
    labels: str | None = text("must be a CSV file", default=None)
    label_column: str | None = None
    indices: Any = None
    patterns: Any = None
    point: list[float] | None = ranges.each(ranges.within(-360, 720), count=2, default=None)
    split: SplitConfig = field(default_factory=SplitConfig)


@dataclass
class SyntheticDataset(DatasetConfig):
    """Planted regimes; see conf/dataset/demo.yaml."""

    source: str = one_of("synthetic")
    seed: int = within(0, 2**32 - 1)


@dataclass
class FilesDataset(DatasetConfig):
    """The user's own files; see conf/dataset/files.yaml."""

    source: str = one_of("files")
    path: str = text("must be a file, a folder or a glob")
    levels: Any = None  # a mapping; typed, the null that stands for none could not be replaced by one
    number: int | None = ranges.within(0, 10**6, default=None)
    allow_missing: bool = MISSING


@dataclass
class TransferConfig:
    """How patiently the Climate Data Store is asked; see conf/dataset/era5.yaml."""

    poll_seconds: float = within(0.01, 3600)
    cool_off_seconds: float = within(0.01, 86400)
    retry_seconds: float = within(0.001, 3600)
    retry_max_seconds: float = within(0.001, 86400)
    tries: int = within(1, 1000)
    timeout_seconds: float = within(0.1, 3600)
    deadline_hours: float = within(1e-4, 10000)
    checksum: bool = MISSING


@dataclass
class Era5Dataset(DatasetConfig):
    """ERA5 from the Climate Data Store or a public Zarr store; see conf/dataset/era5.yaml."""

    source: str = one_of("cds", "cloud")
    area: list[float] = ranges.each(ranges.within(-360, 720), default=MISSING)
    product: str = one_of("hourly", "daily_statistics")
    step_hours: int = within(1, 6)
    data_format: str = one_of("netcdf", "grib")
    grid: list[float] | None = ranges.each(ranges.within(0.01, 10), count=2, default=None)
    allow_missing: bool = MISSING
    store: str = text("must be the name or the address of a Zarr store")
    in_flight: int = within(1, 20)
    transfer: TransferConfig = field(default_factory=TransferConfig)


@dataclass
class WindowConfig:
    """Windows of consecutive steps; see conf/window/daily.yaml."""

    length: int = within(1, 10**6)
    stride: int = within(1, 10**6)


@dataclass
class TrainerConfig:
    """Optimisation and hardware; see conf/trainer/default.yaml."""

    max_epochs: int = within(1, 10**6)
    batch_size: int = within(1, 10**6)
    learning_rate: float = within(1e-8, 10)
    weight_decay: float = within(0, 10)
    gradient_clip: float = within(0, 1e6)
    patience: int = within(1, 10**6)
    precision: str = one_of("32", "64", "bf16-mixed", "16-mixed")
    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps")
    devices: int = within(1, 1024)
    checkpoint_minutes: float = within(0, 10**5)
    num_nodes: int = within(1, 10**5)
    accumulate: int = within(1, 10**6)
    compile: bool = MISSING


@dataclass
class ClusterConfig:
    """k-means; see conf/cluster/kmeans.yaml."""

    k: int = within(2, 10**4)
    n_init: int = within(1, 10**4)
    seed: int = within(0, 2**32 - 1)
    surrogates: int = within(0, 10**6)
    resamples: int = within(0, 10**6)
    memory: int = within(2**20, 2**50)
    silhouette_sample: int | None = ranges.within(2, 10**9, default=None)


@dataclass
class LoggerConfig:
    """Experiment tracking; see conf/logger."""

    name: str = one_of("csv", "wandb", "tensorboard")
    project: str = text("must be a name")
    mode: str = one_of("offline", "online")


@dataclass
class ComputeConfig:
    """Where prepare computes; see conf/compute/default.yaml."""

    scheduler: str = text(
        "must be threads, local or an address such as tcp://host:8786", r"threads|local|[a-z]+://\S+"
    )
    workers: int = within(0, 4096)


@dataclass
class PathsConfig:
    """Where artifacts lie; see conf/paths/local.yaml."""

    store: str = text("must name a folder")
    runs: str = folder()


@dataclass
class AblationConfig:
    """What an experiment compares; see docs/ablations.md and conf/experiment."""

    title: str = MISSING
    question: str = MISSING
    note: str = ""
    reference: str = MISSING
    rows: dict[str, list[str]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    run: bool = True
    measure: bool = True
    job: str = ""


@dataclass
class RangeConfig:
    """What one setting may be: a range of numbers, or choices."""

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: list[Any] | None = None


@dataclass
class SearchConfig:
    """What a search tries; see docs/ablations.md and conf/search."""

    trials: int = within(1, 10**6)
    seed: int = within(0, 2**31)
    objective: str = one_of("validation_loss", "explained_variance", "agreement")
    space: dict[str, RangeConfig] = field(default_factory=dict)


@dataclass
class Config:
    """The whole configuration; each group is typed by its own schema."""

    dataset: Any = MISSING
    window: Any = MISSING
    model: Any = MISSING
    trainer: Any = MISSING
    cluster: Any = MISSING
    logger: Any = MISSING
    paths: Any = MISSING
    compute: Any = MISSING
    ablation: Any = None
    search: Any = None
    seed: int = within(0, 2**32 - 1)
    run: str | None = None
    no_regime: float = within(0.5, 1)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Settings as plain JSON values, with references resolved."""
    values = OmegaConf.to_container(cfg, resolve=True)
    return {str(key): value for key, value in dict(values).items()}  # type: ignore[arg-type]


@cache
def register() -> None:
    """Once a process, makes the schemas known to Hydra under the names by which the YAML files take them."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="dataset", name="synthetic_schema", node=SyntheticDataset)
    store.store(group="dataset", name="files_schema", node=FilesDataset)
    store.store(group="dataset", name="era5_schema", node=Era5Dataset)
    store.store(group="experiment", name="schema", node=AblationConfig, package="ablation")
    for name, node in MODEL_CONFIGS.items():
        store.store(group="model", name=f"{name}_schema", node=node)
    groups = {
        "search": SearchConfig,
        "window": WindowConfig,
        "trainer": TrainerConfig,
        "cluster": ClusterConfig,
        "logger": LoggerConfig,
        "paths": PathsConfig,
        "compute": ComputeConfig,
    }
    for group, node in groups.items():
        store.store(group=group, name="schema", node=node)


def validate(cfg: DictConfig) -> None:
    """Checks that every value is given, is known to its schema and within its range.

    Raises:
        PipelineError: naming the key, the value and what is allowed.
        DataError: of the options of prepare, likewise.
    """
    _validate(cfg, "")
    Options.of(plain(cfg.dataset))


def _validate(cfg: DictConfig, prefix: str) -> None:
    schema: Any = OmegaConf.get_type(cfg)
    if not dataclasses.is_dataclass(schema):
        group = prefix.rstrip(".")
        raise PipelineError(
            f"{group} has no schema, which says what may be set: begin its file in conf/{group} with the defaults of "
            "one that is there."
        )
    fields = {f.name: f.metadata for f in dataclasses.fields(schema)}
    for key in map(str, cfg):
        name = f"{prefix}{key}"
        if key not in fields:  # forced in by a plus sign
            raise PipelineError(unknown(name, [f"{prefix}{known}" for known in fields]))
        if OmegaConf.is_missing(cfg, key):
            raise PipelineError(f"{name} is not set: add {name}=… to the command.")
        value = cfg[key]
        if isinstance(value, DictConfig) and (
            not prefix or dataclasses.is_dataclass(OmegaConf.get_type(value))
        ):
            _validate(value, f"{name}.")
        else:
            _check(name, value, fields[key])


def unknown(name: str, known: list[str]) -> str:
    """What to say of a setting that there is not, with the nearest that there is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no setting {name!r}{meant} (--cfg job lists all settings)."


def _check(name: str, value: Any, rule: Any) -> None:
    if wrong := ranges.fault(value, rule):
        raise PipelineError(f"{name} {wrong}. Received: {value}.")
    if "pattern" in rule and value is not None and not re.fullmatch(rule["pattern"], value):
        raise PipelineError(f"{name} {rule['words']}. Received: {value!r}.")
    if rule.get("date") and value is not None:
        _check_date(name, value)


def _check_date(name: str, value: str) -> None:
    try:
        year = pd.Timestamp(value).year if DATE.fullmatch(value) else 0
    except ValueError:
        year = 0
    first, last = YEARS
    if not first <= year <= last:
        raise PipelineError(
            f"{name} must be a date such as 2001-12-31, between the years {first} and {last}. Received: {value!r}."
        )
