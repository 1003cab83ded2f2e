"""Climate indices (NAO, Niño 3.4 and the like) from text files, to correlate clusters with; never seen in training.

Supports three forms, told apart by their lines: year, month, day and value in columns (NOAA CPC's daily files,
with or without blanks between them); a year and twelve monthly values a line (NOAA PSL's tables, with or without
their line of years before and their notes after); and CSV of a date and a value. Days or months that a file leaves
out stay out. Does not support several indices in one file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import DataError

MISSING_BELOW = -99.0  # -99.9, -99.99, -999 and -9999 all stand for "missing"; no index comes near
_NOTHING = {"", "na", "nan", "n/a", "null", "none", "-", "."}
_COLUMNS = re.compile(r"(\d{4})([ \d]{2}\d)([ \d]{2}\d)(.*)")  # CPC's: they touch where the numbers are long
_WORDS = re.compile(r"\s*(\d{4})\s+(\d{1,2})\s+(\d{1,2})\s+(\S+)")
_WANTED = "give year month day value, a year and twelve values, or date,value a line"
_NAMES = ("date", "time", "day", "month")

Line = tuple[int, str]  # number in the file, from 1, and text
Dated = Iterator[tuple[int, str, str]]  # number of the line, date, value


def read_indices(indices: Mapping[str, str] | None) -> dict[str, pd.Series]:
    """Each index by its name; see read_index. None stands for no index.

    Raises:
        DataError: a file cannot be read; the message names it and, where it can, the line.
    """
    indices = {} if indices is None else indices
    if not isinstance(indices, Mapping) or not all(isinstance(path, str) for path in indices.values()):
        raise DataError(f"dataset.indices must be files by name, as {{nao: a.txt}}. Received: {indices}.")
    return {str(name): read_index(str(name), path) for name, path in indices.items()}


def read_index(name: str, path: str | Path) -> pd.Series:
    """One index.

    Args:
        name: what it is to be called.
        path: a text file in one of the forms above.

    Returns:
        float64, missing as NaN, called `name`, indexed by day (of monthly values: the first of the month, or the day
        that a CSV states) in ascending order.

    Raises:
        DataError: the file cannot be read, has no value, or a line of it is not understood.
    """
    file = Path(path).expanduser()
    lines = _lines(name, file)
    dated = list(_form(lines)(_place(name, file), lines))
    if not dated:
        raise DataError(f"{_place(name, file)} has no line of data: {_WANTED}.")
    values = [_value(_place(name, file, number), text) for number, _, text in dated]
    series = pd.Series(values, index=_days(_place(name, file), dated), name=name, dtype=np.float64)
    if series.isna().all():
        raise DataError(f"{_place(name, file)} has no value that is a number: {_WANTED}.")
    return series.sort_index()


def _lines(name: str, file: Path) -> list[Line]:
    """The lines that are neither empty nor comments."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{_place(name, file)} cannot be read ({reason}): {_WANTED}.") from error
    lines = [(number, line.rstrip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]


def _place(name: str, file: Path, line: int | None = None) -> str:
    return f"dataset.indices.{name}: {file}" + ("" if line is None else f" line {line}")


def _form(lines: list[Line]) -> Callable[[str, list[Line]], Dated]:
    """The reader of the form that the lines have."""
    if any("," in text for _, text in lines[:2]):
        return _csv
    if lines and _day_and_value(lines[0][1]):
        return _daily
    return _yearly


def _daily(place: str, lines: list[Line]) -> Dated:
    """Year, month, day and value, in CPC's columns of 4, 3, 3 and the rest or with blanks between them."""
    for number, text in lines:
        match = _day_and_value(text)
        if match is None:
            raise DataError(
                f"{place} line {number} is not year month day value, as the first is: '{text[:60]}'."
            )
        year, month, day, value = match.groups()
        yield number, f"{year}-{int(month):02d}-{int(day):02d}", value


def _day_and_value(text: str) -> re.Match[str] | None:
    return _WORDS.fullmatch(text) or _COLUMNS.fullmatch(text)


def _yearly(place: str, lines: list[Line]) -> Dated:
    """A year and twelve values; a first line of two years and whatever follows a lone number are passed over."""
    for place_in_file, (number, text) in enumerate(lines):
        year, *values = text.split()
        if place_in_file == 0 and len(values) == 1 and year.isdigit() and values[0].isdigit():
            continue
        if not values and place_in_file > 0:
            return
        if not re.fullmatch(r"\d{4}", year) or len(values) != 12:
            raise DataError(f"{place} line {number} is not a year and twelve values: '{text.strip()[:60]}'.")
        for month, value in enumerate(values, 1):
            yield number, f"{year}-{month:02d}-01", value


def _csv(place: str, lines: list[Line]) -> Dated:
    """A date and a value, after a line of names where there is one."""
    for place_in_file, (number, text) in enumerate(lines):
        fields = [field.strip().strip('"') for field in text.split(",")]
        if len(fields) != 2:
            raise DataError(f"{place} line {number} has {len(fields)} fields, not date,value: '{text[:60]}'.")
        if place_in_file == 0 and fields[0].casefold() in _NAMES:
            continue
        yield number, fields[0], fields[1]


def _days(place: str, dated: list[tuple[int, str, str]]) -> pd.DatetimeIndex:
    texts = pd.Series([date for _, date, _ in dated])
    days = pd.to_datetime(texts, errors="coerce", format="ISO8601").dt.normalize()
    if days.isna().any():
        number, date, _ = dated[int(np.flatnonzero(days.isna())[0])]
        raise DataError(f"{place} line {number} has no such date as '{date}': write dates as 2006-12-31.")
    if days.duplicated().any():
        number, date, _ = dated[int(np.flatnonzero(days.duplicated())[0])]
        raise DataError(f"{place} line {number} states {date} a second time: keep one value a date.")
    return pd.DatetimeIndex(days, name="time").as_unit("ns")


def _value(place: str, text: str) -> float:
    """The number; NaN for what stands for nothing."""
    text = text.strip()
    if text.casefold() in _NOTHING or set(text) == {"*"}:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{place} has '{text[:40]}', which is not a number: mend it, or write NA.") from None
    return value if np.isfinite(value) and value > MISSING_BELOW else np.nan
