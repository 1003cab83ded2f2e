"""What sentences about the numbers are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.tables import PERIODS


@dataclass(frozen=True)
class Statement:
    """A finding: what it is about, a sentence or a few, and the figures behind them."""

    heading: str
    text: str
    figures: str = ""


def period(split: str) -> str:
    """A split in a sentence."""
    return PERIODS[split].lower()


def count(n: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "seed"), count(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def join(words: Sequence[str]) -> str:
    """A list in a sentence.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(parts: Sequence[str]) -> str:
    """Parts of a sentence with semicolons between them; empty without any."""
    return f"{'; '.join(parts)}." if parts else ""
