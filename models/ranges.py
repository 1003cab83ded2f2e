"""What a setting may be, as metadata of its dataclass field, and what is wrong with a value that it may not be.

Supports numbers within limits (odd ones, powers of two), words out of a few, and lists of these. Knows single values
only: what does not go together, such as heads that do not divide a width, the layer that is built says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

POWERS = {2**n for n in range(31)}
Rule = Mapping[str, Any]


def within(low: float, high: float | None = None, **given: Any) -> Any:
    """A finite number between low and high, both allowed, high None for no limit; `given` goes to the field."""
    return dataclasses.field(metadata={"low": low, "high": high}, **given)


def odd(low: int, high: int, **given: Any) -> Any:
    """An odd number between low and high: an even kernel has no middle pixel."""
    return dataclasses.field(metadata={"low": low, "high": high, "odd": True}, **given)


def power_of_two(high: int, **given: Any) -> Any:
    """1, 2, 4 and so on, up to high."""
    return dataclasses.field(metadata={"low": 1, "high": high, "power": True}, **given)


def one_of(*choices: str | None, **given: Any) -> Any:
    """One of the given words."""
    return dataclasses.field(metadata={"choices": choices}, **given)


def each(*rules: Any, count: int | None = None, **given: Any) -> Any:
    """A list, each item of which is as a field says: all as the one field, or each as its own.

    Args:
        rules: fields as the functions here make them.
        count: how many items; None for any number from one on. As many as there are fields where these are several.
        given: goes to the field.
    """
    items = tuple(rule.metadata for rule in rules)
    return dataclasses.field(
        metadata={"each": items, "count": count if len(items) == 1 else len(items)}, **given
    )


def fault(value: Any, rule: Rule) -> str:
    """What a value has to be and is not, in words that follow the setting's name; '' where it is right."""
    if "choices" in rule:
        words = ", ".join("null" if choice is None else str(choice) for choice in rule["choices"])
        return "" if value in rule["choices"] else f"must be one of {words}"
    if value is None:
        return ""  # only where the field's type allows it
    if "each" in rule:
        return _fault_of_list(value, rule)
    return _fault_of_number(value, rule) if "low" in rule else ""


def _fault_of_list(values: Sequence[Any], rule: Rule) -> str:
    rules, count = rule["each"], rule["count"]
    if (count is None and not len(values)) or count not in (None, len(values)):
        return f"must have {count or 'at least one'} value{'s' if count != 1 and count else ''}"
    for number, value in enumerate(values):
        if found := fault(value, rules[number if len(rules) > 1 else 0]):
            return f"{found} in each place" if len(rules) == 1 else f"{found} in place {number + 1}"
    return ""


def _fault_of_number(value: float, rule: Rule) -> str:
    low, high = rule["low"], rule["high"]
    right = math.isfinite(value) and low <= value and (high is None or value <= high)
    if rule.get("odd"):
        return "" if right and value % 2 else f"must be an odd number between {low} and {high}"
    if rule.get("power"):
        return "" if right and value in POWERS else f"must be a power of two between 1 and {high}"
    limits = f"at least {low:.15g}" if high is None else f"between {low:.15g} and {high:.15g}"
    return "" if right else f"must be {limits}"
