"""From the command line to a stage: settings composed by Hydra, mistakes told in one sentence.

Exit status: 0 done, 2 what the user can mend, 1 a bug (with its traceback), 130 interrupted.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from data import places
from data.errors import DamagedError
from pipeline import config, disk, processes
from pipeline.errors import USER_ERRORS

CONF = Path(__file__).resolve().parent.parent / "conf"
NO_NAME = "Config group override must be a string"  # in a bare ValueError of Hydra's
log = logging.getLogger(__name__)


def run(stage: Callable[[DictConfig], None]) -> None:
    """Runs a stage with the settings of the command line, and exits with the status that tells how it went."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach us as they are
    level = logging.INFO if processes.is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
    logging.getLogger("hydra").setLevel(logging.WARNING)  # each job of a multirun says what it does itself
    config.register()
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_checked(stage))()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; run the same command again to go on.\n")
        sys.exit(130)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        _fail(explain(error, sys.argv[1:]))
    except ValueError as error:
        if NO_NAME not in str(error):
            raise
        _fail(explain(error, sys.argv[1:]))


def hint(stage: str, *instead: str) -> str:
    """The command for another stage with the settings of this one; a report takes all models and seeds.

    Args:
        stage: its name.
        instead: settings that take the place of those of this command.
    """
    keys = tuple(word.partition("=")[0] + "=" for word in instead)
    words = [*(word for word in sys.argv[1:] if not (keys and word.startswith((*keys, "-")))), *instead]
    if stage == "cluster_report":
        words = [word for word in words if not word.startswith(("-", "model=", "seed="))]
    return shlex.join(["python", "-m", f"pipeline.{stage}", *words])


def choice(group: str) -> str | None:
    """What the running command chose of a group of settings, as the experiment; None where it chose nothing."""
    chosen = HydraConfig.get().runtime.choices.get(group)
    return None if chosen is None else str(chosen)


def choices(group: str) -> list[str]:
    """What there is to choose of a group of settings, in conf/."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [name for name in names if name != "base"]


def _checked(stage: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    def task(cfg: DictConfig) -> None:
        try:  # here, since Hydra would print a line of its own before the sentence
            config.validate(cfg)
            stage(cfg)
        except Exception as error:
            told = _sentence(error, cfg)
            if told is None:
                raise
            _fail(told)

    return task


def _sentence(error: Exception, cfg: DictConfig) -> str | None:
    """What the user is told of an error; None for a bug."""
    if (refused := disk.refusal(error)) is not None:
        return disk.sentence(refused, (cfg.paths.store, cfg.paths.runs))
    if isinstance(error, DamagedError):
        from pipeline import repair

        again = repair.condemn(error.path)
        return f"{error.path} is damaged ({error.reason}): run {again}" if again else str(error)
    if places.is_clients(error) and places.is_address(cfg.paths.store):
        return places.unreached(cfg.paths.store, error)
    if isinstance(error, OmegaConfBaseException):
        return explain(error, sys.argv[1:])
    return str(error) if isinstance(error, USER_ERRORS) else None


def _fail(sentence: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"Error: {sentence}\n")
    sys.exit(2)


def explain(error: Exception, arguments: list[str]) -> str:
    """One sentence for what Hydra or OmegaConf refused, with the nearest right key where one is near."""
    text = str(error).strip()
    cause = str(error.__cause__ or "").strip()
    refused = getattr(error.__cause__ or error, "full_key", None)
    if refused and (told := _refused(refused, cause or text, arguments)):
        return told
    if found := re.search(r"Could not (?:override|append to config[^']*) '([^']+)'", text):
        return _unknown_key(found[1], arguments)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, word = found.groups()
        known = choices(group)
        return f"{group}={word} is not known{_nearest(word, known)}; there are: {', '.join(known)}."
    if NO_NAME in text:
        return _group_wants(arguments)
    if found := re.search(r"In '([^']+)': \w+ raised while composing config:\s*([^\n]+)", text):
        return f"conf/{found[1]}.yaml cannot be taken as it is: {found[2].split(' value: ')[0].rstrip('.')}."
    if isinstance(error, YAMLError):
        return f"a file under conf is not YAML: {' '.join(text.split())}."
    if found := re.search(r"Error parsing override '([^']*)'", text):
        return (
            f"{found[1]!r} cannot be read as a setting: write key=value, with quotes where it holds spaces."
        )
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found[1]} is not set: add {found[1]}=… to the command."
    if "Cannot merge DictConfig with ListConfig" in (cause or text):
        return f"{_given_a_mapping(arguments)} is a list: write it as [a,b]."
    first = next((line for line in (cause or text).splitlines() if line.strip()), "unreadable settings")
    return f"the settings cannot be read: {first.strip().rstrip('.')}."


def _refused(key: str, why: str, arguments: list[str]) -> str:
    """One sentence for a value that its schema does not take; '' where the reason is another."""
    first = why.splitlines()[0].rstrip(".")
    if re.match(r"Key '[^']*' not in", first):
        return _unknown_key(key, arguments)
    if "is not a subclass of" in first:
        return f"{key} is a group of settings: write {key}.<setting>=…"
    if "is not Optional" in first:
        return f"{key} needs a value, and null is none."
    if "is not a ListConfig" in first or "is not a DictConfig" in first:
        return f"{key} is a list: write it as [a,b]."
    if "does not support deletion" in first:
        return f"{key} cannot be taken away: set it to another value, or leave it as it is."
    if any(words in first for words in ("could not be converted", "Cannot convert", "is not a valid")):
        return f"{key}: {first}."
    return ""


def _unknown_key(key: str, arguments: list[str]) -> str:
    if key in _groups():
        return f"{key}= takes one of: {', '.join(choices(key))}."
    return config.unknown(
        key, _known_keys(tuple(word for word in arguments if word.split("=")[0] in _groups()))
    )


def _group_wants(arguments: list[str]) -> str:
    """What to say of a group that is set to what is no name, such as model=null."""
    for word in arguments:
        group, _, choice = word.partition("=")
        if group in _groups() and choice not in choices(group):
            return f"{word}: {group}= takes one of: {', '.join(choices(group))}."
    return "a group of settings takes the name of one of its files."


def _given_a_mapping(arguments: list[str]) -> str:
    """The setting that is given a mapping, for messages that do not say which it is."""
    return next((word.partition("=")[0] for word in arguments if "={" in word), "one of the settings")


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")


@cache
def _known_keys(chosen: tuple[str, ...]) -> list[str]:
    """All keys of the configuration that choices of groups lead to."""
    running = GlobalHydra.instance().hydra  # which goes on afterwards
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            try:
                cfg = hydra.compose("config", overrides=list(chosen))
            except HydraException:
                cfg = hydra.compose("config")
    finally:
        GlobalHydra.instance().hydra = running
    return [*_groups(), *_flat(cfg)]


def _flat(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, cfg):
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(cfg, key) and isinstance(cfg[key], DictConfig):
            yield from _flat(cfg[key], f"{name}.")
