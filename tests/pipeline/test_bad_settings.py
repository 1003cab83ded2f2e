"""Every setting of every schema mistyped once, out of range once on each side, and of a wrong kind once.

What is tried is made from the schemas, so that a new setting is tried without a line here, and one that has no range
is found.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from models import config as model_config
from models import layers
from models.errors import ModelError
from pipeline import command, config
from pipeline.errors import USER_ERRORS

GROUPS = {
    "dataset=demo": config.SyntheticDataset,
    "dataset=files": config.FilesDataset,
    "dataset=era5": config.Era5Dataset,
    "window=daily": config.WindowConfig,
    "trainer=default": config.TrainerConfig,
    "cluster=kmeans": config.ClusterConfig,
    "logger=csv": config.LoggerConfig,
    "paths=local": config.PathsConfig,
    "compute=default": config.ComputeConfig,
    **{f"model={name}": schema for name, schema in model_config.MODEL_CONFIGS.items()},
}

NEEDED = {
    "dataset=files": ("dataset.path=x.nc",),
    "dataset=era5": ("dataset.name=x", "dataset.area=[1,2,3,4]"),
}

# free texts and lists of names: what may stand there, the stage that reads it knows
FREE = {
    "dataset.label_column", "dataset.variables", "dataset.fields", "dataset.season", "dataset.levels",
    "dataset.indices", "dataset.patterns", "run", "ablation", "search",
}  # fmt: skip


class Setting(NamedTuple):
    """A key of a schema: the choice of a group under which it is, its full name, its type and its rule."""

    choice: str
    name: str
    kind: Any
    rule: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.choice}:{self.name}"


def leaves(choice: str, schema: type, prefix: str) -> Iterator[Setting]:
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from leaves(choice, hints[field.name], f"{prefix}{field.name}.")
        else:
            yield Setting(choice, prefix + field.name, hints[field.name], dict(field.metadata))


def everything() -> list[Setting]:
    """All settings, those once that several schemas inherit from one."""
    found = [s for s in leaves("dataset=demo", config.Config, "") if s.name not in groups()]
    for choice, schema in GROUPS.items():
        known = {setting.name for setting in found if not setting.name.startswith("model.layer.")}
        under = leaves(choice, schema, choice.split("=")[0] + ".")
        found += [setting for setting in under if setting.name not in known]
    return found


def groups() -> set[str]:
    return {choice.split("=")[0] for choice in GROUPS}


SETTINGS = everything()


def plain_kind(kind: Any) -> Any:
    """The type of a setting that is given: int of int | None, list of list[float]."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return get_origin(kind) or kind


@cache
def composed(choice: str) -> DictConfig:
    config.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(command.CONF), version_base="1.3"):
        return hydra.compose("config", overrides=[choice, *NEEDED.get(choice, ())])


def refusal(choice: str, override: str) -> str:
    """What a user is told who adds an override; '' where it is taken.

    As Hydra's compose does, without reading all files again, which takes a second.
    """
    cfg, group = composed(choice), re.split(r"[.=]", override.strip("+~"), maxsplit=1)[0]
    known, before = set(cfg), deepcopy(cfg._get_node(group, validate_access=False))
    try:
        overrides = OverridesParser.create().parse_overrides([override])
        ConfigLoaderImpl._apply_overrides_to_config(overrides, cfg)
        config.validate(cfg)
    except USER_ERRORS as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return command.explain(error, [choice, override])
    finally:
        restore(cfg, group, before, known)
    return ""


def restore(cfg: DictConfig, group: str, before: Any, known: set[Any]) -> None:
    for added in set(cfg) - known:
        cfg.__dict__["_content"].pop(added)
    if group in known:
        cfg._set_item_impl(group, before)


def mistyped(name: str) -> str:
    """A key with two letters of its last part swapped, or a letter doubled where that changes nothing."""
    known = {setting.name for setting in SETTINGS}
    head, _, last = name.rpartition(".")
    tries = [last[:i] + last[i + 1] + last[i] + last[i + 2 :] for i in reversed(range(len(last) - 1))]
    for wrong in [*tries, last + last[-1]]:
        full = f"{head}.{wrong}" if head else wrong
        if full != name and full not in known:
            return full
    raise AssertionError(name)


@pytest.mark.parametrize("choice", GROUPS)
def test_what_stands_in_conf_is_right(choice: str) -> None:
    config.validate(composed(choice))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_mistyped_key_is_refused_with_the_right_one(setting: Setting) -> None:
    said = refusal(setting.choice, f"{mistyped(setting.name)}=1")
    assert f"there is no setting '{mistyped(setting.name)}'; did you mean '{setting.name}'?" in said


@pytest.mark.parametrize("sign", ["+", "++"])
@pytest.mark.parametrize("choice", GROUPS)
def test_a_mistyped_key_cannot_be_forced_in(choice: str, sign: str) -> None:
    name = next(setting.name for setting in SETTINGS if setting.choice == choice)
    assert f"did you mean '{name}'?" in refusal(choice, f"{sign}{mistyped(name)}=1")


@pytest.mark.parametrize("group", sorted(groups()))
def test_a_mistyped_choice_is_refused_with_the_choices(group: str) -> None:
    choices = [choice.split("=")[1] for choice in GROUPS if choice.startswith(f"{group}=")]
    with pytest.raises(HydraException) as refused:
        composed(f"{group}={choices[0][:-1]}")
    said = command.explain(refused.value, [])
    assert f"did you mean '{choices[0]}'?" in said
    assert all(choice in said for choice in choices)


def words(low: float, high: float | None) -> str:
    return f"{low:.15g}" if high is None else f"{low:.15g} and {high:.15g}"


def beyond(rule: dict[str, Any], kind: Any) -> Iterator[float]:
    """The nearest numbers outside a range, and what is no number."""
    low, high = rule["low"], rule["high"]
    whole = kind is int
    yield low - 1 if whole else math.nextafter(low, -math.inf)
    if high is not None:
        yield high + 1 if whole else math.nextafter(high, math.inf)
    if not whole:
        yield from (math.inf, -math.inf, math.nan)


BOUNDED = [s for s in SETTINGS if "low" in s.rule]


@pytest.mark.parametrize("setting", BOUNDED, ids=str)
def test_a_number_out_of_range_is_refused_with_the_range(setting: Setting) -> None:
    for value in beyond(setting.rule, plain_kind(setting.kind)):
        said = refusal(setting.choice, f"{setting.name}={value}")
        assert said.startswith(f"{setting.name} must be "), (value, said)
        assert words(setting.rule["low"], setting.rule["high"]) in said


@pytest.mark.parametrize("setting", BOUNDED, ids=str)
def test_the_ends_of_a_range_belong_to_it(setting: Setting) -> None:
    if setting.name in ("dataset.smoothing_days", "dataset.running_mean_days", "dataset.step_hours"):
        pytest.skip("not every number between the ends is taken")
    for value in (setting.rule["low"], setting.rule["high"]):
        whole = value if not setting.rule.get("odd") else value | 1
        assert refusal(setting.choice, f"{setting.name}={whole}") == ""


@pytest.mark.parametrize("setting", [s for s in SETTINGS if "odd" in s.rule or "power" in s.rule], ids=str)
def test_a_number_between_those_that_are_taken_is_refused(setting: Setting) -> None:
    wrong, kind = (2, "an odd number") if setting.rule.get("odd") else (3, "a power of two")
    assert f"{setting.name} must be {kind}" in refusal(setting.choice, f"{setting.name}={wrong}")


@pytest.mark.parametrize("setting", [s for s in SETTINGS if "choices" in s.rule], ids=str)
def test_a_wrong_word_is_refused_with_the_right_ones(setting: Setting) -> None:
    said = refusal(setting.choice, f"{setting.name}=nonsense")
    right = ", ".join("null" if word is None else word for word in setting.rule["choices"])
    assert said == f"{setting.name} must be one of {right}. Received: nonsense."
    for word in setting.rule["choices"]:
        assert refusal(setting.choice, f"{setting.name}={'null' if word is None else word}") == ""


WRONG_KIND = {
    int: ("many", "1.5", "[1]"),
    float: ("much", "[1]"),
    bool: ("perhaps", "[1]"),
    list: ("1", "{a:1}"),
}
TYPED = [s for s in SETTINGS if plain_kind(s.kind) in WRONG_KIND]


@pytest.mark.parametrize("setting", TYPED, ids=str)
def test_a_value_of_the_wrong_kind_is_refused_and_named(setting: Setting) -> None:
    for wrong in WRONG_KIND[plain_kind(setting.kind)]:
        said = refusal(setting.choice, f"{setting.name}={wrong}")
        assert said.startswith(setting.name), (wrong, said)
    if type(None) not in get_args(setting.kind):
        assert refusal(setting.choice, f"{setting.name}=null").startswith(setting.name)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if "each" in s.rule], ids=str)
def test_lists_of_the_wrong_length_or_with_a_wrong_item_are_refused(setting: Setting) -> None:
    inner = setting.rule["each"][0]
    pairs = "each" in inner
    for wrong in (
        "[]",
        "[[3]]" if pairs else "[nan]" if plain_kind(get_args(setting.kind)[0]) is float else "[-9]",
    ):
        assert refusal(setting.choice, f"{setting.name}={wrong}").startswith(setting.name), wrong
    if pairs:
        assert "must be an odd number" in refusal(setting.choice, f"{setting.name}=[[3,1],[2,1]]")
        assert "must be between 1 and" in refusal(setting.choice, f"{setting.name}=[[3,0]]")


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.rule.get("date")], ids=str)
@pytest.mark.parametrize(
    "wrong",
    ["now", "NaT", "yesterday", "2001-13-01", "2001-02-30", "20011", "1500-01-01", "9999-01-01", "12", "''",
     "'2001-01-01T00:00+02:00'", "01.02.2003"],
)  # fmt: skip
def test_what_is_no_date_is_refused(setting: Setting, wrong: str) -> None:
    said = refusal(setting.choice, f"{setting.name}={wrong}")
    assert said.startswith(
        f"{setting.name} must be a date such as 2001-12-31, between the years 1678 and 2261"
    )


@pytest.mark.parametrize("setting", [s for s in SETTINGS if "pattern" in s.rule], ids=str)
def test_an_empty_text_is_refused(setting: Setting) -> None:
    for empty in ("''", "' '"):
        assert refusal(setting.choice, f"{setting.name}={empty}").startswith(
            f"{setting.name} {setting.rule['words']}"
        )


@pytest.mark.parametrize(
    "name", ["..", ".", "../x", "a/b", "/etc", "a\\b", "~", ".hidden", "-x", "a" * 101, "a b", "ä", "a\tb"]
)
def test_a_dataset_cannot_be_called_by_what_leads_out_of_its_folder(name: str) -> None:
    quoted = name.replace("\\", "\\\\")
    assert refusal("dataset=demo", f'dataset.name="{quoted}"').startswith("dataset.name names a folder")


def test_every_setting_has_a_range() -> None:
    bare = {s.name for s in SETTINGS if not s.rule and plain_kind(s.kind) is not bool}
    assert bare == FREE


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset.split={tset: 3}", "there is no setting 'dataset.split.tset'; did you mean 'dataset.split.test'?"),
        ("dataset.split=3", "dataset.split is a group of settings: write dataset.split.<setting>=…"),
        ("window.length.x=3", "window.length: "),
        ("~window.length", "window.length cannot be taken away"),
        ("dataset.season=J", "dataset.season must be the initials of consecutive months"),
        ("dataset.season=[13]", "dataset.season must be the initials of consecutive months"),
        ("dataset.region=[10,0,20,10]", "dataset.region must be [north,west,south,east]"),
        ("dataset.running_mean_days=4", "dataset.running_mean_days must be an odd number of days"),
        ("dataset.smoothing_days=30", "dataset.smoothing_days must be an odd number of days"),
        ("dataset.fields=[z500,z500]", "dataset.fields must name each field once"),
        ("dataset.fields=[]", "dataset.fields must name each field once"),
        ("model.name=convlstm", "model.name must be one of faconvlstm. Received: convlstm."),
    ],
)  # fmt: skip
def test_other_mistakes(override: str, said: str) -> None:
    assert refusal("dataset=demo", override).startswith(said)


OPTIONS = {"simvpv2": {"length": 4}, "convlstm": {"grid": (8, 8)}}
WORDS = [s for s in SETTINGS if "choices" in s.rule and s.name.startswith("model.layer.")]


@pytest.mark.parametrize("setting", WORDS, ids=str)
def test_the_layers_know_the_words_of_their_schemas(setting: Setting) -> None:
    """The words stand in models.config and in the layer, which pipeline's start would otherwise have to import."""
    name, option = setting.choice.split("=")[1], setting.name.rsplit(".", 1)[1]
    further = {"scan": {"candidate": "positive"}, "variant": {"blocks": 12}}.get(option, {})
    for word in setting.rule["choices"]:
        layers.build(name, 2, 8, **(OPTIONS.get(name, {}) | further | {option: word}))
    with pytest.raises(ModelError, match=option):
        layers.build(name, 2, 8, **(OPTIONS.get(name, {}) | further | {option: "nonsense"}))
