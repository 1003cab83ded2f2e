"""What a user of the models got wrong, in one sentence, and the checks that say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ModelError(ValueError):
    """A setting or an input that a model cannot work with; the message says what, where and what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'? Known are: …" for a mistyped name."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=1, cutoff=0.0)
    suggestion = f"did you mean '{close[0]}'? " if close else ""
    return f"{suggestion}Known are: {', '.join(choices) or 'none'}"


def check_at_least(name: str, value: float, minimum: float) -> None:
    """Raise ModelError unless `value >= minimum` (a number that is not a number fails too)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise ModelError(f"{name} must be a number of at least {minimum}, received {value!r}: change it.")


def check_whole(name: str, value: int, minimum: int) -> None:
    """Raise ModelError unless `value` is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        wanted = f"a whole number of at least {minimum}"
        raise ModelError(f"{name} must be {wanted}, received {value!r}: change it.")


def check_switch(name: str, value: bool) -> None:
    """Raise ModelError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ModelError(f"{name} must be true or false, received {value!r}: choose one of them.")


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Raise ModelError unless `value` is one of `choices`."""
    if value not in choices:
        known = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise ModelError(f"{name} must be one of {known}, received {value!r}: choose one of these.")


def check_odd(name: str, value: int) -> None:
    """Raise ModelError unless `value` is an odd whole number: an even kernel has no middle pixel."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value % 2 == 0:
        raise ModelError(f"{name} must be an odd whole number, such as 3, received {value!r}: change it.")


def check_known(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ModelError for the first of `given` that is not in `known`, with the nearest right name."""
    known = list(known)
    for key in given:
        if key not in known:
            raise ModelError(f"{where} has no option '{key}': {nearest(key, known)}.")
