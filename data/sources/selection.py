"""Which variables a dataset takes of what its files hold.

A name asked for is any name of the catalogue, with the level in hPa on pressure levels; a bare `z` means z at
every level. Nothing asked for means all, and then everything has to be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data import catalogue
from data.errors import DataError
from data.sources.harmonise import identify


def field_name(option: str, name: str) -> str:
    """A field's name as the raw store has it, from any of its names.

    Raises:
        DataError: nothing is known by that name; the message names the option.
    """
    try:
        return catalogue.field_name(*catalogue.parse(str(name)))
    except DataError as error:
        raise DataError(f"dataset.{option}: {error}") from error


def levels(asked: Mapping[str, float]) -> dict[str, float]:
    """Levels in hPa by short name, from any names.

    Raises:
        DataError: a variable has no levels, a number is no pressure in hPa, or it is no mapping at all.
    """
    if not isinstance(asked, Mapping):
        raise DataError(f"dataset.levels must be a mapping such as {{z: 500}}. Received: {asked}.")
    chosen = {}
    for name, level in asked.items():
        variable, _ = catalogue.parse(field_name("levels", name))
        if variable.level != "pressure" or not isinstance(level, (int, float)) or not 1 <= level <= 1100:
            raise DataError(
                f"dataset.levels: '{name}: {level}' is not a variable on pressure levels and its level in "
                "hPa: write it as {z: 500}."
            )
        chosen[variable.short] = float(level)
    return chosen


def _means(asked: str, name: str) -> bool:
    """Whether a name asked for means a field: z500 means z500, z means z at any level."""
    variable, level = catalogue.parse(asked)
    return asked == name or (level is None and catalogue.parse(name)[0] is variable)


class Selection:
    """What is asked for, and what files turned out to hold.

    Args:
        asked: field names as the raw store has them; None for all.

    Attributes:
        held: names of the known fields that were met.
        unknown: what was met and is not known, each with its file.
    """

    def __init__(self, asked: Sequence[str] | None) -> None:
        self.asked = asked
        self.held: set[str] = set()
        self.unknown: list[tuple[str, str, str]] = []  # file, name, name with what it is called

    def wants(self, file: str, label: str, attrs: Mapping[str, Any]) -> bool:
        """Whether a variable of a file may be of use, before its level is known; notes the others."""
        found = identify(label, attrs)
        if found is None:
            called = f" ({attrs['long_name']})" if "long_name" in attrs else ""
            self.unknown.append((file, label, f"'{label}'{called}"))
            return False
        if self.asked is None or any(catalogue.parse(name)[0] is found[0] for name in self.asked):
            return True
        self.held.add(catalogue.field_name(*found))
        return False

    def takes(self, name: str) -> bool:
        """Whether a field of this name is taken."""
        self.held.add(name)
        return self.asked is None or any(_means(asked, name) for asked in self.asked)

    def check_known(self) -> None:
        """Refuses what is not known where all is to be taken.

        Raises:
            DataError: naming what is not known, and what can be taken instead.
        """
        if not self.unknown or self.asked is not None:
            return
        file, label, _ = self.unknown[0]
        called = ", ".join(dict.fromkeys(text for where, _, text in self.unknown[:5] if where == file))
        if self.held:
            known = ",".join(catalogue.order(self.held))
            raise DataError(
                f"{file}: {called} is not in the catalogue: choose among what is known by "
                f"dataset.variables=[{known}]."
            )
        raise DataError(
            f"{file}: {called} is not in the catalogue ({catalogue.suggestion(label)}): rename it in the file."
        )

    def check_found(self, names: set[str], files: str) -> None:
        """Whether everything that is asked for is among the names found.

        Raises:
            DataError: naming what is not there, and what is.
        """
        if not names and self.asked is None:
            raise DataError(f"{files}: no variable has times and a grid: give files with fields over time.")
        for asked in self.asked or []:
            if not any(_means(asked, name) for name in names):
                raise DataError(f"{files}: dataset.variables asks for {asked}, {self._instead(asked)}")

    def _instead(self, asked: str) -> str:
        variable, level = catalogue.parse(asked)
        if level is not None and variable.short in self.held:
            return (
                f"and the files do not state the level of {variable.short}: set "
                f"dataset.levels={{{variable.short}: {level:g}}} if it is that one."
            )
        return (
            "which is not in the files: they hold "
            f"{', '.join(catalogue.order(self.held)) or 'nothing that is known'}."
        )

    def order(self, names: set[str]) -> list[str]:
        """Field names as they were asked for, else in the catalogue's order."""
        ordered = catalogue.order(names)
        if self.asked is None:
            return ordered
        return list(dict.fromkeys(name for asked in self.asked for name in ordered if _means(asked, name)))
