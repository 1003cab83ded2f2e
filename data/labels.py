"""Known labels of days (published regimes), from a CSV file, to score clusters with; never seen in training.

Supports a column of dates and one or more columns of labels, integers or words. Days without a label are left
out, so labels of one season only are fine. Does not support several labels a day, or labels by hour.
"""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import DataError

_WANTED = "give a CSV file with a date and a label a line"
_DATE_NAMES = ("date", "time", "day", "valid_time", "datetime")


def read_labels(path: str | Path, column: str | None = None, k: int | None = None) -> pd.Series:
    """The labels of one column by day.

    Args:
        path: a CSV file with a column of dates (called date, time or day, else the first) and columns of
            labels.
        column: the column of labels; None for the only one, else the only one with exactly `k` different
            labels.
        k: number of clusters, to choose a column by.

    Returns:
        int64 labels, indexed by day in ascending order; `attrs["names"]` maps labels to words where they are
        words.

    Raises:
        DataError: the file cannot be read or is empty, dates are unreadable or repeated, or the column is not
            clear.
    """
    file = Path(path).expanduser() if isinstance(path, str) else path
    table = _read(file)
    dates = _dates(file, table.pop(_date_column(table)))
    name = _choose(file, table, column, k)
    labels = _integers(file, table[name])
    labels.index = dates[labels.index]
    return labels.sort_index()


def _read(file: Path) -> pd.DataFrame:
    """The table as text, without lines that are empty."""
    try:
        lines = _lines(file)
        named = not _starts_with_date(lines)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of lines with more fields than names
            table = pd.read_csv(
                io.StringIO("\n".join(lines)),
                dtype=str,
                skipinitialspace=True,
                header=0 if named else None,
                index_col=False,
                sep=_separator(lines),
            )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"dataset.labels: {file} is empty: {_WANTED}.") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"dataset.labels: {file} cannot be read as CSV ({reason}): {_WANTED}.") from error
    table.columns = [str(name).strip() if named else f"column {name}" for name in table.columns]
    if table.shape[1] < 2:
        raise DataError(f"dataset.labels: {file} has one column, and needs two: {_WANTED}.")
    if table.empty:
        raise DataError(f"dataset.labels: {file} has no line of data: {_WANTED}.")
    return table


def _lines(file: Path) -> list[str]:
    """The file's lines without comments."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _separator(lines: list[str]) -> str:
    first = "".join(lines[:1])
    return max(",;\t", key=first.count)


def _starts_with_date(lines: list[str]) -> bool:
    """Whether the file has no line of names."""
    first = next(csv.reader(lines[:1], delimiter=_separator(lines)), [""])
    return not pd.isna(pd.to_datetime(first[0], errors="coerce", format="ISO8601"))


def _date_column(table: pd.DataFrame) -> str:
    return next((name for name in table.columns if name.casefold() in _DATE_NAMES), table.columns[0])


def _dates(file: Path, texts: pd.Series) -> pd.DatetimeIndex:
    days = pd.to_datetime(texts.str.strip(), errors="coerce", format="ISO8601").dt.normalize()
    if days.isna().any():
        row = int(np.flatnonzero(days.isna())[0])
        raise DataError(
            f"dataset.labels: {file} has {int(days.isna().sum())} dates that cannot be read, the first "
            f"'{texts.fillna('').iloc[row]}' in row {row + 1}: write dates as 2006-12-31."
        )
    if days.duplicated().any():
        repeated = days[days.duplicated()]
        raise DataError(
            f"dataset.labels: {file} has {len(repeated)} repeated dates, the first "
            f"{repeated.iloc[0]:%Y-%m-%d}: keep one label a day."
        )
    return pd.DatetimeIndex(days, name="time").as_unit("ns")


def _choose(file: Path, table: pd.DataFrame, column: str | None, k: int | None) -> str:
    names = list(table.columns)
    listed = ", ".join(f"{name} ({table[name].nunique()} labels)" for name in names[:12])
    if column is not None:
        if column not in names:
            raise DataError(f"dataset.label_column: {file} has no column '{column}': it has {listed}.")
        return column
    if len(names) == 1:
        return names[0]
    fitting = [name for name in names if k is not None and table[name].nunique() == k]
    if len(fitting) != 1:
        found = "none has" if not fitting else f"{' and '.join(fitting)} have"
        why = f", and {found} {k} labels" if k is not None else ""
        raise DataError(
            f"dataset.labels: {file} has several columns of labels, {listed}{why}: choose one by "
            "dataset.label_column."
        )
    return fitting[0]


def _integers(file: Path, texts: pd.Series) -> pd.Series:
    """Labels as integers, without the rows that have none; words are numbered in alphabetical order."""
    known = texts.dropna().str.strip()
    numbers = pd.to_numeric(known, errors="coerce")
    if known.empty:
        raise DataError(
            f"dataset.labels: {file}: column {texts.name} is empty: choose another by dataset.label_column."
        )
    if numbers.notna().all():
        if (numbers != numbers.round()).any():
            odd = known[numbers != numbers.round()].iloc[0]
            raise DataError(
                f"dataset.labels: {file}: column {texts.name} holds {odd}, which is no label: choose a "
                "column of integers or words by dataset.label_column."
            )
        return numbers.astype(np.int64)
    codes, words = pd.factorize(known, sort=True)
    labels = pd.Series(codes.astype(np.int64), index=known.index, name=texts.name)
    labels.attrs["names"] = {code: str(word) for code, word in enumerate(words)}
    return labels
